"""Models: shapes, stems, heads, weights, and that every one of them learns."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from originals import cache_weights
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

from imclass import models
from imclass.config.schema import ModelConfig
from imclass.errors import UserError
from imclass.models import MODELS, build_model, build_trained_model
from imclass.models.speednet import ConvToPool
from imclass.models.summary import describe, format_summary, layer_table
from imclass.runs.weights import load_weights, read_weights

CONFIGS = Path(__file__).parents[1] / "configs" / "model"
YAML_FILES = sorted(CONFIGS.glob("*.yaml"))
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 48, 48)]
PUBLISHED = {  # parameters, for 3 channels and 1000 classes
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg11": 132_868_840,
    "vgg13": 133_053_736,
    "vgg16": 138_365_992,
    "vgg19": 143_678_248,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "alexnet": 61_100_840,
    "googlenet": 6_624_904,
}
ONE_OF_EACH_FAMILY = ["resnet18", "vgg11", "densenet121", "alexnet", "googlenet"]  # one builder a family
SMALL = ["speednet", "lenet", "resnet18_d2l", "densenet_d2l", "vgg10_keras"]
WITHOUT_PRETRAINED = [*SMALL, "wideresnet40_4"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take ten times longer than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **settings: object
) -> nn.Module:
    config = ModelConfig(name=name, **settings)  # type: ignore[arg-type]
    return build_model(config, in_channels=shape[0], classes=classes, size=shape[1])


def build_on_meta(name: str, shape: tuple[int, int, int], classes: int = 10, **settings: object) -> nn.Module:
    """The same without weights: nothing is drawn, so that the largest models cost nothing."""
    with torch.device("meta"):
        return build(name, shape, classes, **settings)


def outputs(model: nn.Module, shape: tuple[int, int, int], depth: int = 1) -> list[str]:
    """Output shapes of the modules down to `depth` levels, in order."""
    rows = layer_table(model, shape)
    return ["x".join(map(str, output)) for name, _, output in rows if name.count(".") < depth]


# Every model of the configuration


def test_every_yaml_is_a_model_and_every_model_has_a_yaml() -> None:
    assert {file.stem for file in YAML_FILES} == set(MODELS)


def read_config(file: Path) -> ModelConfig:
    config = ModelConfig(**OmegaConf.to_container(OmegaConf.load(file)))  # test_configs.py checks the values
    assert config.name == file.stem
    return config


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: file.stem)
def test_yaml_says_what_it_is_and_fits_the_schema(file: Path) -> None:
    assert file.read_text().startswith("# ")
    assert re.search(r"(arXiv|doi):\d+\.", file.read_text())
    read_config(file)


# One model of each family is trained on two shapes; on the third, and deeper variants: on the meta device.
TRAINED = [(name, shape) for name in ONE_OF_EACH_FAMILY for shape in SHAPES[:2]]
TRAINED += [(name, (1, 28, 28)) for name in SMALL]
TRAINED += [("resnet50", (3, 32, 32))]  # of other blocks than resnet18
TRAINED += [("wideresnet40_4", (1, 28, 28))]  # larger images take seconds


def in_words(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("name", "shape"), TRAINED, ids=in_words)
def test_loss_falls_in_three_steps_of_sgd(name: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    config = read_config(CONFIGS / f"{name}.yaml")
    config = dataclasses.replace(config, dropout=0.0)  # its noise could hide so small a fall
    model = build_model(config, in_channels=shape[0], classes=10, size=shape[1])
    # The largest take a second an image. Those that end in a 1x1 map need more than two images:
    # batch norm makes any two values -1 and 1, which tells nothing and passes no gradient.
    batch = 8 if config.name in SMALL else 2
    images, labels = torch.randn(batch, *shape), torch.arange(batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    losses = []
    for _ in range(3):
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "shape"),
    sorted({*((n, s) for n in ONE_OF_EACH_FAMILY for s in SHAPES), *((n, (3, 32, 32)) for n in MODELS)}),
    ids=in_words,
)
def test_every_weight_gets_a_gradient(name: str, shape: tuple[int, int, int]) -> None:
    model = build_on_meta(name, shape)
    logits = model(torch.empty(2, *shape, device="meta"))
    cross_entropy(logits, torch.zeros(2, dtype=torch.int64, device="meta")).backward()
    assert logits.shape == (2, 10)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("channels", [1, 4])  # 3: the tests of sizes and parameters
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_any_channels_with_either_stem(name: str, stem: str, channels: int) -> None:
    model = build_on_meta(name, (channels, 64, 64), stem=stem)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == channels


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", WITHOUT_PRETRAINED)
def test_any_channels_and_size_of_our_own(name: str, channels: int) -> None:
    for size in (16, 28, 45, 96):
        build_on_meta(name, (channels, size, size), classes=7)


# The recipes' models, layer by layer


def test_system_1_resnet18_with_cifar_stem() -> None:
    model = build_on_meta("resnet18", (1, 28, 28))
    head = ["64x28x28"] * 4  # conv, norm, ReLU, no pooling
    stages = ["64x28x28", "128x14x14", "256x7x7", "512x4x4"]
    assert outputs(model, (1, 28, 28)) == [*head, *stages, "512x1x1", "10"]
    assert not any(module.bias is not None for module in model.modules() if isinstance(module, nn.Conv2d))


def test_system_4_resnet18() -> None:
    model = build_on_meta("resnet18_d2l", (1, 224, 224))
    head = ["64x112x112"] * 3 + ["64x56x56"]  # conv, norm, ReLU, pooling
    stages = ["64x56x56", "128x28x28", "256x14x14", "512x7x7"]
    assert outputs(model, (1, 224, 224)) == [*head, *stages, "512x1x1", "512", "10"]
    assert all(module.bias is not None for module in model.modules() if isinstance(module, nn.Conv2d))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 17  # one for each 3x3 or 7x7 convolution, none on the three shortcuts


def test_system_4_densenet() -> None:
    model = build_on_meta("densenet_d2l", (1, 96, 96))
    head = ["64x48x48"] * 3 + ["64x24x24"]
    body = ["192x24x24", "96x12x12", "224x12x12", "112x6x6", "240x6x6", "120x3x3", "248x3x3"]
    tail = ["248x3x3", "248x3x3", "248x1x1", "248", "10"]  # norm, ReLU, average, flatten, linear
    assert outputs(model, (1, 96, 96)) == [*head, *body, *tail]


def test_system_5_vgg() -> None:
    model = build_on_meta("vgg10_keras", (3, 32, 32), classes=100)
    expected: list[str] = []
    for width, side in [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]:
        expected += [f"{width}x{side}x{side}"] * 4 + [f"{width}x{side // 2}x{side // 2}"]
    dense = ["256", "256", "128", "128", "100"]
    rows = layer_table(model, (3, 32, 32))
    leaves = ["x".join(map(str, shape)) for name, _, shape in rows if "." in name]
    assert leaves == [*expected, "512", *dense]


# Stems


@pytest.mark.parametrize(
    ("settings", "size", "expected"),
    [
        ({}, 28, "cifar"),
        ({}, 64, "cifar"),
        ({}, 65, "imagenet"),
        ({"pretrained": True}, 32, "imagenet"),
        ({"stem": "cifar", "pretrained": True}, 224, "cifar"),
        ({"stem": "imagenet"}, 32, "imagenet"),
    ],
)
def test_auto_stem_follows_size_and_weights(settings: dict[str, object], size: int, expected: str) -> None:
    assert models.resolve_stem(ModelConfig(**settings), size) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "last", "side"),
    [
        ("resnet50", "layer4", 4),
        ("densenet121", "features", 4),
        ("googlenet", "inception5b", 8),
        ("vgg16", "features", 1),
        ("alexnet", "features", 7),
        ("speednet", "blocks", 3),
    ],
)
def test_resolution_that_cifar_stems_keep(name: str, last: str, side: int) -> None:
    rows = {row[0]: row[2] for row in layer_table(build_on_meta(name, (3, 32, 32)), (3, 32, 32))}
    assert rows[last][1:] == (side, side)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "alexnet"])
def test_imagenet_stem_is_torchvisions_model_bit_for_bit(name: str) -> None:
    torch.manual_seed(0)
    ours = build(name, (3, 224, 224)).state_dict()
    torch.manual_seed(0)
    original = torchvision.models.get_model(
        name + ("_bn" if "vgg" in name else ""), num_classes=10
    ).state_dict()
    assert ours.keys() == original.keys()
    assert all(torch.equal(ours[key], original[key]) for key in ours)


@pytest.mark.parametrize("name", ["lenet", "speednet", "resnet18_d2l", "mobilenet_v2"])
def test_no_choice_of_stem_where_there_is_one(name: str) -> None:
    with pytest.raises(UserError, match=f"model.stem=cifar: {name} has only its own stem"):
        build(name, stem="cifar")


@pytest.mark.parametrize("size", [(9, 9), (8, 8), (9, 8), (2, 3)])
def test_speednet_leaves_out_only_what_its_pooling_drops(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    conv = ConvToPool(3, 4, 3, padding=1, bias=False).double()
    outputs = conv(images)
    assert outputs.shape[2:] == (size[0] // 2 * 2, size[1] // 2 * 2)
    pooled = nn.functional.max_pool2d(outputs, 2)
    expected = nn.functional.max_pool2d(nn.functional.conv2d(images, conv.weight, padding=1), 2)
    torch.testing.assert_close(pooled, expected)
    gradients, wanted = (
        torch.autograd.grad(one.square().sum(), (images, conv.weight)) for one in (pooled, expected)
    )
    torch.testing.assert_close(gradients, wanted)


def test_speednet_whitens_the_patches_of_the_images_it_starts_from() -> None:
    """Each output of the first layer has variance 1 and no correlation with the others, or the negative's."""
    model = build("speednet", (3, 32, 32))
    images = nn.functional.avg_pool2d(5 * torch.randn(100, 3, 34, 34), 3, 1)  # neighbours are alike
    model.init_from(images)
    with torch.no_grad():
        outputs = model.whiten(images)[:, :12].movedim(1, 0).flatten(1)
    covariance = outputs @ outputs.T / outputs.size(1)
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.02, rtol=0)
    assert torch.equal(model.whiten.weight[12:], -model.whiten.weight[:12])
    assert not model.whiten.weight.requires_grad


