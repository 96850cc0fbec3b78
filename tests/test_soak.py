"""The self-test with large counts: what nobody thought of a name for. Run by `pytest -m soak`.

`imclass selftest --kills 300` has more of everything.
"""

import re

import pytest

# What is tried, and the --kills that asks for enough of it.
GROUPS = {
    "kills": 100,
    "ranks": 100,  # 10 jobs
    "signals": 150,  # 50 at random moments, 8 in cold starts
    "weights": 250,  # 1,000 bit flips, 200 truncations, 100 holes
    "folder": 100,  # 50 damaged files
    "logs": 250,  # 50 cuts
    "disk": 200,  # 50 limits
    "crowds": 1,
    "hostile": 1,
    "control": 1,
}


@pytest.mark.soak
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_lost(imclass, group: str) -> None:
    outcome = imclass("selftest", "--kills", str(GROUPS[group]), "--only", group)
    assert outcome.code == 0, outcome.out
    assert re.search(r"^tried (\d+), survived \1, lost 0$", outcome.out, re.MULTILINE)
