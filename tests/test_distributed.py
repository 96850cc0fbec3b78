"""Many processes train as one does. Real processes, forked from a server that has torch imported."""

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from conftest import QUICK, merged, records

from imclass import cli, endings, errors
from imclass.commands.selftest.points import At, Patch
from imclass.commands.selftest.trainings import SERVER
from imclass.config.check import check_config
from imclass.config.schema import AugmentConfig, DeviceConfig
from imclass.data.augment import Augment
from imclass.data.dataset import Split
from imclass.data.loader import EvalLoader, Images, TrainLoader
from imclass.errors import LostPeer
from imclass.evaluation.metrics import Meter
from imclass.machine.device import resolve_device
from imclass.machine.joining import lost_peers_named
from imclass.machine.processes import Group, Processes
from imclass.machine.signals import answer_signals
from imclass.runs.checkpoint import read_checkpoint
from imclass.runs.folder import open_run
from imclass.runs.same_run import differences
from imclass.runs.tensorboard import event_files
from imclass.training.build import build_job
from imclass.training.trainer import Trainer

MIXED = ["augment.crop=2", "augment.flip=true", "augment.cutout=4", "augment.random_erasing=0.3"]
MIXED += ["augment.randaugment=1", "augment.mixup=0.4", "augment.cutmix=0.5"]


class Ended(NamedTuple):
    codes: list[int]
    logs: list[str]  # what each process printed


def run_rank(rank: int, size: int, port: int, argv: list[str], folder: str, *patches: Patch) -> None:
    """Be one process of a job: `imclass train` with the environment that torchrun gives."""
    os.setsid()
    os.chdir(folder)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    sys.stdout = sys.stderr = Path(f"log{rank}.txt").open("w")  # noqa: SIM115
    endings.LAUNCHER_SECONDS = 1.0
    for patch in patches:
        patch()
    code = cli.main(["train", *argv])
    sys.stdout.flush()
    os._exit(code)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def found_its_port_taken(log: str) -> bool:
    return "EADDRINUSE" in log


class OnRank(NamedTuple):
    rank: int
    patch: Patch

    def __call__(self) -> None:
        if os.environ["RANK"] == str(self.rank):
            self.patch()


def launch(size: int, argv: Sequence[str], *patches: Patch) -> Ended:
    """Run a job of `size` processes to its end; on another port where the first one was taken meanwhile."""
    for _ in range(3):
        end = launch_on(free_port(), size, argv, *patches)
        if not found_its_port_taken(end.logs[0]):
            break
    return end


def launch_on(port: int, size: int, argv: Sequence[str], *patches: Patch) -> Ended:
    processes = [
        SERVER.Process(target=run_rank, args=(rank, size, port, list(argv), str(Path.cwd()), *patches))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 240
    for rank, process in enumerate(processes):
        process.join(max(0.1, deadline - time.monotonic()))
        process.kill()  # one that hangs: its exit code shows it
        process.join()
        if rank == 0 and found_its_port_taken(Path("log0.txt").read_text()):
            deadline = 0.0  # the others wait for it
    logs = [Path(f"log{rank}.txt").read_text() for rank in range(size)]
    return Ended([process.exitcode for process in processes], logs)


def train(size: int, name: str, *overrides: str, code: int = 0, patches: Sequence[Patch] = ()) -> Path:
    """Train the quick run in `size` processes; return its folder. All exit with `code`."""
    end = launch(size, [f"name={name}", *merged(QUICK, overrides)], *patches)
    assert end.codes == [code] * size, end.logs
    return Path("outputs", name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path / "outputs"


def pictures(count: int, processes: Processes) -> Images:
    device = resolve_device(
        DeviceConfig(type="cpu", precision="fp32", threads=1), steps=1, processes=processes
    )
    draws = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 3, 12, 12), dtype=torch.uint8, generator=draws)
    return Images(Split(images, torch.arange(count) % 4, None), device, (12, 12), [0.5] * 3, [0.25] * 3)


