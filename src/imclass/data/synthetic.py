"""Generated images that a small network learns in seconds, for tests and trying things out."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split

SEED = 20171117  # the data do not depend on the run's seed
BLOBS = 4  # the pattern of a class is BLOBS x BLOBS random colours, upsampled


def load_synthetic(config: DatasetConfig) -> Dataset:
    """Make `config.synthetic`: half one smooth random pattern per class, half uniform noise.

    Classes take turns, so that they are balanced to within one image.
    """
    wanted = config.synthetic
    generator = torch.Generator().manual_seed(SEED)
    channels, height, width = wanted.shape
    colours = torch.rand(wanted.classes, channels, BLOBS, BLOBS, generator=generator)
    smooth = interpolate(colours, (height, width), mode="bilinear", align_corners=False)
    patterns = (smooth * 127).to(torch.uint8)
    train, test = (_draw(patterns, count, generator) for count in (wanted.train, wanted.test))
    classes = tuple(f"class{index}" for index in range(wanted.classes))
    return Dataset(train, test, classes)


def _draw(patterns: Tensor, count: int, generator: torch.Generator) -> Split:
    """Add noise in 0..128 to `patterns`, uint8 (classes, C, H, W) in 0..127: exact on every machine."""
    labels = torch.arange(count) % len(patterns)
    images = torch.randint(0, 129, (count, *patterns.shape[1:]), dtype=torch.uint8, generator=generator)
    return Split(images.add_(patterns[labels]), labels)
