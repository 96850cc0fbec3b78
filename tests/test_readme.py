"""Every command of the README runs, made short; every file that it names comes out."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from conftest import merged
from PIL import Image
from test_export import SCRIPT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / ".github/CONTRIBUTING.md").read_text()
# Run elsewhere: a launcher in test_slurm.py, the list of models in test_cli.py.
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("imclass ") and "launcher" not in line and "list models" not in line
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(TINY,) = [block for block in PYTHON if "def tiny" in block]  # the package of the section Extend
(ENTRY_POINT,) = re.findall(r"`(tiny = .*?)` under `\[project.entry-points.\"imclass.models\"\]`", README)
# The commands as typed are checked; what runs is as short as possible, on the smallest data and model.
SHORT = [
    "dataset=synthetic",
    "model=lenet",
    "dataset.synthetic.train=40",
    "dataset.synthetic.test=8",
    "dataset.val_split=8",
    "train.batch_size=8",
    "device.threads=1",
    "device.precision=fp32",
]


def shorten(command: list[str]) -> list[str]:
    if command[0] == "sweep":
        trials = 2 if "sweep.workers=2" in command else 1
        short = "train.epochs=1", "logger.plots=false", f"sweep.trials={trials}", "sweep.top=1"
        return merged(command, [*SHORT, *short, *(["sweep.seeds=1"] if "sweep.seeds=2" in command else [])])
    if "my_pictures" in command:
        length = "train.budget=1s" if "train.budget=2min" in command else "train.epochs=1"
        small = "model=lenet", "dataset.resize=32", "train.batch_size=4"
        return merged(command, [*small, length, *SHORT[-2:], "logger.plots=false"])
    if any(word.startswith("resume=") for word in command):
        return command
    stem = ["model.stem=auto"] if any(word.startswith("experiment=") for word in command) else []
    epochs = [] if any(word.startswith("train.epochs") for word in command) else ["train.epochs=1"]
    plots = [] if "name=mine" in command else ["logger.plots=false"]  # that one's are looked for
    return merged(command, [*SHORT, *stem, *epochs, *plots])


def make_pictures(root: Path) -> None:
    """Fill two class folders with a dozen pictures each."""
    for number in range(24):
        folder = root / ("cats", "dogs")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        colour = number * 9, 0, 128 * (number % 2)
        Image.new("RGB", (40 + number, 30), colour).save(folder / f"{number}.png")


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c[0] in ("train", "check") and not re.search("=outputs/|weights=", " ".join(c))],
    ids=" ".join,
)
def test_the_command_as_typed_is_sound(imclass, tmp_path: Path, command: list[str]) -> None:
    make_pictures(tmp_path / "my_pictures")
    outcome = imclass("check", *command[1:])
    assert (outcome.code, outcome.err) == (0, "")


def test_all_commands_run_in_order(imclass, tmp_path: Path) -> None:
    make_pictures(tmp_path / "my_pictures")
    for command in COMMANDS:
        composes = command[0] in ("train", "plan", "lr-find", "sweep")
        outcome = imclass(*(shorten(command) if composes else command))
        assert outcome.code == 0, (command, outcome.err)
        if command[0] == "train" and "-m" not in command:
            assert "test         accuracy" in outcome.out
    run = tmp_path / "outputs/mine"
    for row in re.findall(r"^\| (`.*?`) \|", README, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            assert list(run.rglob(Path(name).name)), name


def test_the_model_of_another_package_trains(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_package.py").write_text(TINY)
    metadata = tmp_path / "my_package-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[imclass.models]\n" + ENTRY_POINT.replace('"', ""))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_package", raising=False)  # another test's
    outcome = imclass(*merged(["train", *SHORT], ["model=tiny", "train.epochs=1"]))
    assert outcome.code == 0, outcome.err


def test_a_script_that_uses_an_exported_model_is_the_one_that_is_tested() -> None:
    assert {block for block in PYTHON if "onnxruntime" in block} <= {SCRIPT}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_the_files_it_names_exist(text: str) -> None:
    named = re.findall(r"`((?:\w+/|\.github/)[\w./]*)`", text)
    outside = (
        "outputs/",
        "plots/",
        "checkpoints/",
        "evaluations/",
        "train/",
        "val/",
        "test/",
    )
    missing = [
        path
        for path in named
        if not path.startswith(outside)
        and not any((root / path).exists() for root in (ROOT, ROOT / "src/imclass"))
    ]
    assert len(named) >= 5 and not missing


def test_the_readme_is_no_manual() -> None:
    assert len(README.splitlines()) <= 160


def test_the_picture_of_the_readme_exists() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_the_scripts_run_what_the_readme_says() -> None:
    assert "imclass train" in (ROOT / "scripts/train.sh").read_text()
    for file in (".ci/run", ".github/workflows/ci.yml", ".github/CONTRIBUTING.md"):
        assert "scripts/test.sh" in (ROOT / file).read_text()


def test_the_top_level_holds_what_the_design_says() -> None:
    allowed = {"pyproject.toml", "configs", "src", "scripts", "tests", "outputs", "README.md", "LICENSE"}
    assert {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} == allowed
