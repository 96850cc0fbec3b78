"""Stop, damage and resume runs on this machine, and count what was lost.

imclass selftest [--kills N] [--seed N] [--only WHAT,WHAT]
"""

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from imclass.commands.arguments import Arguments
from imclass.errors import PartialFailure, UserError, did_you_mean
from imclass.machine.signals import STOP, catch_signals

GROUPS = {
    "kills": "kill -9 at random times and at named points, fp32 and bf16",
    "ranks": "kill -9 of one or all of two processes of one job",
    "signals": "SIGTERM, SIGINT, SIGUSR1, also doubled and in cold starts",
    "weights": "bit flips, truncations and holes in every file of weights",
    "folder": "damage to every other file of a run",
    "logs": "logs cut behind a checkpoint, as by a power cut",
    "disk": "a disk that is full: for all files, for each log alone",
    "crowds": "16 processes on one name, and on one cache of images",
    "hostile": "experiments, checkpoints, images, names that want to run code",
    "control": "broken seeding, which must be noticed",
}
HELP = """\
trains a tiny network on generated images, again and again, in a temporary
folder, and breaks it on purpose, in ten ways:
{groups}
Every run must then end bit for bit like one that nothing disturbed: weights,
optimizer, best model, every logged figure. Exit code 0, or 1 if anything was
lost: its folder is kept, and named.
"""


def selftest_command(argv: Sequence[str]) -> None:
    """Run the trials and print their table. Raises PartialFailure if anything was lost."""
    options = _parse(argv)
    with catch_signals():
        _selftest(options.kills, options.seed, options.only)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    rows = "\n".join(f"  {name:9}{text}" for name, text in GROUPS.items())
    parser = Arguments(
        prog="imclass selftest",
        description=HELP.format(groups=rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=60,
        metavar="N",
        help="number of kills (default 60); the other groups scale with it",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random choices (default 0)"
    )
    parser.add_argument(
        "--only", default=",".join(GROUPS), metavar="WHAT,...", help="some of the above (default: all)"
    )
    options = parser.parse_args(argv)
    if options.kills < 1:
        raise UserError(f"--kills {options.kills}: expected a number from 1")
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in GROUPS]:
        near = did_you_mean(unknown[0], GROUPS)
        raise UserError(f"--only {unknown[0]}: expected some of {', '.join(GROUPS)}{near}")
    if sys.platform == "win32":
        raise UserError("imclass selftest needs signals and fork servers: Linux or macOS")
    return options


def _selftest(kills: int, seed: int, groups: Sequence[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="imclass-selftest-"))
    started, lost = time.monotonic(), True
    try:
        with STOP.at_once():
            from imclass.commands.selftest.running import run_groups
            from imclass.commands.selftest.trial import Bench

            print(f"in {folder}, with seed {seed}")
            rows = run_groups(Bench(folder, kills, seed), groups)
        tried, count = sum(row.tried for row in rows), sum(row.lost for row in rows)
        lost = bool(count)
    finally:
        if not lost or STOP.number:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.monotonic() - started:.0f} s")
    print(f"tried {tried}, survived {tried - count}, lost {count}")
    if lost:
        raise PartialFailure(f"{count} lost; what is left of them is in {shlex.quote(str(folder))}")
