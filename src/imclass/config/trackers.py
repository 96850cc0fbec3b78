"""The packages of the services that a run may be logged to, beside TensorBoard."""

import importlib.util
from collections.abc import Iterator

from imclass.config.schema import Config


def missing_trackers(config: Config) -> Iterator[str]:
    """Yield one line for each that the configuration asks for and that is not installed."""
    for name in ("wandb", "mlflow"):
        if getattr(config.logger, name) and not _is_installed(name):
            yield f"logger.{name}=true: needs {name}: pip install 'imclass[{name}]'"


def _is_installed(name: str) -> bool:
    """Return whether there is such a package; a folder of that name beside the user has no __init__.py."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None
