"""What a user can get wrong, as exceptions that end as one clear line and an exit code."""

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TextIO

EXIT_BUG = 1
EXIT_MISTAKE = 2
EXIT_DIVERGED = 3
EXIT_STORAGE = 5
EXIT_INTERRUPTED = 75

SHOWN_PROBLEMS = 20  # of one configuration

# A path that the user named wrongly, or may not use. Other errors of the system are those of the storage.
_WRONG_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
_WRONG_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)

# A mistake that is found before the ranks have joined is found by all of them. Rank 0 reports it; the others
# wait this long for torchrun to end them: the first to exit would end rank 0 while it starts.
LAUNCHER_SECONDS = 10.0


class ImclassError(Exception):
    """Ends the program with its message on stderr, no traceback, and `exit_code`."""

    exit_code = EXIT_BUG
    on_every_rank = False  # raised on every rank at the same step; reported by rank 0
    on_one_rank = False  # reported by the rank it happened on
    after_signal = False  # this process had been asked to stop


class UserError(ImclassError):
    """A mistake in the command, the configuration or a file. The message says what to do."""

    exit_code = EXIT_MISTAKE


class ConfigError(UserError):
    """All problems of one configuration at once; `problems` has one entry each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        left = len(self.problems) - SHOWN_PROBLEMS
        lines = [*self.problems[:SHOWN_PROBLEMS], *([f"and {left} more problems"] if left > 0 else [])]
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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x' or 'y'?` for the nearest of `known`, or an empty string."""
    import difflib  # not at the top: until the imports are done, no signal is answered

    near = difflib.get_close_matches(str(word), list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


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


def exit_code_of(command: Callable[[], None], *, debug: bool) -> int:
    """Run `command` and return its exit code; what a user can cause is one line per problem on stderr.

    debug: show the traceback as well.
    """
    try:
        command()
        sys.stdout.flush()
    except (ImclassError, Interrupted) as error:
        if debug:
            _print_traceback()
        _report(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left, and wants no more of it
        silence(sys.stdout)
    except OSError as error:
        if debug:
            _print_traceback()
        name = error.filename or ("a file" if _takes_output() else "stdout")
        say(f"{name}: {error.strerror or error}", speaker=_speaker())
        return code_of(error)
    except Exception as error:
        if _rank() is None:
            raise
        _print_traceback()
        say(f"{type(error).__name__}: {error}", speaker=_speaker())
        return EXIT_BUG
    return 0


def say(message: str, *, speaker: str = "imclass") -> None:
    """Print a message on stderr, if that takes it; each line with its speaker, control characters escaped.

    It may quote file names and contents, which could otherwise move the cursor or rename the window.
    """
    try:
        for line in printable(message).split("\n"):
            print(f"{speaker}: {line}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)


def printable(text: str) -> str:
    """Return `text` with what a terminal would act upon, or cannot show, as escapes such as \\x1b.

    Line feeds stay.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def provide_streams() -> None:
    """Open the null device for each of stdin, stdout and stderr that this process was started without.

    Python has None in their place then, and the next file that is opened gets the number of one of them.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)
            setattr(sys, name, open(opened, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def silence(stream: TextIO) -> None:
    """Lead a stream that fails to the null device, with what it still holds: flushing it at exit succeeds."""
    with contextlib.suppress(OSError, ValueError):  # it has no descriptor, or is closed
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def _takes_output() -> bool:
    """Return whether stdout takes a line feed after what was printed; one that does not is silenced.

    Without a buffer (PYTHONUNBUFFERED), print itself failed, and there is nothing left to flush.
    """
    try:
        print(flush=True)
    except OSError:
        silence(sys.stdout)
        return False
    return True


def end_process(code: int) -> NoReturn:
    """Exit with `code`, after a rank's last word without tearing down its interpreter.

    Threads that torch leaves running there abort the process at times, after all is written and left.
    """
    if _rank() is None:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _report(error: ImclassError | Interrupted) -> None:
    """Print the message once for the whole job, or with its rank where it is of one rank."""
    rank = _rank()
    if rank and not error.on_one_rank:
        if error.on_every_rank or error.after_signal or not str(error):
            return  # rank 0 reports it; it has, where torchrun is ending the other ranks
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # torchrun's, once rank 0 has exited
        time.sleep(LAUNCHER_SECONDS)
    try:
        sys.stdout.flush()  # what was printed comes first
    except OSError:
        silence(sys.stdout)  # or flushing it at exit would change the exit code
    speaker = _speaker() if rank or error.on_one_rank else "imclass"
    say(str(error), speaker=speaker)


def _speaker() -> str:
    return "imclass" if _rank() is None else f"imclass: rank {_rank()}"


def _rank() -> int | None:
    """Return the rank that torchrun gave this process, None without torchrun."""
    rank = os.environ.get("RANK", "") if "WORLD_SIZE" in os.environ else ""
    return int(rank) if rank.isascii() and rank.isdecimal() else None
