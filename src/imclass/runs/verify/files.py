"""Which files a run folder has: those it promises, no debris, nothing that is no file; and its lock."""

import math
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from imclass.errors import first_line
from imclass.runs.atomic import TEMPORARY
from imclass.runs.contents import LINKED, linked_folders, promised_files
from imclass.runs.locks import LOCK
from imclass.runs.records import Record, read_bytes, read_evaluation
from imclass.runs.regular import open_regular
from imclass.runs.tensorboard import EVENTS, event_files, events_folder
from imclass.runs.verify.verdict import Verdict

BEGUN = ("config.yaml", "provenance.json", "summary.json", "train.log")
FINISHED = ("metrics.jsonl", "checkpoints/best.pt", "checkpoints/last.pt")
LOGS = ("train.log", "metrics.jsonl")  # appended to, which no link may lead elsewhere
TEXTS = ("train.log", "metrics.csv", "report.html")
MAX_HOLDER = 200  # bytes: a lock is one line
CLOSE = 1e-3  # an evaluation that was repeated on other hardware is as close as this to the run's own


def check_files(verdict: Verdict, settings: Mapping[str, Any]) -> None:
    """Look at names and kinds of all files, and at those that nothing else here reads."""
    _check_lock(verdict)
    linked = linked_folders(verdict.path)
    for path in sorted(verdict.path.rglob("*")):
        name = str(path.relative_to(verdict.path))
        if path in linked:
            verdict.add(name, LINKED)
        elif path.name.startswith(TEMPORARY) and not verdict.held:
            verdict.add(name, "leftover of a killed process; the next `imclass train` removes it")
        elif path == verdict.path / LOCK:
            continue
        elif not (path.is_file() or path.is_dir()):
            verdict.add(name, "neither a file nor a folder")
        elif path.is_symlink() and name in LOGS:
            verdict.add(name, "a link; logs are written to files of the run only: move it away")
        elif path.is_file():
            verdict.files += 1
            _check_content(verdict, path, name)
    logger = settings.get("logger") or {}
    promised = [*BEGUN]
    if verdict.finished:
        promised += [*FINISHED, *promised_files(plots=bool(logger.get("plots")))]
        if logger.get("tensorboard") and not event_files(events_folder(verdict.path)):
            verdict.add(f"{EVENTS}*", "no such file, which a finished run has")
    for name in promised:
        path = verdict.path / name
        if not path.is_file():
            found = "a folder in place of a file; missing" if path.is_dir() else "missing"
            verdict.add(name, f"{found} from a {verdict.status} run")
    _check_evaluation(verdict)


def _check_content(verdict: Verdict, path: Path, name: str) -> None:
    if path.suffix == ".png":
        try:
            with Image.open(path) as image:
                image.verify()  # every checksum; nothing is decoded
        except Exception as error:  # Pillow's decoders have no common class
            verdict.add(name, f"damaged: {first_line(error)}")
    elif name in TEXTS:
        text = verdict.attempt(lambda: read_bytes(path), b"")
        if not text:
            verdict.add(name, "empty")
        elif b"\0" in text:
            verdict.add(name, "holds zeros where text was")
        elif path.suffix == ".html" and not text.rstrip().endswith(b"</html>"):
            verdict.add(name, "incomplete: it does not end with </html>")


def _check_evaluation(verdict: Verdict) -> None:
    """evaluation.json is of the test set, as the summary has it."""
    scores: Record = verdict.attempt(lambda: read_evaluation(verdict.path), {})
    test = verdict.summary.get("test")
    if not (scores and test and verdict.finished):
        return
    for key in ("loss", "accuracy"):
        if not math.isclose(scores[key], test[key], rel_tol=CLOSE, abs_tol=CLOSE):
            verdict.add("evaluation.json", f"{key} {scores[key]:g}, where summary.json has {test[key]:g}")
    if scores["images"] != sum(sum(row) for row in scores["confusion_matrix"]):
        verdict.add("evaluation.json", "the confusion matrix does not sum to `images`")


def _check_lock(verdict: Verdict) -> None:
    """Note who trains in the folder, by reading its lock: taking it would stop another process."""
    file = verdict.path / LOCK
    if file.is_symlink() or (file.exists() and not file.is_file()):
        verdict.add(LOCK, "not a regular file, so not a lock of imclass; remove it")
        return
    try:
        with open_regular(file) as opened:
            holder = opened.read(MAX_HOLDER).decode(errors="replace")
    except FileNotFoundError:
        return
    match = re.fullmatch(r"process (\d+) on (.+)", holder)
    if match is None:
        verdict.notes.append("unreadable lock file")
    elif match[2] != socket.gethostname():
        verdict.held = True
        verdict.notes.append(f"in use by {holder!r}, if it still runs")
    elif _is_alive(int(match[1])):
        verdict.held = True
        verdict.notes.append(f"in use by process {match[1]}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