@pytest.mark.parametrize(("count", "size"), [(16, 1), (16, 2), (16, 3), (2, 3), (64, 5)])
def test_slices_make_up_the_whole(count: int, size: int) -> None:
    whole = torch.arange(count)
    slices = [whole[Processes(rank, size).slice_of(count)] for rank in range(size)]
    assert [s.tolist() for s in slices] == [s.tolist() for s in whole.tensor_split(size)]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_every_image_is_augmented_as_in_one_process(size: int, mixing: dict[str, float]) -> None:
    crops = {"resized_crop": True} if size == 3 else {"crop": 2, "crop_padding": "reflect"}
    on = {**crops, "cutout": 4, "random_erasing": 0.5, "randaugment": 2, "brightness": 0.4, "contrast": 0.4}
    config = AugmentConfig(flip="alternating" if size == 2 else True, **on, **mixing)
    one, *many = (
        TrainLoader(pictures(50, processes), 16, Augment(config, 4), seed=3)
        for processes in (Processes(), *(Processes(rank, size) for rank in range(size)))
    )
    for step in range(7):  # into the third epoch
        images, targets = one.batch(step)
        slices = [loader.batch(step) for loader in many]
        torch.testing.assert_close(torch.cat([s[0] for s in slices]), images, rtol=0, atol=1e-6)
        torch.testing.assert_close(torch.cat([s[1] for s in slices]), targets, rtol=0, atol=1e-6)
        assert len(slices[0][0]) - len(slices[-1][0]) == 16 % size


@pytest.mark.parametrize("count", [1, 2, 20, 21, 22])
def test_every_image_is_evaluated_once_in_equally_many_batches(count: int) -> None:
    slices = [list(EvalLoader(pictures(count, Processes(rank, 3)), 7)) for rank in range(3)]
    (images,) = [torch.cat([batch for s in slices for batch, _ in s])]
    expected = torch.cat([batch for batch, _ in EvalLoader(pictures(count, Processes()), 7)])
    assert torch.equal(images, expected)
    assert len({len(s) for s in slices}) == 1


def test_figures_that_were_saved_by_more_or_fewer_processes_are_kept() -> None:
    state = {"sums": torch.tensor([[6.0, 2.0, 4.0], [2.0, 1.0, 4.0]])}
    meters = [Meter(torch.device("cpu"), Processes(rank, 3)) for rank in range(3)]
    for meter in meters:
        meter.load_state_dict(state)
    assert sum(meter.sums for meter in meters).tolist() == [8.0, 3.0, 8.0]
    pair = Meter(torch.device("cpu"), Processes(1, 2))
    pair.load_state_dict(state)
    assert pair.sums.tolist() == [2.0, 1.0, 4.0]


UNEVEN = ["dataset.balance=true", "train.class_weights=[1,2,3,4]", "train.focal_gamma=1"]


@pytest.mark.parametrize(
    ("size", "more"),
    [
        pytest.param(2, [], marks=pytest.mark.soak),
        (3, []),
        (2, [*UNEVEN, "device.micro_batch=3", "train.ema=0.9", "train.grad_clip=0.5"]),
    ],
)
def test_several_processes_repeat_the_curve_of_one(here: Path, imclass, size: int, more: list[str]) -> None:
    """Batches of 16 and 65 test images over 3 processes are uneven. To rounding; accuracies exactly."""
    settings = [*MIXED, "dataset.synthetic.test=65", *more]
    assert imclass("train", "name=one", *merged(QUICK, settings)).code == 0
    one, expected = here / "one", records(here / "one")
    run = train(size, f"by{size}", *settings)
    got = records(run)
    assert [(r["split"], r["step"], r["images"]) for r in got] == [
        (r["split"], r["step"], r["images"]) for r in expected
    ]
    for mine, theirs in zip(got, expected, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=2e-6)
        assert mine["accuracy"] == theirs["accuracy"]
        assert mine.get("grad_norm", 0) == pytest.approx(theirs.get("grad_norm", 0), rel=1e-4)
    weights = [read_checkpoint(r / "checkpoints/last.pt")["model"] for r in (run, one)]
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)
    scores = [json.loads((r / "evaluation.json").read_text()) for r in (run, one)]
    assert scores[0]["accuracy"] == scores[1]["accuracy"]
    assert scores[0]["classes"] == scores[1]["classes"]


def save_what_was_learned() -> None:
    """Let every process store its slice, the gradients and the buffers after the step."""
    train_step = Trainer.train_step

    def saving(self: Trainer) -> None:
        step = self.progress.step
        train_step(self)
        model = self.learner.model
        found = {
            "images": self.loader.batch(step),
            "gradients": {name: p.grad for name, p in model.named_parameters() if p.requires_grad},
            "buffers": dict(model.named_buffers()),
        }
        torch.save(found, f"rank{self.processes.rank}.pt")

    Trainer.train_step = saving


