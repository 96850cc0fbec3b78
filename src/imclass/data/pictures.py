"""Image files for a network that is trained already: the pixels that its own data set would have given."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from imclass.config import DatasetConfig
from imclass.data.base import Split, resize_images
from imclass.data.decode import decode_image, extensions, strict_images
from imclass.data.folder_scan import scan_folder
from imclass.errors import UserError


def read_picture(path: str | Path, config: DatasetConfig, shape: tuple[int, int, int]) -> Tensor:
    """Return a file's pixels as the run's data set would: uint8 (C, H, W) of `shape`.

    config: of the data set that the network was trained on. An image folder's files are resized as they are
    decoded; images of the other sets as tensors, after the centre square was cut out.
    Raises UserError, without the file's name, if it is damaged, too large or no image.
    """
    channels, side, _ = shape
    if config.name == "image_folder":
        return torch.from_numpy(decode_image(path, side, channels).copy())
    pixels = torch.from_numpy(decode_image(path, None, channels).copy())
    square = center_crop(pixels, [min(pixels.shape[1:])])
    return resize_images(square[None], side)[0]


def image_files(folder: Path) -> Iterator[Path]:
    """Yield the images in a folder and below by their extensions, in order; hidden ones are passed over."""
    for here, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in extensions():
                yield Path(here) / name


def split_of_class_folders(
    root: str, name: str, classes: Sequence[str], config: DatasetConfig, shape: tuple[int, int, int]
) -> Split | None:
    """Return the images of ROOT/<name>/<class>/, or of ROOT/<class>/ where there is no such part.

    None: these are no class folders, and the run's data set is no image folder either.
    Raises UserError when the classes are not those of the network, or a file is damaged.
    """
    try:
        found, parts = scan_folder(Path(root).expanduser())
    except UserError:
        if config.name == "image_folder":
            raise
        return None
    if missing := set(classes) ^ set(found):
        listed = ", ".join(sorted(missing)[:10])
        raise UserError(
            f"--data {root}: its class folders are not the model's {len(classes)} classes; "
            f"only on one side: {listed}"
        )
    files = parts.get(name, parts["train"])
    labels = torch.tensor([list(classes).index(found[file.label]) for file in files])

    def decode(file: str) -> Tensor:
        try:
            return read_picture(Path(root) / file, config, shape)
        except UserError as error:
            raise UserError(f"{file}: damaged or unreadable image ({error}); replace or delete it") from error

    names = tuple(file.name for file in files)
    with strict_images(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return Split(torch.stack(list(pool.map(decode, names))), labels, names)
