"""What several test files share."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from imclass import cli
from imclass.commands.selftest.trainings import PRELOADED, SERVER

settings.register_profile("imclass", deadline=None)  # a busy machine is no failure
settings.load_profile("imclass")
SERVER.set_forkserver_preload([*PRELOADED, "conftest"])  # tests patch trainings with functions of their own
torch.set_num_threads(1)  # the tests' nets are small: on a busy machine, more threads wait for each other

# A run of about a second: noise patterns, the smallest network, one thread.
QUICK = (
    "dataset=synthetic",
    "model=lenet",
    "dataset.synthetic.shape=[1,16,16]",
    "dataset.synthetic.classes=4",
    "dataset.synthetic.train=160",
    "dataset.synthetic.test=64",
    "train.batch_size=16",
    "train.epochs=2",
    "train.log_every=3st",
    "optimizer.lr=0.05",
    "augment.crop=2",
    "checkpoint.every=1ep",  # by default, the clock decides
    "device.threads=1",
    "device.type=cpu",
    "device.precision=fp32",
    "logger.plots=false",
)


class FilesOfProcesses(LoadScopeScheduling):
    """Give the file that starts many processes to one worker whole, and first.

    Marks of the kind `xdist_group` are not used, since pytest 9.2 ignores them:
    https://github.com/pytest-dev/pytest-xdist/issues/1386
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return file if file.endswith("test_distributed.py") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesOfProcesses:
    return FilesOfProcesses(config, log)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def imclass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run `imclass ...` in this process, in an empty folder; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)  # it would name the runs

    def run(*argv: str) -> Outcome:
        capfd.readouterr()
        try:
            code = cli.main(list(argv))
        except SystemExit as end:  # Hydra's --help
            code = int(end.code or 0)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def train(imclass: Callable[..., Outcome], tmp_path: Path) -> Callable[..., Path]:
    """Train the quick run with overrides, which replace those of QUICK; return the run folder."""

    def run(name: str, *overrides: str, code: int = 0) -> Path:
        outcome = imclass("train", f"name={name}", *merged(QUICK, overrides))
        assert outcome.code == code, outcome.err + outcome.out
        return tmp_path / "outputs" / name

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick run, called "run", with its plots. To be read only: `run` is a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        patch.delenv("SLURM_JOB_ID", raising=False)
        argv = ["train", "name=run", *merged(QUICK, ["logger.plots=true"])]
        assert cli.main(argv) == 0
        return Path.cwd() / "outputs/run"


@pytest.fixture
def run(imclass: Callable[..., Outcome], finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished quick run, outputs/run, to change as one likes."""
    return shutil.copytree(finished, tmp_path / "outputs/run")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations and pages come without new plots: drawing takes most of their time."""
    from imclass.reports import run_page, split_report

    for name in ("pictures", "classes", "confusion_matrix", "calibration"):
        monkeypatch.setattr(split_report, f"plot_{name}", lambda *_: None)
    monkeypatch.setattr(split_report, "heat_maps", lambda *_: None)
    monkeypatch.setattr(run_page, "plot_curves", lambda *_: None)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of decoded images, empty: the user's own stays as it is."""
    monkeypatch.setenv("IMCLASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's, and no network."""

    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def merged(base: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return `base` with `overrides` in place of what they override."""
    keys = {o.split("=")[0] for o in overrides}
    return [b for b in base if b.split("=")[0] not in keys] + list(overrides)


def records(run: Path, *, split: str | None = None) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without the fields that depend on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k != "images_per_second"}
        for line in lines
        if split in (None, line["split"])
    ]
