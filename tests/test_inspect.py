"""imclass data inspect: what is there, what to mend, and settings that train."""

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from pictures import make_folder, save
from PIL import Image

from imclass.config.compose import compose_config
from imclass.config.schema import DeviceConfig
from imclass.data.inspection import copies
from imclass.data.inspection.copies import exact_copies, near_copies
from imclass.data.inspection.giveaways import giveaways
from imclass.data.inspection.inspect import Facts
from imclass.data.inspection.lines import fact_lines
from imclass.data.inspection.look import look_at_file, look_at_pixels
from imclass.data.inspection.suggestion import suggest
from imclass.machine.device import resolve_device
from imclass.training.estimate import seconds_of_training
from imclass.training.pace import Pace
from imclass.training.setup import Setup

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def _short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WARM_UP", "LEAST", "STEPS"):
        monkeypatch.setattr(f"imclass.training.pace.{name}", 1)


def smooth(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture with shapes that survive resizing."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def thumbnail(image: Image.Image) -> np.ndarray:
    return look_at_pixels(np.asarray(image.convert("RGB")).transpose(2, 0, 1)).thumbnail


def compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_copies_in_other_sizes_and_qualities_are_near_and_no_others() -> None:
    pictures = [smooth(seed) for seed in range(40)]
    changed = [
        pictures[3].resize((33, 21)),
        compressed(pictures[7], 40),
        pictures[7].convert("L").convert("RGB"),
    ]
    brighter = pictures[9].point(lambda value: min(255, value + 90))
    thumbnails = np.stack([thumbnail(image) for image in [*pictures, *changed, brighter]])
    assert near_copies(thumbnails) == [[3, 40], [7, 41]]


def test_every_pair_is_compared_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of brightness and the chunks leave no pair out: as all pairs in one go."""
    monkeypatch.setattr(copies, "AT_ONCE", 32)
    rng = np.random.default_rng(0)
    some = rng.integers(0, 256, (200, 3, 3, 3)).repeat(4, 1).repeat(4, 2)
    again = some[:90] + rng.normal(0, 5, (90, 12, 12, 3))
    noisy = np.concatenate([some, again]).clip(0, 255).astype(np.uint8)
    flat = noisy.reshape(len(noisy), -1).astype(float)
    contrast = flat.std(1)
    distance = np.sqrt(np.square(flat[:200, None] - flat[None, 200:]).mean(2))
    pairs = np.argwhere(distance <= copies.NEAR * np.minimum(contrast[:200, None], contrast[None, 200:]))
    expected = {(int(first), int(second) + 200) for first, second in pairs}
    found = near_copies(noisy)
    assert {(group[0], other) for group in found for other in group[1:]} == expected
    assert len(expected) == 90


def test_flat_pictures_say_nothing() -> None:
    assert near_copies(np.full((5, 12, 12, 3), 200, dtype=np.uint8)) == []
    assert exact_copies(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]


def test_what_one_file_looks_like(tmp_path: Path) -> None:
    image = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    image.putpixel((9, 9), (255, 0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "x.png", exif=exif)
    look = look_at_file(tmp_path / "x.png")
    assert not isinstance(look, str)
    assert (look.width, look.height, look.format, look.mode) == (20, 30, "PNG", "RGBA")
    assert (look.transparent, look.border) == (True, "white")
    for colour, name in ((0, "black"), (250, "white"), (100, "#606060")):
        Image.new("L", (9, 9), colour).save(tmp_path / "y.png")
        look = look_at_file(tmp_path / "y.png")
        assert not isinstance(look, str) and look.border == name
    (tmp_path / "z.png").write_bytes(b"")
    assert look_at_file(tmp_path / "z.png") == "not an image that Pillow can read"


def test_traits_that_give_a_class_away() -> None:
    labels = ["a"] * 10 + ["b"] * 10 + ["c"] * 3
    size = ["64x64"] * 9 + ["32x32"] * 14
    border = ["white", "black"] * 11 + ["white"]
    assert [tuple(found) for found in giveaways(labels, {"size": size, "border": border})] == [
        ("a", "size", "64x64", 0.9, 0.0)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes; copies across splits and classes, a damaged file, a class that is missing in a split."""
    root = tmp_path / "my pictures"
    for part, name, first, count in (
        ("train", "cat", 0, 12),
        ("train", "dog", 20, 3),
        ("test", "cat", 30, 4),
        ("test", "dog", 40, 1),
    ):
        (root / part / name).mkdir(parents=True)
        for index in range(count):
            smooth(first + index).save(root / part / name / f"{index:02}.png")
    (root / "test/cat/copy.png").write_bytes((root / "train/cat/03.png").read_bytes())
    (root / "train/dog/again.png").write_bytes((root / "train/cat/04.png").read_bytes())
    smooth(5).resize((40, 30)).save(root / "test/cat/small.webp")
    (root / "train/cat/half.png").write_bytes((root / "train/cat/00.png").read_bytes()[:400])
    (root / "train/bird").mkdir()
    return root


def test_all_of_it_at_once(imclass, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # without a terminal, lines are whole
    outcome = imclass("data", "inspect", "my pictures")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "my pictures 24 images in 3 classes"
    assert [line.split() for line in lines[1:5]] == [
        ["train", "test"],
        ["bird", "none", "none"],
        ["cat", "13", "6"],
        ["dog", "4", "1"],
    ]
    for text in (
        "problems    train/bird: no images of this class",
        "            test: class folders differ from those of train/: it lacks 'bird'",
        "note        training refuses these problems, but for damaged files: mend them",
        "            train/cat/half.png: ",
        "copies      4 pictures in 2 groups, 1 across splits, 1 in two classes",
        "            train/cat/03.png = test/cat/copy.png",
        "near copies 2 pictures in 1 group, 1 across splits",
        "            train/cat/05.png = test/cat/small.webp",
        "sizes       96x64 22, 40x30 1; median shorter side 64",
        "formats     PNG 22, WEBP 1",
        "note        one picture in two splits makes their accuracy too good: keep one",
        "begin with  dataset.on_damaged=skip (1 of them cannot be read)",
    ):
        assert any(line.startswith(text) for line in lines), text
    assert shlex.split(lines[-1])[:3] == ["imclass", "train", "my pictures"]


def test_no_line_is_wider_than_the_terminal(imclass, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    outcome = imclass("data", "inspect", "my pictures")
    assert outcome.code == 0
    assert [line for line in outcome.out.splitlines() if len(line) > 80] == []
    assert "begin with  dataset.on_damaged=skip (1 of them cannot be read)\n" in outcome.out


def test_what_it_suggests_trains(imclass, root: Path, tmp_path: Path) -> None:
    (root / "train/bird").rmdir()
    outcome = imclass("data", "inspect", "my pictures", "--json", "--write", "mine.yaml", "--sheet", "s.png")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["counts"] == {"cat": {"train": 13, "test": 6}, "dog": {"train": 4, "test": 1}}
    assert found["copies"][0] == [["train/cat/03.png", "test/cat/copy.png"], ["train", "test"], ["cat"]]
    assert found["damaged"] == 1
    assert found["suggestion"]["seconds"] > 0
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 900
    text = (tmp_path / "mine.yaml").read_text()
    assert text.startswith(
        "# @package _global_\n# imclass train experiment=mine.yaml\n# my pictures: 24 images"
    )
    assert "# Flips are wrong where left and right differ" in text
    command = shlex.split(found["suggestion"]["command"])
    small = ["model=lenet", "train.epochs=null", "train.steps=2", "device.threads=1"]
    small += ["logger.plots=false", "name=x"]
    for words in (["imclass", "train", "experiment=mine.yaml"], command):
        kept = [word for word in words[1:] if not word.startswith("train.epochs")]
        outcome = imclass("check", *kept[1:])
        assert (outcome.code, outcome.err) == (0, ""), words
    outcome = imclass("train", "experiment=mine.yaml", *small)
    assert outcome.code == 0, outcome.err


def test_a_table_and_a_data_set_by_name(imclass, root: Path) -> None:
    rows = [f"{name}/{index:02}.png,{name}" for name in ("cat", "dog") for index in range(3)]
    (root / "train/labels.csv").write_text("\n".join(["file,label", *rows]))
    found = json.loads(imclass("data", "inspect", "my pictures/train/labels.csv", "--json").out)
    assert found["counts"] == {"cat": {"train": 3}, "dog": {"train": 3}}
    assert (found["groups"], found["suggestion"]["word"]) == (0, "my pictures/train/labels.csv")
    grouped = ["file,label,group", *(f"{row},{'anna' if '/02' in row else 'ben'}" for row in rows[1:])]
    (root / "train/labels.csv").write_text("\n".join(grouped))
    out = imclass("data", "inspect", "my pictures/train/labels.csv").out
    assert "\ngroups      2, each kept in one split or fold\n" in out
    outcome = imclass("data", "inspect", "synthetic")
    assert outcome.code == 0, outcome.err
    assert "dataset=synthetic" in outcome.out.splitlines()[-1]


def test_values_that_leave_most_of_16_bits_unused_are_a_note(imclass, tmp_path: Path) -> None:
    """Of 10 or 12 bits, the upper 8 of 16 are black; a dark picture beside bright ones is none of these."""
    for name, highest in (("a/1.png", 4080), ("a/2.tif", 1023), ("b/1.png", 255), ("b/2.png", 60_000)):
        (tmp_path / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
        values = np.linspace(0, highest, 64).reshape(8, 8).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "deep" / name)
    out = imclass("data", "inspect", "deep").out
    note = "note        3 of 4 pictures of 16 bits have no value above 4,080 of 65,535 and are trained on as "
    assert f"\n{note}nearly black: multiply their values by 16\n" in out
    for name in ("a/1.png", "a/2.tif"):
        Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "deep" / name)
    assert "16 bits" not in imclass("data", "inspect", "deep").out
    for name in ("a/1.png", "a/2.tif", "b/1.png", "b/2.png"):
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep" / name)
    assert "multiply" not in imclass("data", "inspect", "deep").out


def facts(**known: object) -> Facts:
    made: dict = {
        "images": 300,
        "counts": {"cat": {"train": 100}, "dog": {"train": 200}},
        "groups": 0,
        "sizes": {"640x480": 300},
        "shorter_side": 480,
        "formats": {"JPEG": 300},
        "modes": {"RGB": 300},
        "transparent": 0,
        "dark": 0,
        "brightest": 0,
        "problems": [],
        "damaged": 0,
        "ignored": 0,
        "copies": [],
        "near_copies": [],
        "giveaways": [],
    }
    return Facts(**(made | known))


def test_the_counts_stand_in_one_column_whatever_the_script_of_the_names() -> None:
    lines = [*fact_lines("写真", facts(counts={"猫の写真": {"train": 100}, "dog": {"train": 200}}))]
    assert lines[0] == "写真        300 images in 2 classes"
    assert lines[1:4] == [
        f"{'':20}    train",
        "            猫の写真      100",
        "            dog           200",
    ]


@pytest.mark.parametrize(
    ("known", "gpu", "chosen"),
    [
        (
            {},
            False,
            {"augment": "photo", "dataset.resize": "96", "dataset.centre": "0.875", "train.epochs": "60"},
        ),
        ({}, True, {"dataset.resize": "224"}),
        (
            {"shorter_side": 28, "sizes": {"28x28": 300}},
            False,
            {"augment": "crop_flip", "dataset.resize": None},
        ),
        (
            {"counts": {"4": {"train": 9}, "7": {"train": 9}}},
            False,
            {"augment": "text", "dataset.centre": None},
        ),
        ({"counts": {"left_hand": {"train": 9}, "hand": {"train": 9}}}, False, {"augment": "text"}),
        ({"counts": {"a": {"train": 900}, "bb": {"train": 90}}}, False, {"dataset.balance": "true"}),
        ({"counts": {"a": {"train": 800}, "bb": {"train": 90}}}, False, {"dataset.balance": None}),
        (
            {"counts": {"ab": {"train": 30_000}, "bb": {"train": 30_000}}},
            False,
            {"train.batch_size": "64", "train.epochs": "10"},
        ),
        (
            {"counts": {"ab": {"train": 11}, "bb": {"train": 10}}, "damaged": 2},  # 17 of 21 are trained on
            False,
            {"train.batch_size": "8"},
        ),
        ({"damaged": 3}, False, {"dataset.on_damaged": "skip"}),
    ],
)
def test_settings_follow_the_facts(known: dict, gpu: bool, chosen: dict) -> None:
    made = suggest(facts(**known), "pictures", Path("pictures"), None, gpu=gpu)
    settings = {choice.key: choice.value for choice in made.choices}
    assert {key: settings.get(key) for key in chosen} == chosen


@pytest.mark.parametrize(
    ("counts", "images"),
    [
        ({"a": {"train": 100}, "b": {"train": 100}}, {"train": 162, "val": 18, "test": 20}),
        ({"a": {"train": 50, "test": 9}, "b": {"train": 50, "val": 4}}, {"train": 100, "val": 4, "test": 9}),
    ],
)
def test_what_is_held_out_is_not_trained_on(counts: dict, images: dict) -> None:
    assert suggest(facts(counts=counts), "p", Path("p"), None, gpu=False).images == images


def test_the_time_is_that_of_all_steps_evaluations_and_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for a step of 8 images, 0.3 s for the 24 of an evaluation."""
    sizes: list[tuple[int, ...]] = []

    def measured(setup: Setup, seconds: float) -> Pace:
        sizes.extend((tuple(setup.loader.batch(0)[0].shape), tuple(next(iter(setup.val))[0].shape)))
        return Pace({None: 0.5}, evaluation=0.3)

    monkeypatch.setattr("imclass.training.estimate.measure_pace", measured)
    words = ["model=lenet", "augment=photo", "dataset.centre=0.875", "train.batch_size=16", "train.epochs=2"]
    config = compose_config(words, [], to_train=False)
    device = resolve_device(DeviceConfig(type="cpu", threads=1), steps=1)
    images = {"train": 100, "val": 48, "test": 80}
    seconds = seconds_of_training(config, device, (3, 20, 20), 5, images)
    assert seconds == pytest.approx(2 * 6 * 1.0 + 2 * 0.6 + 1.0)
    assert sizes == [(8, 3, 20, 20)] * 2


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nowhere"], "nowhere: no such folder or data set; data sets: "),
        (["picture"], "; did you mean 'pictures'?"),
        (["pictures", "--root", "x"], "--root x: goes with the name of a data set"),
        (
            ["pictures", "--sheet", "sheet.jpg"],
            "--sheet sheet.jpg: expected a name that ends in .png: sheet.png",
        ),
        (["pictures", "--write", "no/x.yaml"], "--write no/x.yaml: no such folder: no"),
        (["pictures", "--write", "mine.yaml"], "--write mine.yaml: is there already; name another file"),
        (["damaged"], "damaged: none of 2 images can be read"),
        (["one"], "one: 1 class folder; expected at least 2"),
    ],
)
def test_mistakes_are_one_line(imclass, tmp_path: Path, argv: list[str], expected: str) -> None:
    make_folder(tmp_path / "pictures", {"": 1})
    save(tmp_path / "one/a/0.png")
    for name in "ab":
        (tmp_path / "damaged" / name).mkdir(parents=True)
        (tmp_path / "damaged" / name / "x.png").write_bytes(b"")
    (tmp_path / "mine.yaml").write_text("# mine\n")
    outcome = imclass("data", "inspect", *argv)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert expected in outcome.err
    assert (tmp_path / "mine.yaml").read_text() == "# mine\n"
