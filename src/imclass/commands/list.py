"""imclass list: what there is to choose from, each with the first sentence of its file."""

import re
import sys
from collections.abc import Sequence

from imclass.commands.arguments import Arguments
from imclass.config.groups import described_choices
from imclass.config.schema import ModelConfig
from imclass.errors import UserError
from imclass.folding import folded

GROUPS = {
    "models": "model",
    "datasets": "dataset",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
    "augments": "augment",
    "experiments": "experiment",
    "sweeps": "sweep",
}


def list_command(argv: Sequence[str]) -> None:
    """Print the choices of one group; for models also their size for an input of a given shape."""
    parser = Arguments(prog="imclass list")
    parser.add_argument("what", choices=GROUPS, metavar="WHAT", help=", ".join(GROUPS))
    parser.add_argument(
        "--input", default="3x32x32", help="models: channels x height x width (default 3x32x32)"
    )
    parser.add_argument("--classes", type=int, default=10, help="models: number of classes (default 10)")
    options = parser.parse_args(argv)
    if options.what == "models":
        _print_models(_parse_shape(options.input), options.classes)
        return
    choices = described_choices(GROUPS[options.what])
    width = max(map(len, choices))
    for name, description in choices.items():
        print(folded(f"{name:{width}}  {description}", sys.stdout))


def _print_models(shape: tuple[int, int, int], classes: int) -> None:
    import torch

    from imclass.models import build_model
    from imclass.models.summary import describe

    print(f"for {'x'.join(map(str, shape))} images in {classes} classes:")
    print(f"{'model':15} {'parameters':>12} {'multiply-adds':>14}")
    for name, description in described_choices("model").items():
        try:
            with torch.device("meta"):
                model = build_model(
                    ModelConfig(name=name), in_channels=shape[0], classes=classes, size=shape[1]
                )
            size = describe(model, shape)
            figures = f"{size.parameters:12,} {size.multiply_adds / 1e6:12,.1f} M"
        except UserError:
            figures = f"{'does not take this size':>27}"
        print(folded(f"{name:15} {figures}   {description}", sys.stdout))
    print("Any other classification model of torchvision: model=NAME; of timm: model=timm/NAME")


def _parse_shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if match is None or match[2] != match[3]:
        raise UserError(f"--input {text}: expected CHANNELSxHEIGHTxWIDTH, square, such as 3x32x32")
    return int(match[1]), int(match[2]), int(match[3])
