"""Which learning rate? A range test: the curve, a suggestion, and the command that trains with it.

imclass lr-find [the same as imclass train]
"""

import shlex
import sys
from collections.abc import Sequence

from imclass.commands.drawn_file import new_file
from imclass.config.app import run_app
from imclass.config.invocation import Invocation
from imclass.config.overrides import key_of
from imclass.config.schema import Config
from imclass.config.setting import show
from imclass.errors import counted
from imclass.folding import folded


def lr_find_command(argv: Sequence[str]) -> None:
    """Train some steps at rising rates, draw their losses, print a suggestion. Raises UserError."""
    run_app(_find, Invocation.read("lr-find", argv), submit=False)


def _find(config: Config, invocation: Invocation) -> None:
    from imclass.reports.plots.rates import plot_range_test
    from imclass.training.build import build_data, build_setup, find_device
    from imclass.training.lr_range import range_test

    data = build_data(config)
    found = range_test(build_setup(config, data, find_device(config, data)))
    file = new_file(config, "lr-find", "png")
    rate = found.suggestion
    plot_range_test(found.rates, found.losses, found.smoothed, rate, file)
    ended = ""
    if (loss := found.exploded) is not None:  # one step can do it: the curve need not rise before
        ended = f", after which the loss of a batch was {loss:.3g}, from {found.losses[0]:.3g} at first"
    tried = f"{found.rates[0]:.2g} to {found.rates[-1]:.2g}{ended}"
    lines = [
        f"tried    {counted(len(found.rates), 'rate')} from {tried}",
        f"curve    {show(str(file))}",
    ]
    if rate is None:
        lines.append(
            "none     of them lowers the loss much; try a larger train.batch_size, or another optimizer"
        )
    else:
        why = f"halfway down the fall of the loss; now {config.optimizer.lr:g}"
        lines.append(f"suggests optimizer.lr={rate:.2g}, {why}")
        lines.append(f"next     {_command(config, invocation, rate)}")
    print(folded("\n".join(lines), sys.stdout))


def _command(config: Config, invocation: Invocation, rate: float) -> str:
    """Return the typed command with the rate in it; Muon's second rate keeps its ratio to the first."""
    rates = {"optimizer.lr": rate}
    if config.optimizer.adamw_lr is not None:
        rates["optimizer.adamw_lr"] = config.optimizer.adamw_lr * rate / config.optimizer.lr
    typed = [word for word in invocation.words if key_of(word) not in rates]
    return shlex.join(["imclass", "train", *typed, *(f"{key}={value:.2g}" for key, value in rates.items())])
