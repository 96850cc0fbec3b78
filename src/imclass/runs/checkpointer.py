"""Which checkpoints of a run are written, and which one a resume takes.

The rule of resuming: a checkpoint is a dict of `state_dict`s, and everything random is a function of
(seed, step). So a resumed run is: build the same objects, load the newest checkpoint that verifies and whose
logs are whole, cut the logs back to where they were when it was written, go on at its step.

`last.pt` is the newest, `previous.pt` the one before; `best.pt` is a model alone, for evaluation. The best
model that a `last.pt` names is on the disk before it is.
"""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from imclass.errors import StorageError, UserError
from imclass.runs.checkpoint import (
    DamagedCheckpoint,
    Header,
    State,
    is_training_state,
    load_checkpoint,
    require,
    write_checkpoint,
)
from imclass.runs.record_schema import HEADER, problem_of

ATTEMPTS = 3  # saves in a row that may fail before the run ends


class Checkpointer:
    """Writes the checkpoints of one run: `last.pt`, `previous.pt` and `best.pt` in its folder.

    header: in the header of every file, how its numbers were computed. about: in every file, what is needed
    to use it without the run. last_saved_step: that of the checkpoint that the run resumed from. warn: shows
    a line to the user. Unless `enabled`, nothing is written: rank 0 writes for all.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        last_saved_step: int | None = None,
        warn: Callable[[str], None] = print,
        enabled: bool = True,
    ):
        self.last, self.previous, self.best = (folder / f"{n}.pt" for n in ("last", "previous", "best"))
        self._header, self._about, self._enabled = dict(header or {}), dict(about or {}), enabled
        self.last_saved_step, self._warn, self._failures = last_saved_step, warn, 0
        self._new_best: tuple[State, Header] | None = None

    def keep_best(self, model: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Copy a model, which becomes `best.pt` with the next `last.pt`."""
        if self._enabled:
            copy = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.items()}
            self._new_best = {"model": copy, "about": self._about}, {**self._header, **header}

    def write_best(self) -> None:
        """Write the model that `keep_best` copied, unless it is written already. Raises StorageError."""
        if self._new_best is not None:
            write_checkpoint(self.best, *self._new_best)
            self._new_best = None

    def save_last(self, state: State, header: Mapping[str, Any], *, final: bool = False) -> None:
        """Write `best.pt` where it is due, then `last.pt`; what was there becomes `previous.pt`.

        header: has the step. Where the disk does not take it, the files that were there stay, the user is
        warned, and the next save tries again. Raises StorageError after three failures in a row, or at once
        if this save is `final`: none comes after it.
        """
        if not self._enabled:
            return
        try:
            self.write_best()
            whole = {**state, "about": self._about}
            write_checkpoint(self.last, whole, {**self._header, **header}, self.previous)
        except StorageError as error:
            self._failures += 1
            if final or self._failures == ATTEMPTS:
                raise StorageError(f"{error}; {self._what_remains(error)}") from error
            if self._failures == 1:
                self._warn(f"{error}; training goes on, the next save tries again")
        else:
            if self._failures:
                self._warn(f"checkpoints can be written again: step {header['step']} is saved")
            self._failures, self.last_saved_step = 0, header["step"]

    def _what_remains(self, error: StorageError) -> str:
        if self.last_saved_step is None:
            return f"there is no checkpoint yet: {error.remedy}, and the same command starts again"
        kept = f"the checkpoint of step {self.last_saved_step} is kept"
        return f"{kept}: {error.remedy}, and the same command resumes from it"


def newest_checkpoint(
    folder: Path, lost_logs: Callable[[State], list[str]] = lambda state: []
) -> tuple[State, Header, list[str]]:
    """Return state and header of the newest checkpoint that verifies, and warnings about others.

    lost_logs: returns what the logs of a checkpoint lack; one that lacks nothing is preferred. Newest is the
    highest step in a verified header, never the file's time or name. A damaged file, or one whose logs are
    lost, is put aside as `damaged-...`, so that it never takes the place of a good one. A run without
    checkpoints has an empty state and header. Raises UserError when all there are are damaged.
    """
    found: dict[Path, tuple[Header, State]] = {}
    passed: dict[Path, str] = {}
    lost: dict[Path, list[str]] = {}
    last, previous = folder / "last.pt", folder / "previous.pt"
    for path in (last, previous):
        try:
            header, state = _resumable(path)
            lost[path] = lost_logs(state)
            found[path] = header, state
        except FileNotFoundError:
            continue
        except DamagedCheckpoint as error:
            passed[path] = str(error)
    if not found and passed:
        problems = "; ".join(passed.values())
        raise UserError(f"{problems}: no checkpoint is left to resume from; choose another name=")
    if not found:
        return {}, {}, []
    newest_first = sorted(found, key=lambda path: found[path][0]["step"], reverse=True)
    chosen = next((path for path in newest_first if not lost[path]), newest_first[0])
    for path in newest_first[: newest_first.index(chosen)]:
        passed[path] = f"{'; '.join(lost[path])}: {path}, step {found[path][0]['step']}, needs it"
    header, state = found[chosen]
    warnings = [f"{text}: its points are lost" for text in lost[chosen]]
    for path, problem in passed.items():
        _put_aside(path)
        warnings.append(problem)
    if passed:
        warnings.append(f"falling back to {chosen}, step {header['step']}")
    elif chosen != last:
        why = f"has step {found[last][0]['step']} only" if last in found else "is missing"
        warnings.append(f"{last} {why}: resuming from {chosen}, step {header['step']}")
    return state, header, warnings


def _resumable(path: Path) -> tuple[Header, State]:
    """Return header and contents of what training can resume from. Raises DamagedCheckpoint."""
    header, state = load_checkpoint(path)
    require(problem_of(header, HEADER), path)
    if not is_training_state(state):
        raise DamagedCheckpoint(f"{path}: a model alone, not a training to resume")
    return header, state


def _put_aside(path: Path) -> None:
    """Rename a file to `damaged-...`, with a number where that name is taken."""
    names = (f"damaged-{'' if number == 1 else f'{number}-'}{path.name}" for number in itertools.count(1))
    path.replace(next(free for name in names if not (free := path.with_name(name)).exists()))
