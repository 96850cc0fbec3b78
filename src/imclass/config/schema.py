"""The configuration: every setting is declared once, here, in `components.py`, `dataset.py` or `sweep.py`.

`configs/` composes the settings; `check.py` turns the result into a `Config` and reports everything that is
wrong with it. To add a setting: one field, and the code that uses it. What a field can declare: `Setting` in
`setting.py`. No torch in this package: a mistake is answered in under a second.
"""

import functools
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from imclass.config.components import AugmentConfig, ModelConfig, OptimizerConfig, SchedulerConfig
from imclass.config.dataset import DatasetConfig
from imclass.config.resolutions import are_resolutions
from imclass.config.run_names import RUN_NAME, RUN_NAME_IN_WORDS
from imclass.config.setting import Setting, setting
from imclass.config.sweep import SweepConfig


@dataclass(slots=True, kw_only=True)
class DeviceConfig:
    type: str = setting(
        "auto",
        "auto: cuda, else mps, else cpu; cuda:1 is the second GPU",
        pattern=r"auto|cpu|mps|cuda(:\d+)?",
        allowed="one of auto, cpu, cuda, cuda:N, mps",
        free_on_resume=True,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "auto: bf16 where the hardware has units for it, else fp32", free_on_resume=True
    )
    channels_last: bool | Literal["auto"] = setting(
        "auto", "memory layout NHWC, in which convolutions are fastest", free_on_resume=True
    )
    compile: bool | Literal["cuda_graphs", "auto"] = setting(
        "auto",
        "torch.compile; cuda_graphs: with CUDA graphs too; auto: true for long trainings on CUDA",
        free_on_resume=True,
    )
    threads: int | Literal["auto"] = setting(
        "auto",
        "CPU threads; auto: the cores of this process",
        at_least=1,
        free_on_resume=True,
        compared=False,
    )
    allocator: Literal["auto", "keep", "system"] = setting(
        "auto",
        "freed CPU memory; keep: for the next step; system: as the C library does; auto: keep on a CPU",
        affects_results=False,
    )
    micro_batch: int | Literal["auto"] = setting(
        "auto", "images per forward pass; auto: as many as fit in memory", at_least=1, free_on_resume=True
    )
    sync_batch_norm: bool = setting(
        False, "with several GPUs, batch norm over the whole batch, not each GPU's slice", free_on_resume=True
    )


@dataclass(slots=True, kw_only=True)
class TrainConfig:
    epochs: float | None = setting(
        3,
        "length of the training; may be a fraction",
        above=0,
        lengthens=True,
        overridden_by=("train.budget", "train.steps"),
    )
    steps: int | None = setting(
        None, "length in optimizer steps; overrides epochs", at_least=1, lengthens=True
    )
    batch_size: int = setting(32, "images per step, over all processes", at_least=1, also_called=("batch",))
    resolutions: list[str] = setting(
        [],
        "sides in pixels of the training images to begin with, each until a time",
        accepts=are_resolutions,
        allowed="a list of SIDE:TIME, such as [20:30%,24:60%]",
    )
    eval_every: str = setting("1ep", "time between validations", unit=("ep", "st"))
    log_every: str = setting(
        "0.1ep", "time between log lines", unit=("ep", "st"), free_on_resume=True, compared=False
    )
    label_smoothing: float = setting(0.0, "probability spread over the wrong classes", at_least=0, below=1)
    class_weights: list[float] | Literal["auto", "inverse"] | None = setting(
        None,
        "weights of the classes in the training loss, scaled to a mean of 1 over the images; auto: by their "
        "effective numbers of images (arXiv:1901.05555); inverse: by 1 / images",
        above=0,
        allowed="auto, inverse, or a list of numbers above 0, one per class",
        also_called=("class_weight",),
    )
    focal_gamma: float | None = setting(
        None,
        "train with the focal loss (1 - p)^gamma * cross entropy (arXiv:1708.02002), often with 2; "
        "null: cross entropy",
        at_least=0,
        at_most=10,
        also_called=("loss", "focal_loss", "focal", "gamma"),
    )
    grad_clip: float | None = setting(None, "largest norm of all gradients together", above=0)
    ema: float | None = setting(
        None, "decay per step of a running average of the weights, which is then evaluated", above=0, below=1
    )
    early_stopping: int | None = setting(
        None, "evaluations without improvement before training ends", at_least=1, also_called=("patience",)
    )
    budget: str | None = setting(
        None,
        "time for the whole training with its evaluations: as many steps as fit in it by a short probe, to "
        "which the schedule is set; the run keeps that number of steps",
        unit=("s",),
        lengthens=True,
    )
    max_time: str | None = setting(
        None,
        "stop after this time, then test; schedules keep their length",
        unit=("s",),
        free_on_resume=True,
        lengthens=True,
    )

    smoke: bool = setting(
        False,
        "try every phase in seconds: a few images, batches of 8, 6 steps, into the run <name>_smoke; its "
        "figures mean nothing",
    )


