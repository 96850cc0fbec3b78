"""imclass selftest: its table, that it notices a broken build, and that it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from imclass.commands.selftest import kills, trial
from imclass.commands.selftest.command import GROUPS
from imclass.commands.selftest.control import break_the_seeding
from imclass.commands.selftest.trainings import finish, keep_socket_paths_short
from imclass.runs import weights


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; its path is too long for a socket."""
    keep_socket_paths_short()  # of the fork server, which outlives this test
    folder = tmp_path / ("scratch" * 15)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(kills, "AGAIN", 3)
    return folder


def rows(out: str) -> dict[str, tuple[int, int, int]]:
    """Return the table: what was done, and how often it was tried, survived and lost."""
    found = re.findall(r"^(\S.*?) +(\d+) +(\d+) +(\d+)$", out, re.MULTILINE)
    return {what: (int(tried), int(survived), int(lost)) for what, tried, survived, lost in found}


@pytest.mark.fault("R1", "C1", "C2")
def test_kills_and_damage_cost_nothing(imclass, scratch: Path) -> None:
    outcome = imclass("selftest", "--kills", "2", "--only", "kills,weights,control")
    assert outcome.code == 0, outcome.out
    assert rows(outcome.out) == {
        "kill -9 at a save, a rename, the end": (1, 1, 0),
        "kill -9 at random times": (1, 1, 0),
        "kill -9 again and again in one run": (1, 1, 0),
        "bit flips in files of weights": (8, 8, 0),
        "truncations in files of weights": (4, 4, 0),
        "holes in files of weights": (4, 4, 0),
        "negative control: broken seeding is noticed": (1, 1, 0),
    }
    assert outcome.out.endswith("\ntried 20, survived 20, lost 0\n")
    assert max(map(len, outcome.out.splitlines()[1:])) <= 80
    assert list(scratch.iterdir()) == []  # nor what Python keeps there while a page is written


def test_a_broken_build_is_noticed(imclass, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is random depends on a running state, a run that was killed ends otherwise."""

    def train(argv: Any, *patches: Any, **more: Any) -> str:
        return finish(argv, break_the_seeding, *patches, **more)

    monkeypatch.setattr(kills, "finish", train)
    monkeypatch.setattr(trial, "finish", train)
    outcome = imclass("selftest", "--kills", "1", "--only", "kills")
    assert outcome.code == 1
    assert rows(outcome.out)["kill -9 at a save, a rename, the end"] == (1, 0, 1)
    assert "last.pt: model differs" in outcome.out
    assert re.search(r"\ntried 2, survived \d, lost [12]\n$", outcome.out)
    (kept,) = scratch.iterdir()
    assert re.search(rf"^imclass: [12] lost; what is left of them is in {kept}$", outcome.err, re.MULTILINE)
    look = re.search(r"^  imclass verify (\S+/kill0/\S+)$", outcome.out, re.MULTILINE)
    assert look and imclass("verify", look[1]).code == 0  # whole, but another run


def test_weights_that_nobody_checks_are_noticed(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_check_digest", lambda *_, **__: None)
    outcome = imclass("selftest", "--kills", "4", "--only", "weights")
    assert outcome.code == 1
    assert rows(outcome.out)["bit flips in files of weights"][2] > 0
    assert "read_model_weights noticed nothing" in outcome.out


@pytest.mark.fault("R1", "R6")
def test_only_a_run_that_was_still_there_counts_as_disturbed() -> None:
    asked = []
    assert trial.hit(8.0, lambda seconds, name: asked.append((seconds, name)) or seconds < 3) == "disturbed2"
    assert asked == [(8.0, "disturbed0"), (4.0, "disturbed1"), (2.0, "disturbed2")]
    with pytest.raises(trial.Lost, match="had ended before"):
        trial.hit(8.0, lambda seconds, name: False)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--kills", "0"], "--kills 0: expected a number from 1"),
        (
            ["--only", "kils"],
            f"--only kils: expected some of {', '.join(GROUPS)}; did you mean 'kills'",
        ),
    ],
)
def test_mistakes(imclass, argv: list[str], expected: str) -> None:
    outcome = imclass("selftest", *argv)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith(f"imclass: {expected}")


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc to find what is left over")
def test_ctrl_c_ends_it_with_nothing_left_over(tmp_path: Path, scratch: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "imclass", "selftest", "--only", "kills"],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not list(scratch.glob("*/kill*/outputs/*/config.yaml")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert err == "imclass: stopped by SIGINT; the same command starts it again\n"
    assert list(scratch.glob("imclass-*")) == []
    here = [path for path in Path("/proc").glob("[0-9]*/cwd") if str(scratch) in read_link(path)]
    assert here == []


def read_link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it has ended
        return ""
