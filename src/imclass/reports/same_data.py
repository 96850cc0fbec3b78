"""Which runs were trained and validated on the same images, split by the same rule."""

import itertools
from collections.abc import Sequence

from imclass.config.setting import show
from imclass.reports.html import brief_path
from imclass.runs.records import RunRecord

SPLIT_KEYS = ("dataset.name", "dataset.val_split", "dataset.folds", "dataset.test_split", "dataset.fraction")
# How a folder's images are stored, which their fingerprint depends on.
STORED_KEYS = ("dataset.resize", "dataset.centre", "dataset.background")


def runs_by_data(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs by what they were trained and validated on, in words that differ."""
    groups: list[list[RunRecord]] = []
    for run in runs:
        found = next((group for group in groups if _same_data(run, group[0])), None)
        if found is None:
            groups.append([run])
        else:
            found.append(run)
    named: dict[str, list[RunRecord]] = {}
    for group in groups:
        words = _data_of(group[0])
        names = (words if number == 1 else f"{words} ({number})" for number in itertools.count(1))
        named[next(name for name in names if name not in named)] = group
    return named


def _same_data(run: RunRecord, other: RunRecord) -> bool:
    """Return whether two runs had the same images, split by one rule; a folder may be read in other sizes."""
    ours, theirs = run.settings, other.settings
    if any(ours.get(key) != theirs.get(key) for key in SPLIT_KEYS):
        return False
    same_folder = ours.get("dataset.root") is not None and ours["dataset.root"] == theirs.get("dataset.root")
    if same_folder and any(ours.get(key) != theirs.get(key) for key in STORED_KEYS):
        return _counts(run) == _counts(other)
    return run.provenance.get("data_fingerprint") == other.provenance.get("data_fingerprint")


def _counts(run: RunRecord) -> list[int]:
    data = run.provenance.get("data") or {}
    return [data.get(split, 0) for split in ("train", "val", "test")]


def _data_of(run: RunRecord) -> str:
    """Return the data of a run in words: its name, its images and how they were split."""
    name, root = run.settings["dataset.name"], run.settings.get("dataset.root")
    where = f" {brief_path(root)}" if root and name == "image_folder" else ""
    train, val, test = _counts(run)
    folds, source = run.settings.get("dataset.folds"), (run.provenance.get("data") or {}).get("validation")
    split = f"validation: {source}" if source else f"val_split {show(run.settings['dataset.val_split'])}"
    split = f"{folds} folds" if folds else split
    return f"{show(name)}{where}: {train:,} train, {val:,} val, {test:,} test images, {split}"
