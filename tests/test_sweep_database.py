"""Sweeps whose trials are recorded in a database: machines that share nothing else. Row F3."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stub_trial
from conftest import Outcome
from optuna.distributions import FloatDistribution
from postgres import Server, running_server
from test_sweep_queue import PROGRAM, wait_until

from imclass.config.metric import ACCURACY
from imclass.config.urls import without_password
from imclass.sweeps import workers
from imclass.sweeps.store import LostTrial, Store, open_store
from imclass.sweeps.study import state_of

BASE = ("sweep.name=s", "optimizer.lr=tag(log,interval(1e-3,1))", "sweep.sampler=random", "sweep.pruner=none")
SQLITE = "sweep.storage=sqlite:///trials.db"
POINT = {"params": {"x": 0.5}, "distributions": {"x": FloatDistribution(0, 1)}}


class Host:
    """A folder in the place of a machine: processes on it see no other's files."""

    def __init__(self, folder: Path, storage: str):
        self.folder, self.storage = folder, storage
        self.sweep = folder / "outputs/sweeps/s"
        folder.mkdir()

    def plan(self, **acts: object) -> None:
        (self.folder / "plan.json").write_text(json.dumps(acts))

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start `imclass sweep`, with stubs for trainings, as a process."""
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        given = {word.split("=")[0] for word in argv}
        base = [word for word in (*BASE, "sweep.lost_after=3s") if word.split("=")[0] not in given]
        words = ["sweep", *base, f"sweep.storage={self.storage}", *argv]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
        )

    def starts(self) -> dict[str, int]:
        files = sorted(self.sweep.glob("trial_*/starts"))
        return {file.parent.name: len(file.read_text().splitlines()) for file in files}

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.sweep / "sweep.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def store(folder: Path, place: Path, lost_after: float = 60) -> Store:
    return open_store(f"sqlite:///{place}/t.db", "s", ACCURACY, folder=folder, lost_after=lost_after)


@pytest.fixture
def sweep(imclass: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run `imclass sweep` with a SQLite file and stubs for trainings in this process."""
    monkeypatch.setattr(workers, "trial_command", stub_trial.command(workers.trial_command))
    monkeypatch.setattr("imclass.sweeps.queue._POLL_SECONDS", 0.02)

    def run(*argv: str) -> Outcome:
        given = {word.split("=")[0] for word in argv}
        return imclass("sweep", *(w for w in (*BASE, SQLITE) if w.split("=")[0] not in given), *argv)

    return run


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err + out
    return out


@pytest.mark.fault("F3")
def test_two_hosts_share_a_database_and_one_is_killed(server: Server, tmp_path: Path) -> None:
    first, second = hosts = [Host(tmp_path / name, server.url) for name in ("a", "b")]
    first.plan(all=["wait"])
    killed = first.start("sweep.trials=6")
    wait_until(lambda: list(first.sweep.glob("trial_*/checkpoint")))
    beside = second.start("sweep.trials=6")
    wait_until(lambda: len(second.starts()) == 5)
    killed.kill()
    killed.communicate()
    out = finish(beside)
    (lost,) = first.starts()
    assert second.starts() == {f"trial_{n:04d}": 1 for n in range(6)}  # the lost one too, once
    out += finish(first.start("sweep.trials=6"))  # which finds that all is done
    assert first.starts() == {lost: 1}
    for host in hosts:
        assert [row["state"] for row in host.rows()] == ["complete"] * 6
        assert {row["attempts"] for row in host.rows()} == {"1"}
        assert all((host.folder / row["log"].rpartition(":")[2]).exists() for row in host.rows())
    best, same = ((host.sweep / "best.yaml").read_text() for host in hosts)
    assert best == same
    assert f"recorded in {without_password(server.url)}" in out
    files = [file for host in hosts for file in host.folder.rglob("*") if file.is_file()]
    assert not any(b"s3cret" in text for text in [out.encode(), *(file.read_bytes() for file in files)])


@pytest.mark.soak
@pytest.mark.fault("F3")
def test_trials_go_on_while_the_database_is_away(server: Server, tmp_path: Path) -> None:
    host = Host(tmp_path / "a", server.url)
    host.plan(trial_0000=["hold"])
    process = host.start("sweep.name=away", "sweep.trials=2")
    host.sweep = host.sweep.with_name("away")
    wait_until(lambda: host.starts())
    server.stop()
    (host.folder / "go").touch()
    wait_until(lambda: (host.sweep / "trial_0000/summary.json").exists())
    time.sleep(0.5)
    server.start()
    out = finish(process)
    assert out.count("the database does not answer") == 1
    assert host.starts() == {"trial_0000": 1, "trial_0001": 1}
    assert [row["state"] for row in host.rows()] == ["complete"] * 2


