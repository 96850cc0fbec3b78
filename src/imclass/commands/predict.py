"""Predict the classes of pictures.

imclass predict RUN FILE|DIR|FILE.csv ... [--top-k 3] [--format table|json|csv] [--sheet OUT.png]
    [--explain OUT.png]
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from imclass.commands.arguments import Arguments
from imclass.commands.sheets import Shown, check_sheets, draw_sheet, require_maps
from imclass.config.data_root import is_table, near_path
from imclass.config.setting import show
from imclass.endings import say
from imclass.errors import UserError, counted
from imclass.evaluation.prediction_rows import FORMATS, Prediction
from imclass.folding import folded
from imclass.machine.signals import cleaning_up
from imclass.runs.records import find_run

if TYPE_CHECKING:
    from imclass.evaluation.trained import Trained


def predict_command(argv: Sequence[str]) -> None:
    """Print file, class, probability and the next likely classes for each picture, as they are predicted.

    Where folders or labels name the true class, that and the accuracy are printed, too. A file that cannot be
    read costs a line on stderr, and a UserError at the end. Raises UserError for a folder without images and
    a table that cannot be read, and whatever `open_trained` does.
    """
    options = _parse(argv)
    run = find_run(options.run)
    files, labels = _files(options.pictures)
    sheets = {name: file for name in ("sheet", "explain") if (file := getattr(options, name)) is not None}
    check_sheets(sheets)
    from imclass.evaluation.pictures import predict_pictures
    from imclass.evaluation.trained import image_hash, open_trained

    trained = open_trained(run, options.weights)
    if "explain" in sheets:
        require_maps(trained)
    failures: list[Path] = []

    def unreadable(file: Path, error: UserError) -> None:
        say(f"{show(str(file))}: {error}")
        failures.append(file)

    truths = _truths(files, labels, trained.classes)
    top_k = min(options.top_k, len(trained.classes))
    header, line = FORMATS[options.format](files, top_k, truths)
    print(header, end="")
    marks: list[tuple[bool, int]] = []
    shown = Shown()
    for file, image, probabilities in predict_pictures(trained, files, unreadable):
        values, indices = probabilities.topk(top_k)
        top = [(trained.classes[i], v) for i, v in zip(indices.tolist(), values.tolist(), strict=True)]
        prediction = Prediction(file, image, top, truths.get(file))
        print(line(prediction), flush=True)
        marks += [] if prediction.right is None else [(prediction.right, image_hash(image))]
        if sheets:
            shown.add(prediction, int(indices[0]))
    if marks:
        _print_accuracy(marks, _training_images(trained, files), by_label=bool(labels))
    for name, file in sheets.items():
        with cleaning_up():
            draw_sheet(trained, shown, file, explain=name == "explain")
    if failures:
        raise UserError(f"{len(failures)} of {counted(len(files), 'file')} could not be read as images")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass predict", description="Predict the classes of pictures.")
    parser.add_argument("run", help="a run folder, or its name under outputs/")
    parser.add_argument(
        "pictures",
        nargs="+",
        type=Path,
        metavar="FILE|DIR|FILE.csv",
        help="pictures, folders of them, or tables of them: columns file (relative to the table) and, if the "
        "true class is known, label",
    )
    parser.add_argument("--top-k", type=_count, default=3, help="classes to print of each (default 3)")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_weights()
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="also draw the pictures on one sheet")
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="OUT.png",
        help="also draw what each prediction rests on: a heat map over the picture (Grad-CAM)",
    )
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)


def _files(arguments: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Return the pictures that were named, each once, and the labels that tables of pictures give them."""
    from imclass.data.folder.scan import image_files
    from imclass.data.folder.table import read_pictures

    if not any(os.path.lexists(path) or is_table(path) for path in arguments):
        raise UserError(f"{arguments[0]}: no such file or folder{near_path(str(arguments[0]))}")
    files: list[Path] = []
    labels: dict[Path, str] = {}
    for argument in arguments:
        if is_table(argument):
            listed = read_pictures(argument, str(argument))
            files += listed
            labels |= {file: label for file, label in listed.items() if label}
            continue
        found, others = image_files(argument) if argument.is_dir() else ([argument], 0)
        if not found:
            raise UserError(f"{argument}: no images in this folder")
        if others:
            say(f"{argument}: skipped {others} of {len(found) + others} files: not images")
        files += found
    return list(dict.fromkeys(files)), labels


def _truths(files: Sequence[Path], labels: Mapping[Path, str], classes: Sequence[str]) -> dict[Path, str]:
    """Return the true class of each file whose label, else whose folder, names one of the model's classes."""
    from imclass.data.folder.scan import folder_name

    by_name = {**{folder_name(name): name for name in classes}, **{name: name for name in classes}}
    if unknown := sorted({label for label in labels.values() if label not in by_name}):
        shown = ", ".join(map(show, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        say(f"warning: no classes of the model, so not counted: the labels {shown}")
    named = {file: labels[file] if file in labels else file.absolute().parent.name for file in files}
    return {file: by_name[name] for file, name in named.items() if name in by_name}


def _training_images(trained: "Trained", files: Sequence[Path]) -> set[int] | None:
    """Return `trained.training_images()`; an empty set if no file is below the run's folder of images.

    Reading them may take long: pictures from elsewhere are not compared.
    """
    root = Path(trained.config.dataset.root or "").resolve()
    folder = root.parent if is_table(root) else root
    inside = trained.config.dataset.root and any(file.resolve().is_relative_to(folder) for file in files)
    return trained.training_images() if inside else set()


def _print_accuracy(marks: Sequence[tuple[bool, int]], training: Set[int] | None, *, by_label: bool) -> None:
    """Print on stderr how many predictions are right, and whether the run was trained on their images.

    marks: whether each prediction is right, and the hash of its image. training: as `_training_images`.
    """
    from imclass.evaluation.trained import CHANGED

    right, known = sum(right for right, _ in marks), sum(seen in (training or ()) for _, seen in marks)
    text = f"accuracy {right / len(marks):.2%}: {right:,} of {counted(len(marks), 'picture')}"
    text += f" whose {'labels' if by_label else 'folders'} name a class of the model"
    text += f"; {known:,} of these are training images: this accuracy is not of new pictures" if known else ""
    text += f"; {CHANGED}" if training is None else ""
    print(folded(text, sys.stderr), file=sys.stderr)
