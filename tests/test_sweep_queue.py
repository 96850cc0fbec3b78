"""The queue of a sweep: failures, kills, resumes, pruning, joining. Rows F2, F3."""

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stub_trial
from conftest import Outcome
from optuna.trial import TrialState
from stub_trial import score

from imclass.config.metric import ACCURACY
from imclass.errors import EXIT_INTERRUPTED
from imclass.runs.locks import try_lock
from imclass.sweeps import workers
from imclass.sweeps.journal import JournalStore, open_study
from imclass.sweeps.ledger import Counts
from imclass.sweeps.outcome import outcome_of
from imclass.sweeps.progress import describe
from imclass.sweeps.request import CLAIMS
from imclass.sweeps.store import Held
from imclass.sweeps.study import REPEATS, SEARCH

SPACE = "optimizer.lr=tag(log,interval(1e-3,1))"
BASE = ("sweep.name=s", SPACE, "sweep.sampler=random", "sweep.pruner=none")
# `imclass ...` with the stub, as a process of its own.
PROGRAM = (
    "import sys, stub_trial; from imclass import cli; from imclass.sweeps import workers; "
    "workers.trial_command = stub_trial.command(workers.trial_command); sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.fixture
def sweep(imclass: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run `imclass sweep` with BASE and more in this process, with stubs for trainings."""
    monkeypatch.setattr(workers, "trial_command", stub_trial.command(workers.trial_command))
    monkeypatch.setattr("imclass.sweeps.queue._POLL_SECONDS", 0.02)
    return lambda *argv: imclass("sweep", *merge(*argv))


def merge(*argv: str) -> list[str]:
    keys = {word.split("=")[0] for word in argv}
    return [word for word in BASE if word.split("=")[0] not in keys] + list(argv)


def start(*argv: str) -> subprocess.Popen[str]:
    """Start `imclass sweep` with stubs as a process."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "sweep", *merge(*argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def plan(**acts: Any) -> None:
    Path("plan.json").write_text(json.dumps(acts))


def rows(name: str = "s") -> list[dict[str, str]]:
    return list(csv.DictReader(Path(f"outputs/sweeps/{name}/sweep.csv").read_text().splitlines()))


def starts(name: str = "s") -> dict[str, int]:
    files = sorted(Path(f"outputs/sweeps/{name}").glob("trial_*/starts"))
    return {file.parent.name: len(file.read_text().splitlines()) for file in files}


def saved() -> int:
    """Return how many evaluations all trials together have saved."""
    files = Path("outputs/sweeps/s").glob("trial_*/checkpoint")
    return sum(int(file.read_text() or 0) for file in files)


def parents() -> set[int]:
    """Return the processes that have started a trial."""
    files = Path("outputs/sweeps/s").glob("trial_*/starts")
    return {int(line.split()[2]) for file in files for line in file.read_text().splitlines()}


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def recorded() -> set[str]:
    """Return the folders of the trials that the sweep has recorded as complete."""
    if not Path("outputs/sweeps/s/sweep.yaml").exists():
        return set()
    trials = open_study(Path("outputs/sweeps/s"), SEARCH, ACCURACY).trials
    return {f"trial_{trial.number:04d}" for trial in trials if trial.state.name == "COMPLETE"}


def finished(name: str = "s") -> list[str]:
    return [p.parent.name for p in Path(f"outputs/sweeps/{name}").glob("trial_*/summary.json")]


def runs(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.fault("F2")
def test_failures_of_four_kinds_do_not_end_the_rest(sweep) -> None:
    acts = {f"trial_{n:04d}": [("raise", "exit 7", "kill", "abort")[n % 4]] for n in range(0, 24, 3)}
    plan(**acts)
    outcome = sweep("sweep.trials=24", "sweep.workers=4", "sweep.retries=0")
    assert outcome.code == 1, outcome.out
    assert "8 trials failed, see above" in outcome.err
    assert Counter(row["state"] for row in rows()) == {"complete": 16, "failed": 8}
    causes = {
        "raise": "exit 1: RuntimeError: the sky is falling",
        "exit 7": "exit 7: start 1 of",
        "kill": "SIGKILL (kill -9, or out of memory)",
        "abort": "SIGABRT",
    }
    for row in rows():
        if row["state"] == "failed":
            name = f"trial_{int(row['trial']):04d}"
            assert row["cause"].startswith(causes[acts[name][0]])
            assert f"start 1 of {name}" in Path(row["log"]).read_text()
            assert f"{name} failed: {row['cause']}" in outcome.out
            assert f"\n{name} failed: {row['cause']} ({row['log']})\n" in outcome.out
            assert row["cause"].split(":")[0] in Path("outputs/sweeps/s/sweep.html").read_text()
    assert "8 failed" in outcome.out
    assert set(starts().values()) == {1}


@pytest.mark.fault("F2")
def test_a_failed_trial_is_tried_again_in_its_own_folder(sweep) -> None:
    plan(trial_0001=["kill", "raise", ""], trial_0002=["kill"], trial_0003=["exit 2"])
    outcome = sweep("sweep.trials=5", "sweep.retries=2")
    assert outcome.code == 1, outcome.out
    by_number = {row["trial"]: row for row in rows()}
    assert (by_number["1"]["state"], by_number["1"]["attempts"]) == ("complete", "3")
    assert (by_number["2"]["state"], by_number["2"]["attempts"]) == ("failed", "3")
    assert (by_number["3"]["state"], by_number["3"]["attempts"]) == ("failed", "1")  # a mistake stays one
    assert len(rows()) == 5
    plan()
    again = sweep("sweep.trials=5", "sweep.retries=2")
    assert again.code == 0, again.err
    assert {row["state"] for row in rows()} == {"complete"}
    assert starts() == {f"trial_{n:04d}": k for n, k in enumerate([1, 3, 4, 2, 1])}


def test_the_same_command_again_runs_nothing(sweep) -> None:
    assert sweep("sweep.trials=3").code == 0
    before = starts()
    outcome = sweep("sweep.trials=3")
    assert (outcome.code, starts()) == (0, before)
    assert sweep("sweep.trials=5").code == 0
    assert len(starts()) == 5
    rates = [row["optimizer.lr"] for row in rows()]
    assert len(set(rates)) == 5, "a resumed sweep must not draw the first ones again"


@pytest.mark.fault("F3")
def test_a_killed_sweep_resumes_and_runs_nothing_twice(sweep, imclass) -> None:
    plan(pace=0.15, trial_0002=["wait", ""])
    argv = ("sweep.trials=8", "sweep.workers=2")
    process = start(*argv)
    wait_until(lambda: len(recorded()) >= 2)
    wait_until(lambda: "trial_0002" in starts())
    process.kill()
    process.communicate()
    done, begun = recorded(), set(starts())
    assert done < begun
    outcome = sweep(*argv)
    assert outcome.code == 0, outcome.err
    assert len(rows()) == len(finished()) == 8
    assert all(row["state"] == "complete" for row in rows())
    counts = starts()
    assert all(counts[name] == 1 for name in done)
    assert sum(counts.values()) <= 8 + len(begun - done)
    for name in begun - done:  # resumed, not begun anew: each evaluation is there once
        lines = Path(f"outputs/sweeps/s/{name}/metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]


@pytest.mark.fault("F3")
def test_a_killed_sweep_leaves_no_orphans(sweep) -> None:
    plan(all=["wait"])
    process = start("sweep.trials=2", "sweep.workers=2")
    wait_until(lambda: len(list(Path("outputs/sweeps/s").glob("trial_*/checkpoint"))) == 2)
    pids = [int(p.read_text().split()[0]) for p in Path("outputs/sweeps/s").glob("trial_*/starts")]
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(runs, pids)))


def test_a_stopped_sweep_lets_its_trials_save(sweep) -> None:
    argv = ("sweep.trials=3", "sweep.workers=2")
    signals = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1
    plan(trial_0000=[*["wait"] * 3, ""], trial_0001=[*["wait"] * 3, ""])
    for times, number in enumerate(signals, start=1):
        process = start(*argv)
        wait_until(lambda times=times: saved() == 2 * times)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == EXIT_INTERRUPTED, err
        assert "to resume: imclass sweep sweep.name=s" in err
        assert "Traceback" not in err
        assert {row["state"] for row in rows()} == {"interrupted"}
    outcome = sweep(*argv)
    assert outcome.code == 0, outcome.err
    assert "resuming: 0 of 3 done, 0 running, 2 interrupted, " in outcome.out
    assert list(starts().values()) == [4, 4, 1]


@pytest.mark.parametrize("pruner", [pytest.param("median", marks=pytest.mark.soak), "hyperband"])
def test_pruning_stops_politely_and_keeps_the_checkpoint(sweep, pruner: str) -> None:
    plan(pace=0.1)
    epochs = f"train.epochs={stub_trial.EVALUATIONS}"
    outcome = sweep("sweep.trials=14", f"sweep.pruner={pruner}", "optimizer.lr=choice(0.1,1e-9)", epochs)
    assert outcome.code == 0, outcome.err
    pruned = [row for row in rows() if row["state"] == "pruned"]
    assert pruned
    assert all(row["optimizer.lr"] == "1e-09" or row["optimizer.lr"] == "1e-9" for row in pruned)
    for row in pruned:
        folder = Path(f"outputs/sweeps/s/trial_{int(row['trial']):04d}")
        assert 1 <= int((folder / "checkpoint").read_text()) <= stub_trial.EVALUATIONS
        assert not (folder / "summary.json").exists()
        assert float(row["val_accuracy"]) == pytest.approx(score(1e-9))
        log = Path(f"outputs/sweeps/s/logs/{folder.name}.log").read_text()
        assert log.endswith("imclass sweep: pruned\n")
    assert f"{len(pruned)} pruned" in outcome.out
    study = open_study(Path("outputs/sweeps/s"), SEARCH, ACCURACY)
    assert all(min(trial.intermediate_values) >= 1 for trial in study.trials)


def test_a_diverged_trial_is_no_failure(sweep) -> None:
    plan(trial_0001=["exit 3"])
    outcome = sweep("sweep.trials=3")
    assert outcome.code == 0, outcome.err
    assert Counter(row["state"] for row in rows()) == {"complete": 2, "diverged": 1}


def test_two_machines_share_a_budget(sweep) -> None:
    plan(all=["hold"])
    main = start("sweep.trials=12", "sweep.workers=2")
    wait_until(lambda: len(starts()) == 2)
    beside = start("sweep.trials=12", "sweep.workers=2", "sweep.join=true")
    wait_until(lambda: len(starts()) == 4)
    refused = sweep("sweep.trials=12")
    assert refused.code == 2
    assert f"is in use by process {main.pid} on" in refused.err
    assert "sweep.join=true" in refused.err
    assert parents() == {main.pid, beside.pid}
    Path("go").touch()
    for process in (beside, main):
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert len(starts()) == len(rows()) == 12
    assert set(starts().values()) == {1}


@pytest.mark.soak
def test_all_of_several_may_join_from_the_beginning(sweep) -> None:
    plan(all=["hold"])
    processes = [start("sweep.trials=9", "sweep.join=true") for _ in range(3)]
    wait_until(lambda: len(starts()) == 3)
    assert parents() == {process.pid for process in processes}
    Path("go").touch()
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert len(starts()) == 9
    assert set(starts().values()) == {1}
    assert sweep("sweep.trials=9", "sweep.join=true").code == 0
    assert len(rows()) == 9


@pytest.mark.soak
def test_who_has_joined_stays_and_takes_over_from_one_that_is_killed(sweep) -> None:
    plan(trial_0000=["wait", ""])
    argv = ("sweep.trials=1", "sweep.seeds=2", "sweep.join=true")
    first = start(*argv)
    wait_until(lambda: list(Path("outputs/sweeps/s").glob("trial_0000/checkpoint")))
    second = start(*argv)
    assert second.stdout is not None
    lines = [second.stdout.readline() for _ in range(2)]
    assert "1 running" in lines[1], lines  # it has found nothing to take
    first.kill()
    first.communicate()
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert starts() == {"trial_0000": 2, "trial_0000_seed_1": 1, "trial_0000_seed_2": 1}
    assert parents() == {first.pid, second.pid}


def test_only_a_session_that_has_not_joined_tries_again_what_was_given_up(sweep) -> None:
    plan(trial_0000=["raise"], trial_0001=["exit 2"])
    argv = ("sweep.trials=2", "sweep.retries=2")
    for _ in range(2):  # an array of jobs that is requeued does not retry forever
        outcome = sweep(*argv, "sweep.join=true")
        assert outcome.code == 1
        assert "the same command without sweep.join=true tries again" in outcome.err
        assert starts() == {"trial_0000": 3, "trial_0001": 1}
    assert sweep(*argv).code == 1
    assert starts() == {"trial_0000": 5, "trial_0001": 2}


def test_a_changed_search_space_is_refused_with_the_difference(sweep) -> None:
    assert sweep("sweep.trials=1", "train.epochs=2").code == 0
    outcome = sweep("optimizer.lr=tag(log,interval(1e-4,1))", "train.epochs=3", "sweep.metric=val.loss")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    for text in (
        "optimizer.lr: tag(log,interval(1e-3,1)) -> tag(log,interval(1e-4,1))",
        "train.epochs: 2 -> 3",
        "sweep.metric: val.accuracy -> val.loss",
    ):
        assert text in outcome.err
    assert len(starts()) == 1


def test_what_figures_do_not_depend_on_may_change(sweep) -> None:
    assert sweep("sweep.trials=1", "optimizer.momentum=0.9", "seed=0").code == 0
    outcome = sweep("sweep.trials=2", "optimizer.momentum=0.90", "logger.tensorboard=false")
    assert outcome.code == 0, outcome.err
    assert [int(row["trial"]) for row in rows()] in ([0, 1], [1, 0])


def test_a_renamed_sweep_resumes(sweep) -> None:
    assert sweep("sweep.trials=2").code == 0
    Path("outputs/sweeps/s").rename("outputs/sweeps/t")
    outcome = sweep("sweep.trials=3", "sweep.name=t")
    assert outcome.code == 0, outcome.err
    assert starts("t") == {"trial_0000": 1, "trial_0001": 1, "trial_0002": 1}


def test_nobody_can_take_a_trial_while_it_is_ended(sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shares the sweep would find it owed and held, or running and free."""
    locked, release = [], JournalStore.release

    def watched(store: JournalStore, held: Held) -> None:
        locked.append(try_lock(Path("outputs/sweeps/s", CLAIMS)) is None)
        release(store, held)

    monkeypatch.setattr(JournalStore, "release", watched)
    plan(trial_0000=["raise", ""])
    assert sweep("sweep.trials=2").code == 0
    assert locked == [True, True, True]


def test_the_cause_is_that_of_the_last_attempt(tmp_path: Path) -> None:
    log = tmp_path / "trial.log"
    log.write_text("RuntimeError: of the first attempt\n")
    how = {"pruned": False, "run": tmp_path, "log": log, "metric": "accuracy", "seconds": 1.0}
    outcome = outcome_of(-signal.SIGKILL, begin=log.stat().st_size, **how)
    assert outcome.attributes["cause"] == "SIGKILL (kill -9, or out of memory)"
    assert "of the first" in outcome_of(-signal.SIGKILL, begin=0, **how).attributes["cause"]


def test_a_damaged_record_costs_a_curve(sweep, imclass) -> None:
    assert sweep("sweep.trials=2").code == 0
    file = Path("outputs/sweeps/s/trial_0001/metrics.jsonl")
    file.write_text("{" + file.read_text())
    outcome = imclass("report", "s")
    assert (outcome.code, outcome.err.count("\n")) == (0, 1), outcome.err
    assert f"{file}: line 1 is not valid (not JSON: " in outcome.err


def test_the_time_left_counts_what_runs_elsewhere() -> None:
    counts = Counts(complete=2, running=4, total=10, seconds=[600.0, 600.0])
    assert describe(counts, ACCURACY, workers=1).endswith("about 20 min 0 s left")
    assert describe(counts, ACCURACY, workers=8).endswith("about 10 min 0 s left")


def test_an_experiment_that_was_edited_is_refused_with_the_difference(sweep) -> None:
    def write(epochs: int, tensorboard: str) -> None:
        Path("mine.yaml").write_text(
            f"# @package _global_\ntrain: {{epochs: {epochs}}}\nlogger: {{tensorboard: {tensorboard}}}\n"
        )

    write(2, "true")
    assert sweep("sweep.trials=1", "experiment=mine.yaml").code == 0
    write(3, "true")
    outcome = sweep("sweep.trials=2", "experiment=mine.yaml")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "this sweep has other settings (train.epochs: 2 -> 3);" in outcome.err
    write(2, "false")  # which changes no figure
    assert sweep("sweep.trials=2", "experiment=mine.yaml").code == 0


def test_the_best_are_repeated_on_fresh_seeds(sweep) -> None:
    outcome = sweep("sweep.trials=6", "sweep.seeds=3", "sweep.top=2", "sweep.workers=2")
    assert outcome.code == 0, outcome.err
    repeated = [row for row in rows() if row["seeds"]]
    assert len(repeated) == 2
    for row in repeated:
        value = score(float(row["optimizer.lr"]))
        assert float(row["val_accuracy"]) == pytest.approx(value, abs=1e-6)
        assert float(row["val_accuracy_mean"]) == pytest.approx(value + 0.002, abs=1e-6)
        assert float(row["val_accuracy_std"]) == pytest.approx(0.001, abs=1e-6)
    assert [row["trial"] for row in rows()[:2]] == [row["trial"] for row in repeated]
    assert len(starts()) == 12
    assert "± 0.10 % (3)" in outcome.out
    study = open_study(Path("outputs/sweeps/s"), REPEATS, ACCURACY)
    assert {t.user_attrs["seed"] for t in study.trials} == {1, 2, 3}


def test_a_better_one_found_since_is_the_best_though_only_others_have_fresh_seeds(sweep) -> None:
    argv = ("sweep.sampler=grid", "optimizer.lr=choice(1e-9,1e-8,0.1)", "sweep.top=1")
    assert sweep(*argv, "sweep.trials=2", "sweep.seeds=2").code == 0
    assert [row["trial"] for row in rows()] == ["1", "0"]
    page = Path("outputs/sweeps/s/sweep.html")
    assert "sweep.trials=2 sweep.seeds=2</pre>" in page.read_text()
    assert sweep(*argv, "sweep.trials=3").code == 0
    assert [row["trial"] for row in rows()] == ["2", "1", "0"]
    assert "lr: 0.1" in Path("outputs/sweeps/s/best.yaml").read_text()
    assert "sweep.trials=3</pre>" in page.read_text()  # how to repeat it


def test_a_failed_repetition_is_a_failure(sweep) -> None:
    plan(trial_0001_seed_1=["raise"])
    argv = ("sweep.trials=2", "sweep.seeds=2", "sweep.top=2", "sweep.retries=0")
    outcome = sweep(*argv)
    assert outcome.code == 1
    assert "a trial failed, see above; sweep.retries=1 tries again" in outcome.err
    assert "trial_0001_seed_1 failed: exit 1: RuntimeError" in outcome.out
    assert sorted(row["seeds"] for row in rows()) == ["1", "2"]
    plan()
    assert sweep(*argv[:-1], "sweep.retries=1").code == 0
    assert [row["seeds"] for row in rows()] == ["2", "2"]


@pytest.mark.fault("S7")
def test_a_folder_may_have_any_name(sweep) -> None:
    outcome = sweep(
        "sweep.trials=2", "output_dir='it is (mine), 3'", "optimizer.lr=0.1,0.2", "sweep.metric=val.loss"
    )
    assert outcome.code == 0, outcome.err
    folder = Path("it is (mine), 3/sweeps/s")
    assert len(list(folder.glob("trial_*/summary.json"))) == 2
    assert (folder / "sweep.html").exists()


def test_each_worker_has_its_gpu(sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-ab")
    plan(pace=0.05)
    outcome = sweep("sweep.trials=8", "sweep.per_gpu=2", "device=auto")
    assert "4 side by side on 2 GPUs" in outcome.out
    used = {p.read_text().split()[1] for p in Path("outputs/sweeps/s").glob("trial_*/starts")}
    assert used == {"4", "GPU-ab"}


@pytest.mark.fault("F3")
def test_a_torn_journal_is_mended(sweep) -> None:
    assert sweep("sweep.trials=2").code == 0
    with Path("outputs/sweeps/s/journal.log").open("a") as file:
        file.write('{"op_code":4,"worker')  # killed while it wrote
    outcome = sweep("sweep.trials=4")
    assert outcome.code == 0, outcome.err
    assert len(rows()) == 4


def test_failures_recorded_by_an_earlier_version_are_refused(sweep, imclass) -> None:
    assert sweep("sweep.trials=2").code == 0
    study = open_study(Path("outputs/sweeps/s"), SEARCH, ACCURACY)
    study.tell(study.ask(), state=TrialState.FAIL)
    for outcome in (sweep("sweep.trials=4"), imclass("report", "s")):
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "has failed trials of imclass 0.1" in outcome.err


@pytest.mark.fault("F3")
@pytest.mark.soak
def test_a_sweep_killed_20_times_loses_no_trial_and_runs_none_twice(sweep) -> None:
    """kill -9, soon after it has started a trial; its trials end with it."""
    plan(pace=0.03)
    argv = ("sweep.trials=80", "sweep.workers=2", "optimizer.momentum=interval(0,0.9)")
    chance, done = random.Random(0), {}
    for _ in range(20):
        begun, process = sum(starts().values()), start(*argv)
        wait_until(lambda begun=begun: sum(starts().values()) > begun)
        time.sleep(chance.uniform(0.0, 0.3))
        process.kill()
        assert process.communicate()[1] == ""
        assert process.returncode == -signal.SIGKILL  # not at its end
        done |= {folder: starts()[folder] for folder in recorded() - done.keys()}
    process = start(*argv)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert [row["state"] for row in rows()] == ["complete"] * 80
    assert len({(row["optimizer.lr"], row["optimizer.momentum"]) for row in rows()}) == 80
    assert done.items() <= starts().items()  # what was recorded as complete was not started again
    for file in Path("outputs/sweeps/s").glob("trial_*/metrics.jsonl"):  # each evaluation once
        assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]
