"""imclass: train image classifiers from YAML with one command, or from Python.

    import imclass

    run = imclass.train(["name=mine", "model=resnet18", "train.epochs=1"])
    run.summary["test"]["accuracy"]
    classes, probabilities = imclass.load("mine").predict(["a.jpg", "b.jpg"])

What is a line on stderr at the command line is an exception here: UserError, for a mistake.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imclass.errors import ConfigError, Diverged, ImclassError, Interrupted, StorageError, UserError
    from imclass.evaluation.model import FinishedRun, Model, Predictions, load
    from imclass.train import train_from_python as train

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "Diverged",
    "FinishedRun",
    "ImclassError",
    "Interrupted",
    "Model",
    "Predictions",
    "StorageError",
    "UserError",
    "load",
    "train",
]

_ERRORS = ("ConfigError", "Diverged", "ImclassError", "Interrupted", "StorageError", "UserError")
_MODEL = ("FinishedRun", "Model", "Predictions", "load")


def __getattr__(name: str) -> Any:
    """Import what is named, with torch where that is needed, once it is asked for."""
    if name == "train":
        return importlib.import_module("imclass.train")  # a module that can be called
    if name in _ERRORS:
        return getattr(importlib.import_module("imclass.errors"), name)
    if name in _MODEL:
        return getattr(importlib.import_module("imclass.evaluation.model"), name)
    raise AttributeError(f"module 'imclass' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
