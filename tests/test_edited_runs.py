"""A run folder that someone has edited: one clear line, exit code 2, and what was edited stays as it is."""

import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import stub_trial
from conftest import QUICK, merged

from imclass.config.check import check_config, flatten
from imclass.config.schema import SETTINGS
from imclass.config.yaml_file import parse_yaml
from imclass.errors import UserError
from imclass.runs.record_schema import (
    POINT,
    PROVENANCE,
    problem_of,
    problem_of_evaluation,
    problem_of_summary,
)
from imclass.sweeps import workers

REPORTED = ("config.yaml", "summary.json", "provenance.json", "evaluation.json", "metrics.jsonl")


class Command(NamedTuple):
    """A command, the records that it reads and refuses, and the files of the run that it may replace.

    mends: of those that it reads, what it makes again where it is damaged.
    """

    argv: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    mends: tuple[str, ...] = ()


SAME = ("train", "name=run", *merged(QUICK, ["logger.plots=true"]))  # the command that trained it
REPORT = Command(("report", "run"), REPORTED, ("report.html", "plots/curves.png"))
EVALUATE = Command(("evaluate", "run"), REPORTED, ("evaluation.json", "report.html", "plots/*"))
RESUME = Command(
    ("train", "resume=outputs/run", "train.epochs=2.2", "logger.plots=false"),
    ("config.yaml", "summary.json", "provenance.json"),  # and repairs or refuses metrics.jsonl
    ("*",),
    ("summary.json",),
)
COMMANDS = {
    "same": Command(SAME, ("config.yaml", "summary.json"), mends=("summary.json",)),
    "report": REPORT,
    "report all": REPORT._replace(argv=("report", "outputs")),
    "evaluate": EVALUATE,
    "predict": Command(("predict", "run", "outputs/run/plots/curves.png"), ()),
    "resume": RESUME,
}
# File -> the command that reads it, and has to refuse it.
READERS = {
    "summary.json": ("report", "run"),
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
    """One line on stderr that names the file; nothing reaches the terminal that it would act upon."""
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1 and outcome.err.startswith("imclass: "), outcome.err
    assert file.name in outcome.err
    assert_printable(outcome)


def assert_printable(outcome: Any) -> None:
    assert (outcome.out + outcome.err).replace("\n", "").isprintable(), outcome


def files_in(run: Path) -> dict[str, bytes]:
    """Return the contents of all files of a run by their paths in it."""
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def assert_writes_only(before: dict[str, bytes], run: Path, patterns: Sequence[str]) -> None:
    after = files_in(run)
    changed = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    other = [name for name in changed if not any(Path(name).match(pattern) for pattern in patterns)]
    assert not other, other


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_command_refuses_what_it_reads(
    imclass, run: Path, finished: Path, command: Command, tmp_path: Path
) -> None:
    """And goes on where it does not read a file, which then stays as it is."""
    for name in REPORTED:
        shutil.copytree(finished, run, dirs_exist_ok=True)
        (run / name).write_bytes(ODD["text"])
        before = files_in(run)
        outcome = imclass(*command.argv)
        if name in command.mends:
            assert (outcome.code, is_valid(run / name)) == (0, True), outcome.err
            assert f"{name}: not a valid {name} (" in outcome.err
        elif name in command.reads:
            assert_refused(outcome, run / name)
            assert files_in(run) == before
        else:
            assert outcome.code == 0, outcome.err
            assert_printable(outcome)
            assert_writes_only(before, run, command.writes)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", READERS)
def test_other_content_is_refused_by_name(imclass, run: Path, name: str, kind: str) -> None:
    file = run / name
    file.write_bytes(ODD[kind])
    before = files_in(run)
    outcome = imclass(*READERS[name])
    if (name, kind) in HARMLESS:
        assert outcome.code == 0
        assert_printable(outcome)
        assert_writes_only(before, run, REPORT.writes)
    else:
        assert_refused(outcome, file)
        assert files_in(run) == before


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


# Random edits: what is right is decided by the schema, of the content as the test parses it.

VALUES: list[Any] = [None, True, -1, 1.5, 10**400, float("nan"), float("inf"), "\x1b[31m", "", [], {}, [None]]


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


PROBLEM_OF = {
    "summary.json": problem_of_summary,
    "provenance.json": lambda value: problem_of(value, PROVENANCE),
    "evaluation.json": problem_of_evaluation,
    "metrics.jsonl": lambda value: problem_of(value, POINT),
}


def is_valid(file: Path) -> bool:
    """Return whether a run could have written this."""
    if file.name == "config.yaml":
        return settings_in(file) is not None
    whole = file.read_bytes()
    parts = whole.split(b"\n")[:-1] if file.suffix == ".jsonl" else [whole]  # its last line may be incomplete
    try:
        return all(PROBLEM_OF[file.name](json.loads(part.decode())) is None for part in parts)
    except (ValueError, RecursionError):
        return False


def settings_in(file: Path) -> dict[str, Any] | None:
    """Return the settings in a config.yaml, flat; None if they are none."""
    try:
        settings = parse_yaml(file.read_text(), "")
        check_config(settings, to_train=False)
    except (UserError, ValueError, AttributeError):
        return None
    return flatten(settings)


def is_fixed(key: str) -> bool:
    """Return whether a resumed run must have this setting as it was."""
    setting = SETTINGS[key]
    return setting.affects_results and not (setting.free_on_resume or setting.lengthens)


def expected_codes(command: Command, file: Path, original: dict[str, Any]) -> set[int]:
    """Return how the command may end after `file` was edited. original: the settings before."""
    if command == RESUME and file.name == "metrics.jsonl":
        return {0, 2}  # repaired from previous.pt, or refused
    if file.name not in command.reads:
        return {0}
    if not is_valid(file):
        return {0} if file.name in command.mends else {2}
    if file.name != "config.yaml":
        return {0}
    settings = settings_in(file)
    assert settings is not None
    changed = [key for key, value in settings.items() if original[key] != value]
    if command.reads != REPORTED and command != RESUME:  # what is gone has its default
        changed += [k for k in original.keys() - settings.keys() if original[k] != SETTINGS[k].default]
    if command.reads == REPORTED:  # a page needs these
        return {0} if {"model.name", "dataset.name", "dataset.val_split"} <= settings.keys() else {2}
    if command == RESUME and any(is_fixed(key) for key in changed):
        return {2}
    if command == RESUME:
        return {0, 2}  # other settings may be impossible
    free = [SETTINGS[key].free_on_resume or not SETTINGS[key].affects_results for key in changed]
    longer = any(SETTINGS[key].lengthens for key in changed)
    return {0, 2} if longer else {0} if all(free) or set(changed) <= {"name", "resume"} else {2}


def check_edit(imclass, run: Path, seed: int, commands: Sequence[Command] = tuple(COMMANDS.values())) -> None:
    rng = random.Random(seed)
    file, command = run / rng.choice(list(READERS)), rng.choice(commands)
    original = settings_in(run / "config.yaml")
    assert original is not None
    edit(file, rng)
    before = files_in(run)
    codes = expected_codes(command, file, original)
    outcome = imclass(*command.argv)
    told = f"{seed}: {command.argv} after an edit of {file.name}: expected {codes}, {outcome}"
    assert outcome.code in codes, told
    assert (outcome.out + outcome.err).replace("\n", "").isprintable(), told
    if outcome.code == 0:
        if files_in(run)[file.name] == before[file.name]:  # else it was made again
            assert_writes_only(before, run, command.writes)
        return
    assert outcome.err.count("imclass: ") == outcome.err.count("\n") >= 1, told
    assert file.name in outcome.err or "outputs/run" in outcome.err, told
    assert files_in(run) == before, told


@pytest.mark.parametrize("seed", range(8))
def test_random_edits(imclass, run: Path, seed: int) -> None:
    check_edit(imclass, run, seed, [COMMANDS["same"], REPORT])


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
    assert outcome.code == 0
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


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("name", "argv"), [("summary.json", REPORT.argv), ("evaluation.json", REPORT.argv)])
def test_a_record_without_one_of_its_entries(imclass, run: Path, name: str, argv: Sequence[str]) -> None:
    """Is refused where runs always write the entry, and used where some do not."""
    whole = json.loads((run / name).read_text())
    for key in whole:
        (run / name).write_text(json.dumps({k: value for k, value in whole.items() if k != key}))
        outcome = imclass(*argv)
        if is_valid(run / name):
            assert outcome.code == 0, (key, outcome.err)
        else:
            assert_refused(outcome, run / name)