# Size of the models


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_published_parameter_counts(name: str, parameters: int) -> None:
    model = build_on_meta(name, (3, 224, 224), classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(("name", "millions"), [("wideresnet28_10", 36.5), ("wideresnet40_4", 8.9)])
def test_wide_networks_have_the_papers_size_and_layers(name: str, millions: float) -> None:
    model = build_on_meta(name, (3, 32, 32), classes=10)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions
    depth, factor = map(int, name.removeprefix("wideresnet").split("_"))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sum(module.kernel_size == (3, 3) for module in convolutions) == depth - 3  # 28: 25, 3 shortcuts
    assert sum(module.kernel_size == (1, 1) for module in convolutions) == 3
    groups = [f"{factor * width}x{side}x{side}" for width, side in ((16, 32), (32, 16), (64, 8))]
    assert outputs(model, (3, 32, 32))[:4] == ["16x32x32", *groups]


def test_wide_network_adds_the_input_as_it_came() -> None:
    """With its last convolution at zero, a block passes its input on: nothing is normalised on the way."""
    block = build("wideresnet40_4")[1][1]
    nn.init.zeros_(block.conv2.weight)
    images = torch.randn(2, 64, 8, 8)
    assert torch.equal(block(images), images)


def test_description_counts_without_touching_the_model() -> None:
    model = build("resnet18", (3, 224, 224), classes=1000).train()
    weights, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    described = describe(model, (3, 224, 224))
    assert described.parameters == 11_689_512
    assert described.multiply_adds == pytest.approx(1.81e9, rel=0.01)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_attention_is_counted_even_if_frozen() -> None:
    model = build_on_meta("vit_b_16", (3, 224, 224), classes=1000)
    counted = describe(model, (3, 224, 224)).multiply_adds
    assert counted == pytest.approx(17.56e9, rel=0.02)  # torchvision's figure
    assert describe(model.requires_grad_(False), (3, 224, 224)).multiply_adds == counted


def test_summary_lists_layers_shapes_and_parameters() -> None:
    lines = format_summary(build("lenet", (1, 28, 28)), (1, 28, 28)).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "multiply-adds"]
    assert lines[1].split() == ["(image)", "1x28x28"]
    assert ["0", "Conv2d", "6x28x28", "156", "117,600"] in [line.split() for line in lines]
    assert lines[-1].startswith("61,706 parameters, 416,520 multiply-adds")


