"""The images that `dataset.root` names, in a folder or in a table; none is opened."""

from pathlib import Path
from typing import NamedTuple

from imclass.config.data_root import is_table
from imclass.data.folder.scan import ImageFile, scan_folder
from imclass.data.folder.table import read_table
from imclass.errors import UserError


class Listing(NamedTuple):
    root: Path  # as the user knows it: the folder, or the table
    folder: Path  # names of images are below it
    classes: tuple[str, ...]
    parts: dict[str, list[ImageFile]]  # of train and, if there are any, test and val


def list_images(root: Path, given: str, *, least: int = 2) -> Listing:
    """Return what `scan_folder` or `read_table` do, and raise what they raise. given: what the user typed."""
    if is_table(root):
        return Listing(root, root.parent, *read_table(root, given, least=least))
    return Listing(root, root, *scan_folder(root, given, least=least))


def list_to_train(root: Path, given: str) -> Listing:
    """Return what `list_images` does. Raises UserError for a class without training images, too."""
    listing = list_images(root, given)
    if empty := set(range(len(listing.classes))) - {file.label for file in listing.parts["train"]}:
        name = listing.classes[min(empty)]
        raise UserError(f"{root}: no image of {name!r} to train on; add some or remove its folder")
    return listing
