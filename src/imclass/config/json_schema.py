"""JSON Schemas of the YAML files, by which editors complete and check them; made from the settings.

They are a little wider than the checks: what only a function can decide, such as two numbers that rise,
passes. No torch here.
"""

from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from imclass.config.durations import UNITS
from imclass.config.groups import group_names, shipped_choices
from imclass.config.schema import SETTINGS, SWEEP_SETTINGS
from imclass.config.setting import Setting

Schema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest that the YAML language server knows
KINDS = ("train", *group_names())  # of files: train.yaml, and the choices of a group
_REFERENCE = {"type": "string", "pattern": r"\$\{[\w.]+\}"}  # to another setting


def schema_of(kind: str) -> Schema:
    """Return the schema of a YAML file: of train.yaml, or of a choice of the group `kind`."""
    if kind == "sweep":
        properties = _properties(SWEEP_SETTINGS, "sweep.")
    elif kind in ("train", "experiment"):
        properties = _properties(SETTINGS, "")
    else:
        properties = _properties(SETTINGS, f"{kind}.")
    properties["defaults"] = _defaults(kind)
    if kind == "train":
        properties["hydra"] = {"type": "object"}
    return {"$schema": DIALECT, "title": f"imclass: {kind}", **_object(properties)}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _properties(settings: Mapping[str, Setting], prefix: str) -> Schema:
    """Return the schemas of all settings whose keys begin with `prefix`, those of sections nested."""
    found: Schema = {}
    for key, setting in settings.items():
        name, dot, _ = key.removeprefix(prefix).partition(".")
        if key.startswith(prefix) and name not in found:
            section = f"{prefix}{name}."
            found[name] = _object(_properties(settings, section)) if dot else _value(setting)
    return found


def _value(setting: Setting) -> Schema:
    notes = [setting.expected]
    notes += [f"only with {', '.join(setting.only_with)}"] if setting.only_with else []
    notes += [f"no effect without {setting.needs}"] if setting.needs else []
    schema: Schema = {"description": f"{setting.meaning} ({'; '.join(notes)})"}
    if not setting.check(setting.default)[1]:
        schema["default"] = setting.default
    section, _, name = setting.key.partition(".")
    if name == "name" and section in group_names() and section != "sweep":
        schema["examples"] = shipped_choices(section)
    return {**schema, "anyOf": [*(_form(kind, setting) for kind in setting.options), _REFERENCE]}


def _form(kind: Any, setting: Setting) -> Schema:
    """Return the schema of one of the types that a setting may have."""
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is list:
        length = {"minItems": setting.length, "maxItems": setting.length} if setting.length else {}
        some = {} if setting.default == [] else {"minItems": 1}
        return {"type": "array", "items": _form(get_args(kind)[0], setting), **some, **length}
    if get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    if setting.unit and kind is not NoneType:
        return _duration(setting) if kind is str else {"const": 0}
    if kind is str:
        limit = {} if setting.pattern == ".*" else {"pattern": f"^(?:{setting.pattern})$"}
        return {"type": ["string", "integer"], **limit}
    if kind in (int, float):
        return {"type": "integer" if kind is int else "number", **_limits(setting)}
    return {"type": {bool: "boolean", NoneType: "null"}[kind]}


def _limits(setting: Setting) -> Schema:
    limits = {
        "minimum": setting.at_least,
        "exclusiveMinimum": setting.above,
        "maximum": setting.at_most,
        "exclusiveMaximum": setting.below,
    }
    return {name: limit for name, limit in limits.items() if abs(limit) < float("inf")}


def _duration(setting: Setting) -> Schema:
    units = [name for unit in setting.unit for name in (("s", "min", "h") if unit == "s" else (unit,))]
    zero = r"|\s*0\s*" if setting.zero else ""
    pattern = rf"^(?:\s*\d+(?:\.\d*)?(?:[eE][+-]?\d+)?\s*(?:{'|'.join(units)})\s*{zero})$"
    examples = [UNITS[unit].split(" ")[0].rstrip(",") for unit in setting.unit]
    return {"type": "string", "pattern": pattern, "examples": examples}


def _defaults(kind: str) -> Schema:
    """Return the schema of a defaults list. Groups below --config-dir may add choices to ours."""
    if kind == "train":
        return {"type": "array", "items": {"type": ["string", "object"]}}
    choices = {group: _choice(group) for group in group_names()}
    entry = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {f"override /{group}": choice for group, choice in choices.items()},
        "patternProperties": {
            rf"^(?:override +|optional +)*/{group}$": choice for group, choice in choices.items()
        },
    }
    return {
        "description": "choices of groups, such as override /model: lenet",
        "type": "array",
        "items": {"anyOf": [entry, {"type": "string"}]},
    }


def _choice(group: str) -> Schema:
    names = {"type": "string", "examples": shipped_choices(group)}
    return {"anyOf": [names, {"type": "null"}, {"type": "array", "items": names}]}
