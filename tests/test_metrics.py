"""Meters, losses, the weight average, evaluation: exact sums, whatever the batch size."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from imclass.config.dataset import SyntheticConfig
from imclass.config.schema import AugmentConfig, DatasetConfig, DeviceConfig, TrainConfig
from imclass.data.augment import Augment
from imclass.data.crops import flip
from imclass.data.dataset import Split
from imclass.data.datasets import load_dataset
from imclass.data.loader import EvalLoader, Images, TrainLoader
from imclass.evaluation.evaluate import evaluate
from imclass.evaluation.metrics import Meter, cross_entropy_sum
from imclass.machine.device import Device, resolve_device
from imclass.training.ema import Ema
from imclass.training.losses import build_loss


@pytest.fixture
def device() -> Device:
    return resolve_device(DeviceConfig(type="cpu", precision="fp32", threads=1), steps=1)


@pytest.fixture
def images(device: Device) -> Images:
    config = DatasetConfig(name="synthetic", synthetic=SyntheticConfig(shape=[3, 8, 8], classes=4, train=50))
    return Images(load_dataset(config).train, device, (8, 8), [0.5] * 3, [0.25] * 3)


@given(n=st.integers(1, 40), classes=st.integers(2, 6), cut=st.integers(1, 40), seed=st.integers(0, 99))
def test_meter_is_exact_for_any_batching(n: int, classes: int, cut: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    meter = Meter(torch.device("cpu"))
    for part, part_labels in zip(logits.split(cut), labels.split(cut), strict=True):
        meter.update(cross_entropy_sum(part, part_labels), part, part_labels)
    result = meter.compute()
    assert result.images == n
    assert result.accuracy == (logits.argmax(1) == labels).double().mean().item()
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_meter_counts_soft_targets_by_their_largest_share() -> None:
    meter = Meter(torch.device("cpu"))
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    meter.update(torch.tensor(3.0), logits, torch.tensor([[0.6, 0.4], [0.9, 0.1]]))
    assert meter.compute().accuracy == 0.5
    assert meter.compute().loss == 1.5


def test_empty_meter_has_no_loss_and_a_reset_one_is_empty() -> None:
    meter = Meter(torch.device("cpu"))
    assert math.isnan(meter.compute().loss)
    meter.update(torch.tensor(1.0), torch.ones(1, 2), torch.zeros(1, dtype=torch.int64))
    meter.reset()
    assert meter.compute().images == 0


def test_label_smoothing_equals_its_definition() -> None:
    logits, labels = (
        torch.randn(5, 4, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 2, 3, 0]),
    )
    target = nn.functional.one_hot(labels, 4) * 0.9 + 0.1 / 4
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(build_loss(TrainConfig(label_smoothing=0.1))(logits, labels), expected)


def test_ema_follows_its_formula_and_leaves_the_model_alone() -> None:
    model = nn.Linear(2, 1, bias=False)
    ema = Ema(model, 0.9)
    expected = None
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(model.weight, value)
        ema.update()
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert ema.module.weight[0, 0].item() == pytest.approx(expected)
    assert model.weight[0, 0].item() == 4.0


def test_without_a_decay_the_average_is_the_model() -> None:
    model = nn.Linear(2, 1)
    ema = Ema(model, None)
    ema.update()
    assert ema.module is model
    assert ema.state_dict() == {}


def test_evaluation_is_exact_and_leaves_the_mode(images: Images, device: Device) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4)).train()
    got = evaluate(model, EvalLoader(images, 7), device)
    assert model.training
    model.eval()
    logits = model((images.split.images.float() / 255 - 0.5) / 0.25)
    assert got.images == 50
    assert got.accuracy == (logits.argmax(1) == images.labels).double().mean().item()
    assert got.loss == pytest.approx(nn.functional.cross_entropy(logits, images.labels).item(), rel=1e-5)


def test_balanced_accuracy_is_the_mean_recall(images: Images, device: Device) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))  # two classes have no images
    got = evaluate(model, EvalLoader(images, 7), device)
    predicted = model((images.split.images.float() / 255 - 0.5) / 0.25).argmax(1)
    recalls = [
        (predicted[images.labels == label] == label).double().mean() for label in images.labels.unique()
    ]
    assert got.balanced_accuracy == pytest.approx(torch.stack(recalls).mean().item(), abs=1e-12)
    assert got.figures["balanced_accuracy"] == got.balanced_accuracy


def test_an_epoch_shows_every_image_at_most_once_and_depends_on_seed_and_epoch_alone(images: Images) -> None:
    loader = TrainLoader(images, 16, Augment(AugmentConfig(), 4), seed=3)
    assert loader.steps_per_epoch == 3
    epochs = [torch.cat([loader.indices(e * 3 + s) for s in range(3)]) for e in range(2)]
    assert all(len(epoch.unique()) == 48 for epoch in epochs)
    assert not torch.equal(*epochs)
    again = TrainLoader(images, 16, Augment(AugmentConfig(), 4), seed=3)
    assert torch.equal(again.indices(4), loader.indices(4))
    other = TrainLoader(images, 16, Augment(AugmentConfig(), 4), seed=4)
    assert not torch.equal(other.indices(4), loader.indices(4))


def test_a_batch_is_a_function_of_the_step(images: Images) -> None:
    augment = Augment(AugmentConfig(crop=2, flip=True, cutout=2, mixup=0.2), 4)
    first, second = (TrainLoader(images, 16, augment, seed=1) for _ in range(2))
    torch.manual_seed(5)
    expected = [first.batch(step) for step in range(6)]
    torch.manual_seed(6)
    got = [second.batch(step) for step in (4, 1)]
    for (images_a, targets_a), step in zip(got, (4, 1), strict=True):
        assert torch.equal(images_a, expected[step][0])
        assert torch.equal(targets_a, expected[step][1])


def test_flips_that_alternate_show_both_sides_in_any_two_epochs(images: Images) -> None:
    loader = TrainLoader(images, 16, Augment(AugmentConfig(flip="alternating"), 4), seed=1)
    everyone = torch.arange(len(images))
    epochs = [loader.mirrored(3 * epoch, everyone) for epoch in range(4)]
    assert 15 < epochs[0].sum() < 35  # of 50
    for earlier, later in itertools.pairwise(epochs):
        assert torch.equal(earlier, ~later)
    other = TrainLoader(images, 16, Augment(AugmentConfig(flip="alternating"), 4), seed=2)
    assert not torch.equal(other.mirrored(0, everyone), epochs[0])
    for step in (1, 5):  # in epochs 0 and 1
        at = loader.indices(step)
        seen = flip(images.split.images[at], loader.mirrored(step, at))
        torch.testing.assert_close(loader.batch(step)[0], images.normalize(seen))


@pytest.mark.parametrize("config", [AugmentConfig(crop=2, flip=True), AugmentConfig(cutmix=1.0, mixup=0.5)])
def test_the_samples_are_the_first_images_that_the_network_sees(
    images: Images, config: AugmentConfig
) -> None:
    loader = TrainLoader(images, 16, Augment(config, 4), seed=1)
    seen, targets = loader.batch(0)
    for count in (5, 16, 99):
        shown, told = loader.samples(count)
        assert shown.dtype == torch.uint8
        assert len(shown) == min(count, 16)
        assert torch.equal(told, targets[:count])
        pixels = (seen[:count] * 0.25 + 0.5) * 255  # the fixture's mean and std
        assert (shown - pixels).abs().max() <= 0.5 + 1e-3


def test_images_are_normalised(images: Images) -> None:
    loader = TrainLoader(images, 16, Augment(AugmentConfig(), 4), seed=0)
    batch, labels = loader.batch(0)
    at = loader.indices(0)
    torch.testing.assert_close(batch, (images.split.images[at].float() / 255 - 0.5) / 0.25)
    assert torch.equal(labels, images.labels[at])


def test_training_crops_come_from_the_margin_and_evaluation_sees_the_centre(device: Device) -> None:
    stored = torch.zeros(32, 1, 16, 16, dtype=torch.uint8)
    stored[:, :, 2:14, 2:14] = 100  # the margin is black
    split = Split(stored, torch.arange(32) % 4)
    images = Images(split, device, (12, 12), [0.0], [1.0], centre=0.75)
    for batch, _ in EvalLoader(images, 9):
        assert batch.shape[1:] == (1, 12, 12) and (255 * batch).round().unique().tolist() == [100]
    plain, _ = TrainLoader(images, 8, Augment(AugmentConfig(crop=0), 4), seed=1).batch(0)
    assert plain.unique().numel() == 1
    augment = Augment(AugmentConfig(resized_crop=True, crop_scale=[0.5, 1.0]), 4)
    loader = TrainLoader(images, 8, augment, seed=1)
    batch, _ = loader.batch(3)
    assert batch.shape == (8, 1, 12, 12) and (batch == 0).any() and not torch.equal(batch, loader.batch(2)[0])
    assert torch.equal(TrainLoader(images, 8, augment, seed=1).batch(3)[0], batch)


def test_resize_is_that_of_pillow_to_rounding(device: Device) -> None:
    split = load_dataset(DatasetConfig()).test
    loader = EvalLoader(Images(split, device, (20, 20), [0.0], [1.0]), 9)
    first, _ = next(iter(loader))
    for ours, image in zip(first, split.images[:9], strict=True):
        pillow = Image.fromarray(image[0].numpy()).resize((20, 20), Image.Resampling.BILINEAR)
        assert (255 * ours[0] - torch.from_numpy(np.array(pillow))).abs().max() < 1.01
