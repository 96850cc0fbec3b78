"""What all data sets share: names, plug-ins, fingerprints; and the synthetic one."""

from typing import Any

import pytest
import torch

from imclass.config.dataset import SyntheticConfig
from imclass.config.groups import config_dir
from imclass.config.schema import DatasetConfig
from imclass.data.dataset import Dataset, Split, fingerprint
from imclass.data.datasets import DATASETS, load_dataset
from imclass.errors import UserError


def fails(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        load_dataset(DatasetConfig(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_synthetic_is_balanced_repeatable_and_learnable() -> None:
    config = DatasetConfig(
        name="synthetic", synthetic=SyntheticConfig(shape=[2, 9, 7], classes=3, train=31, test=30)
    )
    torch.manual_seed(1)
    data = load_dataset(config)
    torch.manual_seed(2)
    assert load_dataset(config).fingerprint == data.fingerprint
    assert data.train.images.shape == (31, 2, 9, 7)
    assert torch.bincount(data.train.labels).tolist() == [11, 10, 10]
    assert data.classes == ("class0", "class1", "class2")
    means = torch.stack([data.train.images[data.train.labels == c].double().mean(0) for c in range(3)])
    nearest = torch.cdist(data.test.images.double().flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == data.test.labels).double().mean() > 0.9


def test_fingerprint_changes_with_each_part_of_the_contents() -> None:
    def made(pixel: int = 0, label: int = 0, name: str = "a", shape: tuple[int, ...] = (2, 1, 2, 4)) -> str:
        images = torch.zeros(shape, dtype=torch.uint8)
        images[1, 0, 1, 1] = pixel
        part = Split(images, torch.tensor([0, label]), None)
        return fingerprint((part, part, None), (name, "b"))

    variants = {made(), made(pixel=1), made(label=1), made(name="c"), made(shape=(2, 1, 4, 2))}
    assert len(variants) == 5
    assert made() == made()
    assert len(made()) == 64


def test_unknown_name_suggests_the_nearest() -> None:
    assert "did you mean 'cifar10'" in fails(name="cifr10")


def test_other_packages_add_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "mine", "package:load"

        def __init__(self, result: object):
            self.result = result

        def load(self) -> Any:
            return lambda config: self.result

    data = load_dataset(DatasetConfig(name="synthetic"))
    monkeypatch.setattr(
        "imclass.config.groups.entry_points",
        lambda group: [Point(data)] if group == "imclass.datasets" else [],
    )
    assert isinstance(load_dataset(DatasetConfig(name="mine")), Dataset)
    assert "did you mean 'mine'" in fails(name="mina")
    monkeypatch.setattr("imclass.config.groups.entry_points", lambda group: [Point(None)])
    assert "package:load returns NoneType; expected load(config: DatasetConfig) ->" in fails(name="mine")


def test_every_data_set_has_a_configuration() -> None:
    files = {
        path.stem: path.read_text(encoding="utf-8") for path in (config_dir() / "dataset").glob("*.yaml")
    }
    assert set(files) == set(DATASETS)
    for name, text in files.items():
        assert text.startswith("# ")
        assert f"name: {name}\n" in text
