"""What a run folder holds, by path in it."""

from pathlib import Path

from imclass.errors import UserError

LINKED = "a link; a run folder holds its own folders"


def promised_files(*, plots: bool) -> list[str]:
    """Return what every finished run has beside its configuration, checkpoints and logs, by path in it.

    plots: the run's `logger.plots`.
    """
    names = ("calibration", "confusion_matrix", "curves", "mistakes", "predictions") if plots else ()
    files = ("best.safetensors", "evaluation.json", "metrics.csv", "report.html")
    return [*files, *(f"plots/{name}.png" for name in names)]


def linked_folders(run: Path) -> list[Path]:
    """Return the links in the place of folders that a run writes to: they may lead anywhere."""
    names = ("checkpoints", "plots", "tensorboard", "evaluations")
    paths = [path for name in names for path in (run / name, *(run / name).rglob("*"))]
    return [path for path in paths if path.is_symlink() and not path.is_file()]


def require_own_folders(run: Path) -> None:
    """Raise UserError naming a linked folder."""
    for path in linked_folders(run):
        raise UserError(f"{path}: {LINKED}")
