"""Images that cannot be decoded: found once, and left out where `dataset.on_damaged=skip`."""

import json
import shlex
from itertools import chain
from pathlib import Path

from imclass.config.data_root import is_table
from imclass.config.setting import show
from imclass.data.folder.cache import cached_text, folder_key
from imclass.data.folder.decode import damage, read_files, read_header
from imclass.data.folder.listing import Listing
from imclass.errors import ConfigError, UserError

SHOWN = 10  # missing files


def skip_damaged(listing: Listing) -> dict[str, tuple[str, ...]]:
    """Take the images that cannot be decoded out of the parts; return them as "name: problem", by part.

    What is damaged is found once, and cached: each image is decoded fully. Raises UserError if a class
    loses all its images.
    """
    folder, parts, root = listing.folder, listing.parts, listing.root
    files = list(chain.from_iterable(parts.values()))
    names = [file.name for file in files]

    def find() -> str:
        reasons = read_files(names, lambda name: damage(folder / name))
        return json.dumps({name: reason for name, reason in zip(names, reasons, strict=True) if reason})

    damaged: dict[str, str] = json.loads(cached_text(folder_key(folder, "damaged", files), find))
    skipped = {}
    for part, own in parts.items():
        parts[part] = whole = [file for file in own if file.name not in damaged]
        if lost := {file.label for file in own} - {file.label for file in whole}:
            name = listing.classes[min(lost)]
            raise UserError(f"{root}: all images of {name!r} in {part} are damaged; {how_to_list(root)}")
        skipped[part] = tuple(f"{file.name}: {damaged[file.name]}" for file in own if file.name in damaged)
    return skipped


def refuse_irregular(listing: Listing) -> None:
    """Raise ConfigError naming what is no file, such as a FIFO or a link to nowhere; no file is opened.

    Where all files of a table are missing, their paths are wrong, and leaving them out is no way on.
    """
    files = [*chain.from_iterable(listing.parts.values())]
    names = [file.name for file in files if file.size < 0]
    if not names:
        return
    problems = []
    for name in names[:SHOWN]:
        try:
            read_header(listing.folder / name)
        except UserError as error:
            problems.append(f"{show(name)}: damaged or unreadable image ({error})")
    more = [f"{len(names) - SHOWN:,} more are missing or no files"] if len(names) > SHOWN else []
    *others, last = [*problems, *more]
    misplaced = is_table(listing.root) and len(names) == len(files) and not Path(names[0]).is_absolute()
    relative = f"paths in a table are relative to its folder, {show(str(listing.folder))}"
    raise ConfigError([*others, f"{last}; {relative if misplaced else how_to_skip(listing.root)}"])


def how_to_list(root: Path) -> str:
    """Return the advice that goes with a damaged image."""
    return f"imclass data verify {shlex.quote(str(root))} lists all that is damaged"


def how_to_skip(root: Path) -> str:
    """Return the advice that goes with a damaged image where none is skipped."""
    return f"{how_to_list(root)}, dataset.on_damaged=skip trains without it"
