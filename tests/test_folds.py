"""Cross-validation: folds that are disjoint, stratified, reported with their spread."""

import csv
import statistics
from pathlib import Path

import pytest
import torch
from conftest import QUICK, merged
from hypothesis import given, settings
from hypothesis import strategies as st
from test_splits import config, dataset, ids, part

from imclass.config.conflicts import train_images
from imclass.config.schema import Config
from imclass.data.folds import deal_into_folds, partition
from imclass.data.splits import split_dataset
from imclass.errors import UserError
from imclass.runs.records import read_summary

UNEVEN = [0] * 60 + [1] * 25 + [2] * 12


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=120), folds=st.integers(2, 12))
def test_folds_differ_by_one_image_at_most_in_all_and_in_each_class(labels: list[int], folds: int) -> None:
    fold = deal_into_folds(torch.tensor(labels), None, folds, generator(0))
    assert fold.min() >= 0 and fold.max() < folds
    for chosen in (fold, *(fold[torch.tensor(labels) == label] for label in set(labels))):
        sizes = torch.bincount(chosen, minlength=folds)
        assert sizes.max() - sizes.min() <= 1


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), groups=st.integers(30, 60), folds=st.integers(2, 5))
def test_groups_stay_whole_and_classes_even(seed: int, groups: int, folds: int) -> None:
    draws = generator(seed)
    labels, of = (torch.randint(high, (400,), generator=draws) for high in (3, groups))
    fold = deal_into_folds(labels, of, folds, generator(1))
    for group in of.unique():
        assert len(fold[of == group].unique()) == 1
    counts = torch.stack([torch.bincount(labels[fold == f], minlength=3) for f in range(folds)])
    target = torch.bincount(labels) / folds
    assert ((counts - target).abs() <= 0.25 * target).all()


def test_parts_have_their_shares() -> None:
    labels, of = torch.arange(1000) % 4, torch.arange(1000) // 10
    sizes = torch.bincount(partition(labels, of, [0.1, 0.3, 0.6], generator(0)))
    assert sizes.tolist() == [100, 300, 600]


def test_every_image_but_those_of_the_test_is_held_out_once() -> None:
    data = dataset(part(UNEVEN), classes=3)
    held: list[int] = []
    for fold in range(5):
        train, val, source = split_dataset(data, config(folds=5, fold=fold), seed=7)
        assert sorted(ids(train) + ids(val)) == list(range(97))
        assert source == f"fold {fold} of 5, stratified"
        assert torch.bincount(val.labels).tolist() in [[12, 5, 2], [12, 5, 3]]
        held += ids(val)
    assert sorted(held) == list(range(97))
    again = split_dataset(data, config(folds=5, fold=0), seed=7)[1]
    other = split_dataset(data, config(folds=5, fold=0), seed=8)[1]
    assert ids(again) == ids(split_dataset(data, config(folds=5), seed=7)[1]) != ids(other)


def test_validation_images_of_the_data_set_are_dealt_too() -> None:
    data = dataset(part(UNEVEN), val=part([0, 1, 2], 100), classes=3)
    held = [i for fold in range(4) for i in ids(split_dataset(data, config(folds=4, fold=fold), 0)[1])]
    assert sorted(held) == [*range(97), 100, 101, 102]


def test_fraction_keeps_a_part_of_what_the_fold_leaves() -> None:
    train, val, _ = split_dataset(dataset(part(UNEVEN), classes=3), config(folds=5, fraction=0.5), 0)
    assert (len(train), len(val)) == (38, 20)


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("labels", "folds", "words"),
    [
        ([0, 1, 0, 1], 5, "dataset.folds=5: fold 4 has no image; choose fewer folds"),
        ([0] * 9 + [1], 5, "would hold out all of '1', which is one image or one group"),
    ],
)
def test_folds_that_cannot_be_are_one_line(labels: list[int], folds: int, words: str) -> None:
    data = dataset(part(labels), classes=2)
    with pytest.raises(UserError) as error:
        for fold in range(folds):
            split_dataset(data, config(folds=folds, fold=folds - 1 - fold), 0)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_size_that_the_checks_expect_is_the_size() -> None:
    for fold in range(7):
        expected = Config()
        expected.dataset.folds, expected.dataset.fold = 7, fold
        held = deal_into_folds(torch.arange(6000) % 10, None, 7, generator(0)) == fold
        assert train_images(expected) == 6000 - held.sum()


def test_a_multirun_over_folds_is_reported_with_mean_and_spread(imclass, tmp_path: Path) -> None:
    typed = merged(QUICK, ["train.epochs=0.5", "name=cv", "dataset.folds=3", "dataset.fold=range(3)"])
    outcome = imclass("train", "-m", *typed)
    assert outcome.code == 0, outcome.err
    runs = [tmp_path / f"outputs/cv/fold-{fold}" for fold in range(3)]
    accuracies = [read_summary(run)["best"]["accuracy"] for run in runs]
    mean, spread = 100 * statistics.fmean(accuracies), 100 * statistics.stdev(accuracies)
    figures = f"validation {mean:.2f}% ± {spread:.2f}  test "
    assert figures in outcome.out and outcome.out.endswith("\nmore: imclass report outputs/cv\n")
    outcome = imclass("report", "outputs/cv")
    assert figures in outcome.out
    assert "synthetic: 106 train, 54 val, 64 test images, 3 folds; best validation" in outcome.out
    (row,) = csv.DictReader((tmp_path / "outputs/cv/comparison.csv").read_text().splitlines())
    assert row["count"] == "3"
    assert float(row["val_accuracy_std"]) == pytest.approx(statistics.stdev(accuracies))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["dataset.folds=5", "dataset.fold=5"], "dataset.fold=5: expected 0 to 4 with dataset.folds=5"),
        (["dataset.folds=1"], "dataset.folds=1: expected a whole number of at least 2"),
    ],
)
def test_mistakes_are_one_line(imclass, typed: list[str], words: str) -> None:
    outcome = imclass("check", *typed)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err


def test_what_has_no_effect_is_said(imclass) -> None:
    assert "dataset.fold=2 has no effect without dataset.folds" in imclass("check", "dataset.fold=2").out
    said = imclass("check", "dataset.folds=5", "dataset.val_split=0.2").out
    assert "dataset.val_split=0.2 has no effect with dataset.folds=5" in said
