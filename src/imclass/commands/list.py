"""imclass list: what there is to choose from, each with what its file says about it."""

import re
from collections.abc import Sequence

from imclass.commands.arguments import Arguments
from imclass.config.groups import config_dir, group_choices
from imclass.config.schema import ModelConfig
from imclass.errors import UserError

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
    parser.add_argument("what", choices=GROUPS)
    parser.add_argument(
        "--input", default="3x32x32", help="models: channels x height x width (default 3x32x32)"
    )
    parser.add_argument("--classes", type=int, default=10, help="models: number of classes (default 10)")
    options = parser.parse_args(argv)
    group = GROUPS[options.what]
    if options.what == "models":
        _print_models(_parse_shape(options.input), options.classes)
        return
    choices = group_choices(group)
    width = max(map(len, choices))
    for name in choices:
        print(f"{name:{width}}  {_description(group, name)}")


def _print_models(shape: tuple[int, int, int], classes: int) -> None:
    import torch

    from imclass.models import build_model
    from imclass.models.summary import describe

    print(f"for {'x'.join(map(str, shape))} images in {classes} classes:")
    print(f"{'model':15} {'parameters':>12} {'multiply-adds':>14}")
    for name in group_choices("model"):
        try:
            with torch.device("meta"):
                model = build_model(
                    ModelConfig(name=name), in_channels=shape[0], classes=classes, size=shape[1]
                )
            size = describe(model, shape)
            figures = f"{size.parameters:12,} {size.multiply_adds / 1e6:12,.1f} M"
        except UserError:
            figures = f"{'does not take this size':>27}"
        print(f"{name:15} {figures}   {_description('model', name)}")
    print("Any other classification model of torchvision: model.name=NAME")


def _parse_shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if match is None or match[2] != match[3]:
        raise UserError(f"--input {text}: expected CHANNELSxHEIGHTxWIDTH, square, such as 3x32x32")
    return int(match[1]), int(match[2]), int(match[3])


def _description(group: str, name: str) -> str:
    """Return the first sentence of the comment that opens the choice's YAML file; empty for a plugin's."""
    file = config_dir() / group / f"{name}.yaml"
    lines = file.read_text().splitlines() if file.exists() else []
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    text = " ".join(c for c in comments if not c.startswith(("@package", "imclass ")))
    return re.split(r"(?<=[a-z0-9)%])\. (?=[A-Z])", text)[0].rstrip(".")