# Dropout


@pytest.mark.parametrize(
    "name", [*ONE_OF_EACH_FAMILY, *WITHOUT_PRETRAINED, "squeezenet1_1", "vit_b_32", "inception_v3"]
)
def test_dropout_of_the_head_is_set(name: str) -> None:
    shape = (3, 32, 32) if name in MODELS else (3, 224, 224)
    model = build_on_meta(name, shape, dropout=0.3)
    assert 0.3 in [module.p for module in model.modules() if isinstance(module, nn.Dropout)]


def test_dropout_does_not_change_the_names_of_weights_and_acts_in_training_only() -> None:
    plain, dropped = build("lenet", (1, 28, 28)), build("lenet", (1, 28, 28), dropout=0.5)
    load_weights(dropped, plain.state_dict(), "lenet.pt")
    images = torch.randn(8, 1, 28, 28)
    assert torch.equal(plain.eval()(images), dropped.eval()(images))
    dropped.train()
    assert not torch.equal(dropped(images), dropped(images))


def test_dropout_none_keeps_the_architectures_own() -> None:
    vgg = build_on_meta("vgg11", (3, 224, 224))
    assert [module.p for module in vgg.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]
    assert not [
        module
        for module in build_on_meta("resnet18", (3, 32, 32)).modules()
        if isinstance(module, nn.Dropout)
    ]


