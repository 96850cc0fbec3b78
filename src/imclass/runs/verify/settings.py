"""Are the settings in config.yaml those that the run was trained with?"""

from collections.abc import Mapping
from typing import Any

from imclass.config.check import flatten
from imclass.config.schema import SETTINGS
from imclass.config.setting import Setting, show
from imclass.config.stored import with_units
from imclass.config.yaml_file import parse_yaml
from imclass.runs.verify.verdict import Verdict

SHOWN = 3  # missing settings


def check_settings(verdict: Verdict, settings: Mapping[str, Any], text: str) -> None:
    """Compare with those in last.pt, but for what a resume may change. text: YAML, from last.pt."""
    source = f"{verdict.path / 'checkpoints/last.pt'}: config"
    trained: dict[str, Any] = verdict.attempt(lambda: with_units(parse_yaml(text, source)), {})
    stored, trained = flatten(settings), flatten(trained)
    fixed = [key for key, setting in SETTINGS.items() if key in trained and _is_fixed(setting)]
    missing = [key for key in fixed if key not in stored]
    for key in fixed:
        if key in stored and stored[key] != trained[key]:
            verdict.add("config.yaml", f"{key}: {show(stored[key])}, not {show(trained[key])} as in last.pt")
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        lacking = f"lacks {', '.join(missing[:SHOWN])}{more}" if stored else "empty"
        verdict.add("config.yaml", f"{lacking}; last.pt has the settings of the training")


def _is_fixed(setting: Setting) -> bool:
    return setting.affects_results and not (setting.free_on_resume or setting.lengthens)
