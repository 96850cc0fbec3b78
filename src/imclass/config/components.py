"""Settings of the model, the augmentation, the optimizer and the schedule. See `schema.py`."""

from dataclasses import dataclass
from typing import Literal

from imclass.config.setting import setting


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    name: str = setting(
        "resnet18", "the architecture: a choice, any classification model of torchvision, or timm/NAME"
    )
    stem: Literal["auto", "cifar", "imagenet"] = setting(
        "auto", "first layers; cifar: 3x3, stride 1, no pooling; auto: cifar up to 64x64 pixels"
    )
    pretrained: bool = setting(False, "start from torchvision's ImageNet weights, with a new head")
    weights: str | None = setting(
        None, "weights to start from: a run, or a file: ours, torchvision's, timm's or another state dict"
    )
    weights_required: bool = setting(
        True, "false: start from random weights while there are none", needs="model.weights"
    )
    head: Literal["auto", "keep", "new"] = setting(
        "auto",
        "last layer of those weights; auto: a new one where the classes differ; keep: refuse these",
        needs="model.weights",
    )
    freeze: int | Literal["none", "backbone"] = setting(
        "none",
        "backbone: train the last layer alone; N: all but the first N blocks; what is frozen keeps its batch "
        "norm statistics; with backbone and augment=none, features are computed once: that takes seconds",
        at_least=1,
        allowed="none, backbone, or a number of blocks from 1",
    )
    dropout: float | None = setting(
        None, "dropout in the head; null: as the architecture has it", at_least=0, below=1
    )
    summary: bool = setting(False, "print each layer's output shape before training", affects_results=False)


def _rises(bounds: list[float]) -> bool:
    return bounds[0] <= bounds[1]


@dataclass(slots=True, kw_only=True)
class AugmentConfig:
    crop: int = setting(0, "pixels of padding before a random crop", at_least=0, at_most=64)
    crop_padding: Literal["zeros", "reflect"] = setting(
        "zeros", "content of that padding", needs="augment.crop"
    )
    resized_crop: bool = setting(
        False, "cut a random box out of each image and resize it; dataset.centre leaves it a margin"
    )
    crop_scale: list[float] = setting(
        [0.08, 1.0],
        "least and largest share of the area in a resized crop",
        above=0,
        at_most=1,
        length=2,
        accepts=_rises,
        allowed="[least, largest], above 0 and at most 1",
        needs="augment.resized_crop",
    )
    crop_ratio: list[float] = setting(
        [0.75, 1.3333],
        "least and largest width over height of a resized crop",
        at_least=0.1,
        at_most=10,
        length=2,
        accepts=_rises,
        allowed="[least, largest], from 0.1 to 10",
        needs="augment.resized_crop",
    )
    flip: bool | Literal["alternating"] = setting(
        False,
        "flip half of the images left to right, drawn anew in each epoch; alternating: drawn once, then each "
        "image turns with every epoch",
    )
    brightness: float = setting(0.0, "largest random change of brightness", at_least=0, at_most=1)
    contrast: float = setting(0.0, "largest random change of contrast", at_least=0, at_most=1)
    saturation: float = setting(0.0, "largest random change of saturation", at_least=0, at_most=1)
    cutout: int = setting(0, "side in pixels of one zeroed square per image", at_least=0)
    random_erasing: float = setting(0.0, "probability of erasing one random rectangle", at_least=0, at_most=1)
    randaugment: int = setting(0, "RandAugment: operations per image; 0: off", at_least=0, at_most=16)
    magnitude: int = setting(
        9, "strength of RandAugment's operations", at_least=0, at_most=30, needs="augment.randaugment"
    )
    trivialaugment: bool = setting(False, "TrivialAugment: one random operation per image")
    plugin: str | None = setting(None, "an augmentation of another package, after all of these")
    mixup: float = setting(0.0, "alpha of mixup's Beta distribution; 0: off", at_least=0)
    cutmix: float = setting(0.0, "alpha of CutMix's Beta distribution; 0: off", at_least=0)


@dataclass(slots=True, kw_only=True)
class OptimizerConfig:
    """Values come from `configs/optimizer/*.yaml`; null: the optimizer has no such setting."""

    name: str = setting("sgd", "the optimizer")
    lr: float = setting(0.0, "peak learning rate", above=0, also_called=("learning_rate",))
    weight_decay: float = setting(0.0, "weight decay of all matrices and kernels", at_least=0)
    backbone_lr_scale: float = setting(
        1.0, "rate of all but the last layer, as a fraction of the last layer's", above=0, at_most=1
    )
    layer_decay: float = setting(
        1.0,
        "factor of the rate from block to block, from the last layer down",
        above=0,
        at_most=1,
    )
    decay_norm_and_bias: bool = setting(False, "decay norms and biases too")
    head_weight_decay: float | None = setting(
        None, "weight decay of the last layer's weights; null: weight_decay", at_least=0
    )
    momentum: float | None = setting(
        None, "decay of the running gradient", at_least=0, below=1, only_with=("sgd", "rmsprop", "muon")
    )
    nesterov: bool | None = setting(
        None, "Nesterov momentum", only_with=("sgd", "muon"), needs="optimizer.momentum"
    )
    betas: list[float] | None = setting(
        None, "decays of the two running means", at_least=0, below=1, length=2, only_with=("adam", "adamw")
    )
    eps: float | None = setting(
        None, "added to the denominator", above=0, only_with=("adam", "adamw", "rmsprop")
    )
    alpha: float | None = setting(
        None, "decay of the mean squared gradient", at_least=0, below=1, only_with=("rmsprop",)
    )
    normalize_weights: bool | None = setting(
        None,
        "keep the norms of hidden weights at the root of their outputs; they then do not decay",
        only_with=("muon",),
        optional=True,
    )
    adamw_lr: float | None = setting(
        None, "peak rate of AdamW for norms, biases, first and last layer", above=0, only_with=("muon",)
    )


@dataclass(slots=True, kw_only=True)
class SchedulerConfig:
    """Values come from `configs/scheduler/*.yaml`; null: the schedule has no such setting."""

    name: str = setting("cosine", "shape of the learning rate over time")
    warmup: str | int = setting(0, "linear rise from 0 to lr", unit=("ep", "st", "%"), zero=True)
    final: float | None = setting(
        None,
        "last rate as a fraction of lr",
        at_least=0,
        at_most=1,
        only_with=("cosine", "linear", "onecycle"),
    )
    step_size: str | None = setting(
        None, "time between two drops", unit=("ep", "st", "%"), only_with=("step",)
    )
    milestones: list[str] | None = setting(
        None, "times of the drops, from the start", unit=("ep", "st", "%"), only_with=("multistep",)
    )
    gamma: float | None = setting(
        None, "factor of a drop", above=0, at_most=1, only_with=("step", "multistep", "plateau")
    )
    patience: int | None = setting(
        None, "evaluations without improvement before a drop", at_least=1, only_with=("plateau",)
    )
