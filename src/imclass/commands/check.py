"""Find every mistake in what a training or a sweep would need, and touch nothing; no picture is opened.

imclass check [the same as imclass train or imclass sweep]
"""

import shlex
import sys
from collections.abc import Sequence

from imclass.config.app import run_app
from imclass.config.class_weights import require_weight_per_class
from imclass.config.conflicts import unused
from imclass.config.groups import is_shipped, plugins
from imclass.config.invocation import Invocation
from imclass.config.run_names import user_path
from imclass.config.schema import Config, DatasetConfig
from imclass.config.setting import show
from imclass.errors import counted
from imclass.folding import folded
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
    classes = None if run.finished else _look_at_folder(config.dataset)
    if classes is not None:
        require_weight_per_class(config.train.class_weights, classes)
    _try_plugins(config)
    where = f"{'continues' if run.exists else 'into'} {show(str(run.path))}"
    print(folded(f"ok: {run.config.model.name} on {run.config.dataset.name}, {where}", sys.stdout))
    if classes is not None:
        _print_unopened(config.dataset)
    for line in unused(run.config, invocation.keys):
        print(folded(f"warning: {line}", sys.stdout))


def _look_at_folder(data: DatasetConfig) -> tuple[str, ...] | None:
    """Return the classes of a folder; None for other data sets. No image is opened.

    Raises UserError where the folder cannot be trained on.
    """
    if data.name != "image_folder" or data.root is None:
        return None
    from imclass.data.folder.damaged import refuse_irregular
    from imclass.data.folder.listing import list_to_train

    listing = list_to_train(user_path(data.root), f"dataset.root={data.root}")
    if data.on_damaged == "fail":
        refuse_irregular(listing)
    return listing.classes


def _print_unopened(data: DatasetConfig) -> None:
    """Print what finds the damaged pictures that a training would refuse."""
    command = f"imclass data verify {shlex.quote(str(data.root))}"
    print(folded(f"the pictures were not opened: {command}", sys.stdout))


def _try_plugins(config: Config) -> None:
    """Call what other packages add, which may do anything; ours are known to work. Imports torch for them."""
    model, optimizer = config.model.name, config.optimizer.name
    of_model = not is_shipped("model", model) and model in plugins("model")
    of_optimizer = not is_shipped("optimizer", optimizer) and optimizer in plugins("optimizer")
    if not (of_model or of_optimizer or config.augment.plugin):
        return
    from imclass.data.augment import try_plugin
    from imclass.models import build_model
    from imclass.training.optimizers import build_optimizer

    channels, size, classes = _images(config)
    network = build_model(config.model, in_channels=channels, classes=classes, size=size)
    if of_optimizer:
        build_optimizer(config.optimizer, network)
    try_plugin(config.augment, (channels, size, size))


def _images(config: Config) -> tuple[int, int, int]:
    """Return channels, side and classes of the images that the network sees."""
    data = config.dataset
    if data.name == "synthetic":
        channels, size, classes = data.synthetic.shape[0], data.synthetic.shape[1], data.synthetic.classes
    else:
        channels, size, classes = IMAGES.get(data.name, IMAGES["image_folder"])
    return channels, data.resize or size, classes


def _check_sweep(invocation: Invocation) -> None:
    """Print whether a sweep could start, and what it would do."""
    from imclass.sweeps import require_optuna
    from imclass.sweeps.request import JOURNAL, read_request
    from imclass.sweeps.stored import compare_with_stored, is_begun

    request = read_request(invocation)
    require_optuna()
    from imclass.sweeps.run import find_workers

    find_workers(request)
    classes = _look_at_folder(request.base.dataset)
    there = is_begun(request)
    if there:
        compare_with_stored(request)
    if request.storage != JOURNAL:
        from imclass.sweeps.connection import require_reachable

        require_reachable(request.storage)
    keys = ", ".join(request.space)
    where = f"continues {request.folder}" if there else f"into {request.folder}"
    print(f"ok: {counted(request.trials, 'trial')} over {keys}, {where}")
    if classes is not None:
        _print_unopened(request.base.dataset)
    for line in unused(request.config):
        print(folded(f"warning: {line}", sys.stdout))
