"""imclass export: every format answers as the run does, from pictures to probabilities."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import fade, make_folder, pixels, save
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from imclass.commands.export import _part_in
from imclass.config.schema import DatasetConfig, ModelConfig
from imclass.data.folder.decode import colour_of, decode_unresized
from imclass.data.folder.pictures import read_picture
from imclass.evaluation.agreement import compare
from imclass.evaluation.classifier import Classifier
from imclass.evaluation.formats import FORMATS
from imclass.evaluation.pooling import with_plain_pooling
from imclass.evaluation.resampling import fit_as_pillow, fit_as_torch, to_grey
from imclass.models import build_model

SCRIPT = """\
import json, sys, numpy as np, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("mine.onnx")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
for file in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode.startswith("I"):  # 16 bits: keep the upper 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    (probabilities,) = session.run(None, {"images": np.asarray(image.convert("RGB"))[None]})
    print(file, classes[probabilities[0].argmax()], probabilities[0].max())
"""


def random_images(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(30, 40), (31, 40), (64, 64), (33, 500), (20, 21), (5, 1), (100, 30)])
@pytest.mark.parametrize("side", [8, 32, 48])
def test_resizing_is_that_of_pillow_and_of_torch(size: tuple[int, int], side: int) -> None:
    image = random_images(3, *size)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC))
    found = fit_as_pillow(image[None].double(), side)[0].permute(1, 2, 0).numpy()
    if size[0] <= size[1]:  # from version 13 on, Pillow may resize others along the height first
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.01
    assert np.abs(found - expected).mean() < 5
    box = [min(size[0], size[1]), min(size[0], size[1])]
    expected = transforms.resize(transforms.center_crop(image, box)[None], [side, side], antialias=True)
    assert torch.equal(fit_as_torch(image[None].double(), (side, side)), expected.double())
    grey = torch.from_numpy(np.asarray(picture.convert("L")).copy())
    assert torch.equal(to_grey(image[None].double())[0, 0], grey.double())


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (DatasetConfig(name="image_folder"), (3, 24, 24)),
        (DatasetConfig(name="image_folder", centre=0.875), (3, 36, 36)),
        (DatasetConfig(name="image_folder"), (1, 24, 24)),
        (DatasetConfig(name="cifar10"), (3, 32, 32)),
        (DatasetConfig(name="fashion_mnist"), (1, 28, 28)),
        (DatasetConfig(name="synthetic"), (3, 20, 30)),
    ],
    ids=["folder", "margin", "grey folder", "cifar10", "fashion_mnist", "oblong"],
)
def test_a_picture_of_any_size_becomes_what_predict_reads(
    tmp_path: Path, config: DatasetConfig, shape: tuple[int, int, int]
) -> None:
    from imclass.data.dataset import centre_of

    for size in ((50, 41), (24, 24), (130, 60)):
        save(tmp_path / "x.png", size)
        read = read_picture(tmp_path / "x.png", config, shape)[None]
        expected = centre_of(read, config.centre, shape[1:])
        model = Classifier(nn.Identity(), config, shape, [0.5] * shape[0], [0.2] * shape[0])
        found = model.preprocess(pixels(tmp_path / "x.png").permute(1, 2, 0)[None])
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1
        assert (found != expected).double().mean() < 0.01


def test_pictures_are_compared_as_training_decodes_them(tmp_path: Path) -> None:
    """Large JPEGs at a part of their size, transparency on the background, 16 bits as 8."""
    save(tmp_path / "large.jpg", (400, 300))
    save(tmp_path / "clear.png", (50, 40))
    fade(tmp_path / "clear.png")
    deep = random_images(30, 40).numpy().astype(np.uint16) * 256
    Image.fromarray(deep).save(tmp_path / "deep.png")
    config = DatasetConfig(name="image_folder")
    model = Classifier(nn.Identity(), config, (3, 24, 24), [0.5] * 3, [0.2] * 3)
    for name in ("large.jpg", "clear.png", "deep.png"):
        whole = torch.from_numpy(decode_unresized(tmp_path / name, 24, colour_of(config.background)).copy())
        found = model.preprocess(whole[None])[0]
        expected = read_picture(tmp_path / name, config, (3, 24, 24))
        assert (found - expected).abs().max() <= 1, name


@pytest.mark.parametrize("layer", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("size", [1, 3, 7, (2, 5), (None, 2)])
def test_plain_pooling_is_adaptive_pooling(layer: type[nn.Module], size: object) -> None:
    features = torch.rand(2, 3, 7, 10, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(layer(size))
    torch.testing.assert_close(with_plain_pooling(model)(features), model(features))
    assert type(model[0]) is layer


@pytest.mark.soak  # half a minute; the run of the next test goes through ONNX, too
@pytest.mark.parametrize(
    ("name", "side"), [("speednet", 16), ("resnet18", 32), ("vgg16", 32), ("densenet121", 32)]
)
def test_onnx_answers_as_torch_does_at_any_size_and_number(tmp_path: Path, name: str, side: int) -> None:
    torch.manual_seed(0)
    network = build_model(ModelConfig(name=name), in_channels=3, classes=4, size=side)
    model = Classifier(network, DatasetConfig(name="image_folder"), (3, side, side), [0.5] * 3, [0.2] * 3)
    FORMATS["onnx"].write(model.eval(), tmp_path / "m.onnx", {"classes": "[]"})
    run = FORMATS["onnx"].open(tmp_path / "m.onnx", model)
    for shape in ((1, 33, 21, 3), (5, 16, 40, 3)):
        images = random_images(*shape)
        with torch.inference_mode():
            torch.testing.assert_close(run(images), model(images), atol=1e-5, rtol=1e-4)


@pytest.fixture
def folder_run(imclass, tmp_path: Path) -> Path:
    make_folder(tmp_path / "pictures", {"train": 12, "test": 4}, size=(30, 26))
    small = ["model=lenet", "train.batch_size=4", "train.epochs=1", "device.threads=1", "logger.plots=false"]
    data = ["dataset=image_folder", "dataset.root=pictures", "dataset.resize=20", "dataset.val_split=6"]
    outcome = imclass("train", "name=mine", *data, *small, "device.precision=bf16")
    assert outcome.code == 0, outcome.err
    return tmp_path / "outputs/mine"


def test_all_formats_agree_with_the_run_and_say_what_they_are(imclass, folder_run: Path) -> None:
    for name in FORMATS:
        code, out, err = imclass("export", "mine", "--format", name)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        file = folder_run / f"mine.{name}"
        assert lines[0].startswith(f"written to   outputs/mine/mine.{name}, ")
        assert lines[1] == "fp32         6 of 6 predictions equal, on the validation images"
        assert float(lines[2].split()[1]) < 1e-5
        assert lines[3].startswith("bf16 ")
        assert b'["a", "b"]' in file.read_bytes() or rb"[\"a\", \"b\"]" in file.read_bytes()
    assert imclass("verify", "mine").code == 0
    make_folder(folder_run.parents[1] / "others", {"": 3}, size=(41, 17))
    (folder_run.parents[1] / "pictures").rename(folder_run.parents[1] / "moved")
    assert "(if the run's data have moved, add --data" in imclass("export", "mine", "--format", "pt2").err
    rows = [f"{label}/{number}.png,{label},test" for label in "ab" for number in range(2)]
    (folder_run.parents[1] / "others/test.csv").write_text("\n".join(["file,label,split", *rows]))
    for data, count, where in (
        ("moved", 6, "the validation images"),
        ("others", 6, "the images of others"),
        ("others/test.csv", 4, "the images of others/test.csv"),
    ):
        code, out, err = imclass("export", "mine", "--format", "torchscript", "--data", data)
        assert (code, err) == (0, "")
        assert f"{count} of {count} predictions equal, on {where}\n" in out
    (folder_run.parents[1] / "moved").rename(folder_run.parents[1] / "pictures")
    _use_in_a_program(imclass, folder_run)


@pytest.mark.parametrize(
    ("parts", "chosen"),
    [
        (["train"], "test"),  # not divided: all of it
        (["train", "val", "test"], "val"),
        (["train", "test"], "test"),
        (["test"], "test"),
        (["val"], "val"),
    ],
)
def test_the_pictures_to_compare_on_need_no_part_of_their_own(
    tmp_path: Path, parts: list[str], chosen: str
) -> None:
    rows = [f"{name}/a/0.png,a,{name}" for name in parts]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    assert _part_in(str(tmp_path / "labels.csv")) == chosen
    make_folder(tmp_path / "pictures", dict.fromkeys([""] if parts == ["train"] else parts, 1))
    assert _part_in(str(tmp_path / "pictures")) == chosen


def _use_in_a_program(imclass, run: Path) -> None:
    files = [str(run.parents[1] / f"pictures/test/{name}/{number}.png") for name in "ab" for number in (0, 1)]
    code = f"{SCRIPT}assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=run, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    for (file, name, probability), line in zip(said, predicted(imclass, *files), strict=True):
        assert (file, name) == (line["file"], line["class"])
        assert float(probability) == pytest.approx(line["probability"], abs=0.02)  # the run's are of bf16


def photograph(file: Path, label: int, seed: int) -> None:
    """Write a large picture, reddish or bluish, under noise of single pixels; PNGs fade out."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 160, (*rng.integers(90, 400, 2), 3))
    pixels[..., 2 * label] += 95
    Image.fromarray(pixels.astype(np.uint8)).save(file)
    if file.suffix == ".png":
        fade(file)


