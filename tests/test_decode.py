"""One file to one array: upright, square, 8 bits, whatever the file is."""

import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_images import png
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import fade, save
from PIL import Image, ImageOps

from imclass.data.folder import decode
from imclass.data.folder.decode import colour_of, decode_image
from imclass.errors import UserError


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bits_keep_the_upper_8(tmp_path: Path, extension: str) -> None:
    values = np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{extension}")
    assert decode_image(tmp_path / f"deep.{extension}", None, 1).tolist() == [[[0, 0, 1], [128, 254, 255]]]


@pytest.mark.parametrize(("kind", "colour", "channels"), [("RGB", 2, 3), ("LA", 4, 2), ("RGBA", 6, 4)])
def test_16_bits_look_alike_in_grey_and_in_colour(
    tmp_path: Path, kind: str, colour: int, channels: int
) -> None:
    """Pillow itself reads 16 bits in colour, and with alpha, as 8; of grey it clips them."""
    grey = np.arange(0, 1 << 16, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    rows = np.repeat(grey[..., None], channels, 2).astype(">u2").reshape(32, -1)
    if kind.endswith("A"):
        rows.reshape(32, 32, channels)[..., -1] = 0xFFFF
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)
    (tmp_path / "colour.png").write_bytes(png(32, 32, 16, colour, zlib.compress(filtered)))
    with Image.open(tmp_path / "colour.png") as image:
        assert image.mode == ("RGBA" if kind == "LA" else kind)
    for count in (1, 3):
        pictures = [decode_image(tmp_path / f"{name}.png", None, count) for name in ("grey", "colour")]
        assert (pictures[0] == pictures[1]).all()


# Files with transparency, and how each is saved; Pillow itself says what each looks like on a background.
RGBA = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
TRANSPARENT = {
    "rgba.png": (Image.fromarray(RGBA), {}),
    "rgba.webp": (Image.fromarray(RGBA), {"lossless": True, "exact": True}),
    "rgba.tif": (Image.fromarray(RGBA), {}),
    "la.png": (Image.fromarray(RGBA).convert("LA"), {}),
    "palette.png": (Image.fromarray(RGBA).quantize(16), {}),
    "palette.gif": (Image.fromarray(RGBA[..., 0] % 5, "P"), {"transparency": 3}),
    "key_l.png": (Image.fromarray(RGBA[..., 0] % 5 * 50), {"transparency": 100}),
    "key_1.png": (Image.fromarray(RGBA[..., 0] > 99), {"transparency": 0}),
    "key_rgb.png": (Image.fromarray(RGBA[..., :3] % 2 * 255), {"transparency": (255, 0, 255)}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize("background", ["white", "black", [200, 10, 90]], ids=str)
def test_transparent_pixels_show_the_background(tmp_path: Path, name: str, background: Any) -> None:
    image, options = TRANSPARENT[name]
    image.save(tmp_path / name, **options)
    colour = colour_of(background)
    with Image.open(tmp_path / name) as image:
        shown = image.convert("RGBA")
    assert shown.getextrema()[3][0] < 255  # the file has transparent pixels
    expected = Image.new("RGBA", shown.size, colour)
    expected.alpha_composite(shown)
    for channels, mode in ((3, "RGB"), (1, "L")):
        got = decode_image(tmp_path / name, None, channels, colour)
        pixels = np.atleast_3d(np.asarray(expected.convert("RGB").convert(mode))).transpose(2, 0, 1)
        assert (got == pixels).all()


def test_a_colour_key_of_16_bits_is_transparent(tmp_path: Path) -> None:
    values = np.array([[0, 300, 65535], [300, 301, 5]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png", transparency=300)
    assert decode_image(tmp_path / "x.png", None, 1).tolist() == [[[0, 255, 255], [255, 1, 0]]]


def test_transparency_can_be_ignored(tmp_path: Path) -> None:
    Image.fromarray(RGBA).save(tmp_path / "x.png")
    got = decode_image(tmp_path / "x.png", None, 3, colour_of("ignore"))
    assert (got == RGBA[..., :3].transpose(2, 0, 1)).all()


@pytest.mark.parametrize(("mode", "name"), [("CMYK", "x.tif"), ("CMYK", "x.jpg"), ("P", "x.bmp")])
def test_other_modes_are_converted_as_pillow_does(tmp_path: Path, mode: str, name: str) -> None:
    Image.fromarray(RGBA[..., :3]).convert(mode).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        expected = np.asarray(image.convert("RGB"))
    assert (decode_image(tmp_path / name, None, 3) == expected.transpose(2, 0, 1)).all()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_cameras_is_applied(tmp_path: Path, orientation: int) -> None:
    save(tmp_path / "x.png", (6, 4), exif=turned(orientation))
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


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_open_image_is_read_as_its_file_and_stays_as_it_is(
    tmp_path: Path, channels: int, size: int | None
) -> None:
    save(tmp_path / "turned.tif", (12, 7), exif=turned(6))
    save(tmp_path / "turned.png", (12, 7), exif=turned(3))
    save(tmp_path / "small.jpg", (9, 7), exif=turned(8))
    Image.fromarray(np.arange(84, dtype=np.uint16).reshape(7, 12) * 700).save(tmp_path / "16.png")
    save(tmp_path / "palette.gif", (12, 7), "P", transparency=3)
    save(tmp_path / "faded.png", (12, 7))
    fade(tmp_path / "faded.png")
    for file in tmp_path.iterdir():
        expected = decode_image(file, size, channels, (200, 90, 10))
        with Image.open(file) as image:
            assert (decode_image(image, size, channels, (200, 90, 10)) == expected).all(), file
            loaded = image.copy()
            found = decode_image(image, size, channels, (200, 90, 10))  # once more: nothing has been turned
            assert (found == expected).all(), file
            assert (image.size, image.mode, image.tobytes()) == (loaded.size, loaded.mode, loaded.tobytes())
    with pytest.raises(UserError, match="floating-point pixels have no fixed range"):
        decode_image(Image.new("F", (8, 8)), size, channels)
    with pytest.raises(UserError, match="has no pixels"):
        decode_image(Image.new("RGB", (0, 5)), size, channels)
