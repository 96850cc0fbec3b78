"""Augmentation: every operation against torchvision, image by image, and the properties it promises."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.functional import _get_inverse_affine_matrix
from torchvision.transforms.v2 import functional as F

from imclass.config.schema import AugmentConfig
from imclass.data.augment import (
    Augment,
    blend,
    cutmix,
    cutout,
    erase,
    mixup,
    normalize,
    one_hot,
    paste,
    random_erasing,
)
from imclass.data.autoaugment import (
    BINS,
    OPERATIONS,
    SIGNED,
    apply_operations,
    rand_magnitudes,
    randaugment,
    trivial_magnitudes,
    trivialaugment,
)
from imclass.data.colour import CHANGES, colour_jitter
from imclass.data.crops import (
    Padding,
    crop,
    draw_boxes,
    flip,
    random_crop,
    random_flip,
    random_resized_crop,
    resized_by_products,
    resized_crop,
)

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 20, 24), (1, 15, 21), (3, 17, 24)]
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
EVERYTHING = AugmentConfig(
    crop=4,
    crop_padding="reflect",
    flip=True,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    cutout=8,
    random_erasing=0.5,
    randaugment=2,
    trivialaugment=True,
    mixup=0.2,
    cutmix=1.0,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors are slower on several threads, much slower when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Noise of full range, of a narrow range (dull pictures) and, third, one of a single value."""
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator(seed))
    images[1::3] = images[1::3] // 4 + 90
    images[2:3] = 77
    return images


def per_image(function: Callable[..., Tensor], images: Tensor, *draws: Tensor) -> Tensor:
    """Apply a function to one image at a time, with that image's own numbers."""
    numbers = zip(*(draw.tolist() for draw in draws), strict=True)
    return torch.stack([function(image, *own) for image, own in zip(images, numbers, strict=True)])


# Crop, flip, rectangles


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("padding", "mode"), [(1, "zeros"), (4, "zeros"), (40, "zeros"), (1, "reflect"), (14, "reflect")]
)
def test_crop_equals_torchvision(shape: tuple[int, int, int], padding: int, mode: Padding) -> None:
    images = pictures(24, shape)
    top, left = torch.randint(2 * padding + 1, (2, 24), generator=generator(1))
    top[:2], left[:2] = torch.tensor([0, 2 * padding]), torch.tensor([2 * padding, 0])

    def reference(image: Tensor, top: int, left: int) -> Tensor:
        padding_mode = "constant" if mode == "zeros" else mode
        return F.crop(F.pad(image, [padding], padding_mode=padding_mode), top, left, *shape[1:])

    assert torch.equal(crop(images, padding, top, left, mode), per_image(reference, images, top, left))


