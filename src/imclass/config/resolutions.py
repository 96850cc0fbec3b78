"""Lower resolutions to begin a training with: `20:30%` is 20 pixels until 30 % of it."""

from typing import Any

from imclass.config.durations import Duration, parse_duration

SMALLEST = 8  # pixels, as of dataset.resize


def parse_resolution(text: str) -> tuple[int, Duration]:
    """Return side in pixels and the time until which it is used. Raises ValueError."""
    side, _, until = text.partition(":")
    if int(side) < SMALLEST:
        raise ValueError(f"expected at least {SMALLEST} pixels")
    duration = parse_duration(until, ("ep", "st", "%"))
    if not duration.value:
        raise ValueError("expected a time above 0")
    return int(side), duration


def are_resolutions(texts: Any) -> bool:
    """Return whether each entry can be read."""
    try:
        return all(parse_resolution(text) for text in texts)
    except ValueError:
        return False
