"""How a program begins and ends: its streams and exit code, and what it prints, as a terminal can show it."""

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn, TextIO

from imclass.errors import EXIT_BUG, EXIT_INTERRUPTED, ImclassError, Interrupted, code_of
from imclass.folding import folded

# A mistake that is found before the ranks have joined is found by all of them. Rank 0 reports it; the others
# wait this long for torchrun to end them: the first to exit would end rank 0 while it starts.
LAUNCHER_SECONDS = 10.0
# New objects before the garbage collector runs. Importing torch creates many that all stay: with Python's
# default, 700 or 2,000, collections take half a second of it.
GC_THRESHOLD = 50_000


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
            print(folded(f"{speaker}: {line}", sys.stderr), file=sys.stderr, flush=True)
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


def begin_process() -> None:
    """Provide the standard streams, and collect garbage less often."""
    provide_streams()
    gc.set_threshold(GC_THRESHOLD)


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
    """Exit with `code` as Python does, but without tearing down the interpreter.

    With torch loaded, teardown takes a second; and threads that torch leaves running sometimes abort a rank
    during it, after all is written. A rank does not wait for threads either: its peers may be gone.
    """
    if _rank() is None:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
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
