"""A list as `train.class_weights` has one number per class, which is known once the data are found."""

from collections.abc import Sequence
from typing import Any

from imclass.config.setting import brief
from imclass.errors import ConfigError, counted


def require_weight_per_class(choice: Any, classes: Sequence[str]) -> None:
    """Raise ConfigError where a list has another length than there are classes; it names them in order."""
    if isinstance(choice, list) and len(choice) != len(classes):
        found = f"{counted(len(choice), 'number')} for {counted(len(classes), 'class')}"
        raise ConfigError([f"train.class_weights: {found}: {brief(', '.join(classes))}"])
