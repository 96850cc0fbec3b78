"""Are two runs the same, bit for bit?"""

from pathlib import Path

from imclass.runs.same_run import differences


def assert_same_run(got: Path, want: Path) -> None:
    """Weights, optimizer, best model and every logged figure are equal, bit for bit."""
    assert differences(got, want) == []
