"""Grad-CAM: what a prediction rests on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import colours, make_folder, save
from torch import Tensor, nn

from imclass.config.schema import DeviceConfig, ModelConfig
from imclass.evaluation import heat_map
from imclass.evaluation.heat_map import heat_maps
from imclass.machine.device import resolve_device
from imclass.models import build_model

CPU = resolve_device(DeviceConfig(type="cpu", precision="fp32", threads=1), steps=1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(inplace=True), pool, nn.Flatten(), nn.Linear(6, 3))


def test_before_a_mean_and_a_linear_layer_it_is_the_class_activation_map() -> None:
    """There, gradients are the layer's weights over the number of places (Zhou et al. 2016)."""
    model, images, classes = network(), torch.randn(9, 1, 8, 8), torch.arange(9) % 3
    found = heat_maps(model, images, classes, CPU)
    assert found is not None
    features = model[:4](images).detach()
    maps = torch.einsum("nk,nkhw->nhw", model[-1].weight.detach()[classes], features).relu()
    largest = maps.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(found, torch.where(largest > 0, maps / largest, 0))


def test_a_patch_that_decides_is_hot_and_the_model_stays_as_it_was() -> None:
    model = network().train()
    for layer in (model[0], model[2]):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.constant_(model[-1].weight, 1.0)
    images = torch.zeros(1, 1, 8, 8)
    images[:, :, 1:3, 5:7] = 1
    found = heat_maps(model, images, torch.tensor([0]), CPU)
    assert found is not None and divmod(int(found.argmax()), 8) in {(y, x) for y in (1, 2) for x in (5, 6)}
    assert found[0, 7, 0] == 0 and found.max() == 1
    assert model.training and all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


class Attention(nn.Module):
    """What a vision transformer does: patches become tokens, which have no places any more."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.heads, self.head = nn.Conv2d(1, 6, 2, 2), nn.Identity(), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        self.heads(tokens.unflatten(2, (2, 3)).transpose(1, 2))
        return self.head(tokens.mean(dim=1))


class Frozen(nn.Module):
    """A model of another package, which lets no gradient through."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


@pytest.mark.parametrize("model", [Attention(), Frozen()], ids=["tokens", "no gradient"])
def test_a_network_without_places_or_gradients_has_no_map(model: nn.Module) -> None:
    assert heat_maps(model, torch.randn(2, 1, 8, 8), torch.tensor([0, 1]), CPU) is None


def test_frozen_weights_and_little_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, classes = network(), torch.randn(9, 1, 8, 8), torch.arange(9) % 3
    whole = heat_maps(model, images, classes, CPU)
    compute, sizes = heat_map._grad_cam, []

    def little(model: nn.Module, layer: nn.Module, images: Tensor, *arguments: Any) -> Tensor:
        sizes.append(len(images))
        if len(images) > 2:
            raise MemoryError
        return compute(model, layer, images, *arguments)

    monkeypatch.setattr(heat_map, "_grad_cam", little)
    torch.testing.assert_close(heat_maps(model.requires_grad_(False), images, classes, CPU), whole)
    assert max(sizes) == 8 and min(sizes) == 1


@pytest.mark.parametrize("name", ["lenet", "vgg11", "speednet", "densenet121"])
def test_models_for_small_images_have_maps_of_some_detail(name: str) -> None:
    model = build_model(ModelConfig(name=name), in_channels=3, classes=4, size=32).eval()
    found = heat_maps(model, torch.randn(4, 3, 32, 32), torch.arange(4), CPU)
    assert found is not None and found.shape == (4, 32, 32)
    assert found.min() >= 0 and found.max() <= 1 and len(found.unique()) > 16


def test_predict_explains(imclass, run: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "p", {".": 3}, size=(16, 16))
    plain = imclass("predict", "run", "p", "--format", "json")
    outcome = imclass("predict", "run", "p", "--format", "json", "--explain", "why.png", "--sheet", "s.png")
    assert outcome.code == 0, outcome.err
    assert outcome.out == plain.out and len(json.loads(outcome.out.splitlines()[0])["top"]) == 3
    grey = [all(max(c) - min(c) < 30 for c in colours(tmp_path / name)) for name in ("why.png", "s.png")]
    assert grey == [False, True]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--explain", "why.jpg"], "--explain why.jpg: expected a name that ends in .png: why.png"),
        (["--explain", "no/why.png"], "--explain no/why.png: no such folder: no"),
        (["--explain", "x.png"], "--explain x.png: is there already; name another file, or remove it"),
        (["--explain", "a.png", "--sheet", "./a.png"], "--explain a.png: is the file of --sheet"),
    ],
)
def test_mistakes_are_one_line(imclass, run: Path, tmp_path: Path, argv: list[str], expected: str) -> None:
    save(tmp_path / "x.png", (16, 16))
    outcome = imclass("predict", "run", "x.png", *argv)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert expected in outcome.err


def test_a_model_that_cannot_be_explained_is_named(imclass, run: Path, tmp_path: Path) -> None:
    save(tmp_path / "x.png", (16, 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imclass.evaluation.heat_map._layer", lambda *arguments: None)
        outcome = imclass("predict", "run", "x.png", "--explain", "why.png")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "--explain: lenet has no feature maps" in outcome.err