@dataclass(slots=True, kw_only=True)
class CheckpointConfig:
    every: str | None = setting(
        None,
        "time between checkpoints, beside those of validations; null: after validations and every minute, as "
        "long as saving takes at most 2 % of the time",
        unit=("ep", "st", "s"),
        affects_results=False,
    )
    metric: Literal["accuracy", "loss", "balanced_accuracy", "macro_f1"] = setting(
        "accuracy",
        "what makes a model the best on validation data, at a tie the loss; the last two count each class "
        "the same, however few its images",
        also_called=("monitor",),
    )


@dataclass(slots=True, kw_only=True)
class LoggerConfig:
    tensorboard: bool = setting(True, "write TensorBoard's event files", affects_results=False)
    wandb: bool = setting(
        False,
        "log to Weights & Biases too: to $WANDB_PROJECT; without an API key, offline into the run folder",
        affects_results=False,
    )
    mlflow: bool = setting(
        False,
        "log to MLflow too: to $MLFLOW_TRACKING_URI, else into mlflow.db beside the run folder",
        affects_results=False,
    )
    plots: bool = setting(True, "draw plots; imclass evaluate can do it later", affects_results=False)
    quiet: bool = setting(False, "print only the final summary", affects_results=False)


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
    seed: int = setting(
        0, "seed of weights, splits, order and augmentation", at_least=0, at_most=2**32 - 1, compared=False
    )
    name: str | None = setting(
        None,
        "folder under output_dir; null: <date>_<time>_<model>_<dataset>",
        pattern=RUN_NAME,
        allowed=RUN_NAME_IN_WORDS,
        affects_results=False,
    )
    output_dir: str = setting(
        "outputs", "where run folders go", pattern=".+", allowed="a folder", affects_results=False
    )
    resume: str = setting(
        "auto",
        "auto: resume the run of this name; never; or the run to resume, by its name or folder",
        pattern=".+",
        allowed="auto, never, or a run",
        affects_results=False,
    )
    debug: bool = setting(False, "show the traceback of a mistake", affects_results=False)

    @property
    def components(self) -> str:
        """Return model and data set as a part of a folder's name; names of timm have a slash."""
        return f"{self.model.name}_{self.dataset.name}".replace("/", "-")


def _settings(owner: type, prefix: str = "") -> dict[str, Setting]:
    """Return {key: setting} of a dataclass and its sections."""
    found: dict[str, Setting] = {}
    hints = typing.get_type_hints(owner)
    for item in fields(owner):
        key, hint = f"{prefix}{item.name}", hints[item.name]
        if is_dataclass(hint):
            found |= _settings(typing.cast(type, hint), f"{key}.")
        else:
            default = item.default if item.default_factory is MISSING else item.default_factory()
            found[key] = Setting(key=key, type=hint, default=default, **item.metadata)
    return found


SETTINGS = _settings(Config)
SWEEP_SETTINGS = _settings(SweepConfig, "sweep.")
SECTIONS = tuple(item.name for item in fields(Config) if is_dataclass(item.type))
GROUPS = (*SECTIONS, "experiment")  # typed as group=choice


def affects_results(key: str) -> bool:
    """Return whether a run's figures depend on a setting; of one that is not known here, they may."""
    return key not in SETTINGS or SETTINGS[key].affects_results


def is_compared(key: str) -> bool:
    """Return whether a difference in a setting makes two runs different systems."""
    return affects_results(key) and (key not in SETTINGS or SETTINGS[key].compared)


def values_of(config: Config | SweepConfig) -> dict[str, Any]:
    """Return {key: value} of every setting."""
    settings = SETTINGS if isinstance(config, Config) else SWEEP_SETTINGS
    paths = {key: key.removeprefix("sweep.").split(".") for key in settings}
    return {key: functools.reduce(getattr, path, config) for key, path in paths.items()}
