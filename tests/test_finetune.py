"""Fine-tuning: weights of another training, what is frozen, rates of blocks, features computed once."""

import copy
import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from conftest import QUICK, merged, records
from safetensors.torch import save_file
from test_budget import interrupted_in
from torch import nn

from imclass.commands.selftest.points import At
from imclass.commands.selftest.trainings import finish, overrides
from imclass.config.schema import AugmentConfig, Config, ModelConfig, OptimizerConfig
from imclass.errors import UserError
from imclass.models import build_model
from imclass.models.blocks import block_numbers, freeze, labels_of
from imclass.models.transfer import transfer
from imclass.runs.checkpoint import read_checkpoint
from imclass.runs.same_run import differences
from imclass.runs.sources import Source, read_source
from imclass.training.optimizers import build_optimizer
from imclass.training.probe import probed_part
from imclass.training.rates import lines_on_rates
from imclass.training.start import lines_on_frozen
from imclass.training.trainer import Trainer

ANIMALS, VEHICLES = ("cat", "dog", "horse"), ("car", "ship")


def build(name: str, classes: int = 2, channels: int = 3, size: int = 32, **settings: object) -> nn.Module:
    config = ModelConfig(name=name, **settings)  # type: ignore[arg-type]
    return build_model(config, in_channels=channels, classes=classes, size=size)


def on_meta(name: str, size: int = 32, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, size=size, **settings)


def source(tensors: Mapping[str, torch.Tensor], classes: tuple[str, ...] | None = None) -> Source:
    return Source(Path("w.pt"), tensors, classes)


# Weights of another training


def test_other_classes_get_a_new_head_and_all_else_is_kept() -> None:
    before, model = build("lenet", 3).state_dict(), build("lenet", 2)
    drawn = copy.deepcopy(model.state_dict())
    notes = transfer(model, source(before, ANIMALS), VEHICLES, "auto")
    assert notes == ["new head: 2 classes (car, ship), not 3 (cat, dog, horse)"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (drawn if name.startswith("classifier.4.") else before)[name])


def test_as_many_classes_of_other_names_are_other_classes() -> None:
    before, model = build("lenet").state_dict(), build("lenet")
    assert transfer(model, source(before, ("a", "b")), VEHICLES, "auto") != []
    assert transfer(model, source(before, VEHICLES), VEHICLES, "auto") == []
    assert torch.equal(model.classifier[4].weight, before["classifier.4.weight"])  # type: ignore[index, union-attr]
    assert transfer(model, source(before), VEHICLES, "new") != []


def test_a_head_that_must_be_kept_is_refused_where_the_classes_differ() -> None:
    with pytest.raises(
        UserError, match=r"model\.head=keep: .* w\.pt .*of 3 \(cat, dog, horse\); model\.head=auto"
    ):
        transfer(build("lenet"), source(build("lenet", 3).state_dict(), ANIMALS), VEHICLES, "keep")
    with pytest.raises(UserError, match=r"model\.head=keep: .*but of 3; "):
        transfer(build("lenet"), source(build("lenet", 3).state_dict()), VEHICLES, "keep")


def test_all_layers_of_a_head_make_way_for_a_smaller_one() -> None:
    """VGG has three for large images and one for small ones."""
    large, small = on_meta("vgg11", 224, stem="imagenet"), on_meta("vgg11", 32)
    notes = transfer(small, source(large.state_dict()), VEHICLES, "auto")
    assert notes[0].startswith("new head: 2 classes (car, ship)")


