"""The names of models: our choices, and what torchvision and timm have beside them. No torch here."""

import functools
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

from imclass.config.groups import OR_INSTALL, group_choices
from imclass.errors import did_you_mean

TIMM = "timm/"  # what names of timm's models begin with
_REGISTERED = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n|[ )].*\n)*def (\w+)\(", re.MULTILINE)


@functools.cache
def torchvision_models() -> frozenset[str]:
    """Return the names of torchvision's classification models."""
    return _registered("torchvision")


@functools.cache
def timm_models() -> frozenset[str]:
    """Return the names of timm's models, none where it is not installed."""
    return _registered("timm")


def _registered(package: str) -> frozenset[str]:
    """Return the functions under the decorator `register_model` in a package's files; it is not imported."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in Path(folder, "models").glob("*.py")]
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))


def model_problem(name: str, choices: Iterable[str] = ()) -> str | None:
    """Return why there is no model of this name, or None if there is one.

    choices: names of the group `model` beside those that come with imclass. A timm model may be followed by
    the tag of its weights, as timm writes it: timm/resnet18.a1_in1k.
    """
    if name.startswith(TIMM):
        return _timm_problem(name.removeprefix(TIMM).partition(".")[0])
    known = {*group_choices("model"), *choices}
    if name in known or name in torchvision_models():
        return None
    near = did_you_mean(name, known | torchvision_models())
    return f"no such model{near or f'; see imclass list models{OR_INSTALL}'}"


def _timm_problem(name: str) -> str | None:
    if not timm_models():
        return "needs timm: pip install 'imclass[timm]'"
    if name in timm_models():
        return None
    return f"timm has no such model{did_you_mean(name, timm_models())}"