# Names, and sizes that do not fit


def test_unknown_name() -> None:
    with pytest.raises(
        UserError, match=r"model\.name=resnet81: no such model; did you mean 'resnet.*install that"
    ):
        build("resnet81")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vit_b_32", (1, 28, 28)),
        ("inception_v3", (3, 32, 32)),
        ("densenet_d2l", (1, 0, 0)),
        ("lenet", (3, 4, 4)),
    ],
)
def test_size_that_does_not_fit_is_one_clear_line(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError) as raised:
        build_on_meta(name, shape)
    message, size = str(raised.value), "x".join(map(str, shape))
    assert message.startswith(f"model.name={name} does not work on {size} images (")
    assert message.endswith("try dataset.resize=224") and "\n" not in message


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_other_models_of_torchvision(name: str) -> None:
    model = build(name, (1, 96, 96), classes=5, dropout=0.0)
    assert model(torch.randn(2, 1, 96, 96)).shape == (2, 5)


class _Point:
    """An entry point of another package."""

    name, value = "tiny", "other_package:tiny"

    def __init__(self, outputs: int):
        self.outputs = outputs

    def load(self) -> object:
        outputs = self.outputs
        return lambda config, channels, classes, size: nn.Sequential(
            nn.Flatten(), nn.Linear(channels * size * size, outputs)
        )