def test_grey_images_get_the_sum_of_the_kernels() -> None:
    before, model = build("resnet18").eval(), build("resnet18", channels=1).eval()
    notes = transfer(model, source(before.state_dict()), VEHICLES, "auto")
    assert notes == ["first layer: its 3 channels summed for images of 1"]
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(model(images), before(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("theirs", "ours"), [("imagenet", "cifar"), ("cifar", "imagenet")])
def test_another_stem_is_refused_with_what_to_type(theirs: str, ours: str) -> None:
    weights = on_meta("resnet18", stem=theirs).state_dict()
    with pytest.raises(UserError, match=rf"w\.pt: the first convolution is .*; add model\.stem={theirs}"):
        transfer(on_meta("resnet18", stem=ours), source(weights), VEHICLES, "auto")


def test_names_of_wrappers_and_heads_for_training_are_left_out() -> None:
    model = build("lenet")
    wrapped = {f"module._orig_mod.{name}": tensor + 1 for name, tensor in model.state_dict().items()}
    expected = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    wrapped["module._orig_mod.aux1.fc.weight"] = torch.zeros(1)
    assert transfer(model, source(wrapped), VEHICLES, "auto") == ["without its auxiliary heads"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(UserError, match="the weights do not fit the model; missing: "):
        transfer(on_meta("resnet18"), source(on_meta("vgg11").state_dict()), VEHICLES, "auto")
    ours = Source(Path("w.pt"), on_meta("vgg11").state_dict(), VEHICLES, "vgg11")
    with pytest.raises(UserError, match=r"model\.weights=w\.pt: of another model; add model=vgg11$"):
        transfer(on_meta("resnet18"), ours, VEHICLES, "auto")


def test_a_run_is_named_where_weights_are_wanted(run, train, imclass) -> None:
    outcome = imclass(
        "train", "name=two", "model.weights=run", *merged(QUICK, ["dataset.synthetic.classes=3"])
    )
    assert outcome.code == 0, outcome.err
    assert "weights  from outputs/run/checkpoints/best.pt\n" in outcome.out
    assert "new head: 3 classes (" in outcome.out
    began = json.loads(Path("outputs/two/provenance.json").read_text())["starting_weights"]
    assert began["file"] == str(run / "checkpoints/best.pt")
    (run / "checkpoints/best.pt").unlink()
    third = train("three", "model.weights=outputs/run")  # best.safetensors knows the classes too
    assert "new head" not in (third / "train.log").read_text()
    (run / "config.yaml").rename(run / "gone.yaml")  # what has begun needs its source no more
    train("two", "model.weights=run", "dataset.synthetic.classes=3", "train.epochs=2.1")


@pytest.mark.parametrize("file", ["outputs/run", "outputs/run/best.safetensors"])
def test_images_of_another_size_than_the_weights_are_a_warning(run, imclass, file: str) -> None:
    typed = [f"model.weights={file}", "model.freeze=backbone", *QUICK]
    warning = f"warning: model.weights={file} was trained on 16x16 images, here they are 24x24; "
    assert f"\n{warning}type dataset.resize=16\n" in imclass("plan", *typed, "dataset.resize=24").out
    assert "warning" not in imclass("plan", *typed, "dataset.resize=16").out


def test_state_dicts_of_other_programs_are_found_in_their_files(tmp_path: Path) -> None:
    state = build("lenet").state_dict()
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pth")
    save_file(state, tmp_path / "theirs.safetensors")
    save_file(state, tmp_path / "described.safetensors", {"shape": "3x224x224"})
    for name in ("theirs.pth", "theirs.safetensors", "described.safetensors"):
        found = read_source(tmp_path / name)
        assert (found.classes, found.model, found.shape) == (None, None, None)
        assert transfer(build("lenet"), found, VEHICLES, "keep") == []


@pytest.mark.fault("S11")
def test_a_description_that_is_none_is_one_line(tmp_path: Path) -> None:
    for text in ("[" * 20_000, "no JSON"):
        save_file({"a": torch.zeros(1)}, tmp_path / "odd.safetensors", {"classes": text})
        with pytest.raises(UserError, match=r"odd\.safetensors: cannot be read as weights: `classes`"):
            read_source(tmp_path / "odd.safetensors")


# Blocks

RESNET = ["conv1", "layer1", "layer2", "layer3", "layer4"]
BLOCKS = {
    "resnet18": RESNET,
    "lenet": ["features.0", "features.3", "classifier.0", "classifier.2"],
    "speednet": ["whiten", "blocks.0", "blocks.1", "blocks.2"],
    "efficientnet_b0": [f"features.{number}" for number in range(9)],
    "convnext_tiny": [f"features.{number}" for number in range(8)],
    "vit_b_32": ["conv_proj", *(f"encoder.layers.encoder_layer_{number}" for number in range(12))],
    "timm/resnet18": RESNET,
    "timm/vit_tiny_patch16_224": ["patch_embed", *(f"blocks.{number}" for number in range(12))],
    "timm/convnext_atto": ["stem", *(f"stages.{number}" for number in range(4))],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_network_is_a_row_of_blocks(name: str) -> None:
    model = on_meta(name, 224 if "_" in name else 32)
    assert labels_of(model) == BLOCKS[name]
    numbers = list(block_numbers(model).values())
    assert numbers == sorted(numbers) and set(numbers) == set(range(len(BLOCKS[name]) + 1))


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    model = build("resnet18", size=16)
    assert freeze(model, 2) == ["conv1", "layer1"]
    model.train()
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(sgd(), model)
    nn.functional.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.tensor([0, 1, 0, 1])).backward()
    optimizer.step()
    same = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert same == {name for name in before if name.startswith(("conv1.", "bn1.", "layer1."))}
    twin = copy.deepcopy(model).eval().train()
    assert not twin.bn1.training and not twin.layer1[0].bn1.training and twin.layer2[0].bn1.training  # type: ignore[union-attr, index]


def test_freezing_the_backbone_leaves_the_last_layer_alone() -> None:
    model = build("mobilenet_v2")
    freeze(model, "backbone")
    model.train()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]
    assert not model.classifier[0].training  # type: ignore[index, union-attr]  # its dropout
    with pytest.raises(UserError, match=r"model\.freeze=6: expected at most 5, .*: conv1, layer1, "):
        freeze(on_meta("resnet18"), 6)


# Rates


def sgd(**more: float) -> OptimizerConfig:
    return OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("head_weight_decay", [None, 0.5])
def test_every_block_has_its_own_rate(head_weight_decay: float | None) -> None:
    model = build("resnet18")
    config = sgd(layer_decay=0.5, backbone_lr_scale=0.2, head_weight_decay=head_weight_decay)  # type: ignore[arg-type]
    optimizer = build_optimizer(config, model)
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in optimizer.param_groups)
    powers = {"conv1": 5, "bn1": 5, "layer1": 4, "layer2": 3, "layer3": 2, "layer4": 1}
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        expected = 0.1 if part == "fc" else 0.1 * 0.2 * 0.5 ** powers[part]
        assert rates[id(parameter)] == pytest.approx(expected), name
        matrix = (head_weight_decay or 0.01) if part == "fc" else 0.01
        assert decays[id(parameter)] == (matrix if parameter.ndim > 1 else 0.0), name