def test_who_was_silent_too_long_does_not_count(tmp_path: Path) -> None:
    """A machine that sleeps, say: its trial is another's when it wakes up."""
    sleeper, other = (store(tmp_path / name, tmp_path, lost_after=1) for name in ("a", "b"))
    held = sleeper.add(sleeper.search, 0, **POINT)
    assert held is not None
    assert other.take(other.search, other.trials(other.search)[0]) is None
    time.sleep(2.1)  # SQLite's clock has whole seconds
    other.take_back()
    (found,) = other.trials(other.search)
    assert state_of(found) == "interrupted"
    again = other.take(other.search, found)
    assert again is not None
    with pytest.raises(LostTrial):
        sleeper.end(held, "complete", 0.1, {"seconds": 1.0})
    other.end(again, "complete", 0.9, {"seconds": 2.0})
    (ended,) = sleeper.trials(sleeper.search)
    assert (state_of(ended), ended.number, ended.value, ended.params) == ("complete", 0, 0.9, POINT["params"])
    other.end(again, "complete", 0.9, {"seconds": 2.0})  # as after an answer that was lost
    for one in (sleeper, other):
        one.close()


def test_of_two_that_create_the_same_trial_at_once_one_trains_it(tmp_path: Path) -> None:
    first, second = (store(tmp_path / name, tmp_path) for name in ("a", "b"))
    holding = [s.add(s.search, 0, **POINT) for s in (first, second)]
    assert [held is not None for held in holding] == [True, False]
    assert len(first.trials(first.search)) == len(second.trials(second.search)) == 1
    first.release(holding[0])
    found = [s.trials(s.search)[0] for s in (first, second)]  # both see that it is free
    holding = [s.take(s.search, trial) for s, trial in zip((first, second), found, strict=True)]
    assert [held is not None for held in holding] == [True, False]
    assert len(first.trials(first.search)) == 1
    for one in (first, second):
        one.close()


@pytest.mark.soak
def test_many_processes_claim_every_trial_once(tmp_path: Path) -> None:
    """On SQLite, which Optuna's own transactions do not suffice for."""
    hosts = [Host(tmp_path / name, f"sqlite:///{tmp_path}/trials.db") for name in "abc"]
    argv = ("sweep.trials=12", "sweep.workers=2", "sweep.lost_after=5min")  # nobody is lost
    processes = [host.start(*argv) for host in hosts]
    for process in processes:
        finish(process)
    assert Counter(name for host in hosts for name in host.starts()) == Counter(
        {f"trial_{n:04d}": 1 for n in range(12)}
    )
    for host in hosts:
        assert [row["state"] for row in host.rows()] == ["complete"] * 12


def test_failures_stops_and_fresh_seeds_are_as_with_a_journal(sweep) -> None:
    Path("plan.json").write_text(json.dumps({"trial_0001": ["kill", "raise", ""], "trial_0002": ["exit 2"]}))
    argv = ("sweep.trials=4", "sweep.retries=2", "sweep.seeds=2", "sweep.top=1")
    outcome = sweep(*argv)
    assert outcome.code == 1, outcome.err
    rows = list(csv.DictReader(Path("outputs/sweeps/s/sweep.csv").read_text().splitlines()))
    found = {row["trial"]: (row["state"], row["attempts"]) for row in rows}
    assert found == {
        "0": ("complete", "1"),
        "1": ("complete", "3"),
        "2": ("failed", "1"),
        "3": ("complete", "1"),
    }
    assert [row["seeds"] for row in rows].count("2") == 1
    Path("plan.json").unlink()
    assert sweep(*argv).code == 0
    rows = list(csv.DictReader(Path("outputs/sweeps/s/sweep.csv").read_text().splitlines()))
    assert {row["trial"]: row["attempts"] for row in rows}["2"] == "2"


