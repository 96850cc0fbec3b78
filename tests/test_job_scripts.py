"""S7: what a user types reaches the program as it was typed; no shell reads it on the way."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fault("S7")

ROOT = Path(__file__).parents[1]
ODD = [
    "name=a b",
    "x='$(touch canary)'",
    "`touch canary`",
    "; touch canary",
    "a\nb",
    '"',
    "*",
    "$HOME",
    "&",
    "é",
]
RECORD = f"""#!{sys.executable}
import sys, pathlib
pathlib.Path("argv").write_text("\\0".join(sys.argv[1:]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the scripts, a name that needs quotes, and programs that record their arguments."""
    folder = tmp_path / "it's $(touch canary) here"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "bin").mkdir()
    programs = {"python": RECORD, "srun": '#!/bin/sh\nexec "$@"\n', "scontrol": "#!/bin/sh\necho node1\n"}
    for name, text in programs.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("script", ["train.sbatch", "train_ddp.sbatch", "sweep.sbatch"])
def test_a_batch_script_hands_its_arguments_on_as_they_are(checkout: Path, script: str) -> None:
    given = {"SLURM_SUBMIT_DIR": str(checkout), "SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "1"}
    given |= {"SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1", "VIRTUAL_ENV": "active"}
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", f"scripts/slurm/{script}", *ODD],
        cwd=checkout,
        env=os.environ | given | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    argv = (checkout / "argv").read_text().split("\0")
    assert [word for word in argv if word in ODD] == ODD
    assert not list(checkout.parent.rglob("canary"))


def test_no_code_of_ours_starts_a_shell() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("os.system", "os.popen", "subprocess.getoutput"), (
                    f"{file}:{node.lineno}"
                )
                shell = [word for word in node.keywords if word.arg == "shell"]
                assert not shell, f"{file}:{node.lineno}: shell="


def test_commands_in_messages_can_be_pasted(imclass, run: Path) -> None:
    """A folder's name with spaces and quotes is quoted where a message says what to type."""
    odd = run.rename(run.parent / "it's $(touch canary) here")
    (odd / "plots/predictions.png").unlink()
    outcome = imclass("report", str(odd))
    assert f"to draw them: imclass evaluate '{odd}'".replace("it's", "it'\"'\"'s") in outcome.err
