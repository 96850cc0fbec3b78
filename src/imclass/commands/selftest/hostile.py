"""Files and names from strangers that want to run code, write elsewhere, or hang: refused in one line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from imclass.commands.selftest.damage import EDITS
from imclass.commands.selftest.hostile_files import (
    archive_with,
    bomb,
    code_in_a_checkpoint,
    pickled_code,
    picture_bomb,
    safetensors_of_code,
)
from imclass.commands.selftest.hostile_texts import EXPERIMENTS, NAMES
from imclass.commands.selftest.trainings import RUN, Training, overrides
from imclass.commands.selftest.trial import Bench, Lost, Trial, copy_of, require_no_traceback
from imclass.errors import EXIT_MISTAKE

SECONDS = 60.0  # that a refusal takes at most, on a machine that is busy
CPU_SECONDS = 10
MEMORY = 2 * 2**30  # bytes, on top of what importing torch takes


@dataclass
class HostileCase:
    """One case: what a stranger has put into `folder`, and the command that meets it, in `folder`/work."""

    folder: Path
    argv: list[str] = field(default_factory=list)
    command: str = "train"
    environment: dict[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (EXIT_MISTAKE,)

    @property
    def canary(self) -> Path:
        return self.folder / "canary"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def filled(self, text: str) -> str:
        """Return a text with the names of the canary and of a pickle that touches it."""
        pickle = self.folder / "stranger.pkl"
        pickle.write_bytes(pickled_code(self.canary))
        return text.replace("CANARY", str(self.canary)).replace("PICKLE", str(pickle))


def bounded() -> None:
    """End this process when it has used so much CPU time, and refuse it more memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, resource.RLIM_INFINITY))
    status = Path("/proc/self/status")
    if status.exists():
        used = next(line for line in status.read_text().splitlines() if line.startswith("VmData"))
        limit = int(used.split()[1]) * 1024 + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


