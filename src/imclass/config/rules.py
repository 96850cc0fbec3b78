"""What each setting accepts, beyond its type: ranges, choices, units. No torch here."""

import math
import re
from collections.abc import Callable
from typing import Any

RUN_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}")
Rule = tuple[Callable[[Any], bool], str]


def _number(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False, what: str = "a number"
) -> Rule:
    """Accept numbers from `low` to `high`; `above` and `below` leave the ends out."""

    def accepts(x: object) -> bool:
        if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
            return False
        return (x > low if above else x >= low) and (x < high if below else x <= high)

    start = f"above {low:g}" if above else f"of at least {low:g}"
    end = "" if high == math.inf else f" and {'below' if below else 'at most'} {high:g}"
    return accepts, f"{what} {start}{end}"


def _one_of(*choices: object) -> Rule:
    shown = ", ".join(str(c).lower() if isinstance(c, bool) else str(c) for c in choices)
    return (lambda x: any(x is c or (isinstance(x, str) and x == c) for c in choices)), f"one of {shown}"


def _auto_or_count(x: object) -> bool:
    return x == "auto" or (isinstance(x, int) and not isinstance(x, bool) and x >= 1)


def _is_val_split(x: object) -> bool:
    if isinstance(x, bool):
        return False
    if isinstance(x, float):
        return 0 < x < 1
    if isinstance(x, int):
        return x >= 1
    return x == "test" or (isinstance(x, list) and bool(x) and all(isinstance(p, str) for p in x))


def _all_in(rule: Rule, what: str) -> Rule:
    return (lambda xs: bool(xs) and all(rule[0](x) for x in xs)), what


_POSITIVE = _number(0, above=True)
_FRACTION = _number(0, 1)
_COUNT = _number(1, what="a whole number")
_AUTO_FLAG = _one_of(True, False, "auto")
_AUTO_COUNT: Rule = (_auto_or_count, "a whole number of at least 1, or auto")
_NAME: Rule = (
    lambda x: RUN_NAME.fullmatch(x) is not None,
    "1 to 100 letters, digits, dots, dashes and underscores, no leading dot",
)

RULES: dict[str, Rule] = {
    "model.stem": _one_of("auto", "cifar", "imagenet"),
    "model.dropout": _number(0, 1, below=True),
    "dataset.val_split": (
        _is_val_split,
        "a fraction between 0 and 1, a count, test, or a list of file patterns",
    ),
    "dataset.test_split": _number(0, 1, above=True, below=True),
    "dataset.fraction": _number(0, 1, above=True),
    "dataset.resize": _number(8, 4096, what="a whole number"),
    "dataset.mean": _all_in(_FRACTION, "a list of numbers from 0 to 1, one per channel"),
    "dataset.std": _all_in(
        _number(0, 1, above=True), "a list of numbers above 0 and at most 1, one per channel"
    ),
    "dataset.synthetic.shape": (
        lambda xs: len(xs) == 3 and all(x >= 1 for x in xs) and min(xs[1:]) >= 8,
        "[channels, height, width] with sides of at least 8",
    ),
    "dataset.synthetic.classes": _number(2, what="a whole number"),
    "dataset.synthetic.train": _COUNT,
    "dataset.synthetic.test": _COUNT,
    "augment.crop": _number(0, 64),
    "augment.cutout": _number(0),
    "augment.random_erasing": _FRACTION,
    "augment.randaugment": _number(0, 16),
    "augment.magnitude": _number(0, 30),
    "augment.mixup": _number(0),
    "augment.cutmix": _number(0),
    "optimizer.lr": _POSITIVE,
    "optimizer.adamw_lr": _POSITIVE,
    "optimizer.weight_decay": _number(0),
    "optimizer.head_weight_decay": _number(0),
    "optimizer.momentum": _number(0, 1, below=True),
    "optimizer.betas": (
        lambda xs: len(xs) == 2 and all(0 <= x < 1 for x in xs),
        "two numbers of at least 0 and below 1",
    ),
    "optimizer.eps": _POSITIVE,
    "optimizer.alpha": _number(0, 1, below=True),
    "scheduler.final": _FRACTION,
    "scheduler.gamma": _number(0, 1, above=True),
    "scheduler.patience": _COUNT,
    "device.type": (
        lambda x: re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", x) is not None,
        "one of auto, cpu, cuda, cuda:N, mps",
    ),
    "device.precision": _one_of("auto", "fp32", "bf16", "fp16"),
    "device.channels_last": _AUTO_FLAG,
    "device.compile": _AUTO_FLAG,
    "device.threads": _AUTO_COUNT,
    "device.micro_batch": _AUTO_COUNT,
    "train.epochs": _POSITIVE,
    "train.steps": _COUNT,
    "train.batch_size": _COUNT,
    "train.label_smoothing": _number(0, 1, below=True),
    "train.grad_clip": _POSITIVE,
    "train.ema": _number(0, 1, above=True, below=True),
    "train.early_stopping": _COUNT,
    "checkpoint.metric": _one_of("accuracy", "loss"),
    "seed": _number(0, 2**32 - 1, what="a whole number"),
    "name": _NAME,
    "output_dir": (bool, "a folder"),
    "resume": (bool, "auto, never, or a run folder"),
    "sweep.name": _NAME,
    "sweep.trials": _COUNT,
    "sweep.workers": _number(1, 1000, what="a whole number"),
    "sweep.per_gpu": _number(1, 100, what="a whole number"),
    "sweep.sampler": _one_of("tpe", "random", "grid", "cmaes"),
    "sweep.pruner": _one_of("hyperband", "median", "none"),
    "sweep.metric": _one_of("val.accuracy", "val.loss"),
    "sweep.seed": _number(0, 2**32 - 1, what="a whole number"),
    "sweep.seeds": _number(0, what="a whole number"),
    "sweep.top": _COUNT,
    "sweep.retries": _number(0, what="a whole number"),
}
DURATIONS: dict[str, tuple[str, ...]] = {
    "scheduler.warmup": ("ep", "st", "%"),
    "scheduler.step_size": ("ep", "st", "%"),
    "scheduler.milestones": ("ep", "st", "%"),
    "train.eval_every": ("ep", "st"),
    "train.log_every": ("ep", "st"),
    "train.max_time": ("s",),
    "checkpoint.every": ("ep", "st", "s"),
}
MAY_BE_ZERO = {"scheduler.warmup"}
REQUIRED = {"dataset.val_split"} | set(DURATIONS) - {
    "scheduler.step_size",
    "scheduler.milestones",
    "train.max_time",
}
