"""Evaluate a trained model.

imclass evaluate RUN [--split test] [--weights best|last|FILE] [--tta flip|flip_shift] [--data DIR] [--json]
"""

import argparse
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imclass.commands.arguments import Arguments
from imclass.config.data_root import is_table
from imclass.config.run_names import user_path
from imclass.config.schema import values_of
from imclass.config.setting import show
from imclass.config.yaml_file import read_yaml
from imclass.endings import say
from imclass.errors import UserError, counted
from imclass.folding import folded, padded, width_of
from imclass.machine.signals import cleaning_up
from imclass.runs.contents import require_own_folders
from imclass.runs.records import find_run, read_run, validates_on_test

if TYPE_CHECKING:
    from imclass.data.dataset import Split
    from imclass.evaluation.trained import Trained

SHOWN = 30  # classes in the table, the worst first; evaluation.json has all of them
CONFUSIONS = 5
MAX_MAP = 50_000  # keys and values of --map


def evaluate_command(argv: Sequence[str]) -> None:
    """Print loss, accuracy and the per-class table of a run's model; write evaluation.json and its plots.

    The evaluation that training itself makes (test split, best weights, same images) is written again in its
    place, together with report.html; any other gets its own folder below `evaluations/`. Raises UserError.
    """
    options = _parse(argv)
    run = find_run(options.run)
    if options.data is not None and not (is_table(options.data) or user_path(options.data).is_dir()):
        raise UserError(f"--data {options.data}: no such folder; expected one of class folders, or FILE.csv")
    renamed = _renamed(options)
    if _is_training_evaluation(options):
        read_run(run)  # its page is written again at the end: nothing is, unless that can be
    require_own_folders(run)
    from imclass.evaluation.evaluate import predictions_of
    from imclass.evaluation.trained import open_trained
    from imclass.evaluation.tta import with_tta
    from imclass.reports.run_page import OF_THE_DATA, write_run_page
    from imclass.reports.split_report import draw_data, write_split_report

    trained = open_trained(run, options.weights)
    split, own = trained.split(options.split, options.data, renamed)
    if options.data is not None and (renamed or not (own or trained.is_own_root(options.data))):
        _warn_of_training_images(trained, split)  # `split` has warned of the run's own folder
    loader = trained.loader(split)
    predictions = predictions_of(with_tta(trained.model, options.tta), loader, trained.device)
    about = {name: getattr(options, name) for name in ("split", "weights", "tta", "data")}
    folder = run if own and _is_training_evaluation(options) else run / "evaluations" / _name(options, own)
    with cleaning_up():
        scores = write_split_report(
            folder, split, loader.images, predictions, trained.classes, about, trained.model
        )
        if folder == run and not all((run / f"plots/{name}.png").exists() for name in OF_THE_DATA):
            names = ("train",) if validates_on_test(values_of(trained.config)) else ("train", "val")
            others = {name: trained.split(name, options.data)[0] for name in names}
            batches = trained.train_loader(others["train"])
            draw_data(batches, {**others, "test": split}, trained.classes, run / "plots")
        print(json.dumps(scores) if options.json else folded(_table(scores, folder), sys.stdout))
        if folder == run:
            write_run_page(run, run / "report.html")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass evaluate", description="Evaluate a trained model.")
    parser.add_argument("run", help="a run folder, or its name under outputs/")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    parser.add_weights()
    parser.add_argument(
        "--tta",
        choices=("none", "flip", "flip_shift"),
        default="none",
        help="average over mirrored, or mirrored and shifted, views of each image",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER|FILE.csv",
        help="another root of the data, a folder with the same class folders ('_' for '/' in a name), or a "
        "table of files and labels",
    )
    parser.add_argument(
        "--class",
        action="append",
        default=[],
        dest="renamed",
        metavar="FOLDER=CLASS",
        help="with --data: FOLDER holds images of the model's CLASS; repeatable",
    )
    parser.add_argument("--map", metavar="FILE", help="the same from a YAML file of lines FOLDER: CLASS")
    parser.add_argument("--json", action="store_true", help="print evaluation.json in place of the table")
    return parser.parse_args(argv)


def _renamed(options: argparse.Namespace) -> dict[str, str]:
    """Return {folder: class} of --map and --class, which comes first. Raises UserError."""
    renamed: dict[str, str] = {}
    if (options.map or options.renamed) and options.data is None:
        option = f"--map {options.map}" if options.map else f"--class {options.renamed[0]}"
        raise UserError(f"{option}: goes with --data FOLDER")
    if options.map:
        renamed = _read_map(options.map)
    for text in options.renamed:
        folder, equals, name = text.partition("=")
        if not (folder and equals and name):
            raise UserError(
                f"--class {text}: expected FOLDER=CLASS, a folder's name and a class of the model"
            )
        renamed[folder] = name
    options.renamed = renamed
    return renamed


