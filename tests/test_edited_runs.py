"""A run folder that someone has edited: one clear line, exit code 2, and what was edited stays as it is."""

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import stub_trial
from conftest import QUICK, merged

from imclass.sweeps import workers

SAME = ("train", "name=run", *merged(QUICK, ["logger.plots=true"]))  # the command that trained it
# File -> the command that reads it, and has to refuse it.
READERS = {
    "summary.json": SAME,
    "provenance.json": ("report", "run"),
    "evaluation.json": ("report", "run"),
    "metrics.jsonl": ("report", "run"),
    "config.yaml": ("report", "run"),
}
ODD = {
    "empty": b"",
    "list": b"[1]\n",
    "number": b"3\n",
    "null": b"null\n",
    "text": b'"\x1b[31mred"\n',
    "one key": b'{"status": "finished"}\n',
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000 + b"\n",
    "huge": b'{"step": 1' + b"0" * 5000 + b"}\n",
}
HARMLESS = {("metrics.jsonl", "empty"), ("provenance.json", "one key")}  # killed early; all entries optional


def assert_refused(outcome: Any, file: Path) -> None:
    """One line on stderr that names the file and holds nothing unprintable."""
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1 and outcome.err.startswith("imclass: "), outcome.err
    assert file.name in outcome.err
    assert outcome.err[:-1].isprintable()


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", READERS)
def test_other_content_is_refused_by_name(imclass, run: Path, name: str, kind: str) -> None:
    file = run / name
    file.write_bytes(ODD[kind])
    outcome = imclass(*READERS[name])
    if (name, kind) in HARMLESS:
        assert outcome.code == 0
    else:
        assert_refused(outcome, file)
    assert file.read_bytes() == ODD[kind]