def test_crop_at_the_padding_is_the_image_itself() -> None:
    images = pictures(5, (3, 20, 24))
    assert torch.equal(crop(images, 4, torch.full((5,), 4), torch.full((5,), 4)), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_equals_torchvision(shape: tuple[int, int, int]) -> None:
    images = pictures(24, shape)
    mask = torch.rand(24, generator=generator(1)) < 0.5

    def reference(image: Tensor, mirrored: bool) -> Tensor:
        return F.horizontal_flip(image) if mirrored else image

    assert torch.equal(flip(images, mask), per_image(reference, images, mask))


@settings(max_examples=50, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    rectangles=st.lists(
        st.tuples(st.integers(-9, 33), st.integers(-9, 33), st.integers(0, 40), st.integers(0, 40)),
        min_size=1,
        max_size=6,
    ),
)
def test_erase_equals_torchvision(
    shape: tuple[int, int, int], rectangles: list[tuple[int, int, int, int]]
) -> None:
    images = pictures(len(rectangles), shape) | 1  # no pixel is zero before

    def reference(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
        bottom, right = max(top + height, 0), max(left + width, 0)
        top, left = max(top, 0), max(left, 0)
        return F.erase(image, top, left, bottom - top, right - left, torch.zeros(1, 1, 1, dtype=torch.uint8))

    columns = torch.tensor(rectangles).unbind(1)
    assert torch.equal(erase(images, *columns), per_image(reference, images, *columns))


@pytest.mark.parametrize("size", [1, 7, 8, 20])
def test_cutout_is_one_square_cut_by_the_edges(size: int) -> None:
    holes = cutout(torch.ones(2000, 3, 20, 24, dtype=torch.uint8), size, generator()) == 0
    assert torch.equal(holes, holes[:, :1].expand_as(holes))  # the same in every channel
    rows, columns = holes[:, 0].any(2), holes[:, 0].any(1)
    assert torch.equal(holes[:, 0], rows[:, :, None] & columns[:, None])  # a rectangle
    for spans, length in ((rows, 20), (columns, 24)):
        sides = spans.sum(1)
        at_edge = spans[:, 0] | spans[:, -1]
        assert (sides[~at_edge] == size).all()
        assert sides.max() == min(size, length) and sides.min() == size - size // 2
        covered = spans.float().mean(0)[size : length - size]  # each inner line has chance size / length
        assert torch.allclose(covered, torch.full_like(covered, size / length), atol=0.05)


def test_random_erasing_draws_the_rectangles_of_the_paper() -> None:
    images = torch.ones(4000, 1, 32, 32, dtype=torch.uint8)
    holes = random_erasing(images, 0.25, generator())[:, 0] == 0
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None])
    erased = rows.any(1)
    assert abs(erased.float().mean().item() - 0.25) < 0.03
    high, wide = rows[erased].sum(1).float(), columns[erased].sum(1).float()
    share = high * wide / 1024
    assert share.min() > 0.01 and share.max() < 0.35
    assert share.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.015)
    for spans in (rows[erased].int(), columns[erased].int()):  # anywhere: as much room before as after
        before, after = spans.argmax(1), spans.flip(1).argmax(1)
        assert before.min() == after.min() == 0
        assert before.float().mean().item() == pytest.approx(after.float().mean().item(), abs=1)
    aspect = (high / wide).log()  # uniform in log(0.3)..log(3.3), but for rounding and cutting to fit
    assert aspect.exp().min() > 0.2 and aspect.exp().max() < 5
    assert aspect.mean().item() == pytest.approx(0, abs=0.1) and aspect.std().item() == pytest.approx(
        0.69, abs=0.06
    )


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_random_erasing_never_and_always(probability: float, share: float) -> None:
    erased = random_erasing(torch.ones(500, 3, 15, 21), probability, generator()) == 0
    assert erased.flatten(1).any(1).float().mean() == share


def test_random_flip_mirrors_half_of_the_images() -> None:
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(4000, 1, 1, 2)
    assert random_flip(images, generator())[:, 0, 0, 0].float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("padding", [1, 4])
