"""What is installed: the wheel carries configurations and bundled data, and works outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_every_configuration_and_the_bundled_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"imclass/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.yaml")}
    bundled = {
        str(p.relative_to(ROOT / "src"))
        for p in (ROOT / "src/imclass/data/bundled").rglob("*")
        if p.is_file()
    }
    assert configs | bundled <= names
    assert len(bundled) >= 5  # four files and their licence


def test_the_wheel_alone_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import sys; from imclass.cli import main; sys.exit(main(sys.argv[1:]))"
    quick = ["model=lenet", "train.steps=1", "train.epochs=null", "dataset.fraction=0.1", "name=w"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *quick],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs/w/best.safetensors").exists()
    listed = subprocess.run(
        [sys.executable, "-c", "import imclass; print(imclass.__file__)"],
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert listed.stdout.startswith(str(tmp_path))
