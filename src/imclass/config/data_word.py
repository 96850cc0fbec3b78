"""People's own pictures, typed without `dataset=`: as a word alone, or as dataset.root. No torch here."""

import os
import shlex
from collections.abc import Sequence

from imclass.config.data_root import TABLES, holds_class_folders, is_output, problem_of_runs
from imclass.config.overrides import key_of, parse, quoted, sweep_values
from imclass.config.run_names import is_run, user_path
from imclass.config.schema import GROUPS, SETTINGS, SWEEP_SETTINGS
from imclass.errors import UserError

_CHOOSE_DATASET = ("dataset", "dataset.name", "experiment", "resume")


def is_data_word(word: str) -> bool:
    """Return whether a word is no override but the path of something that is there."""
    known = "=" in word and key_of(word) in (*SETTINGS, *SWEEP_SETTINGS, *GROUPS, "sweep")
    return bool(word) and not known and os.path.lexists(user_path(word))


def data_overrides(word: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides that `word`, a folder or a table of pictures, stands for beside `overrides`.

    Raises UserError for another file, a run folder, and a data set that is named as well.
    """
    path, shown = user_path(word), shlex.quote(word)
    if not path.exists():
        raise UserError(f"{word}: no such folder or file of pictures")
    if is_run(path) and is_output(path):
        raise UserError(f"{word}: a run folder; to resume it, type resume={shown}")
    if path.suffix.lower() in (".yaml", ".yml"):
        raise UserError(f"{word}: a file of settings; type experiment={shown}")
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        raise UserError(f"{word}: expected a folder of class folders, or a file {' or '.join(TABLES)}")
    typed = {key_of(text): text for text in overrides}
    if "dataset.root" in typed:
        raise UserError(f"{word}, {typed['dataset.root']}: two places of pictures; keep one")
    if typed.get("resume", "resume=auto") not in ("resume=auto", "resume=never"):
        moved = f"leave it out, or type dataset.root={shown} where they have moved"
        raise UserError(f"{word}: {typed['resume']} takes its pictures from the run; {moved}")
    chosen = typed.get("dataset", typed.get("dataset.name"))
    if chosen is None:
        return ["dataset=image_folder", f"dataset.root={quoted(word)}"]
    if chosen.partition("=")[2] != "image_folder":
        raise UserError(f"{word}: read as dataset=image_folder; with {chosen} type dataset.root={shown}")
    return [f"dataset.root={quoted(word)}"]


def dataset_of_root(overrides: Sequence[str]) -> list[str]:
    """Return the override that chooses the data set where only dataset.root is typed; none elsewhere.

    Raises UserError, with what to type, where that is no folder of pictures.
    """
    typed = {key_of(text): text for text in overrides}
    override = parse(typed["dataset.root"]) if "dataset.root" in typed else None
    if override is None or override.is_delete() or not typed.keys().isdisjoint(_CHOOSE_DATASET):
        return []
    values = sweep_values(override, ()) if override.is_sweep_override() else [override.value()]
    for root in values:
        path = user_path(str(root).strip("'\""))
        if path.is_dir() and not holds_class_folders(path) and not problem_of_runs(path):
            name = f"dataset=cifar10 dataset.root={shlex.quote(str(root))}"
            raise UserError(f"dataset.root={root}: no class folders with pictures; for a data set: {name}")
    return ["dataset=image_folder"] if None not in values else []