def test_muon_has_rates_of_blocks_too() -> None:
    model = build("lenet")
    config = OptimizerConfig(
        name="muon", lr=0.1, momentum=0.9, nesterov=True, adamw_lr=0.01, backbone_lr_scale=0.5
    )
    groups = build_optimizer(config, model).param_groups
    assert {group["lr"] for group in groups if group["muon"]} == {0.05}
    assert {group["lr"] for group in groups if not group["muon"]} == {0.01, 0.005}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_equal_rates_leave_the_groups_as_they_were() -> None:
    groups = build_optimizer(sgd(), build("lenet")).param_groups
    assert [len(group["params"]) for group in groups] == [5, 5]


# A linear probe

PROBE = ("model.weights=run", "model.freeze=backbone", "augment=none", "augment.crop=0")


def test_a_probe_trains_as_on_images_but_computes_features_once(
    run, train, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = nn.Conv2d.forward

    def counted(self: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    more = (*PROBE, "model.head=new", "train.epochs=4")
    quick = train("quick", *more)
    seen, calls[:] = sum(calls), []
    monkeypatch.setattr("imclass.training.build.probed_part", lambda *arguments: "")
    slow = train("slow", *more)
    assert "features that are computed once" in (quick / "train.log").read_text()
    for a, b in zip(records(quick), records(slow), strict=True):
        assert {**a, "split": 0} == pytest.approx({**b, "split": 0}, rel=1e-3, abs=1e-4)
    # lenet has two convolutions; 144 images for training, 16 for validation, 64 for the test, 2 for a trial
    assert seen == pytest.approx(2 * (144 + 16 + 64 + 2), abs=40)  # and one or two for a picture of the model
    assert sum(calls) > 2 * 4 * 144
    trained = read_checkpoint(quick / "checkpoints/last.pt")["model"]
    start = read_checkpoint(run / "checkpoints/best.pt")["model"]
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, start[name])}
    assert changed == {"classifier.4.weight", "classifier.4.bias"}


