"""Shell completion: what real shells offer at TAB."""

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = f"""
imclass() {{ {sys.executable} -m imclass "$@"; }}
eval "$(imclass completion bash)"
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
    "imclass lr-find sw": "",
    "imclass plan dataset.at": "dataset.at_most=",
    "imclass list opt": "optimizers",
    "imclass schema sw": "sweep",
    "imclass completion z": "zsh",
    "imclass evaluate mi": "mine",
    "imclass train resume=": "mine",
    "imclass train model.weights=mi": "mine",
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


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_what_zsh_inserts_at_tab(tmp_path: Path) -> None:
    """In a terminal of its own, since zsh completes nowhere else."""
    setup = f'imclass() {{ {sys.executable} -m imclass "$@"; }}; PS1=\'> \'; eval "$(imclass completion zsh)"'
    main, terminal = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], cwd=tmp_path, stdin=terminal, stdout=terminal, stderr=terminal, env=PLAIN
    )
    try:
        os.write(main, f" {setup}; print -r rea''dy\n".encode())
        read_until(main, "ready\r\n")
        os.write(main, b"imclass train optimizer=adamw model.pretr\ttru\t")
        assert "optimizer=adamw" in read_until(main, "model.pretrained=true")
    finally:
        shell.kill()  # an interactive zsh ignores SIGTERM
        shell.wait(timeout=20)
        os.close(main)
        os.close(terminal)


PLAIN = os.environ | {"TERM": "dumb"}


def read_until(terminal: int, text: str) -> str:
    """Read what a terminal shows until it ends with `text`, for a minute at most."""
    shown = ""
    while text not in shown:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"{text!r} is not in {shown!r}"
        shown += os.read(terminal, 4096).decode()
    return shown


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_what_fish_offers(tmp_path: Path) -> None:
    code = f"function imclass; {sys.executable} -m imclass $argv; end; imclass completion fish | source; "
    asked = "complete -C 'imclass train optimizer=ada'; complete -C 'imclass sch'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code + asked], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.stdout.split()) == ("", ["optimizer=adam", "optimizer=adamw", "schema"])


def test_another_shell_is_refused(imclass) -> None:
    expected = "imclass: completion fsh: expected one of bash, zsh, fish; did you mean 'fish' or 'zsh'?\n"
    assert imclass("completion", "fsh") == (2, "", expected)
    code, out, _ = imclass("completion")
    assert code == 0 and 'eval "$(imclass completion bash)"' in out


def test_torch_is_not_imported() -> None:
    code = "import sys; from imclass.cli import main; main(['completion', 'query', 'imclass train mo']); "
    code += "main(['completion', 'zsh']); main(['schema']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("False\n")
