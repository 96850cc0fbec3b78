"""Are the settings in config.yaml those that the run was trained with?"""

from collections.abc import Mapping
from typing import Any

from imclass.config.check import flatten
from imclass.config.schema import SETTINGS
from imclass.config.setting import show
from imclass.config.stored import with_units
from imclass.config.yaml_file import parse_yaml
from imclass.runs.verify.verdict import Verdict


def check_settings(verdict: Verdict, settings: Mapping[str, Any], text: str) -> None:
    """Compare with those in last.pt, but for what a resume may change. text: YAML, from last.pt."""
    source = f"{verdict.path / 'checkpoints/last.pt'}: config"
    trained: dict[str, Any] = verdict.attempt(lambda: with_units(parse_yaml(text, source)), {})
    stored, trained = flatten(settings), flatten(trained)
    for key, setting in SETTINGS.items():
        fixed = setting.affects_results and not (setting.free_on_resume or setting.lengthens)
        if fixed and key in trained and stored.get(key, ...) != trained[key]:
            found = show(stored[key]) if key in stored else "missing"
            verdict.add("config.yaml", f"{key}: {found}, not {show(trained[key])} as in last.pt")
