"""Images that cannot be decoded: found once, and left out where `dataset.on_damaged=skip`."""

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from imclass.data.folder.cache import cached_text, folder_key
from imclass.data.folder.decode import damage, read_files, read_header, read_images
from imclass.data.folder.scan import ImageFile
from imclass.errors import UserError


def skip_damaged(
    root: Path, found: dict[str, list[ImageFile]], classes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Take the images that cannot be decoded out of `found`; return them as "name: problem", by part.

    What is damaged is found once, and cached: each image is decoded fully. Raises UserError if a class
    loses all its images.
    """
    files = list(chain.from_iterable(found.values()))
    names = [file.name for file in files]

    def find() -> str:
        reasons = read_files(names, lambda name: damage(root / name))
        return json.dumps({name: reason for name, reason in zip(names, reasons, strict=True) if reason})

    damaged: dict[str, str] = json.loads(cached_text(folder_key(root, "damaged", files), find))
    skipped = {}
    for part, own in found.items():
        found[part] = whole = [file for file in own if file.name not in damaged]
        if lost := {file.label for file in own} - {file.label for file in whole}:
            raise UserError(
                f"{root}: all images of {classes[min(lost)]!r} in {part} are damaged; {how_to_list(root)}"
            )
        skipped[part] = tuple(f"{file.name}: {damaged[file.name]}" for file in own if file.name in damaged)
    return skipped


def refuse_irregular(root: Path, found: Mapping[str, Sequence[ImageFile]]) -> None:
    """Raise UserError naming a file of `found` that is no file, such as a FIFO; no other is opened."""
    names = [file.name for file in chain.from_iterable(found.values()) if file.size < 0]
    read_images(root, names, read_header, how_to_skip(root))


def how_to_list(root: Path) -> str:
    """Return the advice that goes with a damaged image."""
    return f"imclass data verify {shlex.quote(str(root))} lists all that is damaged"


def how_to_skip(root: Path) -> str:
    """Return the advice that goes with a damaged image where none is skipped."""
    return f"{how_to_list(root)}, dataset.on_damaged=skip trains without it"
