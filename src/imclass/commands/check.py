"""Find every mistake in what a training or a sweep would need, and touch nothing.

imclass check [the same as imclass train or imclass sweep]
"""

from collections.abc import Sequence
from pathlib import Path

from imclass.config.app import run_app
from imclass.config.conflicts import unused
from imclass.config.groups import is_shipped, plugins
from imclass.config.invocation import Invocation
from imclass.config.schema import Config, DatasetConfig
from imclass.config.setting import show
from imclass.errors import counted
from imclass.runs.folder import open_run

# Channels, side and classes of a data set; of one that is not read here, what is common.
IMAGES = {"fashion_mnist_mini": (1, 28, 10), "fashion_mnist": (1, 28, 10)}
IMAGES |= {"cifar10": (3, 32, 10), "cifar100": (3, 32, 100), "image_folder": (3, 224, 10)}


def check_command(argv: Sequence[str]) -> None:
    """Print whether a training or a sweep could start, and where. Raises ConfigError, UserError."""
    invocation = Invocation.read("check", argv)
    of_sweep = any(word.startswith(("sweep=", "sweep.")) for word in invocation.overrides)
    if of_sweep and invocation.option("--help") is None:
        _check_sweep(invocation)
    else:
        run_app(_report, invocation, submit=False)


def _report(config: Config, invocation: Invocation) -> None:
    run = open_run(config)
    if not run.finished:
        _look_at_folder(config.dataset)
    if not is_shipped("model", config.model.name) and config.model.name in plugins("model"):
        _build_plugin(config)
    where = f"{'continues' if run.exists else 'into'} {show(str(run.path))}"
    print(f"ok: {run.config.model.name} on {run.config.dataset.name}, {where}")
    for line in unused(run.config):
        print(f"warning: {line}")


def _look_at_folder(data: DatasetConfig) -> None:
    """Raise UserError where a folder of images cannot be trained on; no image is opened."""
    if data.name != "image_folder" or data.root is None:
        return
    from imclass.data.folder.damaged import refuse_irregular
    from imclass.data.folder.scan import scan_to_train

    root = Path(data.root).expanduser()
    _, found = scan_to_train(root, f"dataset.root={data.root}")
    if data.on_damaged == "fail":
        refuse_irregular(root, found)


def _build_plugin(config: Config) -> None:
    """Build the model of another package, which may do anything; ours are known to build. Imports torch."""
    from imclass.models import build_model

    data = config.dataset
    if data.name == "synthetic":
        channels, size, classes = data.synthetic.shape[0], data.synthetic.shape[1], data.synthetic.classes
    else:
        channels, size, classes = IMAGES.get(data.name, IMAGES["image_folder"])
    build_model(config.model, in_channels=channels, classes=classes, size=data.resize or size)


def _check_sweep(invocation: Invocation) -> None:
    """Print whether a sweep could start, and what it would do."""
    from imclass.sweeps import require_optuna
    from imclass.sweeps.request import read_request
    from imclass.sweeps.stored import compare_with_stored, is_begun

    request = read_request(invocation)
    require_optuna()
    from imclass.sweeps.run import find_workers

    find_workers(request)
    _look_at_folder(request.base.dataset)
    there = is_begun(request)
    if there:
        compare_with_stored(request)
    keys = ", ".join(request.space)
    where = f"continues {request.folder}" if there else f"into {request.folder}"
    print(f"ok: {counted(request.trials, 'trial')} over {keys}, {where}")
    for line in unused(request.config):
        print(f"warning: {line}")
