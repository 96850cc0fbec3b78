"""Image files for a network that is trained already: the pixels that its own data set would have given."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Split, resize_images
from imclass.data.folder.decode import decode_image, strict_images
from imclass.data.folder.scan import difference, folder_name, part_folders, scan_folder
from imclass.errors import UserError


def read_picture(path: str | Path, config: DatasetConfig, shape: tuple[int, int, int]) -> Tensor:
    """Return a file's pixels as the run's data set would: uint8 (C, H, W) of `shape`.

    config: of the data set that the network was trained on. An image folder's files are resized as they are
    decoded; images of the other sets as tensors, after the largest centre of the right shape was cut out.
    Raises UserError, without the file's name, if it is damaged, too large or no image.
    """
    channels, height, width = shape
    if config.name == "image_folder":
        return torch.from_numpy(decode_image(path, height, channels).copy())
    pixels = torch.from_numpy(decode_image(path, None, channels).copy())
    high, wide = pixels.shape[1:]
    centre = center_crop(pixels, [min(high, wide * height // width), min(wide, high * width // height)])
    return resize_images(centre[None], (height, width))[0]


def split_of_class_folders(
    root: str, name: str, classes: Sequence[str], config: DatasetConfig, shape: tuple[int, int, int]
) -> Split | None:
    """Return the images of ROOT/<name>/<class>/, or of ROOT/<class>/ where there are no such parts.

    A class is looked for under its `folder_name`. None: no folder there is called so, and the run's data set
    is no image folder either. Raises UserError when the classes are not those of the network, the part is
    not there, a file is damaged.
    """
    folder = Path(root).expanduser()
    below = {path.name for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir()}
    expected = [folder_name(name) for name in classes]
    if config.name != "image_folder" and not below & set(expected):
        return None
    alone = part_folders(folder) if folder.is_dir() else {}
    if name in alone and "train" not in alone:  # nothing but the part that is asked for
        folder = alone[name]
    found, parts = scan_folder(folder, f"--data {root}")
    require_classes(expected, found, f"--data {root}")
    undivided = part_folders(folder) == {"train": folder}
    if name not in parts and not undivided:
        raise UserError(f"--data {root}: has no {name}/ beside {', '.join(parts)}/; choose with --split")
    if name != "test" and undivided and folder == Path(root).expanduser():
        raise UserError(f"--split {name}: {root} is not divided into parts; leave it out")
    files = parts.get(name, parts["train"])
    labels = torch.tensor([expected.index(found[file.label]) for file in files])

    def decode(file: str) -> Tensor:
        try:
            return read_picture(folder / file, config, shape)
        except UserError as error:
            raise UserError(f"{file}: damaged or unreadable image ({error}); replace or delete it") from error

    names = tuple(file.name for file in files)
    with strict_images(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return Split(torch.stack(list(pool.map(decode, names))), labels, names)


def require_classes(expected: Sequence[str], found: Sequence[str], given: str) -> None:
    """Raise UserError, naming what the user has `given`, where the classes are not those of the model."""
    if sorted(expected) != sorted(found):
        raise UserError(f"{given}: its classes are not the model's: it {difference(found, expected)}")
