"""The packages of the services that a run may be logged to, beside TensorBoard."""

import importlib.util
from collections.abc import Iterator

from imclass.config.schema import Config


def missing_trackers(config: Config) -> Iterator[str]:
    """Yield one line for each that the configuration asks for and that is not installed."""
    for name in ("wandb", "mlflow"):
        if getattr(config.logger, name) and importlib.util.find_spec(name) is None:
            yield f"logger.{name}=true: needs {name}: pip install 'imclass[{name}]'"
