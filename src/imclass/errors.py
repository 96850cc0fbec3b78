"""What a user can get wrong, as exceptions that end as one clear line and an exit code."""

import difflib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence

EXIT_BUG = 1
EXIT_MISTAKE = 2
EXIT_DIVERGED = 3
EXIT_STORAGE = 5
EXIT_INTERRUPTED = 75

# Of many processes, all make the same mistake, and the first tells it. How long another one waits for the
# job to be ended by that, before it tells a mistake that must be its own.
SILENT_SECONDS = 45.0


class ImclassError(Exception):
    """Ends the program with its message on stderr, no traceback, and `exit_code`."""

    exit_code = EXIT_BUG
    everywhere = False  # of many processes, all raise it, at the same step
    own = False  # of many processes, each tells its own, at once


class UserError(ImclassError):
    """A mistake in the command, the configuration or a file. The message says what to do."""

    exit_code = EXIT_MISTAKE


class ConfigError(UserError):
    """All problems of one configuration at once; `problems` has one entry each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)  # pickled by what it was made of, not by its message


class Diverged(ImclassError):
    """Loss or weights are no longer finite."""

    exit_code = EXIT_DIVERGED
    everywhere = True


class StorageError(ImclassError):
    """The disk is full, read-only or gone."""

    exit_code = EXIT_STORAGE


class PartialFailure(ImclassError):
    """Some of what was asked for could not be done; the rest was."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, all that is worth it saved: the same command resumes.

    No Exception, as a signal can arrive where code translates or swallows every Exception.
    """

    exit_code = EXIT_INTERRUPTED
    everywhere = True
    own = False


class OutOfMemory(UserError):
    """The memory of this process's device does not suffice."""

    own = True


class LostPeer(ImclassError):
    """Another process of the job is gone."""

    own = True


class ToldElsewhere(ImclassError):
    """The first process failed, and tells why."""

    def __init__(self, exit_code: int):
        super().__init__()
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x' or 'y'?` for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(str(word), list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; its class where the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def exit_code_of(command: Callable[[], None], *, debug: bool) -> int:
    """Run `command` and return its exit code; what a user can cause is told on stderr, a line per problem.

    debug: show the traceback as well.
    """
    try:
        command()
    except (ImclassError, Interrupted) as error:
        if debug:
            traceback.print_exc()
        _tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left: nothing more to say
        sys.stderr.close()
        return EXIT_BUG
    except OSError as error:
        if debug:
            traceback.print_exc()
        print(f"{_speaker()}: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_STORAGE
    except Exception as error:
        if _rank() is None:
            raise
        traceback.print_exc()
        print(f"{_speaker()}: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_BUG
    return 0


def _tell(error: ImclassError | Interrupted) -> None:
    """Print the message, of many processes once."""
    rank = _rank()
    if rank and not error.own:
        if error.everywhere:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # torchrun's, once another process has told the cause
        time.sleep(SILENT_SECONDS)
    speaker = _speaker() if error.own or rank else "imclass"
    for line in str(error).splitlines():
        print(f"{speaker}: {line}", file=sys.stderr)


def _speaker() -> str:
    return "imclass" if _rank() is None else f"imclass: rank {_rank()}"


def _rank() -> int | None:
    """Return which of torchrun's processes this is, None for a process alone."""
    return int(os.environ["RANK"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else None
