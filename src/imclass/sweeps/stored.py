"""sweep.yaml: the settings of a sweep that must not change when it is resumed, kept in its folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from imclass.config.metric import METRICS
from imclass.config.setting import show
from imclass.config.urls import without_password
from imclass.config.yaml_file import read_yaml
from imclass.errors import UserError
from imclass.runs.atomic import write_atomically
from imclass.runs.locks import locked
from imclass.runs.record_schema import COUNT, TEXT, Entry, Listed, Optional, one_of, problem_of
from imclass.sweeps.request import CLAIMS, FIXED, JOURNAL, Request

if TYPE_CHECKING:
    from imclass.sweeps.store import Store

_BY_KEY = Entry(
    "settings by their keys",
    lambda value: isinstance(value, dict) and all(isinstance(x, str) for pair in value.items() for x in pair),
)
STORED = {
    "command": TEXT,
    "storage": Optional(TEXT),  # without a password
    "name": TEXT,
    "flags": Listed(TEXT),
    "overrides": _BY_KEY,
    "space": _BY_KEY,
    "settings": Entry("settings by their keys", lambda value: isinstance(value, dict)),
    "sampler": TEXT,
    "pruner": TEXT,
    "metric": one_of(*METRICS, *(f"val.{name}" for name in METRICS)),
    "seed": COUNT,
}


def is_begun(request: Request) -> bool:
    """Return whether this sweep has begun. Raises UserError if its folder is not a sweep's."""
    folder = request.folder
    if (folder / "sweep.yaml").exists():
        return True
    if folder.exists() and any(not path.name.startswith((".", CLAIMS)) for path in folder.iterdir()):
        raise UserError(f"{folder}: exists and is not a sweep of imclass; choose another sweep.name=")
    return False


def keep_request(request: Request) -> None:
    """Compare with `sweep.yaml` if there is one, then write it.

    Its command is the last that did not join: it may have asked for more trials, or for fresh seeds.
    """
    file = request.folder / "sweep.yaml"
    with locked(request.folder / CLAIMS, required=request.storage == JOURNAL):  # several may begin at once
        if file.exists():
            compare_with_stored(request)
            if request.config.join:
                return
        typed = {"command": request.command, "name": request.name, "flags": request.flags}
        typed["storage"] = without_password(request.storage)
        overrides = dict(text.split("=", 1) for text in request.overrides)
        content = {**typed, "overrides": overrides, **request.fixed}
        write_atomically(file, OmegaConf.to_yaml(OmegaConf.create(content)))


def compare_with_stored(request: Request) -> None:
    """Raise UserError naming the settings that differ from the stored ones."""
    stored = {"storage": JOURNAL, **read_stored(request.folder)}
    wanted = {**request.fixed, "storage": without_password(request.storage)}
    _compare(stored, wanted, (*FIXED, "storage"), str(request.folder))


def agree_with_others(request: Request, store: "Store") -> None:
    """Raise UserError naming the settings in which this machine differs from the first in the database."""
    if "fixed" not in store.search.user_attrs:
        store.search.set_user_attr("fixed", request.fixed)
    _compare(store.search.user_attrs["fixed"], request.fixed, FIXED, without_password(request.storage))


def _compare(stored: Mapping[str, Any], wanted: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    before, now = ({k: v for key in keys for k, v in _labelled(key, x[key])} for x in (stored, wanted))
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        listed = "; ".join(
            f"{k}: {show(before.get(k, 'absent'))} -> {show(now.get(k, 'absent'))}" for k in differing[:8]
        )
        more = f"; and {len(differing) - 8} more" if len(differing) > 8 else ""
        raise UserError(
            f"{where}: this sweep has other settings ({listed}{more}); "
            "choose another sweep.name=, or repeat its settings"
        )


def _labelled(key: str, value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else [(f"sweep.{key}", value)]


def read_stored(folder: Path) -> dict[str, Any]:
    """Read sweep.yaml. Raises UserError if a sweep did not write it."""
    file = folder / "sweep.yaml"
    stored: Any = read_yaml(file)
    if problem := problem_of(stored, STORED):
        raise UserError(f"{file}: was not written by imclass sweep ({problem}); restore or remove it")
    return stored
