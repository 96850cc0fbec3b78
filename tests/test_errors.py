"""How failures end: an exit code, one line that a terminal can show, nothing else."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from imclass.endings import exit_code_of, printable
from imclass.errors import ConfigError, Diverged, Interrupted, StorageError, UserError, code_of, counted
from imclass.machine.launcher import Rank, require_reachable
from imclass.runs.atomic import write_atomically


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *((system_error(number), 5) for number in (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT)),
        (system_error(errno.EFBIG), 5),
        *((system_error(number), 2) for number in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES)),
        *((system_error(number), 2) for number in (errno.EPERM, errno.EEXIST, errno.ENAMETOOLONG)),
        (UserError("x"), 2),
        (ConfigError(["x"]), 2),
        (Diverged("x"), 3),
        (StorageError("x"), 5),
        (Interrupted("x"), 75),
        (KeyboardInterrupt(), 75),
        (ZeroDivisionError(), 1),
    ],
    ids=repr,
)
def test_the_exit_code_of_each_failure(error: BaseException, code: int) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize("place", ["folder in the place of a file", "file in the place of a folder"])
def test_a_path_of_the_wrong_kind_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    target = tmp_path / "x"
    target.mkdir() if place.startswith("folder") else target.touch()
    file = target if target.is_dir() else target / "y"
    assert exit_code_of(lambda: write_atomically(file, "text"), debug=False) == 2
    assert capsys.readouterr().err.startswith(f"imclass: {target}: expected ")
    assert list(tmp_path.rglob("*")) == [target]


def test_a_failed_write_names_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path) -> None:
        raise system_error(errno.ENOSPC)

    monkeypatch.setattr("imclass.runs.atomic.sync", full)
    assert exit_code_of(lambda: write_atomically(tmp_path / "summary.json", "text"), debug=False) == 5
    problem = (
        f"imclass: {tmp_path}/summary.json: cannot be written (No space left on device): 4 bytes needed, "
    )
    assert capsys.readouterr().err.startswith(problem)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("S5")
def test_what_a_message_quotes_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError("a\x1b]0;owned\x07\r\x9b2J\u202eb\udcff: läuft\nsecond")

    assert exit_code_of(fail, debug=False) == 2
    first, second, _ = capsys.readouterr().err.split("\n")
    assert first == "imclass: a\\x1b]0;owned\\x07\\r\\x9b2J\\u202eb\\udcff: läuft"
    assert second == "imclass: second"
    assert printable("plain, with ü") == "plain, with ü"


RANKS = [
    ({"RANK": "abc", "WORLD_SIZE": "2"}, "RANK='abc': expected a whole number of at least 0 and at most 1"),
    ({"RANK": "0", "WORLD_SIZE": "abc"}, "WORLD_SIZE='abc': expected a whole number of at least 1"),
    ({"RANK": "", "WORLD_SIZE": ""}, "WORLD_SIZE='': expected a whole number"),
    ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE='0': expected a whole number"),
    ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK='-1': expected a whole number"),
    ({"RANK": "٣", "WORLD_SIZE": "9"}, "RANK='٣': expected a whole number"),
    ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "x"}, "LOCAL_RANK='x': expected a whole number"),
    ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE='3': expected a whole"),
    ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set: expected the address"),
    ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}, "MASTER_PORT is not set: expected a whole"),
    ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1e3"}, "MASTER_PORT='1e3': expec"),
]


@pytest.mark.parametrize(("variables", "expected"), RANKS, ids=str)
@pytest.mark.parametrize("argv", [["train"], ["sweep", "sweep=quick"]], ids=lambda argv: argv[0])
def test_a_launchers_odd_variables_are_one_line(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str, argv
) -> None:
    monkeypatch.setattr("imclass.endings.LAUNCHER_SECONDS", 0.0)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if argv[0] == "sweep":
        monkeypatch.setattr("imclass.commands.sweep.read_request", lambda _: None)  # composes for seconds
    outcome = imclass(*argv)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"imclass: {expected}")
    assert list(tmp_path.iterdir()) == []


UNREACHABLE = [
    ("0", "no..name", "label"),
    ("1", "no..name", "label"),
    ("1", "127.0.0.1", "refused"),
]


@pytest.mark.parametrize(("rank", "address", "reason"), UNREACHABLE)
def test_an_address_that_does_not_answer_is_one_line(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, address: str, reason: str
) -> None:
    monkeypatch.setattr("imclass.endings.LAUNCHER_SECONDS", 0.0)
    for name in ("REACH_SECONDS", "START_SECONDS"):
        monkeypatch.setattr(f"imclass.machine.launcher.{name}", 0.5)
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        names = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": address, "MASTER_PORT": port}
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        outcome = imclass("train", "dataset=synthetic")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert f"MASTER_ADDR='{address}': expected where rank 0 listens at MASTER_PORT={port} (" in outcome.err
    assert reason in outcome.err.lower() and "unset RANK and WORLD_SIZE" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "warned"), [("192.0.2.1", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_rank_0_says_that_the_address_is_another_machines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str, warned: bool
) -> None:
    monkeypatch.setenv("MASTER_ADDR", address)
    monkeypatch.setenv("MASTER_PORT", "29500")
    require_reachable(Rank(0, 2, 0, 1))
    error = capfd.readouterr().err
    assert error.count("\n") == warned
    assert ("MASTER_ADDR='192.0.2.1': no address of this machine, which runs rank 0" in error) == warned


def test_a_rank_waits_for_a_slow_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        refused: list[float] = []

        def sleep(seconds: float) -> None:
            refused.append(seconds)
            if len(refused) == 2:
                server.listen()

        monkeypatch.setattr("imclass.machine.launcher.time.sleep", sleep)
        require_reachable(Rank(rank=1, size=2, local_rank=1, local_size=2))
    assert len(refused) == 2


@pytest.mark.fault("S5")
@pytest.mark.parametrize("job", ["../../../x", "a/b", "..", ".hidden", "1\n2", "\x1b[31m", "9" * 101, "5%"])
def test_a_batch_jobs_number_cannot_lead_elsewhere(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", job)
    outcome = imclass("check", "dataset=synthetic")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"imclass: SLURM_JOB_ID={job!r}: expected 1 to 100 letters")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("L3")
@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("> /dev/full", 5, "imclass: stdout: No space left on device\n"),
    ],
)
def test_closed_and_full_streams(redirection: str, code: int, said: str) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    shell = f"{sys.executable} -m imclass --help {redirection}"
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=buffered)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (1, "step", "1 step"),
        (0, "image", "0 images"),
        (1200, "class", "1,200 classes"),
        (1, "class", "1 class"),
    ],
)
def test_a_number_agrees_with_its_noun(count: int, noun: str, words: str) -> None:
    assert counted(count, noun) == words


ENDING = """
import atexit, threading, time
from imclass.endings import end_process

class Global:
    def __del__(self):
        print("torn down")

kept = Global()
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("program")
end_process(3)
"""


@pytest.mark.parametrize(
    ("launched", "printed"),
    [({}, ["program", "thread", "at exit"]), ({"RANK": "0", "WORLD_SIZE": "1"}, ["program"])],
    ids=["alone", "a rank"],
)
def test_a_process_ends_without_its_interpreters_teardown(
    launched: dict[str, str], printed: list[str]
) -> None:
    environment = {**os.environ, **launched}
    done = subprocess.run([sys.executable, "-c", ENDING], env=environment, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (3, printed)