def test_batch_norm_equals_a_reference_computed_by_hand(here: Path) -> None:
    """Gradients: the sum over slices, weighted by images. Running statistics: their average, so weighted."""
    more = ["model=speednet", "train.epochs=null", "train.steps=1", "dataset.synthetic.shape=[3,16,16]"]
    more += ["optimizer.momentum=0", "optimizer.nesterov=false", "augment.mixup=0.4"]
    train(3, "norm", *more, patches=[save_what_was_learned])
    settings = {"model": {"name": "speednet"}, "device": {"type": "cpu", "precision": "fp32", "threads": 1}}
    settings |= {
        "dataset": {"name": "synthetic", "synthetic": {"shape": [3, 16, 16], "classes": 4, "train": 160}}
    }
    settings |= {"optimizer": {"lr": 0.1, "momentum": 0.0, "nesterov": False}, "scheduler": {"final": 0.0}}
    trainer = build_job(open_run(check_config({**settings, "train": {"batch_size": 16}}))).trainer
    trainer.logger.close()
    fresh = trainer.learner
    start = {name: value.clone() for name, value in fresh.model.state_dict().items()}
    found = [torch.load(f"rank{rank}.pt") for rank in range(3)]
    assert [len(rank["images"][0]) for rank in found] == [6, 5, 5]
    gradients = {n: torch.zeros_like(p) for n, p in fresh.model.named_parameters() if p.requires_grad}
    statistics = {
        name: torch.zeros_like(b) for name, b in fresh.model.named_buffers() if b.is_floating_point()
    }
    for images, targets in (rank["images"] for rank in found):
        fresh.model.load_state_dict(start)
        fresh.model.train().zero_grad()
        torch.nn.functional.cross_entropy(fresh.model(images), targets).backward()
        for name in gradients:
            gradients[name] += fresh.model.get_parameter(name).grad * (len(images) / 16)
        for name, buffer in fresh.model.named_buffers():
            if name in statistics:
                statistics[name] += buffer * (len(images) / 16)
    assert statistics
    for rank in found:
        for name, gradient in gradients.items():
            torch.testing.assert_close(rank["gradients"][name], gradient, rtol=1e-4, atol=1e-6)
        for name, buffer in statistics.items():
            torch.testing.assert_close(rank["buffers"][name], buffer, rtol=1e-5, atol=1e-6)
            assert torch.equal(rank["buffers"][name], found[0]["buffers"][name])


