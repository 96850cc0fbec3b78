"""Settings of `imclass sweep`. See `schema.py`."""

from dataclasses import dataclass
from typing import Literal

from imclass.config.run_names import RUN_NAME, RUN_NAME_IN_WORDS
from imclass.config.setting import setting


@dataclass(slots=True, kw_only=True)
class SweepConfig:
    """Settings of `imclass sweep`, typed as `sweep.trials=50`; `configs/sweep/*.yaml` hold choices."""

    name: str | None = setting(
        None,
        "folder under <output_dir>/sweeps; null: the choice's name",
        pattern=RUN_NAME,
        allowed=RUN_NAME_IN_WORDS,
    )
    trials: int | None = setting(None, "null: 20, or with sampler=grid the whole grid", at_least=1)
    workers: int | None = setting(
        None, "trials at the same time; null: per_gpu for each GPU, else 1", at_least=1, at_most=1000
    )
    per_gpu: int = setting(1, "trials that share a GPU", at_least=1, at_most=100)
    sampler: Literal["tpe", "random", "grid", "cmaes"] = setting("tpe", "how trials are chosen")
    pruner: Literal["hyperband", "median", "none"] = setting("hyperband", "how hopeless trials are stopped")
    metric: Literal["val.accuracy", "val.loss", "val.balanced_accuracy", "val.macro_f1"] = setting(
        "val.accuracy", "what is searched for, of the best model of each trial"
    )
    seed: int = setting(0, "seed of the sampler", at_least=0, at_most=2**32 - 1)
    seeds: int = setting(0, "fresh seeds on which the best configurations are repeated", at_least=0)
    top: int = setting(3, "how many of the best configurations are repeated", at_least=1, needs="sweep.seeds")
    retries: int = setting(1, "further attempts at a trial that failed", at_least=0)
    join: bool = setting(False, "several machines that share the folder may run this sweep at once")
    storage: str = setting(
        "journal",
        "where trials are recorded: journal is a file in the sweep's folder; machines that share only a "
        "database name its URL; the password comes from ~/.pgpass or PGPASSWORD",
        pattern=r"journal|sqlite:///(?!:memory:).+|postgres(ql)?://.+",
        allowed="journal, sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    )
    lost_after: str = setting(
        "2min",
        "with a database: a machine that is silent for so long has lost its trials to the others",
        unit=("s",),
    )
    overrides: list[str] = setting([], "overrides of every trial; in a YAML file only")
    space: dict[str, str] = setting({}, "key: search space of it; in a YAML file only")
