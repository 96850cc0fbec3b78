"""Evaluate a trained model.

imclass evaluate RUN [--split test] [--weights best|last|FILE] [--tta flip|flip_shift] [--data DIR] [--json]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imclass.arguments import Arguments

if TYPE_CHECKING:
    from imclass.trained import Trained

SHOWN = 30  # classes in the table; evaluation.json has all of them


def evaluate_command(argv: Sequence[str]) -> None:
    """Print loss, accuracy and the per-class table of a run's model; write evaluation.json and its plots.

    What training wrote at its end (test split, best weights) is written again in its place; everything else
    goes into a folder of its own below `evaluations/`. Raises UserError.
    """
    options = _parse(argv)
    from imclass.assessment import write_assessment
    from imclass.evaluation import predictions_of
    from imclass.trained import find_run, open_trained
    from imclass.tta import with_tta

    trained = open_trained(find_run(options.run), options.weights)
    split = trained.split(options.split, options.data)
    predictions = predictions_of(with_tta(trained.model, options.tta), trained.loader(split), trained.device)
    about = {name: getattr(options, name) for name in ("split", "weights", "tta", "data")}
    folder = _folder(trained, about)
    scores = write_assessment(folder, split, predictions, trained.classes, about)
    print(json.dumps(scores) if options.json else _table(scores, folder))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass evaluate", description="Evaluate a trained model.")
    parser.add_argument("run", help="a run folder, or its name under outputs/")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--weights", default="best", help="best (default), last, or a file of weights")
    parser.add_argument(
        "--tta",
        choices=("none", "flip", "flip_shift"),
        default="none",
        help="average over mirrored, and moved, views of each image",
    )
    parser.add_argument("--data", help="another root of the data, or a folder with the same class folders")
    parser.add_argument("--json", action="store_true", help="print what evaluation.json holds")
    return parser.parse_args(argv)


def _folder(trained: "Trained", about: dict[str, Any]) -> Path:
    usual = {"split": "test", "weights": "best", "tta": "none", "data": None}
    if about == usual:
        return trained.path
    names = [
        Path(value).name or "data" for key, value in about.items() if value != usual[key] or key == "split"
    ]
    return trained.path / "evaluations" / "_".join(names)


def _table(scores: dict[str, Any], folder: Path) -> str:
    top5 = [] if scores["top5_accuracy"] is None else [f"top-5        {scores['top5_accuracy']:.2%}"]
    width = max(5, *(len(row["name"]) for row in scores["classes"]))
    header = f"{'class':{width}}  precision  recall      F1  images"
    rows = [(row["name"], row, row["support"]) for row in scores["classes"][:SHOWN]]
    rows.append(("mean", scores["macro"], scores["images"]))
    left = len(scores["classes"]) - SHOWN
    return "\n".join(
        [
            f"{scores['split']}, {scores['images']:,} images, {scores['weights']} weights, "
            f"test-time augmentation: {scores['tta']}",
            f"accuracy     {scores['accuracy']:.2%}",
            *top5,
            f"loss         {scores['loss']:.4f}",
            f"calibration  {scores['expected_calibration_error']:.2%} expected error",
            "",
            header,
            *(
                f"{name:{width}}  {row['precision']:9.1%}  {row['recall']:6.1%}  {row['f1']:6.1%}  {count:6,}"
                for name, row, count in rows
            ),
            *([f"({left} more classes in evaluation.json)"] if left > 0 else []),
            "",
            f"written to   {folder}/evaluation.json, {folder}/plots/",
        ]
    )
