"""What a user can get wrong, as exceptions that end as one clear line and an exit code."""

import difflib
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence

EXIT_BUG = 1
EXIT_MISTAKE = 2
EXIT_DIVERGED = 3
EXIT_STORAGE = 5
EXIT_INTERRUPTED = 75


class ImclassError(Exception):
    """Ends the program with its message on stderr, no traceback, and `exit_code`."""

    exit_code = EXIT_BUG


class UserError(ImclassError):
    """A mistake in the command, the configuration or a file. The message says what to do."""

    exit_code = EXIT_MISTAKE


class ConfigError(UserError):
    """All problems of one configuration at once; `problems` has one entry each."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Diverged(ImclassError):
    """Loss or weights are no longer finite."""

    exit_code = EXIT_DIVERGED


class StorageError(ImclassError):
    """The disk is full, read-only or gone."""

    exit_code = EXIT_STORAGE


class PartialFailure(ImclassError):
    """Some of what was asked for could not be done; the rest was."""

    exit_code = 1


class Interrupted(ImclassError):
    """Stopped by a signal after a checkpoint was saved: the same command resumes."""

    exit_code = EXIT_INTERRUPTED


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x' or 'y'?` for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(str(word), list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def exit_code_of(command: Callable[[], None], *, debug: bool) -> int:
    """Run `command` and return its exit code; what a user can cause is told on stderr, a line per problem.

    debug: show the traceback as well.
    """
    try:
        command()
    except ImclassError as error:
        if debug:
            traceback.print_exc()
        for line in str(error).splitlines():
            print(f"imclass: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left: nothing more to say
        sys.stderr.close()
        return EXIT_BUG
    except OSError as error:
        if debug:
            traceback.print_exc()
        print(f"imclass: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_STORAGE
    return 0