@pytest.mark.soak
def test_a_stopped_sweep_resumes_on_another_host(tmp_path: Path) -> None:
    hosts = [Host(tmp_path / name, f"sqlite:///{tmp_path}/trials.db") for name in "ab"]
    hosts[0].plan(all=["wait"])
    process = hosts[0].start("sweep.trials=1")
    wait_until(lambda: list(hosts[0].sweep.glob("trial_*/checkpoint")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "to resume: imclass sweep" in err
    assert hosts[0].rows()[0]["state"] == "interrupted"
    assert "resuming: 0 of 1 done, 0 running, 1 interrupted" in finish(hosts[1].start("sweep.trials=1"))
    assert [host.starts() for host in hosts] == [{"trial_0000": 1}] * 2


def test_a_sweep_that_lost_its_database_says_so(sweep, imclass) -> None:
    assert sweep("sweep.trials=1").code == 0
    Path("trials.db").rename("moved.db")
    outcome = imclass("report", "s")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert "trials.db: no such file; the sweep is recorded in it" in outcome.err
    assert not Path("trials.db").exists()


def test_other_settings_in_one_database_are_refused(sweep, tmp_path: Path, monkeypatch) -> None:
    assert sweep("sweep.trials=1").code == 0
    outcome = sweep("sweep.trials=1", "sweep.storage=journal")
    assert outcome.code == 2
    assert f"sweep.storage: sqlite:///{tmp_path}/trials.db -> journal" in outcome.err
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    outcome = sweep("sweep.trials=1", "sweep.storage=sqlite:///../trials.db", "seed=3")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "trials.db: this sweep has other settings (seed: 0 -> 3)" in outcome.err
    assert not Path("outputs").exists()
    assert sweep("sweep.trials=1", "sweep.storage=sqlite:///../trials.db").code == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres:/me:s3cret@h/d", "expected journal, sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
        ("mysql://me:s3cret@h/d", "expected journal, sqlite:///FILE or postgresql://"),
        ("sqlite:///:memory:", "expected journal, sqlite:///FILE"),
        ("sqlite:///no/such/folder/x.db", "cannot be opened (unable to open database file)"),
        ("postgresql://me:s3cret@host:abc/d", "cannot be opened ("),
        ("postgresql://me:s3cret@127.0.0.1:1/d", "cannot be opened (connection failed: "),
    ],
)
def test_a_database_that_is_none_is_one_line(imclass, monkeypatch, url: str, expected: str) -> None:
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'imclass[postgres]'")
    monkeypatch.setattr("imclass.sweeps.connection._OPEN_ATTEMPTS", 1)
    outcome = imclass("sweep", *BASE, f"sweep.storage={url}")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert expected in outcome.err
    assert "s3cret" not in outcome.err
    assert not Path("outputs").exists()


def test_a_wrong_password_is_one_line(server: Server, imclass) -> None:
    url = server.url.replace("s3cret", "wrong")
    for command in ("check", "sweep"):
        outcome = imclass(command, *BASE, f"sweep.storage={url}")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert "password authentication failed" in outcome.err
        assert "~/.pgpass or PGPASSWORD" in outcome.err
        assert "wrong" not in outcome.err
    assert imclass("check", *BASE, f"sweep.storage={server.url}").code == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:pw@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:p/w?#@host/db", "postgresql://me@host/db"),
        ("postgresql://me:p@w@host/db", "postgresql://me@host/db"),
        (
            "postgresql://host:5432/db?user=me&password=pw&sslmode=require",
            "postgresql://host:5432/db?user=me&sslmode=require",
        ),
        ("postgresql://host/db?password=pw", "postgresql://host/db"),
        ("postgresql:/me:pw@host/db", "postgresql:/me@host/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("https://TOKEN@host:5000/x", "https://host:5000/x"),
        ("http://me:pw@host", "http://host"),
    ],
)
def test_passwords_are_taken_out(text: str, expected: str) -> None:
    assert without_password(text) == expected
    assert without_password(f"sweep.storage={text}") == f"sweep.storage={expected}"


@pytest.mark.fault("F3")
@pytest.mark.soak
def test_three_hosts_killed_at_random_lose_nothing(server: Server, tmp_path: Path) -> None:
    """kill -9 of the sweep, 12 times; each trial ends with it. The database loses its connections, once."""
    hosts = [Host(tmp_path / name, server.url) for name in "abc"]
    for host in hosts:
        host.plan(pace=0.15)
        host.sweep = host.sweep.with_name("soak")
    argv = ("sweep.name=soak", "sweep.trials=40", "sweep.workers=2", "optimizer.momentum=interval(0,0.9)")
    chance, running = random.Random(0), [host.start(*argv) for host in hosts]
    for number in range(12):
        time.sleep(chance.uniform(0.3, 2.0))
        which = chance.randrange(3)
        running[which].kill()
        running[which].communicate()
        running[which] = hosts[which].start(*argv)
        if number == 6:
            server.stop()
            server.start()
    for process in running:
        finish(process)
    done = [path for host in hosts for path in host.sweep.glob("trial_*/summary.json")]
    assert {path.parent.name for path in done} == {f"trial_{n:04d}" for n in range(40)}
    for host in hosts:
        rows = host.rows()
        assert [row["state"] for row in rows] == ["complete"] * 40
        assert len({(row["optimizer.lr"], row["optimizer.momentum"]) for row in rows}) == 40
    started = Counter(name for host in hosts for name, times in host.starts().items() for _ in range(times))
    assert sum(started.values()) <= 40 + 12 * 2  # nothing but what a kill took