def test_the_first_process_alone_writes_one_run_folder(here: Path, imclass) -> None:
    train(2, "two")
    assert imclass("train", "name=one", *QUICK).code == 0
    files = [
        {str(p.relative_to(here / name)) for p in (here / name).rglob("*") if "events" not in p.name}
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert len(event_files(here / "two")) == len(event_files(here / "one"))
    assert [p.name for p in here.iterdir()].count("two") == 1
    assert Path("log1.txt").read_text() == ""
    assert Path("log0.txt").read_text().count("best model") == 1
    unnamed = launch(2, QUICK)
    assert unnamed.codes == [0, 0]
    assert len(list(here.iterdir())) == 3  # one more: its name was chosen once
    again = launch(2, ["name=two", *QUICK])
    assert again.codes == [0, 0]
    assert "finished already" in again.logs[0]
    assert again.logs[1] == ""


# A model with batch norm and dropout, evaluations and saves that fall on different steps.
LONG = ["model=speednet", "dataset.synthetic.shape=[3,16,16]", "train.eval_every=5st", "train.log_every=2st"]
LONG += ["checkpoint.every=3st", "train.ema=0.9", "augment.mixup=0.4", "logger.quiet=true"]


@pytest.mark.fault("R6")
@pytest.mark.parametrize(
    ("size", "rank", "others"), [(2, 1, [1, 3]), pytest.param(3, 0, [2], marks=pytest.mark.soak)]
)
def test_a_signal_to_one_process_saves_and_stops_all_at_one_step(
    here: Path, size: int, rank: int, others: list[int]
) -> None:
    train(size, "whole", *LONG)
    asked = OnRank(rank, At("in a step", 7, signal.SIGTERM))
    end = launch(size, ["name=asked", *merged(QUICK, LONG)], asked)
    assert end.codes == [75] * size, end.logs
    run = here / "asked"
    assert json.loads((run / "summary.json").read_text())["step"] == 7
    assert read_checkpoint(run / "checkpoints/last.pt")["progress"]["step"] == 7
    assert "stopped by SIGTERM at step 7" in end.logs[0]
    assert all(log == "" for log in end.logs[1:])
    shutil.copytree(run, here / "elsewhere")
    train(size, "asked", *LONG)
    assert differences(run, here / "whole") == []
    for other in others:
        shutil.copytree(here / "elsewhere", here / f"by{other}")
        text = (here / f"by{other}/config.yaml").read_text()
        (here / f"by{other}/config.yaml").write_text(text.replace("name: asked", f"name: by{other}"))
        resumed = train(other, f"by{other}", *LONG)
        log = (resumed / "train.log").read_text()
        assert f"resuming with processes {size} -> {other}: bit-identity not guaranteed" in log
        got, want = records(resumed), records(here / "whole")
        assert [(r["split"], r["step"], r["images"]) for r in got] == [
            (r["split"], r["step"], r["images"]) for r in want
        ]


@pytest.mark.fault("R6")
def test_a_signal_in_an_evaluation_stops_all_at_the_same_batch(here: Path) -> None:
    more = [*LONG, "dataset.val_split=64", "train.batch_size=8"]
    train(2, "whole", *more)
    asked = OnRank(1, At("in an evaluation", 2, signal.SIGTERM))
    end = launch(2, ["name=asked", *merged(QUICK, more)], asked)
    assert end.codes == [75, 75], end.logs
    assert "at step 5, before its evaluation" in end.logs[0]
    train(2, "asked", *more)
    assert differences(here / "asked", here / "whole") == []


@pytest.mark.fault("R6")
def test_a_signal_while_data_are_prepared_does_not_wait_for_the_other_ranks(here: Path) -> None:
    """There is nothing to save; torchrun ends all ranks at once, and the other may be far behind."""
    end = launch(2, ["name=asked", *QUICK], answer_signals, At("data preparation", signal=signal.SIGTERM))
    assert end.codes == [75, 75], end.logs
    assert not here.exists()


def test_what_the_backend_itself_lacks_is_no_lost_peer() -> None:
    with pytest.raises(dist.DistBackendError), lost_peers_named():
        raise dist.DistBackendError("NCCL error: unhandled system error\nno space left on device")
    told = r"cannot be reached \(NCCL: remote process exited\); its message names the cause"
    with pytest.raises(LostPeer, match=told), lost_peers_named():
        raise dist.DistBackendError("ncclRemoteError\nNCCL: remote process exited")
    with pytest.raises(LostPeer), lost_peers_named():
        raise dist.DistNetworkError("of any kind")


def test_a_process_that_is_killed_ends_all_in_a_line_each(here: Path) -> None:
    end = launch(3, ["name=killed", *merged(QUICK, LONG)], OnRank(1, At("in a step", 7)))
    assert end.codes == [1, -signal.SIGKILL, 1]
    for rank in (0, 2):
        assert end.logs[rank].startswith(f"imclass: rank {rank}: another process of this job ended")
        assert end.logs[rank].count("\n") == 1
    assert json.loads((here / "killed/summary.json").read_text())["status"] == "failed"
    train(3, "killed", *LONG)  # and it goes on


def fail_in_the_second() -> None:
    train_step = Trainer.train_step

    def failing(self: Trainer) -> None:
        if (self.processes.rank, self.progress.step) == (1, 5):
            raise ValueError("the cause")
        train_step(self)

    Trainer.train_step = failing


def out_of_memory_in_the_second() -> None:
    from imclass.training.step import Learner

    backward = Learner.backward_in_parts

    def failing(self: Learner, images: torch.Tensor, *rest: Any) -> Any:
        if self.device.processes.rank == 1:
            raise MemoryError
        return backward(self, images, *rest)

    Learner.backward_in_parts = failing


@pytest.mark.parametrize(
    ("patch", "code", "cause"),
    [
        (fail_in_the_second, 1, "imclass: rank 1: ValueError: the cause"),
        (
            out_of_memory_in_the_second,
            2,
            "imclass: rank 1: out of memory with 8 images at a time; set device.",
        ),
    ],
)
def test_a_failure_of_one_process_is_told_by_it(here: Path, patch: Patch, code: int, cause: str) -> None:
    end = launch(2, ["name=failing", *QUICK], patch)
    assert end.codes == [1, code]
    assert cause in end.logs[1]
    assert "imclass: rank 0: another process of this job ended" in end.logs[0]
    assert "Traceback" not in end.logs[0]


@pytest.mark.parametrize(
    ("size", "typed", "expected"),
    [
        (2, ["optimizer.lr=-1"], "optimizer.lr=-1: expected"),
        (2, ["-m", "seed=0,1"], "-m: several runs take one process"),
        (2, ["augment.cutout=40"], "augment.cutout=40: expected at most 15"),
        (3, ["train.batch_size=2"], "train.batch_size=2: 3 processes share these images; each needs"),
        (3, ["train.batch_size=5", "model=speednet"], "train.batch_size=5: 3 processes share these images"),
    ],
)
def test_a_mistake_is_told_by_the_first_process(
    here: Path, size: int, typed: list[str], expected: str
) -> None:
    end = launch(size, merged(QUICK, typed))
    assert end.codes == [2] * size
    assert end.logs[0].startswith(f"imclass: {expected}")
    assert end.logs[0].count("\n") == 1
    if typed[0].startswith("train.batch_size"):  # found once the ranks have joined
        assert end.logs[1:] == [""] * (size - 1)
    assert not here.exists()


def miss_a_gpu() -> None:
    def missing(self: Processes, device: torch.device) -> torch.device:
        if self.rank == 1:
            raise errors.UserError("device.type=cuda: no such GPU")
        return device

    Group.place = missing


def test_a_mistake_of_one_rank_is_reported_by_it(here: Path) -> None:
    end = launch(2, ["name=missing", *QUICK], miss_a_gpu)
    assert end.codes == [1, 2]
    assert end.logs[1] == "imclass: rank 1: device.type=cuda: no such GPU\n"
    assert "another process of this job ended" in end.logs[0]


def test_what_only_the_first_can_find_ends_all(here: Path) -> None:
    train(2, "same")
    end = launch(2, ["name=same", *merged(QUICK, ["seed=5"])])
    assert end.codes == [2, 2]
    assert "has other settings (seed: 0 -> 5)" in end.logs[0]
    assert end.logs[1] == ""


def test_divergence_is_noticed_by_all(here: Path) -> None:
    end = launch(2, ["name=high", *merged(QUICK, ["optimizer.lr=1e30"])])
    assert end.codes == [3, 3]
    assert "training diverged" in end.logs[0]
    assert end.logs[1] == ""


def test_clocks_are_agreed_on(here: Path) -> None:
    run = train(2, "clock", "train.epochs=10000", "train.max_time=2s", "checkpoint.every=0.01s")
    assert "max_time" in json.loads((run / "summary.json").read_text())["stopped"]


@pytest.mark.parametrize("kind", ["cpu", "auto"])
def test_synchronised_batch_norm_needs_gpus(imclass, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    outcome = imclass("train", *merged(QUICK, [f"device.type={kind}", "device.sync_batch_norm=true"]))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "device.sync_batch_norm=true: torch has it for GPUs only" in outcome.err


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert Group(5, 8, 1, 2).place(torch.device("cuda")) == torch.device("cuda:1")
    with pytest.raises(errors.UserError, match="need a GPU each"):
        Group(1, 2, 1, 2).place(torch.device("cuda:0"))
    with pytest.raises(errors.UserError, match="2 CUDA devices, and 3 processes need one each"):
        resolve_device(DeviceConfig(type="cuda"), steps=1, processes=Group(2, 3, 2, 3))


def torchrun(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "-m", "imclass.train", *argv],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_port_that_was_taken_meanwhile_is_replaced(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper of these tests."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(sys.modules[__name__], "free_port", lambda: next(ports))
        train(2, "second", "train.epochs=0.2")


def test_torchrun(here: Path) -> None:
    done = torchrun("name=real", *QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best model") == 1
    assert json.loads((here / "real/summary.json").read_text())["status"] == "finished"
    wrong = torchrun("optimizer.lr=-1", *[o for o in QUICK if not o.startswith("optimizer.lr")])
    assert wrong.returncode != 0
    assert wrong.stderr.count("optimizer.lr=-1: expected") == 1


SCALING = Path(__file__).parents[1] / "scripts/bench/scaling.py"


@pytest.mark.soak
def test_the_scaling_benchmark_runs() -> None:
    tiny = ["--models", "lenet", "--steps", "1", "--repeats", "1", "--batch", "4", "--size", "16"]
    done = subprocess.run([sys.executable, str(SCALING), *tiny], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for text in ("2 processes, 1 thread each", "measured here on one CPU thread", "1,024", "efficiency"):
        assert text in done.stdout


def test_the_scaling_benchmark_computes_what_the_readme_states(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = ["--no-measurement", "--images-per-second", "25000", "8000"]
    monkeypatch.setattr(sys, "argv", [str(SCALING), *stated])
    runpy.run_path(str(SCALING), run_name="__main__")  # starts no processes
    printed = capsys.readouterr().out
    assert "given, not measured" in printed
    at_64 = [line.split() for line in printed.splitlines() if line.split()[:3] == ["64", "1,024", "16"]]
    assert [next(word for word in words if "%" in word) for words in at_64] == ["15%", "46%"]
