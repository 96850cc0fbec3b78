"""Hyperparameter search: space, studies in a file or a database, the trials' processes, queue, report."""

from imclass.errors import UserError


def require_optuna() -> None:
    """Raise UserError when Optuna, or what a sampler needs, is not installed."""
    import importlib.util

    missing = [name for name in ("optuna", "cmaes") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"imclass sweep needs {' and '.join(missing)}: pip install 'imclass[sweep]'")
