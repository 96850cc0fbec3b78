"""The sdist, and the wheel that is built from it, as by `python -m build`; outside the checkout it works."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(target: str, source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    build("sdist", ROOT, folder)
    (archive,) = folder.iterdir()
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    build("wheel", sdist, sdist / "dist")
    return next((sdist / "dist").glob("*.whl"))


def test_the_sdist_carries_what_git_tracks_and_no_runs(sdist: Path) -> None:
    names = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    if (ROOT / ".git").exists():
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert set(tracked.stdout.splitlines()) <= names
    assert {"pyproject.toml", "tests/conftest.py", "scripts/test.sh"} <= names
    assert [name for name in names if name.startswith("outputs/")] == ["outputs/.gitignore"]


def test_the_wheel_carries_every_configuration_and_the_bundled_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"imclass/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*") if p.is_file()}
    bundled = {
        str(p.relative_to(ROOT / "src"))
        for p in (ROOT / "src/imclass/data/bundled").rglob("*")
        if p.is_file()
    }
    assert configs | bundled | {"imclass/py.typed"} <= names
    assert any(name.startswith("imclass/configs/.schema/") for name in names)
    assert len(bundled) >= 5  # four files and their licence


def test_the_wheel_alone_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import sys, imclass.cli; print(imclass.__file__); sys.exit(imclass.cli.main(sys.argv[1:]))"
    quick = ["model=lenet", "train.steps=1", "train.epochs=null", "dataset.fraction=0.1", "name=w"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *quick, "logger.plots=false"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert (tmp_path / "outputs/w/best.safetensors").exists()
