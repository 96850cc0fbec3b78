"""What a run that is resumed may change in its settings."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imclass.config.durations import parse_duration
from imclass.config.schema import SETTINGS


def refusal(path: Path, refused: Mapping[str, str], length: str, *, moved: bool) -> str:
    """Return the message on settings that a run does not take. length: the key of what sets its length.

    moved: whether `refused` lists dataset.root, too, which the run would take alone: it may explain the rest.
    """
    lines = [*refused.values()]
    listed = "; ".join(lines[:8] + ([f"and {len(lines) - 8} more"] if len(lines) > 8 else []))
    to_last = any(SETTINGS[key].lengthens for key in refused)
    how = f"a run can only be made longer, by {length}=; " if to_last else ""
    how += "dataset.root alone may differ, where the images are the same; " if moved else ""
    ways = f"choose another name=, or repeat its settings; model.weights={path} starts from its weights"
    return f"{path}: has other settings ({listed}); {how}{ways}"


def may_change(key: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a continuation may differ from its run in this; all else would make a silent hybrid."""
    setting = SETTINGS[key]
    return setting.free_on_resume or not setting.affects_results or is_longer(key, stored, wanted)


def is_longer(key: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a setting makes the training longer; `train.epochs` does not where steps are set."""
    if SETTINGS[key].unit and SETTINGS[key].lengthens:
        unset = math.inf if key == "train.max_time" else math.nan  # nothing is longer than no budget
        before, now = (parse_duration(s[key]).value if s[key] else unset for s in (stored, wanted))
        return now > before
    if not SETTINGS[key].lengthens or (key == "train.epochs" and stored["train.steps"] is not None):
        return False
    return None not in (stored[key], wanted[key]) and wanted[key] > stored[key]
