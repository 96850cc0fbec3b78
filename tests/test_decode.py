"""One file to one array: upright, square, 8 bits, whatever the file is."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import save
from PIL import Image, ImageOps

from imclass.data.folder import decode
from imclass.data.folder.decode import decode_image
from imclass.errors import UserError


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bits_keep_the_upper_8(tmp_path: Path, extension: str) -> None:
    values = np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{extension}")
    assert decode_image(tmp_path / f"deep.{extension}", None, 1).tolist() == [[[0, 0, 1], [128, 254, 255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_cameras_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "x.png", (6, 4), exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert upright.shape[:2] == ((4, 6) if orientation < 5 else (6, 4))
    assert (decode_image(tmp_path / "x.png", None, 3) == upright.transpose(2, 0, 1)).all()


@pytest.mark.fault("S6")
def test_format_is_told_by_contents(tmp_path: Path) -> None:
    save(tmp_path / "x.png")
    shutil.copy(tmp_path / "x.png", tmp_path / "x.jpg")
    assert (decode_image(tmp_path / "x.png", None, 3) == decode_image(tmp_path / "x.jpg", None, 3)).all()
    (tmp_path / "program.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(UserError, match="not an image"):
        decode_image(tmp_path / "program.png", None, 3)


@pytest.mark.fault("S6")
def test_pixel_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "bomb.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="40x40 pixels"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own remark
        decode_image(tmp_path / "bomb.png", 8, 3)


def test_resizing_keeps_proportions_and_cuts_the_centre(tmp_path: Path) -> None:
    left, middle, right = (Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue"))
    wide = Image.new("RGB", (120, 40))
    for index, third in enumerate((left, middle, right)):
        wide.paste(third, (40 * index, 0))
    for size in (10, 40, 64):
        for turned in (wide, wide.rotate(90, expand=True)):
            turned.save(tmp_path / "x.png")
            image = decode_image(tmp_path / "x.png", size, 3)
            assert image.shape == (3, size, size)
            assert (image[1, 2:-2, 2:-2] > 240).all()
            assert (image[[0, 2], 2:-2, 2:-2] < 15).all()


@settings(deadline=None, max_examples=30)
@given(width=st.integers(1, 200), height=st.integers(1, 200), size=st.integers(1, 50))
def test_any_shape_gives_a_square(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, size: int
) -> None:
    file = tmp_path_factory.mktemp("shape") / "x.jpg"
    Image.new("L", (width, height), 77).save(file, quality=95)
    image = decode_image(file, size, 1)
    assert image.shape == (1, size, size)
    assert abs(image.astype(int) - 77).max() <= 2


def test_extensions_are_those_of_formats_that_are_opened() -> None:
    assert {".jpg", ".jpeg", ".png", ".tif", ".webp", ".bmp", ".gif"} <= decode.extensions()
    assert not {".txt", ".csv", ".db", ".eps", ".pdf"} & decode.extensions()
