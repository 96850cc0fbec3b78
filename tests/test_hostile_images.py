"""Whatever a picture holds: it is read or named, in seconds and less than 2 GB, and nothing in it runs."""

import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

import hostile_images
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imclass.data.folder.decode import damage, strict_images

LARGEST_PEAK = 2 << 30


@pytest.mark.fault("S6")
def test_hostile_images_are_read_or_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about large images
        images = hostile_images.made()
    assert len(images) >= 50
    (tmp_path / "images").mkdir()
    for name, (content, _) in images.items():
        (tmp_path / "images" / name).write_bytes(content)
    command = [sys.executable, hostile_images.__file__, str(tmp_path / "images")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-200:]  # the last line names the image
    found = json.loads(done.stdout)
    for name, (_, expected) in images.items():
        reason = found["reasons"][name]
        assert expected in reason if expected else not reason, (name, reason)
    assert found["peak"] < LARGEST_PEAK
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SMALL = {name: content for name, (content, _) in hostile_images.made().items() if len(content) < 5_000}


def damaged(name: str, seed: int) -> bytes:
    """Return an image with a few bytes changed, a part repeated, cut out or cut off."""
    rng, content = random.Random(seed), bytearray(SMALL[name])
    for _ in range(rng.randint(1, 8)):
        start = rng.randint(0, len(content))
        end = min(len(content), start + rng.choice((1, 2, 4, 64)))
        change = rng.randrange(4)
        if change == 0:
            content[start:end] = rng.randbytes(end - start)
        elif change == 1:
            content[start:end] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))] * (end - start))
        elif change == 2:
            content[start:start] = content[start:end]
        else:
            del content[start : end if rng.random() < 0.9 else len(content)]
    return bytes(content)


def fuzz(file: Path, name: str, seed: int) -> None:
    file.write_bytes(damaged(name, seed))
    with strict_images():
        reason = damage(file)
    assert "\n" not in reason
    assert str(file) not in reason


NAMES = st.sampled_from(sorted(SMALL))
SEEDS = st.integers(0, 2**32)


@pytest.mark.fault("S6")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, seed=SEEDS)
def test_damaged_headers_are_read_or_named(tmp_path: Path, name: str, seed: int) -> None:
    fuzz(tmp_path / "x.png", name, seed)


@pytest.mark.soak
@pytest.mark.fault("S6")
@settings(max_examples=5_000, suppress_health_check=list(HealthCheck))
@given(name=NAMES, seed=SEEDS)
def test_many_damaged_headers_are_read_or_named(tmp_path: Path, name: str, seed: int) -> None:
    fuzz(tmp_path / "x.png", name, seed)
