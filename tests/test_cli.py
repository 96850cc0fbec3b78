"""The command line itself: help, dispatch, and that answers do not need torch."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_command_line_imports_neither_torch_nor_hydra() -> None:
    code = "import sys, imclass.cli; print({'torch', 'torchvision', 'hydra', 'numpy'} & set(sys.modules))"
    assert run_python(code) == "set()"


@pytest.mark.parametrize("argv", [["check", "optimizer.lrr=1"], ["check"], ["train", "seed=-1"], ["--help"]])
def test_answers_do_not_import_torch(argv: list[str]) -> None:
    code = f"import sys; from imclass.cli import main; main({argv}); print('torch' in sys.modules)"
    assert run_python(code).splitlines()[-1] == "False"


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_names_every_command(imclass, argv: list[str]) -> None:
    code, out, _ = imclass(*argv)
    assert code == 0
    for command in ("imclass train", "imclass check", "imclass list", "imclass data inspect|verify"):
        assert command in out
    assert max(map(len, out.splitlines())) <= 80


def test_version(imclass) -> None:
    assert imclass("--version").out == "imclass 0.1.0\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [("tran", "'train'"), ("resume=mine", "'imclass train resume=mine'")]
)
def test_unknown_command(imclass, typed: str, meant: str) -> None:
    code, _, err = imclass(typed)
    assert code == 2
    assert err.endswith(f"did you mean {meant}?\n")


def test_an_unknown_choice_of_an_argument_names_the_near_one(imclass) -> None:
    code, _, err = imclass("list", "model")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("imclass: WHAT model: expected one of models, ") and "did you mean 'models'" in err


def test_hydra_cfg_job_prints_the_composed_configuration(imclass) -> None:
    code, out, _ = imclass("train", "--cfg", "job", "optimizer=adam")
    assert code == 0
    assert "name: adam" in out


@pytest.mark.parametrize(
    ("what", "expected"),
    [("optimizers", "muon"), ("schedulers", "plateau"), ("datasets", "cifar100"), ("augments", "crop_flip")],
)
def test_list_names_choices_with_their_descriptions(imclass, what: str, expected: str) -> None:
    code, out, _ = imclass("list", what)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith(expected))
    assert len(line.split()) > 3


def test_list_models_shows_their_size_for_the_input(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few: that each one can be built and run on the meta device, test_models.py shows."""
    few = dict.fromkeys(["resnet18", "lenet", "vgg10_keras"], "A model")
    monkeypatch.setattr("imclass.commands.list.described_choices", lambda group: few)
    code, out, _ = imclass("list", "models", "--input", "3x224x224", "--classes", "1000")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("resnet18 "))
    assert "11,689,512" in line
    assert "1,814.1 M" in line


def test_list_refuses_a_faulty_shape(imclass) -> None:
    code, _, err = imclass("list", "models", "--input", "big")
    assert code == 2
    assert "3x32x32" in err


def test_check_submits_no_jobs(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = imclass("check", "-m", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "seed=0,1")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("ok: resnet18") == 2


def test_a_misspelt_function_of_the_sweep_grammar_is_named(imclass) -> None:
    outcome = imclass("check", "sweep.name=mine", "optimizer.lr=tag(log,intervall(1e-3,1))")
    (line,) = outcome.err.splitlines()
    assert outcome.code == 2
    assert line.endswith("Unknown function 'intervall'; did you mean 'interval'?")


BROKEN = {
    "def tiny(config):\n    pass": "has another signature (too many positional arguments); expected build(",
    "def tiny(config, channels, classes, size):\n    return 1 / 0": "raises ZeroDivisionError: division",
    "def tiny(config, in_channels, classes, size):\n    return None": "returns NoneType; expected build(",
    "import no_such_module": "cannot be imported (No module named 'no_such_module')",
    "def tin(): pass": "cannot be imported (module 'broken_package' has no attribute 'tiny')",
    "from torch import nn\ndef tiny(*a):\n    return nn.Flatten()": "must return logits of shape (2, 10)",
}


@pytest.mark.parametrize("code", BROKEN, ids=lambda code: BROKEN[code][:20])
def test_check_builds_the_model_of_another_package(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    (tmp_path / "broken_package.py").write_text(code)
    plugin = EntryPoint("tiny", "broken_package:tiny", "imclass.models")
    monkeypatch.setattr(
        "imclass.config.groups.entry_points", lambda group: [plugin] if group == plugin.group else []
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_package", raising=False)
    outcome = imclass("check", "model=tiny")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
    assert outcome.err.startswith("imclass: model.name=tiny")
    assert BROKEN[code] in outcome.err