def test_random_crop_is_uniform_over_all_places(padding: int) -> None:
    side, places = 9, 2 * padding + 1
    images = torch.zeros(400 * places**2, 1, side, side, dtype=torch.uint8)
    images[:, :, side // 2, side // 2] = 1
    counts = random_crop(images, padding, "zeros", generator()).sum((0, 1)).long()
    inner = counts[
        side // 2 - padding : side // 2 + padding + 1, side // 2 - padding : side // 2 + padding + 1
    ]
    assert inner.shape == (places, places) and inner.sum() == len(images)
    assert (inner - 400).abs().max() < 5 * 400**0.5


def test_flips_that_alternate_follow_the_mask() -> None:
    images, mask = pictures(40, (3, 20, 24)), torch.rand(40, generator=generator(1)) < 0.5
    result = Augment(AugmentConfig(flip="alternating"), classes=2)(images, generator(), mask)
    assert torch.equal(result, flip(images, mask))


# Resized crops

SCALE, RATIO = [0.08, 1.0], [0.75, 1.3333]


@pytest.mark.parametrize("size", [(20, 24), (9, 31), (48, 40)])
@pytest.mark.parametrize("shape", SHAPES)
def test_resized_crop_equals_torchvision(shape: tuple[int, int, int], size: tuple[int, int]) -> None:
    """The products before they are rounded to bytes; on a CPU torchvision's own kernel does it."""
    images = pictures(24, shape)
    boxes = draw_boxes(24, shape[1:], SCALE, [0.2, 5.0], generator(1))
    boxes[:, 0] = torch.tensor([0, 0, *shape[1:]])
    boxes[:, 1] = torch.tensor([shape[1] - 1, shape[2] - 1, 1, 1])
    reference = partial(F.resized_crop, size=list(size), antialias=True)
    assert torch.equal(resized_crop(images, boxes, size), per_image(reference, images, *boxes))
    exact = per_image(reference, images.double(), *boxes)
    products = resized_by_products(images, boxes, size)
    assert products.dtype == torch.uint8 and (products - exact).abs().max() <= 0.5 + 1e-4  # of 255


@pytest.mark.parametrize("shape", [(32, 32), (20, 24), (40, 10)])
def test_boxes_are_drawn_as_torchvision_draws_them(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    reference = v2.RandomResizedCrop(8, scale=(0.2, 1.0), ratio=(0.5, 1.5), antialias=True)
    image = torch.zeros(1, *shape)
    drawn = [reference.make_params([image]) for _ in range(3000)]
    theirs = torch.tensor([[d[key] for d in drawn] for key in ("top", "left", "height", "width")])
    ours = draw_boxes(3000, shape, [0.2, 1.0], [0.5, 1.5], generator())
    top, left, high, wide = ours
    assert min(top.min(), left.min()) >= 0 and high.min() >= 1 and wide.min() >= 1
    assert (top + high).max() <= shape[0] and (left + wide).max() <= shape[1]
    for one, other in zip((*ours, high * wide), (*theirs, theirs[2] * theirs[3]), strict=True):
        close = pytest.approx(other.float().mean().item(), abs=0.12 * other.float().std().item() + 1e-6)
        assert one.float().mean().item() == close
        assert one.float().std().item() == pytest.approx(other.float().std().item(), rel=0.06, abs=1e-6)


@pytest.mark.parametrize("shape", [(40, 10), (10, 40)])
def test_where_no_box_fits_the_largest_in_the_centre_is_taken(shape: tuple[int, int]) -> None:
    boxes = draw_boxes(5, shape, [0.9, 1.0], [0.8, 1.25], generator())
    reference = v2.RandomResizedCrop(8, scale=(0.9, 1.0), ratio=(0.8, 1.25))
    params = reference.make_params([torch.zeros(1, *shape)])
    expected = torch.tensor([params[key] for key in ("top", "left", "height", "width")])
    assert torch.equal(boxes, expected[:, None].expand(4, 5))


# Brightness, contrast, saturation

ADJUST = dict(zip(CHANGES, (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation), strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", ADJUST, ids=lambda change: change.__name__)
def test_colours_equal_torchvision(change: Callable[..., Tensor], shape: tuple[int, int, int]) -> None:
    strength = torch.linspace(-1, 1, 25)
    images = pictures(25, shape)
    theirs = per_image(ADJUST[change], images, 1 + strength.double())
    difference = (change(images, strength).int() - theirs.int()).abs()
    assert difference.max() <= 1 and difference.count_nonzero() <= 2  # see test_operation_equals_torchvision


def test_jitter_changes_in_order_by_even_factors() -> None:
    images, draws = pictures(400, (3, 32, 32)), generator()  # on a CPU, in five parts
    result = colour_jitter(images, 0.4, 0.0, 0.2, draws)
    strengths = (2 * torch.rand((3, 400), generator=generator(), dtype=torch.float64) - 1).float()
    expected = images
    for change, span, strength in zip(CHANGES, (0.4, 0.0, 0.2), strengths, strict=True):
        expected = change(expected, span * strength)
    assert (result.int() - expected.int()).abs().max() <= 1
    grey = colour_jitter(torch.full((4000, 1, 1, 1), 100, dtype=torch.uint8), 0.5, 0.0, 0.0, generator())
    assert grey.min() >= 50 and grey.max() <= 150
    assert grey.float().mean().item() == pytest.approx(99.5, abs=2) and grey.float().std() > 25


# RandAugment and TrivialAugment


@pytest.mark.parametrize("height_width", [(28, 28), (20, 24), (224, 224)])
def test_operations_and_magnitudes_are_torchvisions(height_width: tuple[int, int]) -> None:
    tables = {
        v2.RandAugment: rand_magnitudes(*height_width),
        v2.TrivialAugmentWide: trivial_magnitudes(),
    }
    for reference, table in tables.items():
        space = reference._AUGMENTATION_SPACE
        assert list(space) == list(OPERATIONS)
        assert {name for name, (_, signed) in space.items() if signed} == set(SIGNED)
        for own, (magnitudes, _) in zip(table, space.values(), strict=True):
            expected = magnitudes(BINS, *height_width)
            assert torch.equal(own, torch.zeros(BINS) if expected is None else expected.float())


def torchvision_operation(name: str, image: Tensor, strength: float) -> Tensor:
    """The operation with the arguments that torchvision's RandAugment gives it."""
    return v2.RandAugment()._apply_image_or_video_transform(
        image, name, strength, interpolation=InterpolationMode.NEAREST, fill={Tensor: None}
    )


def halfway(name: str, strength: float, height: int, width: int) -> Tensor:
    """True where a pixel's source lies, within 0.0001, midway between two pixels: bool, (H, W).

    There nearest interpolation has no right answer, and torchvision's depends on its rounding errors.
    """
    degrees = torch.rad2deg(torch.tensor(strength, dtype=torch.float64).atan()).item()
    corner = [-width / 2, -height / 2]
    matrix = {
        "ShearX": partial(_get_inverse_affine_matrix, corner, 0.0, [0, 0], 1.0, [degrees, 0.0]),
        "ShearY": partial(_get_inverse_affine_matrix, corner, 0.0, [0, 0], 1.0, [0.0, degrees]),
        "Rotate": partial(_get_inverse_affine_matrix, [0, 0], -strength, [0, 0], 1.0, [0.0, 0.0]),
    }
    if name not in matrix:
        return torch.zeros(height, width, dtype=torch.bool)
    a, b, c, d, e, f = matrix[name]()
    y = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    sources = torch.stack((a * x + b * y + c + (width - 1) / 2, d * x + e * y + f + (height - 1) / 2))
    return ((sources - sources.floor() - 0.5).abs() < 1e-4).any(0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_equals_torchvision(name: str, shape: tuple[int, int, int]) -> None:
    index = list(OPERATIONS).index(name)
    strength = torch.cat((rand_magnitudes(*shape[1:])[index, ::3], trivial_magnitudes()[index, ::2]))
    if name in SIGNED:
        strength = torch.cat((strength, -strength))
    images = pictures(len(strength), shape)
    ours = apply_operations(images, torch.full((len(images),), index), strength)
    if name == "Posterize":  # torchvision wants an integer
        theirs = per_image(F.posterize, images, strength.int())
    else:
        theirs = per_image(partial(torchvision_operation, name), images, strength)
    if name in GEOMETRIC:
        undecided = torch.stack([halfway(name, value, *shape[1:]) for value in strength.tolist()])
        assert undecided.float().mean() < 0.05  # a quarter turn of 17x24 leaves two pictures undecided
        ours, theirs = (ours.masked_fill(undecided[:, None], 0) for ours in (ours, theirs))
    difference = (ours.int() - theirs.int()).abs()
    if name == "Contrast":
        # Where a sum is a whole number but for its last bit, cutting off the fraction can go either way:
        # torch fuses multiplication and addition in some elements of a tensor and not in others.
        assert difference.max() <= 1 and difference.count_nonzero() <= 2
    else:
        assert difference.max() == 0


def test_each_image_gets_its_own_operation() -> None:
    images = pictures(60, (3, 20, 24))
    operation = torch.randint(len(OPERATIONS), (60,), generator=generator(1))
    strength = trivial_magnitudes()[operation, torch.randint(BINS, (60,), generator=generator(2))]
    alone = [
        apply_operations(images[i : i + 1], operation[i : i + 1], strength[i : i + 1]) for i in range(60)
    ]
    assert torch.equal(apply_operations(images, operation, strength), torch.cat(alone))


def test_tiny_images_are_not_sharpened() -> None:
    images, index = pictures(4, (3, 2, 8)), list(OPERATIONS).index("Sharpness")
    assert torch.equal(apply_operations(images, torch.full((4,), index), torch.full((4,), 0.9)), images)


def test_randaugment_repeats_its_operations() -> None:
    images = pictures(30, (3, 20, 24))
    draws = generator()
    expected = randaugment(randaugment(images, 1, 9, draws), 1, 9, draws)
    assert torch.equal(randaugment(images, 2, 9, generator()), expected)
    assert torch.equal(randaugment(images, 0, 9, generator()), images)


@pytest.mark.parametrize("function", [partial(randaugment, operations=1, magnitude=15), trivialaugment])
def test_operations_and_signs_are_drawn_evenly(
    function: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def spy(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
        seen.append((operation, strength))
        return images

    monkeypatch.setattr("imclass.data.autoaugment.apply_operations", spy)
    function(torch.zeros(14_000, 1, 1, 1, dtype=torch.uint8), generator=generator())
    operation, strength = seen[0]
    assert (torch.bincount(operation, minlength=14) - 1000).abs().max() < 150
    for index, name in enumerate(OPERATIONS):
        values = strength[operation == index]
        negative, positive = (values < 0).float().mean().item(), (values > 0).float().mean().item()
        if name in SIGNED[:2] + SIGNED[4:]:  # translations of an image of one pixel are too short to count
            assert negative == pytest.approx(positive, abs=0.1) and negative > 0.4
        elif name not in SIGNED:
            assert negative == 0


def test_four_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        trivialaugment(torch.zeros(2, 4, 8, 8, dtype=torch.uint8), generator())


# mixup and cutmix


def after_its_last(batch: Tensor) -> Tensor:
    """Put the last in front: every one then has the neighbour that torchvision gives it."""
    return torch.cat((batch[-1:], batch))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_mixup_equals_torchvision(shape: tuple[int, int, int], weight: float) -> None:
    images, labels = torch.randn(6, *shape, generator=generator()), torch.tensor([0, 4, 1, 1, 3, 2])
    reference = v2.MixUp(alpha=1.0, num_classes=5)
    given = {"lam": weight, "labels": labels, "batch_size": 6}
    torch.testing.assert_close(blend(after_its_last(images), weight), reference.transform(images, given))
    targets = blend(after_its_last(one_hot(labels, 5)), weight)
    torch.testing.assert_close(targets, reference.transform(labels, given))


@settings(max_examples=30, deadline=None)
@given(shape=st.sampled_from(SHAPES), edges=st.lists(st.integers(0, 15), min_size=4, max_size=4))
def test_cutmix_equals_torchvision(shape: tuple[int, int, int], edges: list[int]) -> None:
    images, labels = torch.randn(6, *shape, generator=generator()), torch.tensor([0, 4, 1, 1, 3, 2])
    (top, bottom), (left, right) = sorted(edges[:2]), sorted(edges[2:])
    reference = v2.CutMix(alpha=1.0, num_classes=5)
    given = {"box": (left, top, right, bottom), "lam_adjusted": 0.0, "labels": labels, "batch_size": 6}
    pasted = paste(after_its_last(images), (top, left, bottom, right))
    assert torch.equal(pasted, reference.transform(images, given))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_cutmix_targets_are_the_shares_of_pixels(alpha: float) -> None:
    labels = torch.arange(6)
    images = labels[:, None, None, None].expand(6, 3, 20, 24).float()  # each image shows its own label
    for seed in range(50):
        mixed, targets = cutmix(images, labels, alpha, 6, generator(seed))
        shares = torch.stack([(mixed[:, 0] == label).float().mean((1, 2)) for label in range(6)], dim=1)
        torch.testing.assert_close(targets, shares)


@pytest.mark.parametrize("function", [mixup, cutmix])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_weights_follow_the_beta_distribution(
    function: Callable[..., tuple[Tensor, Tensor]], alpha: float
) -> None:
    draws, images, labels = generator(), torch.zeros(3, 1, 100, 100), torch.tensor([1, 0, 1])
    targets = torch.stack([function(images, labels, alpha, 2, draws)[1] for _ in range(1500)])
    torch.testing.assert_close(targets.sum(2), torch.ones(1500, 2))
    weights = targets[:, 0, 0]
    if function is mixup:  # cutmix: the edges cut off what hangs over
        assert weights.mean().item() == pytest.approx(0.5, abs=0.04)
        assert weights.var().item() == pytest.approx(1 / (8 * alpha + 4), rel=0.12)
    else:
        assert weights.mean().item() > 0.5


def test_tiny_alpha_is_fine() -> None:
    images, targets = mixup(torch.ones(3, 1, 4, 4), torch.arange(3), 1e-6, 3, generator())
    assert images.isfinite().all() and targets.isfinite().all()


def test_mixing_keeps_channels_last() -> None:
    images = torch.randn(4, 3, 8, 10).to(memory_format=torch.channels_last)
    for function in (mixup, cutmix):
        mixed, _ = function(images, torch.arange(4), 1.0, 4, generator(3))
        assert mixed.is_contiguous(memory_format=torch.channels_last)


# normalize


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_normalize_equals_torchvision(shape: tuple[int, int, int], channels_last: bool) -> None:
    images, channels = pictures(5, shape), shape[0]
    mean, std = torch.tensor([0.49, 0.48, 0.45])[:channels], torch.tensor([0.25, 0.24, 0.26])[:channels]
    expected = F.normalize(F.to_dtype(images, torch.float32, scale=True), mean.tolist(), std.tolist())
    result = normalize(images, mean, std, channels_last=channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert result.dtype == torch.float32 and result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=2e-6)


# All together


UINT8_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "random_crop": partial(random_crop, padding=4, mode="zeros"),
    "resized_crop": lambda images, generator: random_resized_crop(
        images, (images.shape[2], images.shape[3]), SCALE, RATIO, generator
    ),
    "reflected_crop": partial(random_crop, padding=4, mode="reflect"),
    "random_flip": random_flip,
    "colour_jitter": partial(colour_jitter, brightness=0.4, contrast=0.4, saturation=0.4),
    "cutout": partial(cutout, size=5),
    "random_erasing": partial(random_erasing, probability=0.7),
    "randaugment": partial(randaugment, operations=2, magnitude=9),
    "trivialaugment": trivialaugment,
    "Augment": partial(Augment(EVERYTHING, classes=10), mirrored=None),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", UINT8_FUNCTIONS)
def test_random_functions_keep_their_promises(name: str, shape: tuple[int, int, int]) -> None:
    function, images = UINT8_FUNCTIONS[name], pictures(64, shape)
    before = images.clone()
    result = function(images, generator=generator(5))
    assert torch.equal(images, before)  # arguments are never changed
    assert result.shape == images.shape and result.dtype == torch.uint8
    assert not torch.equal(result, images)
    assert torch.equal(function(images, generator=generator(5)), result)  # a function of the seed
    assert not torch.equal(function(images, generator=generator(6)), result)


@pytest.mark.parametrize("config", [AugmentConfig(mixup=0.2), AugmentConfig(cutmix=1.0), EVERYTHING])
def test_mix_keeps_its_promises(config: AugmentConfig) -> None:
    augment, images, labels = Augment(config, classes=10), torch.randn(8, 3, 20, 24), torch.arange(8)
    copies = images.clone(), labels.clone()
    mixed, targets = augment.mix(images, labels, generator(1))
    assert torch.equal(images, copies[0]) and torch.equal(labels, copies[1])
    assert mixed.shape == images[1:].shape and mixed.dtype == images.dtype
    assert targets.shape == (7, 10) and targets.dtype == torch.float32
    for seed in range(12):  # a function of the seed, the choice between the two included
        mixed, targets = augment.mix(images, labels, generator(seed))
        again, same = augment.mix(images, labels, generator(seed))
        assert torch.equal(mixed, again) and torch.equal(targets, same)


def test_mixup_and_cutmix_take_turns() -> None:
    images, labels, draws = (
        torch.arange(8.0)[:, None, None, None].expand(8, 1, 4, 4),
        torch.arange(8),
        generator(),
    )
    augment = Augment(AugmentConfig(mixup=1.0, cutmix=1.0), classes=8)
    whole = [bool((augment.mix(images, labels, draws)[0] % 1 == 0).all()) for _ in range(400)]
    assert sum(whole) / 400 == pytest.approx(0.5, abs=0.1)  # cutmix pastes and makes no new values


def test_nothing_on_changes_nothing() -> None:
    augment, images, labels = Augment(AugmentConfig(), classes=10), pictures(8, (3, 20, 24)), torch.arange(8)
    before = generator().get_state()
    draws = generator()
    assert torch.equal(augment(images, draws, None), images)
    mixed, targets = augment.mix(images.float(), labels, draws)
    assert torch.equal(mixed, images.float())
    assert targets.dtype == torch.int64 and torch.equal(targets, labels)
    assert torch.equal(draws.get_state(), before)


def test_erasing_comes_last() -> None:
    images = torch.full((200, 1, 16, 16), 100, dtype=torch.uint8)
    config = AugmentConfig(crop=2, flip=True, trivialaugment=True, cutout=6)
    result = Augment(config, classes=2)(images, generator(), None)
    zeros = (result == 0)[:, 0].flatten(1).sum(1)
    assert (zeros >= 9).all()  # at least a quarter of the square, in every image


def test_augment_applies_the_functions_in_order() -> None:
    images, draws = pictures(32, (3, 20, 24)), generator(4)
    expected = images
    for function in (
        partial(random_crop, padding=4, mode="reflect"),
        random_flip,
        partial(colour_jitter, brightness=0.4, contrast=0.4, saturation=0.4),
        trivialaugment,
        partial(randaugment, operations=2, magnitude=9),
        partial(cutout, size=8),
        partial(random_erasing, probability=0.5),
    ):
        expected = function(expected, generator=draws)
    assert torch.equal(Augment(EVERYTHING, classes=10)(images, generator(4), None), expected)
