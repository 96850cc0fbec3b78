"""All that trains and is trained on, without a run folder."""

import dataclasses

from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.data.dataset import Data
from imclass.data.loader import EvalLoader, TrainLoader
from imclass.machine.device import Device
from imclass.training.step import Learner


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """The parts of one training; `build.build_setup` builds them, and makes no folder."""

    config: Config
    data: Data
    plan: Plan
    learner: Learner
    loader: TrainLoader
    val: EvalLoader
    test: EvalLoader

    @property
    def device(self) -> Device:
        return self.learner.device
