"""Splits: exact, stratified, a function of (data, configuration, seed), and clear about what cannot be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split, channel_mean_std
from imclass.data.splits import split_dataset, stratified
from imclass.errors import UserError


def part(labels: list[int], first: int = 0, files: tuple[str, ...] | None = None) -> Split:
    """One part whose image i is filled with the number first + i, so that it can be recognised."""
    images = (torch.arange(len(labels)) + first).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    return Split(images, torch.tensor(labels, dtype=torch.int64), files)


def dataset(train: Split, test: Split | None = None, val: Split | None = None, classes: int = 10) -> Dataset:
    return Dataset(train, test or part([0, 1], 200), tuple(map(str, range(classes))), val)


def ids(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


def config(**settings_: object) -> DatasetConfig:
    return DatasetConfig(**settings_)  # type: ignore[arg-type]


BALANCED = [i % 10 for i in range(100)]


@pytest.mark.parametrize(("val_split", "count"), [(0.1, 10), (0.25, 25), (10, 10), (37, 37), (99, 99)])
def test_held_out_part_is_exact_stratified_disjoint_and_in_order(val_split: float, count: int) -> None:
    train, val, _ = split_dataset(dataset(part(BALANCED)), config(val_split=val_split), seed=3)
    assert (len(train), len(val)) == (100 - count, count)
    per_class = torch.bincount(val.labels, minlength=10)
    assert per_class.max() - per_class.min() <= 1
    assert sorted(ids(train) + ids(val)) == list(range(100))
    for kept in (train, val):
        assert ids(kept) == sorted(ids(kept))
        assert kept.labels.tolist() == [BALANCED[i] for i in ids(kept)]


def test_same_seed_same_split_whatever_the_global_generator_does() -> None:
    data = dataset(part(BALANCED))
    torch.manual_seed(1)
    _, first, _ = split_dataset(data, config(), seed=0)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    _, again, _ = split_dataset(data, config(), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert ids(first) == ids(again)
    assert ids(first) != ids(split_dataset(data, config(), seed=1)[1])


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) >= 2),
    share=st.floats(0.0, 1.0),
    every_class=st.booleans(),
)
def test_stratified_takes_exact_counts_in_proportion(
    sizes: list[int], share: float, every_class: bool
) -> None:
    labels = torch.tensor([label for label, size in enumerate(sizes) for _ in range(size)])
    count = round(share * len(labels))
    chosen = stratified(labels, count, torch.Generator().manual_seed(0), every_class=every_class)
    present = sum(size > 0 for size in sizes)
    assert chosen.sum() == (max(count, present) if every_class else count)
    taken = torch.bincount(labels[chosen], minlength=len(sizes)).tolist()
    for size, take in zip(sizes, taken, strict=True):
        assert not (every_class and size and not take)
        if not every_class and min(s for s in sizes if s) >= 2 and present <= count <= len(labels) - present:
            assert abs(take - count * size / len(labels)) < 2  # 1, or 2 where a class would be emptied


def test_no_class_is_taken_whole_from_training() -> None:
    train, _, _ = split_dataset(dataset(part([0] * 50 + [1, 2, 3])), config(val_split=0.2), seed=0)
    assert set(train.labels.tolist()) == {0, 1, 2, 3}


def test_val_split_test_uses_the_test_set_and_copies_nothing() -> None:
    data = dataset(part(BALANCED))
    train, val, source = split_dataset(data, config(val_split="test"), seed=0)
    assert val is data.test
    assert train is data.train
    assert source == "test (tutorial style)"


def test_val_source_says_where_validation_came_from() -> None:
    files = tuple(f"data_batch_{1 + i // 20}" for i in range(100))
    data = dataset(part(BALANCED, files=files))
    assert split_dataset(data, config(), 0)[2] == "stratified 10 % of train"
    assert split_dataset(data, config(val_split=5), 0)[2] == "stratified 5 images of train"
    train, val, source = split_dataset(data, config(val_split=["data_batch_5"]), 0)
    assert source == "files data_batch_5"
    assert ids(val) == list(range(80, 100))
    assert val.files == ("data_batch_5",) * 20
    assert train.files == files[:80]


def test_file_patterns_match_several_files() -> None:
    files = tuple(f"train/c{i % 10}/{i:02}.png" for i in range(100))
    chosen = config(val_split=["*/0?.png", "*/c3/*"])
    _, val, _ = split_dataset(dataset(part(BALANCED, files=files)), chosen, 0)
    assert ids(val) == [i for i in range(100) if i < 10 or i % 10 == 3]


def test_the_sources_own_validation_images_are_used() -> None:
    files = tuple(f"{i}.png" for i in range(100))
    data = dataset(part(BALANCED, files=files), val=part([0, 1, 2], 210))
    train, val, source = split_dataset(data, config(), seed=0)
    assert val is data.val
    assert train is data.train
    assert source == "val/ folder"
    assert split_dataset(data, config(val_split="test"), 0)[1] is data.test
    assert len(split_dataset(data, config(val_split=["1?.png"]), 0)[1]) == 10
    _, val, source = split_dataset(data, config(val_split=0.3), 0)
    assert val is data.val
    assert source == "val/ folder (dataset.val_split=0.3 has no effect)"


def test_fraction_keeps_a_stratified_part_of_training_only() -> None:
    data = dataset(part(BALANCED))
    whole, whole_val, _ = split_dataset(data, config(val_split=0.2), seed=5)
    half, half_val, _ = split_dataset(data, config(val_split=0.2, fraction=0.5), seed=5)
    quarter, _, _ = split_dataset(data, config(val_split=0.2, fraction=0.25), seed=5)
    assert ids(half_val) == ids(whole_val)
    assert torch.bincount(half.labels).tolist() == [4] * 10
    assert set(ids(quarter)) < set(ids(half)) < set(ids(whole))


def test_fraction_keeps_at_least_one_image_of_each_class() -> None:
    tiny, _, _ = split_dataset(dataset(part(BALANCED)), config(fraction=0.001), seed=0)
    assert torch.bincount(tiny.labels).tolist() == [1] * 10


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val_split": 100}, "takes 100 of 100"),
        ({"val_split": 0.999}, "takes 100 of 100"),
        ({"val_split": 0.001}, "takes 0 of 100"),
        ({"val_split": ["batch_9"]}, r"'batch_9' matches no file; there are b0, b1, b2, b3, b4, ..."),
        ({"val_split": ["*"]}, "nothing is left to train on"),
    ],
)
def test_settings_that_cannot_be_met_are_one_clear_line(change: dict[str, object], words: str) -> None:
    data = dataset(part(BALANCED, files=tuple(f"b{i % 7}" for i in range(100))))
    with pytest.raises(UserError) as error:
        split_dataset(data, config(**change), seed=0)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_patterns_need_file_names() -> None:
    with pytest.raises(UserError, match="no file names"):
        split_dataset(dataset(part(BALANCED)), config(val_split=["a"]), seed=0)


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dataset(part([])), "train part has no images"),
        (dataset(part(BALANCED), val=part([])), "val part has no images"),
        (
            dataset(part(BALANCED), classes=9),
            "labels of the train part go from 0 to 9; 9 classes allow 0 to 8",
        ),
        (dataset(part([0, -1])), "from -1 to 0"),
        (dataset(part([0, 1]), test=part([0, 12])), "labels of the test part"),
        (
            dataset(Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2).long(), None)),
            "3 images and 2",
        ),
    ],
)
def test_broken_data_sets_are_refused(data: Dataset, words: str) -> None:
    with pytest.raises(UserError, match=words):
        split_dataset(data, config(), seed=0)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 9000), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_mean_and_std_are_those_of_all_pixels(count: int, channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, channels, 2, 3), dtype=torch.uint8, generator=generator)
    images[:, 0] //= 9
    mean, std = channel_mean_std(Split(images, torch.zeros(count)))
    exact = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), exact.mean((0, 2, 3)), atol=1e-7, rtol=0)
    torch.testing.assert_close(
        torch.tensor(std).double(), exact.std((0, 2, 3), unbiased=False), atol=1e-7, rtol=0
    )


def test_a_channel_without_contrast_has_no_deviation() -> None:
    grey = Split(torch.full((5, 1, 3, 3), 51, dtype=torch.uint8), torch.zeros(5))
    assert channel_mean_std(grey) == ([0.2], [0.0])


@pytest.mark.parametrize(
    "choices",
    [
        {"val_split": 0.2},
        {"val_split": ["b*"]},
        {"val_split": "test", "fraction": 0.5},
        {"folds": 5, "fold": 1, "fraction": 0.5},
    ],
)
def test_no_split_copies_the_images(choices: dict[str, object]) -> None:
    """They may be a file that is larger than the memory."""
    data = dataset(part(BALANCED, files=("a",) * 70 + ("b",) * 30))
    train, val, _ = split_dataset(data, config(**choices), seed=0)
    assert train.stored is data.train.stored
    assert val.stored is (data.test.stored if val is data.test else data.train.stored)
    again, _, _ = split_dataset(dataset(train), config(val_split=0.5), seed=0)  # a part of a part
    assert again.stored is train.stored
    assert again.labels.tolist() == [number % 10 for number in ids(again)]
    indices = torch.tensor([3, 0, 3])
    assert again.take(indices).equal(again.images[indices])
    assert torch.cat([*again.chunks()]).equal(again.images)
    assert again.nbytes == again.images.nbytes
    mean, std = channel_mean_std(again)
    pixels = again.images.double() / 255
    assert mean[0] == pytest.approx(pixels.mean().item())
    assert std[0] == pytest.approx(pixels.std(unbiased=False).item())


def test_on_another_device_a_split_holds_its_own_images_alone() -> None:
    train, _, _ = split_dataset(dataset(part(BALANCED)), config(val_split=0.2), seed=0)
    moved = train.on(torch.device("cpu", 0))  # counts as another
    assert moved.stored.shape == (80, 1, 2, 2)
    assert moved.rows is None
    assert moved.images.equal(train.images)
    assert moved.labels.equal(train.labels)
    assert train.on(torch.device("cpu")) is train