@pytest.mark.fault("S11")
@pytest.mark.parametrize("name", ["summary.json", "provenance.json", "evaluation.json", "metrics.jsonl"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_a_folder_or_fifo_is_not_read(imclass, run: Path, name: str, make: Callable[[Path], None]) -> None:
    (run / name).unlink()
    make(run / name)
    assert_refused(imclass(*READERS[name]), run / name)


@pytest.mark.fault("S11")
@pytest.mark.parametrize("name", ["train.log", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_a_log_is_written_to_a_file_of_the_run_only(imclass, run: Path, name: str, kind: str) -> None:
    """A link could lead to any file of the user's; a FIFO would wait for its reader."""
    precious, log = run.parent / "precious", run / name
    precious.write_text("precious")
    log.unlink()
    {"folder": log.mkdir, "fifo": lambda: os.mkfifo(log), "link": lambda: log.symlink_to(precious)}[kind]()
    outcome = imclass("train", "resume=outputs/run", "train.epochs=3")
    assert_refused(outcome, log)
    assert "move it away" in outcome.err
    assert precious.read_text() == "precious"


def test_a_comparison_names_the_run_that_it_leaves_out(imclass, run: Path) -> None:
    import shutil

    shutil.copytree(run, run.parent / "odd")
    (run.parent / "odd/summary.json").write_text('{"status": "finished"}')
    outcome = imclass("report", "outputs")
    assert outcome.code == 1  # the rest was done
    assert outcome.err == (
        "imclass: left out: outputs/odd/summary.json: not a valid summary.json (step is missing); "
        "restore or delete it\n"
    )
    assert (run.parent / "comparison.html").exists()


@pytest.fixture
def sweep(imclass, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A finished sweep of one trial, outputs/sweeps/s; its command."""
    monkeypatch.setattr(workers, "trial_command", stub_trial.command(workers.trial_command))
    argv = ("sweep", "sweep.name=s", "sweep.trials=1", "optimizer.lr=choice(0.1,0.01)")
    assert imclass(*argv).code == 0
    return argv


def test_an_edited_sweep_is_refused_by_name(imclass, sweep: tuple[str, ...]) -> None:
    folder = Path("outputs/sweeps/s")
    stored, journal = (folder / "sweep.yaml").read_bytes(), (folder / "journal.log").read_bytes()
    for name, content in [
        *(("sweep.yaml", ODD[kind]) for kind in ("list", "binary", "deep")),
        ("sweep.yaml", stored.replace(b"metric: val.accuracy", b"metric: nonsense")),
        ("sweep.yaml", stored.replace(b"flags: []", b"flags: 1.5")),
        ("journal.log", b"1.5\n" + journal),
        ("journal.log", b"{}\n" + journal),
        ("journal.log", bytes(range(256)) + b"\n"),
    ]:
        (folder / "sweep.yaml").write_bytes(stored)
        (folder / "journal.log").write_bytes(journal)
        (folder / name).write_bytes(content)
        for argv in (("report", "s"), sweep):
            assert_refused(imclass(*argv), folder / name)
            assert (folder / name).read_bytes() == content


# Random edits: what they break is not known, so only what holds for all of them is checked.

VALUES: list[Any] = [None, True, -1, 1.5, 10**400, float("nan"), float("inf"), "\x1b[31m", "", [], {}, [None]]
COMMANDS = (
    SAME,
    ("report", "run"),
    ("report", "outputs"),
    ("evaluate", "run"),
    ("predict", "run", "outputs/run/plots/curves.png"),
    ("train", "resume=outputs/run", "train.epochs=2.2"),
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON tree."""
    items: Any = enumerate(tree) if isinstance(tree, list) else ()
    items = tree.items() if isinstance(tree, dict) else items
    return [path] + [place for key, value in items for place in places(value, (*path, key))]


def edited(content: str, rng: random.Random) -> str:
    """Return a JSON text with one value replaced, or removed."""
    tree = json.loads(content)
    *path, last = rng.choice(places(tree)[1:])
    holder = tree
    for key in path:
        holder = holder[key]
    if rng.random() < 0.3:
        del holder[last]
    else:
        holder[last] = rng.choice(VALUES)
    return json.dumps(tree)


def edit(file: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    how = rng.random()
    if how < 0.15:
        file.write_bytes(rng.choice(list(ODD.values())))
    elif how < 0.25:
        file.write_bytes(content[: rng.randrange(len(content))])
    elif how < 0.35:
        place = rng.randrange(len(content))
        flipped = bytes([content[place] ^ 1 << rng.randrange(8)])
        file.write_bytes(content[:place] + flipped + content[place + 1 :])
    elif file.suffix == ".json":
        file.write_text(edited(content.decode(), rng))
    elif file.suffix == ".jsonl":
        lines = content.decode().splitlines()
        number = rng.randrange(len(lines))
        lines[number] = edited(lines[number], rng)
        file.write_text("\n".join(lines) + "\n")
    else:
        lines = content.decode().splitlines()
        number = rng.randrange(len(lines))
        lines[number] = lines[number].partition(":")[0] + ": " + json.dumps(rng.choice(VALUES))
        file.write_text("\n".join(lines) + "\n")


def check_edit(imclass, run: Path, seed: int, commands: Sequence[Sequence[str]] = COMMANDS) -> None:
    rng = random.Random(seed)
    file = run / rng.choice(list(READERS))
    edit(file, rng)
    before, argv = file.read_bytes(), rng.choice(commands)
    outcome = imclass(*argv)
    told = f"{seed}: {argv} after an edit of {file.name}: {outcome}"
    assert "Traceback" not in outcome.err and outcome.code in (0, 1, 2), told
    if outcome.code == 0:
        return  # it does not read the file, or the edit is one that a run could have written
    assert outcome.err.count("imclass: ") == outcome.err.count("\n") >= 1, told
    assert file.name in outcome.err or "outputs/run" in outcome.err, told
    assert outcome.err.replace("\n", "").isprintable(), told
    assert file.read_bytes() == before, told


@pytest.mark.parametrize("seed", range(8))
def test_random_edits(imclass, run: Path, seed: int) -> None:
    check_edit(imclass, run, seed, COMMANDS[:2])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8, 150))
def test_many_random_edits(imclass, run: Path, seed: int) -> None:
    check_edit(imclass, run, seed)


@pytest.mark.fault("S5")
@pytest.mark.parametrize(
    ("edit_of", "shown"),
    [
        ({"stopped": "\x1b]0;owned\x07\x1b[2J"}, "ended early: \\x1b]0;owned\\x07\\x1b[2J"),
        ({"unwritten": ["\x1b[31m"]}, "incomplete   \\x1b[31m: "),
        ({"skipped": 3}, "skipped: expected counts of images by split, not 3"),
        ({"skipped": {"train": "x"}}, "skipped: expected counts of images by split, not an object"),
    ],
)
def test_an_edited_summary_cannot_act_on_the_terminal(
    imclass, run: Path, edit_of: dict[str, Any], shown: str
) -> None:
    summary = json.loads((run / "summary.json").read_text()) | edit_of
    (run / "summary.json").write_text(json.dumps(summary))
    outcome = imclass(*SAME)
    assert outcome.code == (2 if "skipped" in edit_of else 0)
    assert shown in outcome.out + outcome.err
    assert (outcome.out + outcome.err).replace("\n", "").isprintable()


@pytest.mark.fault("S10")
def test_records_larger_than_any_that_imclass_writes_are_not_parsed(imclass, run: Path) -> None:
    for name, size in (("summary.json", 1), ("provenance.json", 5), ("evaluation.json", 50)):
        content = (run / name).read_bytes()
        (run / name).write_bytes(b"[" + b"[]," * (size * 1_000_000 // 3) + b"[]]")
        outcome = imclass("report", "run")
        problem = f"imclass: outputs/run/{name}: larger than {size} MB; imclass writes no such file\n"
        assert (outcome.code, outcome.err) == (2, problem)
        (run / name).write_bytes(content)
