"""Image files for a trained network, preprocessed as the data set that it was trained on."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from imclass.config.data_root import is_table
from imclass.config.run_names import user_path
from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Split, resize_images, side_with_margin
from imclass.data.folder.damaged import how_to_list, skip_damaged
from imclass.data.folder.decode import Source, colour_of, decode_image, read_images
from imclass.data.folder.listing import list_images
from imclass.data.folder.scan import difference, few, folder_name, part_folders
from imclass.errors import UserError, did_you_mean


def read_picture(source: Source, config: DatasetConfig, shape: tuple[int, int, int]) -> Tensor:
    """Return a picture as uint8 (C, H, W) of `shape`, or with the margin that `config.centre` leaves.

    config: of the data set that the network was trained on. For an image folder, pictures are resized as
    they are decoded; for other data sets, as tensors, after cropping the largest centre of the right shape.
    Raises UserError, without the file's name, if it is damaged, too large or not an image.
    """
    channels, height, width = shape
    background = colour_of(config.background)
    if config.name == "image_folder":
        side = side_with_margin(height, config.centre)
        return torch.from_numpy(decode_image(source, side, channels, background).copy())
    pixels = torch.from_numpy(decode_image(source, None, channels, background).copy())
    high, wide = pixels.shape[1:]
    centre = center_crop(pixels, [min(high, wide * height // width), min(wide, high * width // height)])
    return resize_images(centre[None], (height, width))[0]


def split_of_class_folders(
    root: str,
    name: str,
    classes: Sequence[str],
    config: DatasetConfig,
    shape: tuple[int, int, int],
    renamed: Mapping[str, str],
) -> Split | None:
    """Return the images of ROOT/<name>/<class>/, or of ROOT/<class>/ if it is not divided into parts.

    Of a table, the rows of split `name`, or all without such a column. Class folders, or labels, are named by
    `folder_name`, or what `renamed` translates into it; some may be missing. None: there are none, and the
    run's data set is not an image folder either. Raises UserError when a class is not the network's, the part
    is missing, or a file is damaged.
    """
    folder, table = user_path(root), is_table(root)
    below = {path.name for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir()}
    below |= {*list_images(folder, f"--data {root}", least=1).classes} if table else set()
    expected = [folder_name(name) for name in classes]
    _check_renamed(renamed, below, expected, root)
    if config.name != "image_folder" and not (below | renamed.keys()) & {*expected, *renamed}:
        return None
    alone = part_folders(folder) if folder.is_dir() else {}
    if name in alone and "train" not in alone:  # test/ without train/ beside it
        folder = alone[name]
    listing = list_images(folder, f"--data {root}", least=1)
    found, parts = listing.classes, listing.parts
    names = [folder_name(renamed.get(name, name)) for name in found]
    if set(names) - set(expected):
        added = f"adds {few([n for n, known in zip(found, names, strict=True) if known not in expected])}"
        advice = "--class FOLDER=CLASS says which of the model's classes a folder holds"
        raise UserError(f"--data {root}: its classes are not the model's: it {added}; {advice}")
    undivided = [*parts] == ["train"] if table else part_folders(folder) == {"train": folder}
    if name not in parts and not undivided:
        raise UserError(f"--data {root}: has no {name}/ beside {', '.join(parts)}/; choose with --split")
    if name != "test" and undivided and folder == user_path(root):
        raise UserError(f"--split {name}: {root} is not divided into parts; leave it out")
    part = name if name in parts else "train"
    chosen = listing._replace(parts={part: parts[part]})
    skipped = skip_damaged(chosen) if config.on_damaged == "skip" else {}
    files = chosen.parts[part]
    labels = torch.tensor([expected.index(names[file.label]) for file in files])
    paths = tuple(file.name for file in files)
    read = partial(read_picture, config=config, shape=shape)
    images = read_images(listing.folder, paths, read, f"{how_to_list(folder)}; replace or delete it")
    return Split(torch.stack(images), labels, paths, skipped.get(part, ()))


def _check_renamed(renamed: Mapping[str, str], below: set[str], expected: Sequence[str], root: str) -> None:
    """Raise UserError for a translation of a folder that is not there, or into what is no class."""
    for old, new in renamed.items():
        typed = f"--class or --map, {old}={new}"
        if old not in below:
            raise UserError(f"{typed}: no folder {old!r} in {root}{did_you_mean(old, below)}")
        if folder_name(new) not in expected:
            near = did_you_mean(new, expected) or f"; they are {few(expected)}"
            raise UserError(f"{typed}: {new!r} is no class of the model{near}")


def require_classes(expected: Sequence[str], found: Sequence[str], given: str) -> None:
    """Raise UserError unless the classes are the model's. given: what the user typed, for the message."""
    if sorted(expected) != sorted(found):
        raise UserError(f"{given}: its classes are not the model's: it {difference(found, expected)}")
