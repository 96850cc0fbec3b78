"""Batch jobs on a real Slurm: requeued, or stopped by their time limit, they end as if nothing had happened.

Each test submits its own job and waits for it. Where a job is stopped in the middle, its model holds the
training at a step until the signal comes, so that trainings need not be long.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import QUICK, merged
from holding import ENTRY_POINTS, HOLD_AT

from imclass.runs.same_run import differences

pytestmark = pytest.mark.slurm
SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = "--cpus-per-task=1", "--time=60"
EPOCHS = 400
LONG = f"train.epochs={EPOCHS}", "train.eval_every=50ep", "train.log_every=10ep", "logger.quiet=true"
HELD = "model=held_lenet", "model.dropout=0.2", "train.eval_every=5st", "logger.quiet=true"
WIDE = "model=held_speednet", "train.eval_every=5st", "logger.quiet=true"
LIMITED = "--cpus-per-task=1", "--time=1", "--signal=B:USR1@20"  # Slurm warns up to a minute early


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


JOBS: list[str] = []  # of this test


def submit(script: str, options: tuple[str, ...], *overrides: str) -> str:
    """Return the number of the job."""
    command = "sbatch", "--parsable", *options, f"scripts/slurm/{script}"
    JOBS.append(slurm(*command, *merged(QUICK, overrides)))
    return JOBS[-1]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Cancel what a failed test leaves: the next one needs its cores."""
    JOBS.clear()
    yield
    if JOBS:
        subprocess.run(["scancel", "--quiet", *JOBS], capture_output=True)


def facts(job: str) -> dict[str, str]:
    words = slurm("scontrol", "show", "job", job).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def wait(what: str, ready: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.2)


def ended(job: str) -> bool:
    """Return whether the job is over.

    Slurm lets a requeued one wait for two minutes: start it now, but not in the very second in which it was
    requeued, in which it cannot start ("Job credential revoked").
    """
    found = facts(job)
    if found["JobState"] == "PENDING" and found["Reason"] == "BeginTime":
        time.sleep(1.5)
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True)
    return found["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")