def without_antialiasing(images: Tensor, side: int) -> Tensor:
    square = transforms.center_crop(images, [min(images.shape[2:])] * 2)
    return nn.functional.interpolate(square, (side, side), mode="bilinear").round()


def test_a_model_of_timm_on_a_table_of_large_pictures(
    imclass, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JPEGs that are decoded at a part of their size, PNGs on black; also by the README's script."""
    (tmp_path / "pictures").mkdir()
    rows, seen = ["file,label,split"], []
    for number in range(48):
        name, split = f"{number}.{'jpg' if number % 3 else 'png'}", ("train", "train", "val", "test")
        photograph(tmp_path / "pictures" / name, number % 2, seed=number)
        rows.append(f"{name},{'ab'[number % 2]},{split[number // 2 % 4]}")
        seen += [f"{tmp_path}/pictures/{name}"] if rows[-1].endswith("val") else []
    (tmp_path / "pictures/table.csv").write_text("\n".join(rows))
    small = ["model=timm/test_resnet", "train.batch_size=8", "train.epochs=2", "device.threads=1"]
    data = ["dataset=image_folder", "dataset.root=pictures/table.csv", "dataset.background=black"]
    more = ["dataset.resize=32", "augment=none", "logger.plots=false", "device.precision=fp32"]
    outcome = imclass("train", "name=mine", *small, *data, *more)
    assert outcome.code == 0, outcome.err
    for name in FORMATS:
        code, out, err = imclass("export", "mine", "--format", name)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[1] == "fp32         12 of 12 predictions equal, on the validation images"
        exact = float(lines[2].split()[1])
        assert exact < 0.005
    for number in range(6):  # Pillow's own conversion clips them to white
        shades = np.random.default_rng(number).integers(256 << number, 512 << number, (50, 60))
        seen.append(f"{tmp_path}/{number}.png")
        Image.fromarray(shades.astype(np.uint16)).save(seen[-1])
    for line, ours in zip(readme_script(seen, monkeypatch), predicted(imclass, *seen), strict=True):
        assert line[:2] == [ours["file"], ours["class"]]
        assert float(line[2]) == pytest.approx(ours["probability"], abs=0.02)
    monkeypatch.setattr("imclass.evaluation.classifier.fit_as_pillow", without_antialiasing)
    code, out, _ = imclass("export", "mine", "--format", "safetensors", "--out", "other.safetensors")
    assert code == 2 or float(out.splitlines()[2].split()[1]) > 5 * exact


def readme_script(files: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run the README's script in this process, with pictures on black; return the words of its lines."""
    said = io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir("outputs/mine")
        patch.setattr(sys, "argv", ["", *files])
        exec(SCRIPT.replace('"white"', '"black"'), {})
    return [line.split() for line in said.getvalue().splitlines()]


def predicted(imclass, *files: str) -> list[dict]:
    return list(map(json.loads, imclass("predict", "mine", *files, "--format", "json").out.splitlines()))


def test_a_model_that_answers_otherwise_leaves_no_file(
    imclass, folder_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_another(model: Classifier, path: Path, metadata: object) -> None:
        head = list(model.network.parameters())[-1]
        with torch.no_grad():
            head += torch.tensor([-1e3, 1e3])
        torch.save(model.network.state_dict(), path)
        with torch.no_grad():
            head -= torch.tensor([-1e3, 1e3])

    def open_it(path: Path, model: Classifier) -> object:
        model.network.load_state_dict(torch.load(path))
        return lambda images: torch.tensor([[0.0, 1.0]]).repeat(len(images), 1)

    monkeypatch.setitem(FORMATS, "pt2", FORMATS["pt2"]._replace(write=write_another, open=open_it))
    before = sorted(folder_run.rglob("*"))
    code, out, err = imclass("export", "mine", "--format", "pt2")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mine.pt2: not written: " in err and "of 6 predictions equal to the model's" in err
    assert "the first other one is of train/" in err
    assert sorted(folder_run.rglob("*")) == before


def test_ties_are_no_differences() -> None:
    ours = torch.tensor([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8]])
    theirs = torch.tensor([[0.49999, 0.50001, 0.0], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    found = compare(ours, theirs)
    assert (found.images, found.equal, found.ties, found.differing) == (3, 2, 1, (1,))
    assert found.largest == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["mine"], "the following arguments are required: --format"),
        (["mine", "--format", "onix"], "--format onix: expected one of onnx, "),
        (
            ["mine", "--format", "onnx", "--out", "x.pt"],
            "--out x.pt: expected a name that ends in .onnx",
        ),
        (["mine", "--format", "pt2", "--out", "no/x.pt2"], "--out no/x.pt2: no such folder: no"),
        (["mine", "--format", "pt2", "--out", "kept.pt2"], "--out kept.pt2: is there already; name another"),
        (["mane", "--format", "pt2"], "did you mean 'mine'"),
    ],
)
def test_mistakes_are_one_line(imclass, tmp_path: Path, argv: list[str], expected: str) -> None:
    (tmp_path / "outputs/mine").mkdir(parents=True)
    (tmp_path / "outputs/mine/config.yaml").touch()
    (tmp_path / "kept.pt2").write_text("kept")
    code, out, err = imclass("export", *argv)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert expected in err
    assert (tmp_path / "kept.pt2").read_text() == "kept"


def test_a_missing_package_is_named_with_its_extra(imclass, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "outputs/mine").mkdir(parents=True)
    (tmp_path / "outputs/mine/config.yaml").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    expected = "imclass: --format onnx: needs onnx, onnxscript, onnxruntime: pip install 'imclass[export]'\n"
    assert imclass("export", "mine", "--format", "onnx") == (2, "", expected)
