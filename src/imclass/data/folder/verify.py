"""Finds every problem in a folder or a table of images; `scan` and `decode` stop at the first."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from imclass.config.data_root import is_table
from imclass.data.folder.decode import damage, read_files
from imclass.data.folder.listing import list_images
from imclass.data.folder.scan import (
    LAYOUT,
    difference,
    files_under,
    is_image_name,
    looks_like_image,
    part_folders,
    subfolders,
)
from imclass.data.verify import Problem, Verified
from imclass.errors import UserError, counted

Progress = Callable[[Iterator[str], int], Iterable[str]]


class Labelled(NamedTuple):
    name: str  # of a file, below the folder
    part: str
    label: str
    group: str = ""  # of a table


@dataclass(slots=True)
class Contents:
    """What a folder or a table names, and what is wrong with it without opening the images."""

    folder: Path  # names are below it
    classes: tuple[str, ...] = ()
    images: list[Labelled] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: list[Problem] = field(default_factory=list)


def verify_folder(root: Path, progress: Progress = lambda reasons, total: reasons) -> Verified:
    """Look at all files of a folder in one of `scan`'s layouts, or of a table, and decode every image fully.

    progress: is handed one reason per image as it is decoded ("": whole) and their number. Raises UserError
    for a folder that has none of the layouts, and for a table with bad rows.
    """
    contents = contents_of(root)
    names = [image.name for image in contents.images]
    reasons = progress(read_files(names, lambda name: damage(contents.folder / name)), len(names))
    damaged = [Problem(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]
    problems = list(dict.fromkeys([*contents.problems, *damaged]))
    return Verified(len(names), contents.classes, problems, sorted(contents.ignored))


def contents_of(root: Path) -> Contents:
    """Return what a folder or a table names. Raises UserError as `verify_folder` does."""
    if not is_table(root):
        return _Inspection(root).look()
    listing = list_images(root, str(root))
    images = [
        Labelled(file.name, part, listing.classes[file.label], file.group)
        for part, files in listing.parts.items()
        for file in files
    ]
    return Contents(listing.folder, listing.classes, images)


class _Inspection:
    """Visits a folder, without opening the images."""

    def __init__(self, root: Path):
        self.root = root
        self.contents = Contents(root)
        self.problems, self.ignored = self.contents.problems, self.contents.ignored

    def look(self) -> Contents:
        """Visit all parts; the classes are those of the training part."""
        folders = part_folders(self.root, self.failed)
        if "train" not in folders:
            raise UserError(f"{self.root}: has {', '.join(folders)}/ but no train/ beside it")
        found = {part: subfolders(folder, self.failed) for part, folder in folders.items()}
        classes = self.contents.classes = found["train"]
        if len(classes) < 2:
            raise UserError(f"{folders['train']}: {counted(len(classes), 'class folder')}; {LAYOUT}")
        for part, folder in folders.items():
            if differing := difference(found[part], classes):
                self.add(folder, f"class folders differ from those of train/: it {differing}")
            before = len(self.contents.images)
            for name in found[part]:
                self.look_at_class(folder / name, part)
            if len(self.contents.images) == before:
                self.add(folder, "no images in its class folders")
        self.look_beside(folders)
        return self.contents

    def look_at_class(self, folder: Path, part: str) -> None:
        images = self.contents.images
        before = len(images)
        for name, entry in sorted(files_under(folder, self.name(folder), failed=self.failed), key=_name):
            if is_image_name(name):
                images.append(Labelled(name, part, folder.name))
            else:
                self.look_at_other(name, entry)
        if len(images) == before:
            empty = Problem(self.name(folder), "no images of this class")
            (self.problems if part == "train" else self.ignored).append(empty)

    def look_at_other(self, name: str, entry: "os.DirEntry[str]") -> None:
        """Record a file that is not named like an image."""
        try:
            regular = stat.S_ISREG(entry.stat().st_mode)
        except OSError as error:
            self.problems.append(Problem(name, error.strerror or str(error)))
            return
        if not regular:
            self.problems.append(Problem(name, "not a regular file"))
        elif looks_like_image(self.root / name):
            self.problems.append(
                Problem(name, "an image whose name has no extension: training passes it over")
            )
        else:
            self.ignored.append(Problem(name, "not an image by its name"))

    def look_beside(self, folders: dict[str, Path]) -> None:
        """Record what lies outside the class folders."""
        for folder in dict.fromkeys([self.root, *folders.values()]):
            own = set(subfolders(folder, lambda _: None)) if folder in folders.values() else set()
            own |= {path.name for path in folders.values() if path.parent == folder}
            with contextlib.suppress(OSError):  # a folder that cannot be read has been named
                for path in sorted(folder.iterdir()):
                    if path.name not in own and not path.name.startswith("."):
                        self.look_outside(path)

    def look_outside(self, path: Path) -> None:
        if path.is_file() or path.is_dir():
            self.ignored.append(Problem(self.name(path), "outside the class folders"))
        elif path.exists():
            self.add(path, "not a regular file")

    def failed(self, error: OSError) -> None:
        self.add(Path(error.filename), error.strerror or str(error))

    def add(self, path: Path, reason: str) -> None:
        self.problems.append(Problem(self.name(path), reason))

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _name(pair: Sequence[object]) -> str:
    return str(pair[0])
