"""What can go wrong. Each row has a test that carries its name: `@pytest.mark.fault("C1")`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FAULTS = {
    # checkpoints
    "C1": "killed while saving",
    "C2": "a flipped bit or a hole in a checkpoint",
    "C3": "the disk is full when a checkpoint is saved",
    "C4": "temporary files of an earlier crash",
    "C5": "the best figure after a restart",
    "C6": "loss or weights that are not finite",
    "C7": "which checkpoints are removed, and when",
    "C8": "which checkpoint is the newest",
    "C9": "objects other than tensors and plain values in a checkpoint",
    "C10": "resumed with other settings",
    "C11": "missing weights, other shapes",
    "C12": "a damaged best.safetensors",
    "C13": "last.pt is missing",
    # exact resume
    "R1": "killed anywhere",
    "R2": "order and augmentation after a resume",
    "R3": "another number of threads, another machine",
    "R4": "two processes in one run folder",
    "R5": "the same command on a finished run",
    "R6": "asked to stop at any moment",
    "R7": "a job that is requeued",
    "R8": "two jobs in the same second",
    "R9": "killed between the last figures and the report",
    "R10": "a signal while the program starts",
    # data
    "D1": "many jobs prepare one data set",
    "D2": "a download that is interrupted, stalled or wrong",
    "D3": "a damaged image in a folder",
    "D4": "other class folders in train and test",
    "D5": "an empty split, a large batch, labels out of range, an unreadable folder",
    "D6": "a damaged image cache",
    # configuration and sweeps
    "F1": "values and keys that are wrong",
    "F2": "a trial that fails",
    "F3": "a sweep that is killed",
    # logs
    "L1": "points repeated by a resume",
    "L2": "the disk is full when a log is written",
    "L3": "a closed pipe, no terminal, no locale",
    "L4": "a log shorter than its checkpoint says",
    # security
    "S1": "a checkpoint that runs code",
    "S2": "CIFAR's batches, which are pickles",
    "S3": "archives that write elsewhere, or grow",
    "S4": "code named in a run's own configuration",
    "S5": "names that escape from their folder or into the terminal",
    "S6": "images that are bombs, or something else",
    "S7": "the shell in job scripts",
    "S8": "a server that others reach",
    "S9": "code named in experiment files",
    "S10": "YAML that grows",
    "S11": "what is no file in a file's place",
}


def marked() -> Iterator[str]:
    """Yield the rows that the marks of ordinary tests name: of those that run each time and everywhere."""
    for file in Path(__file__).parent.glob("test_*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        shared = [node for node in tree.body if ast.unparse(node).startswith("pytestmark =")]
        for test in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            nodes = [node for mark in (*shared, *test.decorator_list) for node in ast.walk(mark)]
            if not {getattr(node, "attr", "") for node in nodes} & {"soak", "skip", "skipif"}:
                calls = (node for node in nodes if isinstance(node, ast.Call))
                faults = (call for call in calls if ast.unparse(call.func).endswith(".fault"))
                yield from (ast.literal_eval(row) for fault in faults for row in fault.args)


def test_every_fault_has_a_test() -> None:
    assert set(marked()) == FAULTS.keys()


@pytest.mark.fault("S8")
def test_no_server_is_started_and_tensorboard_is_shown_on_this_machine_only() -> None:
    root = Path(__file__).parents[1]
    sources = "".join(file.read_text(encoding="utf-8") for file in (root / "src").rglob("*.py"))
    for opens_a_port in ("socketserver", "http.server", "create_server", "serve_forever", "bind_all"):
        assert opens_a_port not in sources
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert "--host" not in readme.replace("--host localhost", "")
    assert "ssh -L" in readme
