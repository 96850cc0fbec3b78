"""What is found in a run folder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from imclass.errors import UserError, counted

T = TypeVar("T")


@dataclass
class Verdict:
    """problems: a line each, with the file. notes: what is worth saying and no problem."""

    path: Path
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: int = 0
    step: int = 0  # of last.pt
    held: bool = False  # by a process that trains in it

    @property
    def status(self) -> str:
        return str(self.summary.get("status", "just begun"))

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def settled(self) -> bool:
        """Whether the run has ended in order, so that all of its files are of the same step."""
        return self.status in ("finished", "interrupted") and not self.held

    def report(self) -> str:
        """Return the lines about the run: that it is whole, or the problems, by their paths in it."""
        if self.problems:
            inner = [problem.replace(f"{self.path}/", "") for problem in self.problems]
            count = counted(len(inner), "problem")
            return "\n".join([f"{self.path}:", *inner, count])
        where = f", step {self.step}, {self.status}"
        if self.status == "running" and not self.held:
            where = f"; killed, resumes at step {self.step}"
        return "; ".join([f"{self.path}: whole: {counted(self.files, 'file')}{where}", *self.notes])

    def add(self, file: str, problem: str) -> None:
        """Note a problem of a file, named by its path in the run."""
        self.problems.append(f"{self.path / file}: {problem}")

    def attempt(self, read: Callable[[], T], default: T, *, file: str | None = None) -> T:
        """Return what `read` returns; after a UserError, note its lines and return `default`.

        file: what the message does not name itself.
        """
        try:
            return read()
        except UserError as error:
            for line in str(error).splitlines():
                self.problems.append(line if file is None else f"{self.path / file}: {line}")
        return default
