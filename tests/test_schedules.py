"""Learning rates, step by step, against torch's own schedulers and written-out lists."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imclass.config.durations import Duration, parse_duration
from imclass.config.schema import SchedulerConfig
from imclass.training.schedules import Schedule, build_schedule


def factors(config: SchedulerConfig, steps: int, steps_per_epoch: int = 10) -> list[float]:
    schedule = build_schedule(config, steps=steps, steps_per_epoch=steps_per_epoch)
    return [schedule.factor(step) for step in range(steps)]


def torch_factors(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_with_warmup() -> None:
    config = SchedulerConfig(name="constant", warmup="4st")
    assert factors(config, 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_linear_step_by_step() -> None:
    config = SchedulerConfig(name="linear", warmup="2st", final=0.0)
    assert factors(config, 6) == pytest.approx([0.5, 1.0, 1.0, 2 / 3, 1 / 3, 0.0])


def test_cosine_equals_torch() -> None:
    config = SchedulerConfig(name="cosine", final=0.01)
    expected = torch_factors(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=19, eta_min=0.01), 20
    )
    assert factors(config, 20) == pytest.approx(expected)


def test_onecycle_equals_torch() -> None:
    config = SchedulerConfig(name="onecycle", warmup="6st", final=4e-6)
    # torch counts its rise from step 0 to pct_start * total_steps - 1, and its end relative to the start
    expected = torch_factors(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 1.0, total_steps=20, pct_start=7 / 20, div_factor=25, final_div_factor=1e4
        ),
        20,
    )
    assert factors(config, 20) == pytest.approx(expected)


def test_multistep_equals_torch() -> None:
    config = SchedulerConfig(name="multistep", milestones=["1ep", "15st"], gamma=0.1)
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [10, 15], gamma=0.1), 20)
    assert factors(config, 20) == pytest.approx(expected)


def test_step_equals_torch() -> None:
    config = SchedulerConfig(name="step", step_size="30%", gamma=0.5)
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, 6, gamma=0.5), 20)
    assert factors(config, 20) == pytest.approx(expected)


def test_plateau_drops_after_patience_and_survives_a_restart() -> None:
    config = SchedulerConfig(name="plateau", gamma=0.1, patience=2)
    schedule = build_schedule(config, steps=10, steps_per_epoch=10)
    seen = []
    for improved in (True, False, True, False, False, False):
        schedule.observe(improved)
        seen.append(schedule.factor(0))
        copy = build_schedule(config, steps=10, steps_per_epoch=10)
        copy.load_state_dict(schedule.state_dict())
        schedule = copy
    assert seen == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_apply_scales_every_group_from_its_own_rate() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.5)]
    optimizer = torch.optim.SGD(groups)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    Schedule(lambda step: 0.1 * step).apply(optimizer, 3)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.3, 0.15])


@pytest.mark.parametrize("name", ["cosine", "linear", "onecycle"])
@given(steps=st.integers(1, 300), warmup=st.integers(0, 100), final=st.floats(0, 1))
def test_factors_stay_between_zero_and_one_and_are_pure(
    name: str, steps: int, warmup: int, final: float
) -> None:
    config = SchedulerConfig(name=name, warmup=f"{warmup}%", final=final)
    values = factors(config, steps)
    assert all(0 <= v <= 1 + 1e-12 for v in values)
    schedule = build_schedule(config, steps=steps, steps_per_epoch=10)
    assert [schedule.factor(s) for s in reversed(range(steps))] == values[::-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1ep", Duration(1, "ep")),
        ("0.5ep", Duration(0.5, "ep")),
        (0, Duration(0, "st")),
        ("0", Duration(0, "st")),
        ("500st", Duration(500, "st")),
        ("10%", Duration(10, "%")),
        ("1e3 st", Duration(1000, "st")),
        ("90s", Duration(90, "s")),
        ("10min", Duration(600, "s")),
        ("2h", Duration(7200, "s")),
    ],
)
def test_durations(text: object, expected: Duration) -> None:
    assert parse_duration(text, ("ep", "st", "s", "%")) == expected


@pytest.mark.parametrize("text", ["", "ep", "-1ep", "1 week", True, "1ep2", None, "5", 3, 0.5])
def test_faulty_durations_say_what_was_expected(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 1ep"):
        parse_duration(text)


@given(value=st.integers(0, 10_000), per_epoch=st.integers(1, 1000))
def test_durations_in_steps(value: int, per_epoch: int) -> None:
    assert parse_duration(f"{value}ep").steps(per_epoch) == value * per_epoch
    assert parse_duration(f"{value}st").steps(per_epoch) == value
    assert parse_duration("50%", ("%",)).steps(per_epoch, 2 * value) == value
