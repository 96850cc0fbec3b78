"""kill -9 of one or all processes of a job of two; the same job then goes on as if nothing had happened."""

import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from imclass.commands.selftest.kills import NAMED
from imclass.commands.selftest.points import At, Patch
from imclass.commands.selftest.trainings import Training, Unexpected, overrides, wait
from imclass.commands.selftest.trial import KILLED, Bench, Lost, Trial, hit, require_same

SIZE = 2
LEAVING = 60  # seconds that a process takes at most to notice that the other is gone
LASTS = 3.0  # seconds that a job takes
ROW = f"kill -9 in a job of {SIZE} processes"


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield kills of either process, or of both, at named points and at random times."""
    dice = bench.dice("ranks")
    (folder := bench.folder / "ranks").mkdir()
    require_end(run_job(overrides("whole"), folder), [0] * SIZE)
    whole = folder / "outputs/whole"
    for number in range(bench.share(1 / 10)):
        moment, victims = dice.random() * LASTS, dice.choice(([0], [1], [0, 1]))
        point, often = NAMED[number % len(NAMED)]
        at = At(point, dice.randint(1, often)) if number % 2 else None
        victims = [0] if at else victims
        name = f"rank 0, {point}" if at else f"rank {' and '.join(map(str, victims))}, after {moment:.3f} s"
        yield Trial(ROW, f"{name}, number {number}", partial(_kill, at, moment, victims, whole))


def _kill(at: At | None, moment: float, victims: Sequence[int], whole: Path, folder: Path) -> None:
    """Kill rank 0 `at` a point, which it alone comes by, or the victims at a moment; run the job again."""

    def kill(seconds: float, name: str) -> bool:
        job = start_job(overrides(name), folder, *([at] if at else []))
        if at is None:
            wait(seconds, lambda: not any(process.is_alive() for process in job))
            for rank in victims:
                job[rank].send(signal.SIGKILL)
        codes = [process.wait(LEAVING) for process in job]
        missed = [codes[rank] for rank in victims if codes[rank] != KILLED]
        if any(missed) and not _port_was_taken(job):
            raise Lost(f"exit codes {codes} where {victims} were to be killed\n{job[0].log[-3000:]}")
        return not missed

    name = hit(moment, kill)
    require_end(run_job(overrides(name), folder), [0] * SIZE)
    require_same(folder / "outputs" / name, whole)


def start_job(argv: Sequence[str], folder: Path, *patches: Patch) -> list[Training]:
    """Start a training of SIZE processes as torchrun does; `patches` go to rank 0."""
    port = _free_port()
    return [
        Training(
            argv,
            _without_launcher,
            *(patches if rank == 0 else ()),
            folder=folder,
            environment=_environment(rank, port),
            log=f"log{rank}.txt",
        )
        for rank in range(SIZE)
    ]


def run_job(argv: Sequence[str], folder: Path) -> list[Training]:
    """Run a training of SIZE processes to its end; on another port where another job took the first."""
    for _ in range(3):
        job = start_job(argv, folder)
        for process in job:
            process.wait()
        if not _port_was_taken(job):
            break
    return job


def _port_was_taken(job: Sequence[Training]) -> bool:
    return "EADDRINUSE" in job[0].log


def require_end(job: Sequence[Training], codes: Sequence[int]) -> None:
    """Raise Unexpected unless the processes ended with these exit codes."""
    if (found := [process.exitcode for process in job]) != list(codes):
        logs = "\n".join(process.log[-2000:] for process in job)
        raise Unexpected(f"exit codes {found} where {list(codes)} were due\n{logs}")


def _environment(rank: int, port: int) -> dict[str, str]:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": SIZE, "LOCAL_WORLD_SIZE": SIZE}
    loopback = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"}
    numbers = {name: str(value) for name, value in names.items()}
    return {**numbers, **loopback, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _without_launcher() -> None:
    """There is no torchrun that ends the other process: do not wait for it."""
    from imclass import endings

    endings.LAUNCHER_SECONDS = 1.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
