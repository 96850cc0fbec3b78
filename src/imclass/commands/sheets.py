"""The sheets that `imclass predict` draws: predictions (--sheet), and what they rest on (--explain)."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imclass.errors import UserError

if TYPE_CHECKING:
    from imclass.evaluation.trained import Trained
    from imclass.reports.plots import Picture

ON_SHEET = 200  # pictures


def check_sheets(sheets: Mapping[str, Path], files: Sequence[Path]) -> None:
    """Raise UserError for a sheet that cannot be written, or would replace a picture or the other sheet."""
    taken = {file.resolve() for file in files} if sheets else set()
    for name, file in sheets.items():
        if file.suffix.lower() != ".png":
            raise UserError(f"--{name} {file}: expected the name of a PNG file: {file.stem}.png")
        if file.is_dir() or not file.parent.is_dir():
            raise UserError(f"--{name} {file}: expected a file in a folder that exists")
        if file.resolve() in taken:
            raise UserError(f"--{name} {file}: is one of the pictures; name another file, elsewhere")
    if len({file.resolve() for file in sheets.values()}) < len(sheets):
        raise UserError(f"--explain {sheets['explain']}: is the file of --sheet; name another one")


def require_maps(trained: "Trained") -> None:
    """Raise UserError for a model that no heat map can be made of."""
    from imclass.evaluation.heat_map import has_maps

    if not has_maps(trained.model, trained.shape, trained.device):
        raise UserError(
            f"--explain: {trained.config.model.name} has no feature maps behind its first convolution, "
            "which Grad-CAM needs; leave it out"
        )


def explained(trained: "Trained", pictures: "Sequence[Picture]", predicted: Sequence[int]) -> "list[Picture]":
    """Return the pictures as the network sees them, with what speaks for the predicted classes."""
    from imclass.evaluation.heat_map import explain

    maps = explain(trained, [picture.image for picture in pictures], predicted)
    return [p._replace(image=seen, heat=heat) for p, (seen, heat) in zip(pictures, maps, strict=True)]


def draw_sheet(pictures: "Sequence[Picture]", count: int, run: str, file: Path) -> None:
    """Draw a sheet. count: of all pictures."""
    from imclass.reports.plots import plot_pictures

    cut = f", the first {ON_SHEET} of {count:,}" if count > ON_SHEET else ""
    known = "; the true classes are known" if any(picture.right is not None for picture in pictures) else ""
    if any(picture.heat is not None for picture in pictures):
        known += "; bright: what speaks for the prediction (Grad-CAM)"
    plot_pictures(pictures, f"Predictions of {run}{cut}{known}", file)
    print(f"sheet written to {file}", file=sys.stderr)