@pytest.mark.parametrize(
    ("name", "part", "augment"),
    [
        ("lenet", "classifier.4", {}),
        ("lenet", "", {"flip": True}),
        ("speednet", "", {}),  # scales its logits
        ("squeezenet1_1", "", {}),  # averages them over the image
        ("timm/test_resnet", "fc", {}),
    ],
)
def test_features_are_kept_where_they_are_all_that_counts(name: str, part: str, augment: dict) -> None:
    model = ModelConfig(name=name, freeze="backbone")
    config = Config(model=model, augment=AugmentConfig(**augment))
    assert probed_part(config, build(name, size=64), (3, 64, 64)) == part
    assert probed_part(Config(model=ModelConfig(name=name)), build(name, size=64), (3, 64, 64)) == ""


@pytest.mark.fault("R1")
@pytest.mark.parametrize(
    "more",
    [
        ("model.freeze=1", "optimizer.layer_decay=0.5", "optimizer.backbone_lr_scale=0.5"),
        (
            "model.freeze=backbone",
            "augment=none",
            "augment.flip=false",
            *(f"augment.{key}=0" for key in ("crop", "cutout", "random_erasing", "mixup")),
        ),
    ],
    ids=lambda more: more[0],
)
def test_killed_and_resumed_a_fine_tuning_ends_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    finish(overrides("first", "train.epochs=1", "seed=5"))
    tuned = ("model.weights=first", "model.head=new", *more)
    finish(overrides("whole", *tuned))
    finish(overrides("killed", *tuned), At("in a step", 12), code=-signal.SIGKILL)
    finish(overrides("killed", *tuned))
    assert differences(tmp_path / "outputs/killed", tmp_path / "outputs/whole") == []


# Runs and models by name


def test_resume_takes_a_name_and_a_refusal_says_the_way_on(run, imclass) -> None:
    outcome = imclass("train", "resume=run", "train.epochs=3")
    assert outcome.code == 0 and "resuming at step" in outcome.out
    refused = imclass("train", "resume=run", "optimizer.lr=0.5").err
    assert "outputs/run: has other settings (optimizer.lr: 0.05 -> 0.5)" in refused
    assert "model.weights=outputs/run starts from its weights" in refused
    unknown = imclass("train", "resume=rum").err
    assert (
        "resume=outputs/rum: expected auto, never, or a run" in unknown and "did you mean 'run'?" in unknown
    )
    assert "model.weights=outputs/run in place of" in imclass("train", "resume=run", "model=resnet18").err