def the_run(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like the checkout, from which jobs are submitted."""
    folder = tmp_path_factory.mktemp("slurm")
    shutil.copytree(SCRIPTS, folder / "scripts")
    metadata = folder / "packages/held-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: held\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = folder / "packages", Path(__file__).parent, os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


@pytest.fixture
def hold(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let `count` trainings of jobs submitted from now on stay at a step; wait for them with `held`."""
    (folder := place / "hold").mkdir(exist_ok=True)
    monkeypatch.setenv("HOLD", str(folder))
    return lambda count: [(folder / str(number)).touch() for number in range(count)]


def held() -> bool:
    return not any(Path(os.environ["HOLD"]).iterdir())


def whole(name: str, *overrides: str, launcher: str = "") -> Path:
    """Train to the end without a batch system; return the run folder."""
    command = [sys.executable, "-m", *shlex.split(launcher), "imclass.train", f"name={name}"]
    subprocess.run([*command, *merged(QUICK, overrides)], check=True, capture_output=True)
    return Path("outputs") / name


@pytest.mark.fault("R7")
def test_requeued_in_the_middle(place: Path, hold: Callable[[int], None]) -> None:
    hold(1)
    job, folder = submit("train.sbatch", SMALL, "output_dir=requeued", *HELD), place / "requeued"
    wait("its middle", held)
    slurm("scontrol", "requeue", job)
    wait("the job's end", lambda: ended(job))
    found = facts(job)
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1")
    log = (the_run(folder) / "train.log").read_text()
    assert f"stopped by SIGTERM at step {HOLD_AT}" in log
    assert f"resuming at step {HOLD_AT}" in log
    assert differences(the_run(folder), whole("requeued", *HELD)) == []


def test_the_time_limit_warns_and_the_job_goes_on(place: Path) -> None:
    """A training that takes a minute here, however fast the machine is."""
    seconds = json.loads((whole("long", *LONG) / "summary.json").read_text())["seconds"]["train"]
    longer = f"train.epochs={round(60 * EPOCHS / seconds)}", *LONG[1:]
    job, folder = submit("train.sbatch", LIMITED, "output_dir=limited", *longer), place / "limited"
    wait("the warning", lambda: int(facts(job)["Restarts"]) >= 1)
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=20")  # once is enough
    wait("the job's end", lambda: ended(job), seconds=600)
    assert facts(job)["JobState"] == "COMPLETED"
    log = (place / f"slurm-{job}.log").read_text()
    assert "exit code 75: requeued; resumes when the job starts again" in log
    assert differences(the_run(folder), whole("limited", *longer)) == []


def test_an_array_shares_a_sweep_though_one_task_is_killed_and_one_warned(
    place: Path, hold: Callable[[int], None]
) -> None:
    """One trial ends undisturbed, one is in the middle on either task, one is not begun."""
    search = "model=held_lenet", "model.dropout=0,0.1,0.2,0.3", "sweep.sampler=grid", "sweep.pruner=none"
    search = (*search, "logger.quiet=true")
    hold(2)
    job = submit("sweep.sbatch", (*SMALL, "--array=0-1"), "sweep.name=array", *search)
    folder = place / "outputs/sweeps/array"
    done = "trial_*/report.html"
    wait("one trial and the middle of two", lambda: held() and any(folder.glob(done)))
    assert len(list(folder.glob(done))) == 1
    for line in slurm("scontrol", "listpids", facts(f"{job}_0")["JobId"]).splitlines()[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    slurm("scancel", "--batch", "--signal=USR1", f"{job}_1")
    wait("the array's end", lambda: ended(f"{job}_1") and ended(f"{job}_0"))
    killed, warned = facts(f"{job}_0"), facts(f"{job}_1")
    assert (killed["JobState"], killed["Restarts"]) == ("FAILED", "0")
    assert (warned["JobState"], warned["Restarts"]) == ("COMPLETED", "1")
    assert len(list(folder.glob(done))) == 4
    command = [sys.executable, "-m", "imclass", "sweep", "sweep.name=whole", *merged(QUICK, search)]
    subprocess.run(command, check=True, capture_output=True)
    for trial in sorted((place / "outputs/sweeps/whole").glob("trial_*")):
        assert differences(folder / trial.name, trial) == []


def test_two_processes_are_warned_then_requeued_and_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, hold: Callable[[int], None]
) -> None:
    monkeypatch.setenv("PROCESSES", "2")
    options = "--nodes=1", "--cpus-per-task=2", "--time=60"
    hold(1)
    job = submit("train_ddp.sbatch", options, "output_dir=wide", *WIDE)
    wait("its middle", held)
    hold(1)
    slurm("scancel", "--batch", "--signal=USR1", job)
    wait("the middle of the rest", lambda: not ended(job) and held())
    assert facts(job)["Restarts"] == "1"
    slurm("scontrol", "requeue", job)
    wait("the job's end", lambda: ended(job))
    found = facts(job)
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "2")
    run = the_run(place / "wide")
    log = (run / "train.log").read_text()
    for step in (HOLD_AT, 2 * HOLD_AT):
        assert f"stopped by SIGTERM at step {step}" in log
    launcher = "torch.distributed.run --standalone --nproc-per-node=2 -m"
    assert differences(run, whole("wide", *WIDE, launcher=launcher)) == []


def test_a_cancelled_job_stays_cancelled(place: Path) -> None:
    job = submit("train.sbatch", SMALL, "output_dir=cancelled", "train.epochs=3000", "logger.quiet=true")
    wait("a first step", lambda: any((place / "cancelled").glob("*/metrics.jsonl")))
    slurm("scancel", job)
    wait("the job's end", lambda: ended(job))
    time.sleep(2)  # the script's last words
    found = facts(job)
    assert (found["JobState"], found["Restarts"]) == ("CANCELLED", "0")


def test_a_mistake_is_not_requeued(place: Path) -> None:
    job = submit("train.sbatch", SMALL, "train.batch_sizes=3")
    wait("the job's end", lambda: ended(job))
    assert facts(job)["ExitCode"] == "2:0"
    assert "did you mean" in (place / f"slurm-{job}.log").read_text()


def test_the_launcher_makes_a_job_of_each_run_and_tells_which_failed(place: Path) -> None:
    command = [sys.executable, "-m", "imclass.train", "-m", "hydra/launcher=slurm", *QUICK]
    options = "hydra.launcher.cpus_per_task=1", "name=null", "dataset.val_split=16,9999"
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert "imclass: dataset.val_split=9999: leaves no training images" in done.stderr
    finished = [run for run in (place / "outputs").glob("slurm*") if (run / "report.html").exists()]
    assert len(finished) == 1


def test_what_slurm_refuses_is_told_in_one_line(place: Path) -> None:
    command = [sys.executable, "-m", "imclass.train", "-m", "hydra/launcher=slurm", *QUICK]
    done = subprocess.run(
        [*command, "hydra.launcher.partition=none", "seed=0,1"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "imclass: the batch system refuses the jobs: sbatch: error: " in done.stderr
