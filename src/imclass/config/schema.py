"""The configuration: every setting, its type, default and meaning, declared once.

`configs/` composes these settings; `imclass.config.check` turns the composed configuration into a
`Config` and reports everything that is wrong with it. This module must not import torch: a
mistake is answered in under a second.

Fields typed `Any` accept several types (a number or the word `auto`, say); what they accept is
written beside them and checked in `checks.py`.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    name: str = "resnet18"  # a choice of the group, or any classification model of torchvision
    stem: str = "auto"  # auto (cifar up to 64x64), cifar (3x3, stride 1, no pooling), imagenet
    pretrained: bool = False  # start from torchvision's ImageNet weights, with a new head
    weights: str | None = None  # start from this file: our best.pt/.safetensors, or a state dict
    weights_required: bool = True  # false: start afresh while that file does not exist
    dropout: float | None = None  # in the head, 0 <= p < 1; null: as the architecture has it
    summary: bool = False  # print every layer's output shape before training


@dataclass(slots=True, kw_only=True)
class SyntheticConfig:
    """Shape of the data set `synthetic`: noise around one random pattern per class."""

    shape: list[int] = field(default_factory=lambda: [3, 32, 32])  # channels, height, width
    classes: int = 10
    train: int = 1024  # images
    test: int = 256


@dataclass(slots=True, kw_only=True)
class DatasetConfig:
    name: str = "fashion_mnist_mini"
    root: str | None = None  # null: $IMCLASS_DATA, ./data, then where the system keeps it
    download: bool = True  # fetch what is not found
    val_split: Any = 0.1  # fraction, count, `test`, or a list of file name patterns
    test_split: float = 0.1  # of an image folder that has no test images
    fraction: float = 1.0  # use this part of the training data, stratified
    resize: int | None = None  # side in pixels of what the network sees; null: as the images are
    mean: list[float] | None = None  # per channel, on a scale of 0 to 1; null: of the training split
    std: list[float] | None = None
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


@dataclass(slots=True, kw_only=True)
class AugmentConfig:
    crop: int = 0  # pixels of zero padding before a random crop back to size
    flip: bool = False  # left-right, half of the images
    cutout: int = 0  # side of one zeroed square per image, in pixels
    random_erasing: float = 0.0  # probability of erasing one random rectangle
    randaugment: int = 0  # operations per image; 0: off
    magnitude: int = 9  # of randaugment, 0..30
    trivialaugment: bool = False
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    cutmix: float = 0.0


@dataclass(slots=True, kw_only=True)
class OptimizerConfig:
    """Values come from `configs/optimizer/*.yaml`; null: the optimizer has no such setting."""

    name: str = "sgd"
    lr: float = 0.0
    weight_decay: float = 0.0
    decay_norm_and_bias: bool = False  # also decay one-dimensional parameters
    head_weight_decay: float | None = None  # of the last layer's weights; null: weight_decay
    momentum: float | None = None  # sgd, rmsprop, muon
    nesterov: bool | None = None  # sgd, muon
    betas: list[float] | None = None  # adam, adamw
    eps: float | None = None  # adam, adamw, rmsprop
    alpha: float | None = None  # rmsprop: smoothing of the squared gradient
    adamw_lr: float | None = None  # muon: rate of the AdamW that trains norms, biases, first and last layer


@dataclass(slots=True, kw_only=True)
class SchedulerConfig:
    """Values come from `configs/scheduler/*.yaml`; null: the schedule has no such setting."""

    name: str = "cosine"
    warmup: Any = 0  # duration of a linear rise from 0 to lr
    final: float | None = None  # cosine, linear, onecycle: last rate as a fraction of lr
    step_size: Any = None  # step: duration between two drops
    milestones: list[Any] | None = None  # multistep: durations from the start
    gamma: float | None = None  # step, multistep, plateau: factor of a drop
    patience: int | None = None  # plateau: evaluations without improvement before a drop


@dataclass(slots=True, kw_only=True)
class DeviceConfig:
    type: str = "auto"  # auto (cuda, then mps, then cpu), cpu, cuda, mps; cuda:1 for the second
    precision: str = "auto"  # auto (bf16 where the hardware has units for it), fp32, bf16, fp16
    channels_last: Any = "auto"  # true, false, auto
    compile: Any = "auto"  # true, false, auto (long trainings on CUDA)
    threads: Any = "auto"  # CPU threads of torch: a number, or auto (the cores of this process)
    micro_batch: Any = "auto"  # images per forward pass, or auto (halved when memory runs out)
    sync_batch_norm: bool = (
        False  # of many processes on GPUs: batch norm over the whole batch, not each slice
    )


@dataclass(slots=True, kw_only=True)
class TrainConfig:
    epochs: float | None = 3  # may be fractional
    steps: int | None = None  # takes the place of epochs
    batch_size: int = 32  # of one step, over all processes
    eval_every: Any = "1ep"  # duration
    log_every: Any = "0.1ep"  # duration
    label_smoothing: float = 0.0  # 0 <= s < 1
    grad_clip: float | None = None  # largest norm of all gradients together
    ema: float | None = None  # decay per step of an average of the weights, which is then evaluated
    early_stopping: int | None = None  # evaluations without a better one before training ends
    max_time: Any = None  # duration: 10min; then training ends and the test follows; no schedule is shortened


@dataclass(slots=True, kw_only=True)
class CheckpointConfig:
    every: Any = "1ep"  # duration between two saves; evaluations and the end save as well
    metric: str = "accuracy"  # what makes a model the best on validation data: accuracy, loss


@dataclass(slots=True, kw_only=True)
class LoggerConfig:
    tensorboard: bool = True
    quiet: bool = False  # print the last block only


@dataclass(slots=True, kw_only=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = 0
    name: str | None = None  # folder under output_dir; null: <date>_<time>_<model>_<dataset>
    output_dir: str = "outputs"
    resume: str = "auto"  # auto, never, or a run folder
    debug: bool = False  # show the traceback of a mistake


@dataclass(slots=True, kw_only=True)
class SweepConfig:
    """Settings of `imclass sweep`, typed as `sweep.trials=50`; `configs/sweep/*.yaml` hold choices."""

    name: str | None = None  # folder under <output_dir>/sweeps; null: the choice's name
    trials: int | None = None  # null: 20, or with sampler=grid all points of the grid
    workers: int | None = None  # trials side by side; null: per_gpu for each GPU, or 1 without
    per_gpu: int = 1  # trials that share a GPU
    sampler: str = "tpe"  # tpe, random, grid, cmaes
    pruner: str = "hyperband"  # hyperband, median, none
    metric: str = "val.accuracy"  # of the best model of each trial: val.accuracy, val.loss
    seed: int = 0  # of the sampler
    seeds: int = 0  # fresh seeds on which the best configurations are repeated
    top: int = 3  # how many of the best configurations are repeated
    retries: int = 1  # further attempts at a trial that failed
    join: bool = False  # several at a time may run this sweep, on machines that share the folder
    overrides: list[str] = field(default_factory=list)  # of every trial
    space: dict[str, str] = field(default_factory=dict)  # key -> Hydra's choice(), range(), interval()