def test_models_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "imclass.config.groups.entry_points", lambda group: [_Point(10)] if group == "imclass.models" else []
    )
    assert build("tiny")(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    monkeypatch.setattr("imclass.config.groups.entry_points", lambda group: [_Point(4)])
    with pytest.raises(UserError, match=r"model\.name=tiny must return logits of shape \(2, 10\).*\(2, 4\)"):
        build("tiny")


# Weights from files


@pytest.mark.parametrize("layout", ["plain.pt", "checkpoint.pt", "plain.safetensors"])
def test_weights_are_read_from_all_layouts(tmp_path: Path, layout: str) -> None:
    source, target = build("lenet"), build("lenet")
    state, path = source.state_dict(), tmp_path / layout
    if layout == "plain.safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state, "step": 3} if layout == "checkpoint.pt" else state, path)
    load_weights(target, read_weights(path), str(path))
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize("name", ["damaged.pt", "damaged.safetensors", "absent.pt", "other.pt", "number.pt"])
def test_unreadable_weights_are_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("damaged"):
        path.write_bytes(b"not a file of weights")
    elif name == "other.pt":
        torch.save({"model": {"layer": "text"}}, path)
    elif name == "number.pt":
        torch.save(3, path)
    with pytest.raises(UserError) as raised:
        read_weights(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_weights_that_do_not_fit_are_listed() -> None:
    state = dict(build("lenet").state_dict())
    with pytest.raises(
        UserError, match=r"^a\.pt: .*of another shape: classifier\.4\.weight 10x84 instead of 7x84"
    ):
        load_weights(build("lenet", classes=7), state, "a.pt")
    for key in list(state)[:5]:
        state["old." + key] = state.pop(key)
    with pytest.raises(
        UserError, match=r"missing: .*, .*, .* and 2 more; unexpected: old\..* and 2 more"
    ) as raised:
        load_weights(build("lenet"), state, "a.pt")
    assert "\n" not in str(raised.value)


# torchvision's ImageNet weights


def test_pretrained_keeps_all_but_the_head(hub: Path) -> None:
    state = cache_weights(hub, "resnet18")
    model = build("resnet18", (3, 32, 32), pretrained=True)
    assert model.state_dict()["fc.weight"].shape == (10, 512)
    loaded = {key: value for key, value in model.state_dict().items() if not key.startswith("fc.")}
    assert len(loaded) == len(state) - 2
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_pretrained_on_grey_images_sees_what_rgb_copies_gave(hub: Path) -> None:
    cache_weights(hub, "resnet18")
    grey, rgb = (build("resnet18", (channels, 96, 96), pretrained=True).eval() for channels in (1, 3))
    grey.fc = rgb.fc
    images = torch.randn(2, 1, 96, 96)
    torch.testing.assert_close(grey(images), rgb(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_pretrained_with_four_channels_repeats_and_rescales(hub: Path) -> None:
    weight = cache_weights(hub, "resnet18")["conv1.weight"]
    ours = build("resnet18", (4, 96, 96), pretrained=True).state_dict()["conv1.weight"]
    assert torch.equal(ours, weight[:, [0, 1, 2, 0]] * 0.75)


def test_pretrained_with_cifar_stem_keeps_what_fits(hub: Path) -> None:
    state = cache_weights(hub, "resnet18")
    ours = build("resnet18", (3, 32, 32), pretrained=True, stem="cifar").state_dict()
    fresh = {key for key, value in ours.items() if not torch.equal(value, state.get(key, torch.empty(0)))}
    assert fresh == {"conv1.weight", "fc.weight", "fc.bias"}


def test_pretrained_googlenet_normalises_as_it_was_trained(hub: Path) -> None:
    cache_weights(hub, "googlenet", init_weights=False)
    assert build("googlenet", (3, 64, 64), pretrained=True).transform_input
    grey = build("googlenet", (1, 64, 64), pretrained=True)
    assert not grey.transform_input and grey(torch.randn(2, 1, 64, 64)).shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "inception_v3", "mobilenet_v2"])
def test_what_was_pretrained_is_built_again_without_its_weights(hub: Path, name: str) -> None:
    """A run's checkpoint has all of them: to open it takes no download, and gives the same network."""
    cache_weights(hub, name, **({"init_weights": False} if "ception" in name or "google" in name else {}))
    size = 96 if name == "inception_v3" else 64
    before = build(name, (3, size, size), pretrained=True).eval()
    for weights in hub.iterdir():
        weights.unlink()
    after = build_trained_model(
        ModelConfig(name=name, pretrained=True), in_channels=3, classes=10, size=size
    ).eval()
    load_weights(after, before.state_dict(), "a.pt")
    images = torch.randn(2, 3, size, size)
    assert torch.equal(after(images), before(images))


def test_pretrained_without_network_names_the_file_and_its_place(hub: Path) -> None:
    with pytest.raises(
        UserError, match=r"cannot download .*put the file resnet18-f37072fd.pth into "
    ) as raised:
        build("resnet18", pretrained=True)
    assert str(hub) in str(raised.value) and "\n" not in str(raised.value)


def test_pretrained_from_a_damaged_file(hub: Path) -> None:
    (hub / "resnet18-f37072fd.pth").write_bytes(b"half a downl")
    with pytest.raises(UserError, match=r"cannot read .*resnet18-f37072fd\.pth .*delete it and try again"):
        build("resnet18", pretrained=True)


@pytest.mark.parametrize("name", WITHOUT_PRETRAINED)
def test_no_pretrained_weights_of_our_own_designs(name: str) -> None:
    with pytest.raises(UserError, match=f"model.pretrained=true: {name} has no pretrained weights"):
        build(name, pretrained=True)