Prepare = Callable[[HostileCase], None]


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield every case once."""
    whole, killed = bench.whole(), bench.killed()
    for name, text in EXPERIMENTS.items():
        for command in ("check", "train"):
            yield _trial(f"experiment with {name}, imclass {command}", partial(_experiment, text, command))
        yield _trial(f"config.yaml with {name}", partial(_config, text, killed))
    yield _trial("experiment that harms nobody", _harmless)
    yield _trial("a folder of settings with a callback", _config_dir)
    for name, text in NAMES.items():
        yield _trial(f"a name with {name}", partial(_name, text))
    yield _trial("a job number with dots", _job_number)
    for file in ("last.pt", "previous.pt", "best.pt"):
        run, command = (whole, "evaluate") if file == "best.pt" else (killed, "train")
        yield _trial(f"code in {file}", partial(_code_in_run, file, command, run))
    for file in (
        "code.pt",
        "code.pth",
        "code.safetensors",
        "bomb.pt",
        "fifo.pt",
        "fifo.safetensors",
        "folder.pt",
    ):
        yield _trial(f"starting weights, {file}", partial(_weights, file))
    for kind in ("fifo", "folder", "other", "empty", "bomb", "script"):
        for command in ("train", "predict"):
            yield _trial(
                f"a picture that is none: {kind}, imclass {command}", partial(_picture, kind, command, whole)
            )
    for member in ("dots", "root", "link", "device"):
        yield _trial(f"an archive of CIFAR-10 with {member}", partial(_archive, member))


def _trial(name: str, prepare: Prepare) -> Trial:
    return Trial("hostile files and names", name, partial(_run_case, prepare))


def _run_case(prepare: Prepare, folder: Path) -> None:
    """Prepare the case, run its command, and see that it is refused with nothing done."""
    (folder / "work").mkdir()
    case = HostileCase(folder)
    prepare(case)
    before = sorted(path for path in folder.rglob("*") if case.work not in (path, *path.parents))
    training = Training(
        case.argv,
        bounded,
        folder=case.work,
        command=case.command,
        environment=case.environment,
        log="../log.txt",
    )
    code = training.wait(SECONDS)
    after = sorted(path for path in folder.rglob("*") if case.work not in (path, *path.parents))
    if case.canary.exists():
        raise Lost("the canary is there: a stranger's file did something")
    if grown := sorted(
        {str(path) for path in after} - {str(path) for path in before} - {str(folder / "log.txt")}
    ):
        raise Lost(f"written elsewhere: {', '.join(grown)}")
    require_no_traceback(training.log)
    if code not in case.codes:
        raise Lost(f"exit code {code} where {case.codes[0]} was due\n{training.log[-3000:]}")


def _experiment(text: str, command: str, case: HostileCase) -> None:
    (case.folder / "x.yaml").write_text("# @package _global_\n" + case.filled(text))
    case.command, case.argv = command, [f"experiment={case.folder / 'x.yaml'}", *RUN]


def _harmless(case: HostileCase) -> None:
    """Without this one, the others could be refused for another reason than theirs."""
    _experiment("seed: 1", "check", case)
    case.codes = (0,)


def _config_dir(case: HostileCase) -> None:
    group = case.folder / "settings/model"
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text(
        case.filled("# @package _global_\n" + EXPERIMENTS["a callback that spawns"])
    )
    settings = [setting for setting in RUN if not setting.startswith("model")]
    case.argv = ["--config-dir", str(case.folder / "settings"), "model=mine", *settings]


def _config(text: str, killed: Path, case: HostileCase) -> None:
    file = copy_of(killed, case.work) / "config.yaml"
    file.write_text(file.read_text() + case.filled(text) + "\n")
    case.argv = ["resume=outputs/killed"]


def _name(text: str, case: HostileCase) -> None:
    case.argv = overrides(text)


def _job_number(case: HostileCase) -> None:
    case.environment, case.argv = {"SLURM_JOB_ID": "../../../elsewhere"}, list(RUN)


def _code_in_run(file: str, command: str, run: Path, case: HostileCase) -> None:
    copy = copy_of(run, case.work)
    if file == "previous.pt":
        (copy / "checkpoints/last.pt").unlink()
    code_in_a_checkpoint(copy / "checkpoints" / file, case.canary)
    if file == "last.pt":
        (copy / "checkpoints/previous.pt").unlink()  # what it would fall back to
    case.command = command
    case.argv = overrides(copy.name) if command == "train" else [f"outputs/{copy.name}"]


def _weights(name: str, case: HostileCase) -> None:
    file = case.folder / name
    if name == "code.safetensors":
        safetensors_of_code(file, case.canary)
    elif name.startswith("code"):
        file.write_bytes(pickled_code(case.canary))
    elif name == "bomb.pt":
        bomb(file)
    else:
        file.touch()
        EDITS[file.stem](file, Bench(case.folder, 1, 0).dice(name))
    case.argv = overrides("weights", f"model.weights={file}")


def _picture(kind: str, command: str, whole: Path, case: HostileCase) -> None:
    for part in ("train", "test"):
        for label in ("one", "two"):
            (case.folder / "pictures" / part / label).mkdir(parents=True)
    file = case.folder / "pictures/train/one/x.png"
    file.touch()
    if kind == "bomb":
        picture_bomb(file)
    elif kind == "script":
        file.write_text(f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({case.canary}) (w) file\n")
    else:
        EDITS[kind](file, Bench(case.folder, 1, 0).dice(kind))
    case.command = command
    if command == "predict":
        case.argv = [f"outputs/{copy_of(whole, case.work).name}", str(file)]
    else:
        settings = [setting for setting in RUN if "synthetic" not in setting]
        case.argv = ["dataset=image_folder", f"dataset.root={case.folder / 'pictures'}", "name=x", *settings]
        case.environment = {"IMCLASS_CACHE": str(case.work / "cache")}


def _archive(member: str, case: HostileCase) -> None:
    root = case.work / "data"
    root.mkdir()
    archive_with(member, root / "cifar-10-python.tar.gz", case.canary)
    settings = [setting for setting in RUN if "synthetic" not in setting]
    case.argv = ["dataset=cifar10", f"dataset.root={root}", "dataset.download=false", "name=x", *settings]
