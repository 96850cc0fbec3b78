"""Predict the classes of pictures.

imclass predict RUN FILE|DIR ... [--top-k 3] [--format table|json|csv] [--weights last] [--sheet OUT.png]
"""

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imclass.commands.arguments import Arguments
from imclass.config.setting import show
from imclass.endings import say
from imclass.errors import PartialFailure, UserError, counted
from imclass.machine.signals import cleaning_up
from imclass.runs.records import find_run

if TYPE_CHECKING:
    from torch import Tensor

    from imclass.evaluation.trained import Trained
    from imclass.reports.plots import Picture

ON_SHEET = 200  # pictures


class Prediction(NamedTuple):
    file: Path
    image: "Tensor"  # uint8 (C, H, W), as the network sees it
    top: list[tuple[str, float]]  # classes with their probabilities, the likeliest first


def predict_command(argv: Sequence[str]) -> None:
    """Print file, class, probability and the next likely classes for each picture, as they are predicted.

    A file that cannot be read costs a line on stderr, and PartialFailure at the end. Raises UserError for a
    folder without images, and whatever `open_trained` does.
    """
    options = _parse(argv)
    run = find_run(options.run)
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {options.sheet}: expected the name of a PNG file: {options.sheet.stem}.png")
    if options.sheet and (options.sheet.is_dir() or not options.sheet.parent.is_dir()):
        raise UserError(f"--sheet {options.sheet}: expected a file in a folder that exists")
    files = _files(options.pictures)
    if options.sheet and options.sheet.resolve() in {file.resolve() for file in files}:
        raise UserError(f"--sheet {options.sheet}: is one of the pictures; name another file, elsewhere")
    from imclass.evaluation.trained import open_trained

    trained = open_trained(run, options.weights)
    failures: list[Path] = []
    pictures: list[Picture] = []
    top_k = min(options.top_k, len(trained.classes))
    header, line = FORMATS[options.format](files, top_k)
    print(header, end="")
    for prediction in _predict(trained, files, top_k, failures):
        print(line(prediction), flush=True)
        if options.sheet and len(pictures) < ON_SHEET:
            pictures.append(_picture(prediction, trained.classes))
    if options.sheet:
        with cleaning_up():
            _draw_sheet(pictures, len(files) - len(failures), trained.path.name, options.sheet)
    if failures:
        raise PartialFailure(f"{len(failures)} of {counted(len(files), 'file')} could not be read as images")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass predict", description="Predict the classes of pictures.")
    parser.add_argument("run", help="a run folder, or its name under outputs/")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="FILE|DIR")
    parser.add_argument("--top-k", type=_count, default=3, help="classes to print of each (default 3)")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_weights()
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="also draw the pictures on one sheet")
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)


def _files(arguments: Sequence[Path]) -> list[Path]:
    from imclass.data.folder.scan import image_files

    files: list[Path] = []
    for argument in arguments:
        found, others = image_files(argument) if argument.is_dir() else ([argument], 0)
        if not found:
            raise UserError(f"{argument}: no images in this folder")
        if others:
            print(
                f"imclass: {argument}: skipped {others} of {len(found) + others} files: not images",
                file=sys.stderr,
            )
        files += found
    return list(dict.fromkeys(files))


def _predict(
    trained: "Trained", files: Sequence[Path], top_k: int, failures: list[Path]
) -> Iterator[Prediction]:
    """Yield a prediction for each image; add unreadable files to `failures`, with a line on stderr."""
    import torch

    from imclass.data.dataset import Split
    from imclass.evaluation.evaluate import logits_of

    size = trained.config.train.batch_size
    for start in range(0, len(files), size):
        pictures = _read(trained, files[start : start + size], failures)
        if not pictures:
            continue
        images = torch.stack(list(pictures.values()))
        batches = trained.loader(Split(images, torch.zeros(len(images), dtype=torch.int64), None))
        logits = torch.cat([logits_of(trained.model, batch, trained.device) for batch, _ in batches])
        for (file, image), row in zip(pictures.items(), logits.softmax(dim=1).cpu(), strict=True):
            values, indices = row.topk(top_k)
            top = [(trained.classes[i], v) for i, v in zip(indices.tolist(), values.tolist(), strict=True)]
            yield Prediction(file, image, top)


def _read(trained: "Trained", files: Sequence[Path], failures: list[Path]) -> dict[Path, "Tensor"]:
    from imclass.data.folder.decode import strict_images
    from imclass.data.folder.pictures import read_picture

    pictures: dict[Path, Tensor] = {}
    for file in files:
        try:
            with strict_images():
                pictures[file] = read_picture(file, trained.config.dataset, trained.shape)
        except UserError as error:
            say(f"{show(str(file))}: {error}")
            failures.append(file)
    return pictures


Line = Callable[[Prediction], str]


def _table(files: Sequence[Path], top_k: int) -> tuple[str, Line]:
    width = max(len(show(str(file))) for file in files)

    def line(p: Prediction) -> str:
        classes = "  ".join(f"{show(name)} {probability:.1%}" for name, probability in p.top)
        return f"{show(str(p.file)):{width}}  {classes}"

    return "", line


def _json(files: Sequence[Path], top_k: int) -> tuple[str, Line]:
    def line(p: Prediction) -> str:
        row: dict[str, Any] = {"file": str(p.file), "class": p.top[0][0], "probability": p.top[0][1]}
        row["top"] = [{"class": name, "probability": probability} for name, probability in p.top]
        return json.dumps(row)

    return "", line


def _csv(files: Sequence[Path], top_k: int) -> tuple[str, Line]:
    def text(values: Sequence[Any]) -> str:
        output = io.StringIO()
        csv.writer(output, lineterminator="").writerow(values)
        return output.getvalue()

    ranks = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("class", "probability")]
    header = text(["file", "class", "probability", *ranks]) + "\n"
    return header, lambda p: text([_safe(str(p.file)), *(value for pair in p.top for value in pair)])


def _safe(text: str) -> str:
    r"""Return a file name with bytes that are not Unicode, and what moves a terminal's cursor, as \x1b."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


FORMATS = {"table": _table, "json": _json, "csv": _csv}


def _picture(prediction: Prediction, classes: Sequence[str]) -> "Picture":
    """Return the image with its prediction, marked right or wrong if its folder is named after a class."""
    from imclass.data.folder.scan import folder_name
    from imclass.reports.plots import Picture

    folder, (name, probability) = prediction.file.absolute().parent.name, prediction.top[0]
    right = folder == folder_name(name) if folder in map(folder_name, classes) else None
    truth = f"is {folder}\n" if right is False else ""
    return Picture(prediction.image, f"{name} {probability:.0%}\n{truth}{prediction.file.name}", right)


def _draw_sheet(pictures: "Sequence[Picture]", count: int, run: str, file: Path) -> None:
    from imclass.reports.plots import plot_pictures

    cut = f", the first {ON_SHEET} of {count:,}" if count > ON_SHEET else ""
    known = "; folders name the true class" if any(picture.right is not None for picture in pictures) else ""
    plot_pictures(pictures, f"Predictions of {run}{cut}{known}", file)
    print(f"sheet written to {file}", file=sys.stderr)
