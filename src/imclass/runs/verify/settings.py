"""Are the settings in config.yaml those that the run was trained with?"""

from collections.abc import Mapping
from typing import Any

from imclass.config.check import flatten
from imclass.config.setting import show
from imclass.config.stored import trained_settings
from imclass.runs.verify.verdict import Verdict

SHOWN = 3  # missing settings


def check_settings(verdict: Verdict, settings: Mapping[str, Any], text: str) -> None:
    """Compare with those in last.pt, but for what a resume may change. text: YAML, from last.pt."""
    file = verdict.path / "checkpoints/last.pt"
    trained: dict[str, Any] = verdict.attempt(lambda: trained_settings(text, file), {})
    stored = flatten(settings)
    missing = [key for key in trained if key not in stored]
    for key, value in trained.items():
        if key in stored and stored[key] != value:
            verdict.add("config.yaml", f"{key}: {show(stored[key])}, not {show(value)} as in last.pt")
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        lacking = f"lacks {', '.join(missing[:SHOWN])}{more}" if stored else "empty"
        verdict.add("config.yaml", f"{lacking}; last.pt has the settings of the training")