def test_a_model_of_torchvision_or_timm_is_a_choice(imclass) -> None:
    for name in ("efficientnet_b0", "timm/resnet18", "timm/vit_tiny_patch16_224.augreg_in21k"):
        assert f"ok: {name} on" in imclass("check", f"model={name}").out
    outcome = imclass("check", "-m", "model=lenet,mobilenet_v2,timm/resnet18")
    assert outcome.out.count("ok: ") == 3
    assert "timm has no such model; did you mean 'resnet18'" in imclass("check", "model=timm/resnet81").err
    assert "did you mean 'efficientnet_b" in imclass("check", "model=efficientnet_b9").err


def test_timm_is_asked_for_where_it_is_not_installed(imclass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imclass.config.model_names.timm_models", frozenset)
    assert imclass("check", "model=timm/resnet18").err == (
        "imclass: model=timm/resnet18: needs timm: pip install 'imclass[timm]'\n"
    )


def test_a_model_of_timm_takes_its_own_weights_and_other_channels_and_is_resumed(
    train, imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "theirs.pth")
    tuned = ["model=timm/test_resnet", "model.weights=theirs.pth", "model.freeze=1", "model.dropout=0.2"]
    tuned += ["optimizer.layer_decay=0.7", "train.epochs=0.5"]
    run = train("small", *tuned)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted_in(Trainer.train_step, 2))
        train("again", *tuned, code=75)
    assert differences(train("again", *tuned), run) == []
    log = (run / "train.log").read_text()
    assert "first layer: its 3 channels summed for images of 1" in log
    assert "new head: 4 classes" in log and "not 7" in log
    assert imclass("evaluate", "small").code == 0
    outcome = imclass("train", *merged(QUICK, ["model=timm/test_resnet", "model.pretrained=true"]))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1) and "model.weights=FILE" in outcome.err


def test_position_embeddings_are_resized_to_the_images(tmp_path: Path) -> None:
    import timm

    theirs = timm.create_model("test_vit", img_size=64).state_dict()
    model = build("timm/test_vit", size=96)
    assert model.pos_embed.shape != theirs["pos_embed"].shape
    transfer(model, source(theirs), VEHICLES, "auto")
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 2)


def test_a_run_that_has_moved_resumes_without_what_it_started_from(run: Path, train, imclass) -> None:
    tuned = train("tuned", "model.weights=run", "train.epochs=0.5")
    again = imclass("train", "resume=tuned", "model.weights=run")
    assert (again.code, again.err) == (0, "")
    shutil.rmtree(run)
    moved = shutil.move(tuned, run.parent.parent / "archive")
    outcome = imclass("train", f"resume={moved}", "train.epochs=1")
    assert outcome.code == 0, outcome.err


def test_random_weights_are_not_frozen_where_those_to_start_from_are_missing(imclass) -> None:
    typed = ("model.weights=gone", "model.weights_required=false")
    assert imclass("check", *typed).code == 0
    outcome = imclass("check", *typed, "model.freeze=backbone")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "model.freeze=backbone: of random weights, as model.weights=outputs/gone: no such" in outcome.err


def test_what_timm_drops_before_its_last_layer_is_no_probe() -> None:
    model = ModelConfig(name="timm/test_resnet", freeze="backbone", dropout=0.5)
    assert probed_part(Config(model=model), build(model.name, size=64, dropout=0.5), (3, 64, 64)) == ""


@pytest.mark.parametrize(("name", "drops"), [("vgg11", False), ("resnet18", True)])
def test_dropout_that_is_frozen_is_said(name: str, drops: bool) -> None:
    model = on_meta(name, dropout=0.5)
    lines = lines_on_frozen(ModelConfig(name=name, dropout=0.5), model, freeze(model, "backbone"))
    assert any("model.dropout has no effect" in line for line in lines) is not drops


def test_the_header_has_the_rates_of_muon() -> None:
    config = OptimizerConfig(name="muon", lr=0.1, adamw_lr=0.01, backbone_lr_scale=0.5)
    (line,) = lines_on_rates(build("lenet"), config)
    assert line.startswith("rates    0.01 in classifier.4, 0.05 in ")
    assert "down to 0.005 in " in line
