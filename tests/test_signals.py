"""Signals where stopping needs no care: whatever the code there does, the job ends as interrupted."""

import signal
import subprocess
import sys

import pytest

from imclass import endings
from imclass.endings import exit_code_of
from imclass.errors import Interrupted, UserError
from imclass.machine.signals import STOP, catch_signals


def interrupted_work(makes_of_it: str) -> None:
    """Be asked to stop within a library that swallows that, or that fails while it cleans up."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except Interrupted:
        if makes_of_it == "its own exception":
            raise AttributeError("half undone") from None
        if makes_of_it == "the same":
            raise


@pytest.mark.parametrize("makes_of_it", ["the same", "nothing", "its own exception"])
def test_whatever_a_library_makes_of_an_interruption_it_is_one(makes_of_it: str) -> None:
    with catch_signals(), pytest.raises(Interrupted, match="stopped by SIGTERM"), STOP.at_once():
        interrupted_work(makes_of_it)


def test_without_a_signal_exceptions_stay_what_they_are() -> None:
    with catch_signals(), pytest.raises(AttributeError, match="a mistake"), STOP.at_once():
        raise AttributeError("a mistake")


@pytest.mark.fault("R6")
@pytest.mark.parametrize("nothing_to_save", [False, True])
def test_a_second_signal_does_not_disturb_the_cleaning_up_after_the_first(
    monkeypatch: pytest.MonkeyPatch, nothing_to_save: bool
) -> None:
    monkeypatch.setattr(STOP, "nothing_to_save", nothing_to_save)
    cleaned = False
    with catch_signals(), pytest.raises(Interrupted), STOP.at_once():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleaned = True
    assert cleaned


def test_a_process_that_is_about_to_end_is_not_disturbed() -> None:
    """Its files are written and its exit code is decided; a signal must not make another one of it."""
    code = (
        "import signal; from imclass.machine.signals import STOP, catch_signals; STOP.ends_process = True\n"
        "with catch_signals(): pass\n"
        "for name in ('SIGINT', 'SIGTERM', 'SIGUSR1'): signal.raise_signal(getattr(signal, name))\n"
        "print('told')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "told\n")


def test_a_signal_waits_where_no_interruption_is_wanted() -> None:
    with catch_signals():
        signal.raise_signal(signal.SIGUSR1)
        assert STOP.asked() == "SIGUSR1"
        with pytest.raises(Interrupted, match="stopped by SIGUSR1"):
            STOP.raise_if_set()
    assert STOP.asked() is None


@pytest.mark.parametrize(("asked", "said"), [(True, ""), (False, "imclass: rank 1: a mistake\n")])
def test_a_rank_that_torchrun_ends_does_not_repeat_the_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: bool, said: str
) -> None:
    """torchrun ends the others once rank 0 has reported it; one that is slow has yet to find it."""
    monkeypatch.setattr(endings, "LAUNCHER_SECONDS", 0.0)
    monkeypatch.setattr(signal, "SIG_DFL", signal.getsignal(signal.SIGTERM))  # this process goes on
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def mistake() -> None:
        with catch_signals():
            if asked:
                signal.raise_signal(signal.SIGTERM)
            raise UserError("a mistake")

    assert exit_code_of(mistake, debug=False) == 2
    assert capsys.readouterr().err == said
