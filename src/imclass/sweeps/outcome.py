"""How a trial ended: from the exit code of its process and the files that it left."""

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imclass.errors import EXIT_DIVERGED, EXIT_INTERRUPTED, EXIT_MISTAKE, UserError
from imclass.runs.records import read_summary

_LOG_TAIL = 20_000  # bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """state: complete, pruned, diverged or failed. attributes: stored with the trial."""

    state: str
    value: float | None = None
    may_retry: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)


def outcome_of(
    code: int, *, pruned: bool, run: Path, log: Path, begin: int, metric: str, seconds: float
) -> Outcome:
    """Judge a trial whose process has ended.

    code: the exit code, negative for a signal. pruned: it was asked to stop. run: its folder. begin: where in
    the log this attempt begins. metric: its name in summary.json. seconds: of this session; summary.json has
    the total.
    """
    attributes: dict[str, Any] = {"seconds": round(seconds, 2)}
    if code == 0:
        try:
            summary = read_summary(run)
            attributes["seconds"] = max(attributes["seconds"], round(summary["seconds"]["total"], 2))
            attributes["test"] = summary["test"]
            return Outcome("complete", float(summary["best"][metric]), attributes=attributes)
        except (UserError, KeyError) as error:
            attributes["cause"] = f"exit 0, but summary.json lacks its figures ({error})"
            return Outcome("failed", may_retry=True, attributes=attributes)
    if pruned and code in (EXIT_INTERRUPTED, -signal.SIGTERM, -signal.SIGKILL):
        return Outcome("pruned", attributes=attributes)
    words = _last_line(log, begin)
    if code == EXIT_DIVERGED:
        return Outcome("diverged", attributes=attributes | {"diverged": True, "cause": words})
    attributes["cause"] = f"{_exit_text(code)}: {words}" if words else _exit_text(code)
    return Outcome("failed", may_retry=code != EXIT_MISTAKE, attributes=attributes)


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"{name} (kill -9, or out of memory)" if -code == signal.SIGKILL else name


def _last_line(log: Path, begin: int) -> str:
    """Return the last line after `begin` that is not blank, without control characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - _LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c for c in last if c.isprintable())[:300].removeprefix("imclass: ")
