"""Times within the training: warm-up, milestones, lower resolutions. Whether they fit into its length."""

from collections.abc import Iterator

from imclass.config.durations import parse_duration
from imclass.config.plan import Plan
from imclass.config.schema import Config
from imclass.errors import counted


def problems_of_times(config: Config, steps_per_epoch: int) -> Iterator[str]:
    """Yield one line per time that does not fit; none while train.budget has yet to be measured."""
    train, scheduler = config.train, config.scheduler
    if train.budget is not None and train.steps is None:
        return
    plan = Plan.of(config, steps_per_epoch)
    total = plan.steps
    shown = f"training ({counted(total, 'step')})"
    warmup = parse_duration(scheduler.warmup).steps(steps_per_epoch, total)
    if warmup > total:
        yield f"scheduler.warmup={scheduler.warmup}: longer than {shown}; shorten it, or train longer"
    if problem := plan.problem_of_resolutions(train.resolutions):
        yield problem
    previous = -1.0
    milestones = scheduler.milestones or []
    for milestone in milestones:
        at = parse_duration(milestone).steps(steps_per_epoch, total)
        if at < previous or milestones.count(milestone) > 1:  # in so few steps, others may fall together
            yield f"scheduler.milestones=[{','.join(milestones)}]: expected rising values"
        elif at > total:
            yield f"scheduler.milestones: {milestone} is after the end of {shown}; remove it, or train longer"
        previous = at
