"""Which images of which classes a folder holds, without opening any of them.

    ROOT/train/<class>/**   ROOT/val/<class>/** (or valid, validation)   ROOT/test/<class>/**
    ROOT/<class>/**         no split folders: everything is training data

Classes are the sorted names of the class folders of the training part; the other parts must have the
same ones. Files whose extension Pillow does not know, and hidden files and folders, are passed over;
links are followed. Names of split folders may be in any case, and `training` and `testing` also count.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imclass.data.decode import extensions
from imclass.errors import UserError

PART_NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}


class ImageFile(NamedTuple):
    """One image by its path under the root, with '/' on every system."""

    name: str
    label: int
    size: int
    mtime_ns: int


def scan_folder(root: Path) -> tuple[tuple[str, ...], dict[str, list[ImageFile]]]:
    """Return class names and the images of `train` and, if there are any, `test` and `val`.

    Images are ordered by class, then by name. Raises UserError when the folder is missing or
    unreadable, a class has no images, or the parts have different classes.
    """
    try:
        if not root.is_dir():
            raise UserError(f"dataset.root={root}: no such folder; give the folder that holds the images")
        folders = part_folders(root)
        if "train" not in folders:
            raise UserError(
                f"{root}: has {', '.join(path.name for path in folders.values())}/ but no train/ beside it"
            )
        names = {part: _subfolders(folder) for part, folder in folders.items()}
        classes = names["train"]
        if len(classes) < 2:
            raise UserError(
                f"dataset.root={root}: {len(classes)} class folders in {folders['train']}; expected at least "
                "2 folders with images of one class each, or train/, val/ and test/ that hold them"
            )
        for part, present in names.items():
            _check_same(folders[part], present, classes)
        return classes, {part: _part_images(root, folder, classes) for part, folder in folders.items()}
    except OSError as error:
        raise UserError(f"dataset.root={root}: cannot be read ({error})") from error


def image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the images in a folder and below by their extensions, in order, and the number of other files.

    Hidden files and folders are passed over, and not counted.
    """
    found: list[Path] = []
    others = 0
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            if Path(name).suffix.lower() in extensions():
                found.append(Path(here) / name)
            else:
                others += 1
    return found, others


def part_folders(root: Path) -> dict[str, Path]:
    """Return {part: folder} for the split folders that exist; {'train': root} where there are none."""
    found: dict[str, Path] = {}
    for name in _subfolders(root):
        for part, aliases in PART_NAMES.items():
            if name.lower() in aliases:
                if part in found:
                    raise UserError(
                        f"{root}: both {found[part].name}/ and {name}/ are there; keep one of them"
                    )
                found[part] = root / name
    return {part: found[part] for part in PART_NAMES if part in found} or {"train": root}


def _subfolders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        return tuple(
            sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        )


def _check_same(folder: Path, present: tuple[str, ...], classes: tuple[str, ...]) -> None:
    missing = sorted(set(classes) - set(present))
    unknown = sorted(set(present) - set(classes))
    if missing or unknown:
        details = [
            f"{what} {_few(names)}" for what, names in (("lacks", missing), ("adds", unknown)) if names
        ]
        raise UserError(f"{folder}: class folders differ from those of train/: it {' and '.join(details)}")


def _few(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:10]))
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _part_images(root: Path, folder: Path, classes: tuple[str, ...]) -> list[ImageFile]:
    images: list[ImageFile] = []
    for label, name in enumerate(classes):
        prefix = (folder / name).relative_to(root).as_posix()
        found = sorted(_images_under(folder / name, prefix, label, ()))
        if not found:
            raise UserError(f"{folder / name}: no images in this class folder; add some or remove the folder")
        images += found
    return images


def _images_under(
    folder: Path, prefix: str, label: int, above: tuple[tuple[int, int], ...]
) -> Iterator[ImageFile]:
    """Yield the images in `folder` and below; `above`: the folders it lies in, so that no link goes round."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images_under(folder / entry.name, name, label, (*above, here))
            elif ("." + entry.name.rpartition(".")[2]).lower() in extensions():
                status = entry.stat()  # a dangling link is an error: half a data set is worse
                yield ImageFile(name, label, status.st_size, status.st_mtime_ns)
