"""imclass verify: a whole run is whole, each kind of damage has its line, and nothing is touched."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damages import (
    Damage,
    drop_an_event,
    edit,
    flip,
    folder,
    half,
    lines,
    move_events,
    remove,
    repeat_an_event,
    replace,
    write,
)
from holding import Hold
from safetensors.torch import save_file

from imclass.commands.selftest.points import At
from imclass.commands.selftest.trainings import Training, finish, overrides
from imclass.runs.tensorboard import event_files
from imclass.runs.weights import read_weights, write_safetensors


def state(run: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what a look at the folder must not change: names, times and contents, folders included."""
    found = {}
    for path in [run, *sorted(run.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mtime_ns, status.st_mode, content)
    return found


def one_not_finite(header: dict[str, Any], content: dict[str, Any]) -> None:
    next(iter(content["model"].values())).view(-1)[0] = torch.nan


def other_safetensors(run: Path) -> None:
    file = run / "best.safetensors"
    write_safetensors(file, {name: tensor + 1 for name, tensor in read_weights(file).items()}, {})


def linked(name: str) -> Damage:
    """Move a file or folder out of the run, and leave a link to it."""

    def damage(run: Path) -> None:
        target = (run / name).rename(run.parent / "moved")
        (run / name).symlink_to(target)

    return damage


def linked_events(run: Path) -> None:
    move_events(run)
    linked("tensorboard")(run)


def linked_lock(run: Path) -> None:
    (run.parent / "moved").write_text(f"process {os.getpid()} on {socket.gethostname()}")
    (run / ".lock").symlink_to(run.parent / "moved")


def no_digest(run: Path) -> None:
    """Write best.safetensors as others would."""
    save_file(read_weights(run / "best.safetensors"), run / "best.safetensors")


def momentum(change: Callable[[dict[int, dict[str, Any]]], Any]) -> Damage:
    """Change the state of the optimizer in last.pt: {0: {"momentum_buffer": tensor}, ...}."""
    return edit("last.pt", lambda header, state: change(state["optimizer"]["state"]))


def groups(change: Callable[[list[dict[str, Any]]], Any]) -> Damage:
    """Change the parameter groups of the optimizer in last.pt."""
    return edit("last.pt", lambda header, state: change(state["optimizer"]["param_groups"]))


def fifo(run: Path) -> None:
    os.mkfifo(run / "pipe")


def best_by_last(run: Path) -> None:
    (run / "checkpoints/best.pt").write_bytes((run / "checkpoints/last.pt").read_bytes())


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a bit of last.pt": (flip("checkpoints/last.pt"), r"last\.pt is damaged \(its SHA-256"),
    "a bit of previous.pt": (flip("checkpoints/previous.pt"), r"previous\.pt is damaged"),
    "a bit of best.pt": (flip("checkpoints/best.pt"), r"best\.pt is damaged"),
    "half of last.pt": (half("checkpoints/last.pt"), r"last\.pt is damaged"),
    "best.pt by last.pt": (best_by_last, r"best\.pt is damaged \(it is another file"),
    "no best.pt": (remove("checkpoints/best.pt"), r"best\.pt: missing"),
    "no last.pt": (remove("checkpoints/last.pt"), r"last\.pt: missing from a finished run"),
    "a weight that is no number": (edit("last.pt", one_not_finite), r"last\.pt: not finite: model\."),
    "no optimizer": (edit("last.pt", lambda h, s: s.pop("optimizer")), r"last\.pt: .*optimizer"),
    "another step": (edit("last.pt", lambda h, s: h.update(step=99)), r"last\.pt: step 99, not 18"),
    "a step before": (
        edit("previous.pt", lambda h, s: h.update(step=99)),
        r"previous\.pt: step 99: newer",
    ),
    "another best step": (edit("best.pt", lambda h, s: h.update(step=3)), r"best\.pt: step 3, not \d+ as in"),
    "another model": (edit("best.pt", lambda h, s: s["model"].popitem()), r"best\.pt: is of another model"),
    "a bit of best.safetensors": (flip("best.safetensors"), r"best\.safetensors is damaged"),
    "other safetensors": (other_safetensors, r"best\.safetensors: other weights than best\.pt"),
    "a point twice": (lines(lambda ls: [*ls, ls[-1]]), r"metrics\.jsonl: step 18, test: 2 points"),
    "a point less": (lines(lambda ls: ls[1:]), r"metrics\.jsonl has [\d,]+ bytes, fewer than"),
    "points out of order": (lines(lambda ls: [ls[-1], *ls[:-1]]), r"metrics\.jsonl: step 3 follows step 18"),
    "half a point": (lines(lambda ls: [*ls, b'{"step']), r"metrics\.jsonl: its last line is incomplete"),
    "another object": (lines(lambda ls: [b"[1]\n", *ls]), r"metrics\.jsonl: line 1"),
    "another figure": (
        replace("metrics.jsonl", r'("split": "val", "loss": )', r"\g<1>9"),
        r"metrics\.csv: does not agree with metrics\.jsonl",
    ),
    "another final figure": (
        replace("summary.json", r'("test": \{\s+"loss": )', r"\g<1>9"),
        r"summary\.json: test loss 9\S+, where metrics\.jsonl has \d",
    ),
    "a row of metrics.csv": (
        replace("metrics.csv", r"\n(\d+),", r"\n\g<1>,9"),
        r"metrics\.csv: does not agree",
    ),
    "no metrics.csv": (remove("metrics.csv"), r"metrics\.csv: missing"),
    "a bit of the events": (flip("events"), r"events\.out\S+(: damaged| is damaged) at byte"),
    "an event twice": (repeat_an_event, r"tfevents\.\*: val/loss, step 9: 2 points"),
    "an event less": (drop_an_event, r"tfevents\.\*: val/loss, step 9: not as in metrics\.jsonl"),
    "no events": (remove("events"), r"tfevents\.\*: no such file, which"),
    "another accuracy": (
        replace("evaluation.json", r'"accuracy": [\d.]+', '"accuracy": 0.0123'),
        r"evaluation\.json: accuracy 0\.0123, where summary\.json has",
    ),
    "a summary of another kind": (write("summary.json", "[1]"), r"summary\.json"),
    "a summary without an end": (half("summary.json"), r"summary\.json"),
    "a provenance of another kind": (write("provenance.json", "3"), r"provenance\.json"),
    "no report": (remove("report.html"), r"report\.html: missing"),
    "half a report": (half("report.html"), r"report\.html: incomplete"),
    "half a plot": (half("plots/curves.png"), r"curves\.png: damaged"),
    "no plot": (remove("plots/calibration.png"), r"calibration\.png: missing"),
    "zeros in the log": (write("train.log", "\0" * 99), r"train\.log: holds zeros"),
    "a folder for the events": (folder("events"), r"events\.out\S+ is gone"),
    "a folder for last.pt": (folder("checkpoints/last.pt"), r"last\.pt: a folder in place of a file"),
    "debris": (
        write("checkpoints/.tmp-01234567-last.pt", "half"),
        r"\.tmp-01234567-last\.pt: leftover",
    ),
    "a FIFO": (fifo, r"pipe: neither a file nor a folder"),
    "another setting": (
        replace("config.yaml", "lr: 0.05", "lr: 0.5"),
        r"config\.yaml: optimizer\.lr: 0\.5, not 0\.05 as in last",
    ),
    "no settings": (write("config.yaml", ""), r"config\.yaml: empty; last\.pt has the settings"),
    "settings that lack some": (
        replace("config.yaml", r"  lr: 0\.05\n", ""),
        r"config\.yaml: lacks optimizer\.lr; last\.pt has the settings",
    ),
    "an empty log": (write("train.log", ""), r"train\.log: empty"),
    "a bit of a plot": (flip("plots/mistakes.png"), r"mistakes\.png: damaged"),
    "a setting that is none": (replace("config.yaml", "seed:", "seeds:"), r"config\.yaml: seeds"),
    "linked checkpoints": (linked("checkpoints"), r"checkpoints: a link; a run folder holds its own"),
    "linked plots": (linked("plots"), r"plots: a link; a run folder holds its own folders"),
    "linked events": (linked_events, r"tensorboard: a link; a run folder holds its own folders"),
    "a linked lock": (linked_lock, r"\.lock: not a regular file, so not a lock of imclass; remove it"),
    "a folder for the lock": (lambda run: (run / ".lock").mkdir(), r"\.lock: not a regular file"),
    "a linked log": (linked("train.log"), r"train\.log: a link; logs are written to files of the run only"),
    "no digest": (no_digest, r"best\.safetensors: not verifiable: it has no SHA-256"),
    "a momentum too many": (
        momentum(lambda state: state.update({10: state[9]})),
        r"last\.pt: optimizer\.state: of parameter 10, which param_groups lack",
    ),
    "a momentum of another shape": (
        momentum(lambda state: state[0].update(momentum_buffer=torch.zeros(7))),
        r"last\.pt: optimizer\.state: \[7\] is the shape of none of the weights",
    ),
    "another entry": (
        momentum(lambda state: state[0].update(other=torch.zeros(7))),
        r"last\.pt: optimizer\.state: expected the same entries for all parameters",
    ),
    "no momentum but a number": (
        momentum(lambda state: state.update({0: 3})),
        r"last\.pt: optimizer\.state: expected the same entries for all parameters",
    ),
    "no rate": (groups(lambda gs: gs[0].pop("lr")), r"last\.pt: optimizer\.param_groups\[0\]\.lr is missing"),
    "a parameter twice": (
        groups(lambda gs: gs[0].update(params=[0, 0])),
        r"last\.pt: optimizer\.param_groups: expected the numbers 0, 1, 2",
    ),
    "settings that are none": (write("config.yaml", "- 1\n"), r"config\.yaml"),
}


def test_a_finished_run_is_whole_and_nothing_is_touched(imclass, run: Path) -> None:
    before = state(run)
    outcome = imclass("verify", "run")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.fullmatch(r"outputs/run: whole: 20 files, step 18, finished\n", outcome.out)
    assert state(run) == before


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_has_its_line(imclass, run: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    damage(run)
    before = state(run)
    outcome = imclass("verify", "outputs/run")
    assert (outcome.code, outcome.out) == (2, "")
    first, *problems, count = outcome.err.splitlines()
    assert first == "imclass: outputs/run:" and count.startswith(f"imclass: {len(problems)} problem")
    assert all(line.startswith("imclass: ") and "outputs/run" not in line for line in problems)
    assert re.search(rf"^imclass: .*{expected}", outcome.err, re.MULTILINE), outcome.err
    assert state(run) == before


def test_empty_settings_are_one_problem(imclass, run: Path) -> None:
    (run / "config.yaml").write_text("")
    assert imclass("verify", "run").err.splitlines()[1:] == [
        "imclass: config.yaml: empty; last.pt has the settings of the training",
        "imclass: 1 problem",
    ]


def test_a_folder_that_is_no_run(imclass, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    outcome = imclass("verify", "photos")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "photos: no run folder" in outcome.err


def test_a_run_that_waits_to_go_on_is_whole(imclass) -> None:
    """Killed in a step: its logs go beyond its checkpoint, which is no damage. Asked to stop: in order."""
    finish(overrides("killed"), At("in a step", 15), code=-signal.SIGKILL)
    outcome = imclass("verify", "killed")
    assert re.search(r"whole: \d+ files; killed, resumes at step 12$", outcome.out), outcome
    finish(overrides("asked"), At("in a step", 8, signal.SIGTERM), code=75)
    outcome = imclass("verify", "asked")
    assert re.search(r"whole: \d+ files, step 8, interrupted$", outcome.out), outcome.err


def test_a_run_that_is_training_is_whole(imclass) -> None:
    training = Training(overrides("shared"), Hold("in a step", 14))
    training.until(Path("held").exists)
    outcome = imclass("verify", "shared")
    training.send(signal.SIGKILL)
    training.wait()
    assert f"running; in use by process {training.pid}\n" in outcome.out, outcome.err


def test_a_run_without_plots_and_tensorboard_promises_less(imclass, train) -> None:
    train("small", "logger.plots=false", "logger.tensorboard=false")
    outcome = imclass("verify", "small")
    assert outcome.code == 0, outcome.err


def test_what_training_longer_and_evaluating_again_leave_is_whole(imclass, train, run: Path) -> None:
    """The run began with an earlier version, whose event files stay together in their own folder."""
    move_events(run)
    train("run", "train.epochs=3")
    assert imclass("evaluate", "run").code == 0
    outcome = imclass("verify", "run")
    assert outcome.code == 0, outcome.err
    assert json.loads((run / "summary.json").read_text())["step"] == 27
    assert (len(event_files(run / "tensorboard")), event_files(run)) == (2, [])
