"""What a user can get wrong, as exceptions with an exit code; `endings` prints them."""

import errno
from collections.abc import Iterable, Sequence

EXIT_BUG = 1
EXIT_MISTAKE = 2
EXIT_DIVERGED = 3
EXIT_STORAGE = 5
EXIT_INTERRUPTED = 75

SHOWN_PROBLEMS = 20  # of one configuration

# A path that the user named wrongly, or may not use. Other errors of the system are those of the storage.
_WRONG_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
_WRONG_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)


class ImclassError(Exception):
    """Ends the program with its message on stderr, no traceback, and `exit_code`."""

    exit_code = EXIT_BUG
    on_every_rank = False  # raised on every rank at the same step; reported by rank 0
    on_one_rank = False  # reported by the rank it happened on
    after_signal = False  # this process had been asked to stop


class UserError(ImclassError):
    """A mistake in the command, the configuration or a file. The message names the fix."""

    exit_code = EXIT_MISTAKE


class ConfigError(UserError):
    """All problems of one configuration at once; `problems` has one entry each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        left = len(self.problems) - SHOWN_PROBLEMS
        lines = [
            *self.problems[:SHOWN_PROBLEMS],
            *([f"and {counted(left, 'more problem')}"] if left > 0 else []),
        ]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)  # pickled by what it was made of, not by its message


class Diverged(ImclassError):
    """Loss or weights are no longer finite."""

    exit_code = EXIT_DIVERGED
    on_every_rank = True


class StorageError(ImclassError, OSError):
    """The disk is full, read-only or gone: an OSError whose message names the file."""

    exit_code = EXIT_STORAGE
    on_one_rank = True
    remedy = "make room"  # for messages


class PartialFailure(ImclassError):
    """Some of what was asked for could not be done; the rest was."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, after saving a checkpoint: the same command resumes.

    Not an Exception: a signal can arrive where code translates or swallows every Exception.
    """

    exit_code = EXIT_INTERRUPTED
    on_every_rank = True
    on_one_rank = False
    after_signal = True


class OutOfMemory(UserError):
    """The device of this rank has too little memory."""

    on_one_rank = True


class LostPeer(ImclassError):
    """Another rank has ended, or cannot be reached."""

    on_one_rank = True


class ReportedElsewhere(ImclassError):
    """Rank 0 failed too, and reports why."""

    def __init__(self, exit_code: int):
        super().__init__()
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `; did you mean 'x' or 'y'?` for the nearest of `known`, or an empty string.

    cutoff: least similarity, 0 to 1, as in `difflib.get_close_matches`.
    """
    import difflib  # not at the top: until the imports are done, no signal is answered

    near = difflib.get_close_matches(str(word), sorted(set(known)), n=2, cutoff=cutoff)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural: `1 step`, `1,200 steps`."""
    plural = noun if count == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {plural}"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; its class where the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def code_of(error: BaseException) -> int:
    """Return the exit code of a program that an exception ends."""
    if isinstance(error, (ImclassError, Interrupted)):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, _WRONG_PATHS) or (isinstance(error, OSError) and error.errno in _WRONG_NAMES):
        return EXIT_MISTAKE
    return EXIT_STORAGE if isinstance(error, OSError) else EXIT_BUG
