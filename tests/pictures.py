"""Folders of small random pictures, for the tests of image folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset
from imclass.data.datasets import load_dataset
from imclass.errors import UserError


def save(
    path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0, **options: Any
) -> None:
    """Write random pixels, (width, height), in the format that the extension names."""
    rng = np.random.default_rng([seed, *path.name.encode()])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    picture.convert(mode).save(path, **options)


def make_folder(root: Path, parts: dict[str, int], classes: Sequence[str] = "ab", **options: Any) -> Path:
    """PNG files root/<part>/<class>/<i>.png; `parts` has the number for each class."""
    for part, count in parts.items():
        for name in classes:
            for index in range(count):
                save(root / part / name / f"{index}.png", seed=index, **options)
    return root


def fade(path: Path) -> None:
    """Make a picture fade out towards its top."""
    with Image.open(path) as image:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(path)


def load(root: Path, **settings_: Any) -> Dataset:
    return load_dataset(DatasetConfig(name="image_folder", root=str(root), **settings_))


def fails(root: Path, **settings_: Any) -> str:
    with pytest.raises(UserError) as error:
        load(root, **settings_)
    assert "\n" not in str(error.value)
    return str(error.value)


def pixels(path: Path, mode: str = "RGB") -> Tensor:
    """What Pillow itself has for a file: uint8 (C, H, W)."""
    with Image.open(path) as image:
        array = np.array(image.convert(mode))
    return torch.from_numpy(array).permute(2, 0, 1) if array.ndim == 3 else torch.from_numpy(array)[None]


def colours(file: Path) -> set[tuple[int, ...]]:
    """All colours of a picture."""
    return {tuple(pixel) for pixel in pixels(file).flatten(1).T.tolist()}
