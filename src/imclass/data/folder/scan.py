"""Lists the classes and images of a folder without opening any file.

    ROOT/train/<class>/**   ROOT/val/<class>/** (or valid, validation)   ROOT/test/<class>/**
    ROOT/<class>/**         not divided into parts: everything is training data

Classes are the sorted names of the class folders in train/; val/ and test/ must have the same ones, which
may be empty. Hidden files and folders are skipped, as are folders of runs beside the classes, and files whose
extension Pillow does not know; links are followed. Names of parts may be in any case; `training` and
`testing` also count.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from imclass.config.data_root import PART_NAMES, is_output, run_in
from imclass.data.folder.decode import extensions, read_header
from imclass.errors import UserError, counted

LAYOUT = "expected at least 2 folders with images of one class each, or train/, val/ and test/ that hold them"


Failed = Callable[[OSError], None]


class ImageFile(NamedTuple):
    """What is named like an image. name: its path below the root, with '/' on every system."""

    name: str
    label: int
    size: int  # in bytes; -1: not a regular file, or a link to nowhere, which reading it will say
    mtime_ns: int
    group: str = ""  # of a table: what is to be in one part as a whole


def scan_folder(
    root: Path, given: str, *, least: int = 2
) -> tuple[tuple[str, ...], dict[str, list[ImageFile]]]:
    """Return class names and the images of `train` and, if there are any, `test` and `val`.

    given: what the user typed, for messages. least: number of classes. Images are ordered by class, then by
    name. Raises UserError when the folder is missing or unreadable, a part has no images, or the parts have
    different classes.
    """
    try:
        if not root.is_dir():
            raise UserError(f"{given}: no such folder; give the folder that holds the images")
        folders = part_folders(root)
        if "train" not in folders:
            raise UserError(
                f"{root}: has {', '.join(path.name for path in folders.values())}/ but no train/ beside it"
            )
        names = {part: subfolders(folder) for part, folder in folders.items()}
        classes = names["train"]
        if len(classes) < least:
            count = counted(len(classes), "class folder")
            count += f" in {folders['train']}" if folders["train"] != root else ""
            raise UserError(f"{given}: {count}; {LAYOUT.replace('2 folders', counted(least, 'folder'))}")
        for part, present in names.items():
            _check_same(folders[part], present, classes)
        images = {part: _part_images(root, folder, classes) for part, folder in folders.items()}
        for part, found in images.items():
            if not found:
                raise UserError(f"{folders[part]}: no images in its class folders; add some or remove it")
        return classes, images
    except OSError as error:
        raise UserError(f"{given}: cannot be read ({error})") from error


def image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the images in a folder and below, sorted, and the number of other files.

    Extensions decide; files without one are opened. Hidden files and folders are skipped and not counted;
    links are followed. Raises UserError when a folder cannot be read.
    """
    try:
        files = sorted(files_under(folder, "."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error})") from error
    found = [folder / name for name, _ in files if is_image_name(name) or looks_like_image(folder / name)]
    return found, len(files) - len(found)


def folder_name(name: str) -> str:
    """Return the name of a class's folder: T-shirt_top for Fashion-MNIST's `T-shirt/top`."""
    return name.replace("/", "_")


def _raise(error: OSError) -> None:
    raise error


def part_folders(root: Path, failed: Failed = _raise) -> dict[str, Path]:
    """Return {part: folder} for the parts that exist; {'train': root} if there are none."""
    found: dict[str, Path] = {}
    for name in _folders_in(root, failed):
        for part, aliases in PART_NAMES.items():
            if name.lower() in aliases:
                if part in found:
                    raise UserError(
                        f"{root}: both {found[part].name}/ and {name}/ are there; keep one of them"
                    )
                found[part] = root / name
    return {part: found[part] for part in PART_NAMES if part in found} or {"train": root}


def subfolders(folder: Path, failed: Failed = _raise) -> tuple[str, ...]:
    """Return the folders in `folder`, sorted, without those that hold runs, as outputs/ does.

    failed: as for `_folders_in`.
    """
    return tuple(name for name in _folders_in(folder, failed) if run_in(folder / name) is None)


def _folders_in(folder: Path, failed: Failed) -> list[str]:
    """Return the names of the folders in `folder`, sorted.

    failed: is handed the OSError of a folder that cannot be read, and of a link to nowhere: it may have been
    a folder.
    """
    visible: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        failed(error)
    for entry in visible:
        if entry.is_symlink() and not is_image_name(entry.name):
            try:
                entry.stat()
            except OSError as error:
                failed(error)
    return sorted(entry.name for entry in visible if is_folder(entry))


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def difference(present: Sequence[str], expected: Sequence[str]) -> str:
    """Return "lacks 'a' and adds 'b'", or "" if the `present` classes are the `expected` ones."""
    missing = sorted(set(expected) - set(present))
    unknown = sorted(set(present) - set(expected))
    return " and ".join(
        f"{what} {few(names)}" for what, names in (("lacks", missing), ("adds", unknown)) if names
    )


def _check_same(folder: Path, present: tuple[str, ...], classes: tuple[str, ...]) -> None:
    if differing := difference(present, classes):
        raise UserError(f"{folder}: class folders differ from those of train/: it {differing}")


def few(names: Sequence[str]) -> str:
    """Return names in quotes for a message, the first ten of them."""
    shown = ", ".join(map(repr, names[:10]))
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _part_images(root: Path, folder: Path, classes: tuple[str, ...]) -> list[ImageFile]:
    images: list[ImageFile] = []
    for label, name in enumerate(classes):
        prefix = (folder / name).relative_to(root).as_posix()
        images += sorted(_images_under(folder / name, prefix, label))
    return images


def _images_under(folder: Path, prefix: str, label: int) -> Iterator[ImageFile]:
    """Yield the images in `folder` and below. prefix: of their names.

    Raises UserError for a run or a sweep of ours in it, whose plots are no images of the class.
    """
    for name, entry in files_under(folder, prefix):
        if entry.name in ("config.yaml", "sweep.yaml") and is_output(Path(entry.path).parent):
            raise UserError(
                f"{Path(entry.path).parent}: a run among the pictures of {folder}; move one of them"
            )
        if is_image_name(name):
            try:
                status = entry.stat()
            except OSError:
                yield ImageFile(name, label, -1, 0)
            else:
                size = status.st_size if stat.S_ISREG(status.st_mode) else -1
                yield ImageFile(name, label, size, status.st_mtime_ns)


def files_under(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...] = (), failed: Failed = _raise
) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield the name, `prefix`/..., and the entry of every file in `folder` and below that is not hidden.

    above: the folders that contain it, so that no link is followed in a circle. failed: is handed the
    OSError of a folder that cannot be read.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        failed(error)
        return
    here = (status.st_dev, status.st_ino)
    for entry in visible if here not in above else ():
        name = f"{prefix}/{entry.name}"
        if is_folder(entry):
            yield from files_under(folder / entry.name, name, (*above, here), failed)
        else:
            yield name, entry


def is_image_name(name: str) -> bool:
    """Return whether the extension is that of an image."""
    return ("." + name.rpartition(".")[2]).lower() in extensions()


def looks_like_image(file: Path) -> bool:
    """Return whether a file without extension is an image."""
    if file.suffix or not file.is_file():
        return False
    try:
        read_header(file)
    except UserError:
        return False
    return True
