"""Damage to every file of a run folder: repaired, or refused in one line with nothing overwritten."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from imclass.commands.selftest.damage import EDITS
from imclass.commands.selftest.trainings import RUN, Training
from imclass.commands.selftest.trial import (
    Bench,
    Lost,
    Trial,
    copy_of,
    require_no_traceback,
    require_same_weights,
)
from imclass.errors import EXIT_MISTAKE

KEPT = ("config.yaml", "metrics.jsonl", "best.safetensors", "best.pt", "last.pt", "previous.pt")


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield damages to files of a finished run and of one that was killed, each met by a command."""
    dice = bench.dice("folder")
    whole, killed = bench.whole(), bench.killed()
    for number in range(bench.share(1 / 2)):
        run = dice.choice((whole, killed))
        file = dice.choice(sorted(path for path in run.rglob("*") if path.is_file()))
        kind, name = dice.choice(sorted(EDITS)), str(file.relative_to(run))
        command = dice.choice(("train", "evaluate", "report", "verify")) if run == whole else "train"
        label = f"{kind} in {name} of {run.name}, imclass {command}, number {number}"
        case = partial(_run_case, bench.seed, run, name, kind, command, whole)
        yield Trial("damage to any file of a run", label, case)


def _run_case(seed: int, run: Path, name: str, kind: str, command: str, whole: Path, folder: Path) -> None:
    copy = copy_of(run, folder)
    EDITS[kind](copy / name, Bench(folder, 1, seed).dice(f"{name} {kind} {command}"))
    before = _contents(copy)
    argv = [f"name={copy.name}", *RUN] if command == "train" else [f"outputs/{copy.name}"]
    training = Training(argv, folder=folder, command=command)
    code = training.wait()
    require_no_traceback(training.log)
    if code == EXIT_MISTAKE:
        _require_refusal(training.log, before, _contents(copy))
    elif code:
        raise Lost(f"exit code {code}\n{training.log[-3000:]}")
    elif command == "train" and run != whole:
        require_same_weights(copy, whole)


def _require_refusal(log: str, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    if not any(line.startswith("imclass: ") for line in log.splitlines()):
        raise Lost(f"exit code {EXIT_MISTAKE} without a line that names the cause\n{log[-3000:]}")
    kept = set(after.values())
    if gone := [name for name, content in before.items() if Path(name).name in KEPT and content not in kept]:
        raise Lost(f"{', '.join(gone)} of a run that was refused: overwritten")


def _contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