def _read_map(file: str) -> dict[str, str]:
    """Return {folder: class} of --map. Raises UserError."""
    expected = "expected a YAML file of lines FOLDER: CLASS"
    if "=" in file and not Path(file).exists():
        raise UserError(f"--map {file}: {expected}; for a single folder: --class {shlex.quote(file)}")
    content = read_yaml(user_path(file), most=MAX_MAP)
    if not isinstance(content, dict):
        raise UserError(f"--map {file}: {expected}")
    for folder, name in content.items():
        line = f"--map {file}: {show(folder)}: {show(name)}"
        if name is None:
            raise UserError(f"{line}: expected a class; to leave the folder out, move it out of --data")
        if not all(isinstance(text, str | int) and not isinstance(text, bool) for text in (folder, name)):
            raise UserError(f"{line}: expected FOLDER: CLASS, in quotes where YAML reads anything but a name")
    return {str(folder): str(name) for folder, name in content.items()}


def _warn_of_training_images(trained: "Trained", split: "Split") -> None:
    """Print how many of other images are copies of those that the run was trained on."""
    from imclass.evaluation.trained import CHANGED, image_hash

    training = trained.training_images()
    if training is None:
        say(f"warning: {CHANGED}")
    elif known := sum(image_hash(image) in training for image in chain.from_iterable(split.chunks())):
        of_all = f"{known:,} of {counted(len(split), 'image')}"
        say(f"warning: {of_all} are training images: these figures are not of new pictures")


def _is_training_evaluation(options: argparse.Namespace) -> bool:
    return (options.split, options.weights, options.tta) == ("test", "best", "none")


def _name(options: argparse.Namespace, own: bool) -> str:
    """Return a folder name no other evaluation uses; with --class or --map, it contains the first FOLDER."""
    names = [options.split]
    if options.weights != "best":
        names.append(f"weights-{_short(options.weights) if options.weights != 'last' else 'last'}")
    if options.tta != "none":
        names.append(options.tta)
    if options.renamed:
        text = json.dumps(options.renamed)
        names.append(f"classes-{_readable(next(iter(options.renamed)))}-{_digest(text)}")
    if not own:
        names.append(f"data-{_short(options.data) if options.data else 'changed'}")
    return "_".join(names)


def _short(path: str) -> str:
    """Return the name of a file or folder with a short hash of its absolute path."""
    whole = user_path(path).resolve()
    return f"{_readable(whole.stem)}-{_digest(str(whole))}"


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", name)[:40]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _table(scores: dict[str, Any], folder: Path) -> str:
    top5 = [] if scores["top5_accuracy"] is None else [f"top-5        {scores['top5_accuracy']:.2%}"]
    classes = sorted((row for row in scores["classes"] if row["support"]), key=lambda row: row["f1"])
    absent = [show(row["name"]) for row in scores["classes"] if not row["support"]]
    rows = [(show(row["name"]), row, row["support"]) for row in classes[:SHOWN]]
    rows.append(("mean", scores["macro"], scores["images"]))
    width = max(width_of(name) for name in ("class", *(name for name, _, _ in rows)))
    left = len(classes) - SHOWN
    confusions = _confusions(scores)
    return "\n".join(
        [
            f"{scores['data'] or scores['split']}, {counted(scores['images'], 'image')}, "
            f"{scores['weights']} weights, test-time augmentation: {scores['tta']}",
            *([f"skipped      {counted(scores['skipped'], 'damaged image')}"] if "skipped" in scores else []),
            *([f"classes      {len(classes)} of the model's; no images of {_few(absent)}"] if absent else []),
            f"accuracy     {scores['accuracy']:.2%}",
            *top5,
            f"loss         {scores['loss']:.4f}",
            f"calibration  {scores['expected_calibration_error']:.2%} expected error",
            "",
            f"{'class':{width}}  precision  recall      F1  images",
            *(
                f"{padded(name, width)}  {row['precision']:9.1%}  {row['recall']:6.1%}  {row['f1']:6.1%}  "
                f"{count:6,}"
                for name, row, count in rows
            ),
            *([f"({counted(left, 'better class')} in evaluation.json)"] if left > 0 else []),
            "",
            *([*confusions, ""] if confusions else []),
            f"written to   {folder}/evaluation.json, {folder}/plots/",
        ]
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _confusions(scores: dict[str, Any]) -> list[str]:
    """Return the most frequent mistakes, from the confusion matrix."""
    classes = scores["classes"]
    wrong = [
        (count, row, column)
        for row, counts in enumerate(scores["confusion_matrix"])
        for column, count in enumerate(counts)
        if count and row != column
    ]
    wrong.sort(key=lambda entry: -entry[0])
    names = [show(row["name"]) for row in classes]
    lines = [
        f"{names[row]} taken for {names[column]}: {count:,} of {classes[row]['support']:,}"
        for count, row, column in wrong[:CONFUSIONS]
    ]
    return [f"{'mistakes' if number == 0 else '':11}  {line}" for number, line in enumerate(lines)]
