"""How a trial ended: from the exit code of its process and the files that it left."""

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imclass.errors import (
    EXIT_BUG,
    EXIT_DIVERGED,
    EXIT_INTERRUPTED,
    EXIT_MISTAKE,
    EXIT_STORAGE,
)

_LOG_TAIL = 20_000  # bytes
_EXITS = {
    EXIT_BUG: "an error",
    EXIT_MISTAKE: "a mistake",
    EXIT_STORAGE: "storage failed",
    EXIT_INTERRUPTED: "stopped from outside",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """state: complete, pruned, diverged or failed. attributes: what the study keeps beside it."""

    state: str
    value: float | None = None
    may_retry: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)


def outcome_of(
    code: int, *, pruned: bool, run: Path, log: Path, begin: int, metric: str, seconds: float
) -> Outcome:
    """Judge a trial whose process has ended.

    code: the exit code, negative for a signal. pruned: it was told to stop. run: its folder. begin: where in
    the log this attempt begins. metric: accuracy or loss. seconds: how long it ran in this session; the run
    itself knows of earlier ones.
    """
    attributes: dict[str, Any] = {"seconds": round(seconds, 2)}
    if code == 0:
        try:
            summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
            attributes["seconds"] = max(attributes["seconds"], round(summary["seconds"]["total"], 2))
            attributes["test"] = summary["test"]
            return Outcome("complete", float(summary["best"][metric]), attributes=attributes)
        except (OSError, ValueError, KeyError, TypeError) as error:
            attributes["cause"] = f"it ended well, but its summary.json does not say so ({error!r})"
            return Outcome("failed", may_retry=True, attributes=attributes)
    if pruned and code in (EXIT_INTERRUPTED, -signal.SIGTERM, -signal.SIGKILL):
        return Outcome("pruned", attributes=attributes)
    words = _last_line(log, begin)
    if code == EXIT_DIVERGED:
        return Outcome("diverged", attributes=attributes | {"diverged": True, "cause": words})
    attributes["cause"] = f"{_how(code)}: {words}" if words else _how(code)
    return Outcome("failed", may_retry=code != EXIT_MISTAKE, attributes=attributes)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit {code}, {_EXITS[code]}" if code in _EXITS else f"exit {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name} (by hand, or for want of memory)" if -code == signal.SIGKILL else name


def _last_line(log: Path, begin: int) -> str:
    """Return the last line of a log that says something after `begin`, without control characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - _LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c for c in last if c.isprintable())[:300].removeprefix("imclass: ")
