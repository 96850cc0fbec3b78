"""Let a trained model say what is on pictures.

imclass predict RUN FILE|DIR ... [--top-k 3] [--format table|json|csv] [--sheet OUT.png]
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imclass.arguments import Arguments
from imclass.errors import PartialFailure, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from imclass.trained import Trained

ON_SHEET = 200  # pictures


class Prediction(NamedTuple):
    file: str
    image: "Tensor"  # uint8 (C, H, W), as the network sees it
    top: list[tuple[str, float]]  # classes with their probabilities, the likeliest first


def predict_command(argv: Sequence[str]) -> None:
    """Print file, class, probability and the next likely classes for each picture.

    A file that is no image is told on stderr, the others are predicted; PartialFailure is raised then.
    Raises UserError for a folder without images, and whatever `open_trained` does.
    """
    options = _parse(argv)
    if options.sheet and not options.sheet.parent.is_dir():
        raise UserError(f"--sheet {options.sheet}: no such folder {options.sheet.parent}; make it first")
    files = _files(options.pictures)
    from imclass.trained import find_run, open_trained

    trained = open_trained(find_run(options.run))
    predictions, failures = _predict(trained, files, min(options.top_k, len(trained.classes)))
    FORMATS[options.format](predictions)
    for file, reason in failures:
        print(f"imclass: {file}: {reason}", file=sys.stderr)
    if options.sheet:
        _draw_sheet(predictions, trained, options.sheet)
    if failures:
        raise PartialFailure(f"{len(failures)} of {len(files)} files could not be read as images")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass predict", description="Predict the classes of pictures.")
    parser.add_argument("run", help="a run folder, or its name under outputs/")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="FILE|DIR")
    parser.add_argument("--top-k", type=_count, default=3, help="classes told for each picture (default 3)")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="also draw the pictures on one sheet")
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)


def _files(arguments: Sequence[Path]) -> list[Path]:
    from imclass.data.pictures import image_files

    files: list[Path] = []
    for argument in arguments:
        found = list(image_files(argument)) if argument.is_dir() else [argument]
        if not found:
            raise UserError(f"{argument}: no images in this folder")
        files += found
    return files


def _predict(
    trained: "Trained", files: Sequence[Path], top_k: int
) -> tuple[list[Prediction], list[tuple[Path, str]]]:
    """Return a prediction for each image, and the files that are none with the reason."""
    import torch

    from imclass.data.base import Split
    from imclass.data.decode import strict_images
    from imclass.data.pictures import read_picture
    from imclass.evaluation import logits_of

    failures: list[tuple[Path, str]] = []
    predictions: list[Prediction] = []
    size = trained.config.train.batch_size
    for start in range(0, len(files), size):
        images, names = [], []
        for file in files[start : start + size]:
            try:
                with strict_images():
                    images.append(read_picture(file, trained.config.dataset, trained.shape))
                names.append(str(file))
            except UserError as error:
                failures.append((file, str(error)))
        if not images:
            continue
        batch = Split(torch.stack(images), torch.zeros(len(images), dtype=torch.int64), None)
        (normalized, _), *_ = trained.loader(batch)
        probabilities = logits_of(trained.model, normalized, trained.device).softmax(dim=1).cpu()
        for name, image, row in zip(names, images, probabilities, strict=True):
            values, indices = row.topk(top_k)
            top = [(trained.classes[i], v) for i, v in zip(indices.tolist(), values.tolist(), strict=True)]
            predictions.append(Prediction(name, image, top))
    return predictions, failures


def _print_table(predictions: Sequence[Prediction]) -> None:
    width = max((len(p.file) for p in predictions), default=4)
    for p in predictions:
        print(f"{p.file:{width}}  " + "  ".join(f"{name} {probability:.1%}" for name, probability in p.top))


def _print_json(predictions: Sequence[Prediction]) -> None:
    for p in predictions:
        row: dict[str, Any] = {"file": p.file, "class": p.top[0][0], "probability": p.top[0][1]}
        row["top"] = [{"class": name, "probability": probability} for name, probability in p.top]
        print(json.dumps(row))


def _print_csv(predictions: Sequence[Prediction]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    ranks = range(2, 1 + max((len(p.top) for p in predictions), default=1))
    writer.writerow(
        ["file", "class", "probability", *(f"{c}_{r}" for r in ranks for c in ("class", "probability"))]
    )
    for p in predictions:
        writer.writerow([p.file, *(value for pair in p.top for value in pair)])


FORMATS = {"table": _print_table, "json": _print_json, "csv": _print_csv}


def _draw_sheet(predictions: Sequence[Prediction], trained: "Trained", file: Path) -> None:
    """Draw the pictures with predicted class and probability; where the folder is a class, right or wrong."""
    from imclass.plots import Picture, plot_pictures

    pictures = []
    for p in predictions[:ON_SHEET]:
        folder, (name, probability) = Path(p.file).absolute().parent.name, p.top[0]
        right = folder == name if folder in trained.classes else None
        caption = f"{name} {probability:.0%}\n" + (f"is {folder}" if right is False else Path(p.file).name)
        pictures.append(Picture(p.image, caption, right))
    cut = f", the first {ON_SHEET} of {len(predictions):,}" if len(predictions) > ON_SHEET else ""
    plot_pictures(pictures, f"Predictions of {trained.path.name}{cut}", file)
