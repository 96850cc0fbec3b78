"""Export a trained model with its preprocessing, and prove that it answers as the model does.

imclass export RUN --format onnx|pt2|torchscript|safetensors [--out FILE]
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imclass.commands.arguments import Arguments, require_new_file
from imclass.config.run_names import user_path
from imclass.config.setting import show
from imclass.errors import UserError, counted, first_line
from imclass.folding import folded
from imclass.machine.signals import cleaning_up
from imclass.runs.records import find_run

if TYPE_CHECKING:
    from imclass.data.dataset import Split
    from imclass.evaluation.agreement import Agreement
    from imclass.evaluation.trained import Trained

# Format -> what its files are called, and the packages of the extra [export] that it needs.
FORMATS = {
    "onnx": (".onnx", ("onnx", "onnxscript", "onnxruntime")),
    "pt2": (".pt2", ()),
    "torchscript": (".torchscript", ()),
    "safetensors": (".safetensors", ()),
}
DESCRIPTION = """\
Export a trained model into one file. In the formats onnx, pt2 and torchscript the graph takes pictures of any
size, uint8 (N, height, width, 3) in RGB, and returns probabilities, float32 (N, classes): resizing,
normalisation and softmax are inside. safetensors holds the weights alone. Class names and settings are in the
metadata. Then both models predict the validation images; without equal predictions, no file is left."""


def export_command(argv: Sequence[str]) -> None:
    """Write the file, print how both models compare. Raises UserError, also where they differ."""
    options = _parse(argv)
    run = find_run(options.run)
    suffix, packages = FORMATS[options.format]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format {options.format}: needs {', '.join(missing)}: pip install 'imclass[export]'"
        )
    out = options.out or run / f"{run.resolve().name}{suffix}"
    require_new_file("--out", options.out, suffix)
    from imclass.evaluation.agreement import in_fp32
    from imclass.evaluation.trained import open_trained

    trained = open_trained(run, options.weights)
    split, is_own, where = _pictures(trained, options.data)
    from imclass.evaluation.agreement import answers, classifier_of, compare, pictures_of, probabilities_of
    from imclass.evaluation.formats import FORMATS as WRITERS
    from imclass.runs.atomic import replacing, sync

    exact = in_fp32(trained)
    model = classifier_of(exact)
    with cleaning_up(), replacing(out) as temporary:
        try:
            WRITERS[options.format].write(model, temporary, _metadata(trained, options.weights))
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:  # of an operation
            reason = f"{first_line(error)} (debug=true shows more)"
            raise UserError(f"--format {options.format}: cannot hold this model: {reason}") from error
        expected = probabilities_of(exact, split)
        opened = WRITERS[options.format].open(temporary, model)
        agreement = compare(expected, answers(opened, pictures_of(exact, split, options.data, own=is_own)))
        if agreement.differing:
            raise UserError(_refusal(out, agreement, where, split.files))
        sync(temporary)
        size = temporary.stat().st_size
    print(folded(_report(out, size, agreement, where), sys.stdout))
    if trained.device.precision != "fp32":
        own = compare(probabilities_of(trained, split), expected)
        print(f"{trained.device.precision:12} {_equal(own)} to those in the precision of the run")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="imclass export", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name under outputs/")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a new file; default: in the run folder, named after the run"
    )
    parser.add_weights()
    parser.add_argument(
        "--data",
        metavar="FOLDER|FILE.csv",
        help="where the run's data are now, or other pictures: class folders, or a table of files and labels",
    )
    return parser.parse_args(argv)


def _pictures(trained: "Trained", data: str | None) -> tuple["Split", bool, str]:
    """Return what both models are to see, whether it is the run's own, and its name: validation images.

    data: where they are now; or other pictures, see `_part_in`.
    """
    if data is None or trained.data_in(data) is not None:
        return *trained.split("val", data), "the validation images"
    return *trained.split(_part_in(data), data), f"the images of {show(data)}"


def _part_in(data: str) -> str:
    """Return which pictures of a folder or a table to take: the first of val, test and train that is there.

    Where it is not divided, all are taken, which is what `Trained.split` does for `test`.
    """
    from imclass.data.folder.listing import list_images
    from imclass.data.folder.scan import part_folders

    root = user_path(data)
    if root.is_dir():
        folders = part_folders(root)
        parts, undivided = [*folders], folders == {"train": root}
    else:
        parts = [*list_images(root, f"--data {data}", least=1).parts]
        undivided = parts == ["train"]
    return "test" if undivided else next(part for part in ("val", "test", "train") if part in parts)


def _metadata(trained: "Trained", weights: str) -> dict[str, str]:
    """Return the metadata of the file, as text."""
    import dataclasses
    import json

    from omegaconf import OmegaConf

    from imclass import __version__

    return {
        "imclass": __version__,
        "run": trained.path.resolve().name,
        "weights": weights if weights in ("best", "last") else Path(weights).name,
        "classes": json.dumps(trained.classes, ensure_ascii=False),
        "input": "images: uint8 (N, height, width, 3), RGB, any size; of 16 bits the upper 8",
        "output": "probabilities: float32 (N, classes)",
        "shape": json.dumps(trained.shape),
        "mean": json.dumps(trained.mean),
        "std": json.dumps(trained.std),
        "config": OmegaConf.to_yaml(dataclasses.asdict(trained.config)),
    }


def _equal(agreement: "Agreement") -> str:
    ties = f" ({counted(agreement.ties, 'tie')})" if agreement.ties else ""
    return f"{agreement.equal:,} of {counted(agreement.images, 'prediction')} equal{ties}"


def _report(out: Path, size: int, agreement: "Agreement", where: str) -> str:
    return "\n".join(
        [
            f"{'written to':12} {show(str(out))}, {size / 1e6:.1f} MB",
            f"{'fp32':12} {_equal(agreement)}, on {where}",
            f"{'difference':12} {agreement.largest:.1e} at most between two probabilities",
        ]
    )


def _refusal(out: Path, agreement: "Agreement", where: str, files: Sequence[str] | None) -> str:
    first = agreement.differing[0]
    name = show(files[first]) if files else f"number {first}"
    equal = f"{_equal(agreement)} to the model's on {where}"
    return f"{out}: not written: {equal}; the first other one is of {name}"
