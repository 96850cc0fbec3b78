"""The negative control: with the seeding broken on purpose, the comparison must fail."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from imclass.commands.selftest.points import At
from imclass.commands.selftest.trainings import finish, overrides
from imclass.commands.selftest.trial import KILLED, Bench, Lost, Trial


def break_the_seeding() -> None:
    """Draw the augmentation from a running state instead of the step."""
    from imclass.data import loader

    count = itertools.count()

    def running(seed: int, purpose: str, position: int = 0) -> int:
        return next(count)

    loader.derive_seed = running


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield the one trial, whose success is a failure of the comparison."""

    def run(folder: Path) -> None:
        from imclass.runs.same_run import differences

        finish(overrides("whole"), break_the_seeding, folder=folder)
        finish(overrides("killed"), break_the_seeding, At("in a step", 9), code=KILLED, folder=folder)
        finish(overrides("killed"), break_the_seeding, folder=folder)
        found = differences(folder / "outputs/killed", folder / "outputs/whole")
        if not any("last.pt: model" in difference for difference in found):
            raise Lost("the comparison does not notice a run that drew other numbers: it proves nothing")

    yield Trial("negative control: broken seeding is noticed", "broken seeding", run)
