"""Shell completion: what a real bash offers at TAB."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = f"""
imclass() {{ {sys.executable} -m imclass "$@"; }}
eval "$(imclass train -sc install=bash)"
offered() {{ COMP_LINE=$1 COMP_POINT=${{#1}}; _imclass imclass; printf '%s\\n' "${{COMPREPLY[@]}}"; }}
"""

OFFERED = {
    "imclass tr": "train",
    "imclass check optim": "optimizer= optimizer.",
    "imclass train checkpoint.m": "checkpoint.metric=",
    "imclass train optimizer=ada": "adam adamw",
    "imclass train seed=1 model.stem=": "auto cifar imagenet",
    "imclass train -m model=vgg11,vgg1": "vgg11,vgg10_keras vgg11,vgg11 vgg11,vgg13 vgg11,vgg16 vgg11,vgg19",
    "imclass train model.pre": "model.pretrained=",
    "imclass train model.pretrained=": "false true",
    "imclass train dataset.synthetic.s": "dataset.synthetic.shape=",
    "imclass train --c": "--cfg --config-dir",
    "imclass sweep sweep=": "augment lr quick",
    "imclass list opt": "optimizers",
    "imclass evaluate mi": "mine",
    "imclass train nothing=": "",
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_what_bash_offers(tmp_path: Path) -> None:
    (tmp_path / "outputs/mine").mkdir(parents=True)
    (tmp_path / "outputs/mine/config.yaml").touch()
    asked = "\n".join(f"offered '{line}' | paste -sd ' '" for line in OFFERED)
    done = subprocess.run(
        ["bash", "-c", SETUP + asked], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    found = dict(zip(OFFERED, (line.split() for line in done.stdout.split("\n")), strict=False))
    assert found == {line: sorted(words.split()) for line, words in OFFERED.items()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_own_script(imclass, shell: str) -> None:
    code, out, err = imclass("train", "-sc", f"install={shell}")
    assert (code, err) == (0, "")
    assert {"bash": "COMPREPLY", "zsh": "compdef", "fish": "commandline"}[shell] in out
    assert imclass("train", "-sc", f"uninstall={shell}").code == 0


def test_another_shell_is_refused(imclass) -> None:
    shells = "bash|zsh|fish"
    expected = f"imclass: -sc install=tcsh: expected install={shells}, or uninstall={shells}\n"
    assert imclass("train", "-sc", "install=tcsh") == (2, "", expected)
