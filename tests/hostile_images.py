"""Images that are odd, damaged or made to harm, small as files, and whether they can be read.

python hostile_images.py FOLDER decodes all files there and prints {name: reason} and its peak memory.
"""

import io
import json
import pickle
import resource
import signal
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 9400  # squares of it are below Pillow's limit of 89 million pixels
CPU_SECONDS = 20  # an honest image at Pillow's limit takes 2.5 alone, and over 5 beside four other workers


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    if image is None:
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, color: int, pixels: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """Return zlib's stream of `count` zeros, of which it packs no more than 2 million."""
    packer, rest = zlib.compressobj(9, wbits=-15), zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = rest.compress(bytes(count % (1 << 20))) + rest.flush()
    checksum = struct.pack(">I", (count % 65521) << 16 | 1)
    return b"\x78\xda" + block * (count >> 20) + end + checksum


def many_scans(count: int) -> bytes:
    """A progressive JPEG of `count` scans that say nothing about 66 million pixels, in 14 bytes each."""
    whole = encoded("JPEG", Image.new("L", (8192, 8192)), progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:start] + whole[start:-2] * count + b"\xff\xd9"


def frames(kind: str, count: int, **options: Any) -> bytes:
    images = [Image.new("RGB", (32, 24), (i % 256, i // 256, 99)) for i in range(count)]
    return encoded(kind, images[0], save_all=True, append_images=images[1:], **options)


def tiff(*entries: tuple[int, int, int, int], count: int | None = None, after: int = 0) -> bytes:
    """A TIFF of one directory. entries: tag, type, count, value."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    number = len(entries) if count is None else count
    return b"II*\0\x08\0\0\0" + struct.pack("<H", number) + body + struct.pack("<I", after)


def sized(width: int, height: int) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]


class Touch:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("canary"),)


def made() -> dict[str, tuple[bytes, str]]:
    """Return {file name: (contents, what the reason says; "" if it is read)}."""
    colour = Image.open(io.BytesIO(encoded("PNG")))
    deep = Image.fromarray(np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80)
    palette = colour.quantize(16)
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    exif[0x0112] = 6
    unknown, cut, bomb = "not an image that Pillow can read", "truncated", "exceeds limit"
    jpeg = encoded("JPEG")
    return {
        # odd, and read
        "png named.jpg": (encoded("PNG"), ""),
        "jpeg named.png": (jpeg, ""),
        "cmyk.jpg": (encoded("JPEG", colour.convert("CMYK")), ""),
        "progressive.jpg": (encoded("JPEG", progressive=True), ""),
        "long exif.jpg": (encoded("JPEG", exif=exif), ""),
        "exif of nonsense.jpg": (encoded("JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 60_000), ""),
        "16 bits.png": (encoded("PNG", deep), ""),
        "palette with transparency.png": (encoded("PNG", palette, transparency=bytes(range(16))), ""),
        "one bit.png": (encoded("PNG", colour.convert("1")), ""),
        "grey with alpha.png": (encoded("PNG", colour.convert("LA")), ""),
        "animated.gif": (frames("GIF", 300), ""),
        "animated.png": (frames("PNG", 30), ""),
        "animated.webp": (frames("WEBP", 30), ""),
        "pages.tif": (frames("TIFF", 30), ""),
        "pictures.mpo": (frames("MPO", 5), ""),
        "large.png": (png(SIDE, SIDE, 8, 2, zeros(SIDE * (3 * SIDE + 1))), ""),
        "large with alpha.png": (png(SIDE, SIDE, 8, 6, zeros(SIDE * (4 * SIDE + 1))), ""),
        "large of 16 bits.png": (png(SIDE, SIDE, 16, 0, zeros(SIDE * (2 * SIDE + 1))), ""),
        "more pixels than it says.png": (png(8, 8, 8, 0, zeros(1 << 30)), ""),
        "directory in a circle.tif": (tiff(*sized(4, 4), (273, 4, 1, 8), (279, 4, 1, 16), after=8), ""),
        # not images
        "empty.png": (b"", unknown),
        "one byte.jpg": (b"\xff", unknown),
        "text.png": (b"text\n" * 99, unknown),
        "page.jpg": (b"<!DOCTYPE html><title>404</title>", unknown),
        "picture.svg.png": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>x</script></svg>', unknown),
        "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", unknown),
        "pickle.png": (pickle.dumps(Touch()), unknown),
        "archive.png": (b"PK\x03\x04" + bytes(99), unknown),
        "python loop.png": (b"qoif" + struct.pack(">IIBB", SIDE, SIDE, 3, 0) + b"\xfd" * 1_430_000, unknown),
        "only a signature.png": (b"\x89PNG\r\n\x1a\n", unknown),
        # cut short
        "cut.jpg": (jpeg[:-30], cut),
        "cut.png": (encoded("PNG")[:-60], cut),
        "cut.gif": (encoded("GIF")[:200], unknown),
        "cut.webp": (encoded("WEBP")[:90], "could not create decoder"),
        "cut.tif": (encoded("TIFF", compression="tiff_lzw")[:400], unknown),
        "cut.bmp": (encoded("BMP")[:200], cut),
        "cut.jp2": (encoded("JPEG2000")[:120], unknown),
        "cut.avif": (encoded("AVIF")[:-60], "Truncated"),
        # more pixels than anyone has
        "bomb.png": (png(60_000, 60_000, 1, 0, zeros(1 << 20)), bomb),
        "bomb.gif": (b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + bytes(99), unknown),
        "bomb.bmp": (
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 1 << 30, 1 << 30, 1, 24, *[0] * 6),
            bomb,
        ),
        "bomb.tif": (tiff(*sized(1 << 20, 1 << 20), (273, 4, 1, 8), (279, 4, 1, 16)), bomb),
        "bomb.webp": (
            b"RIFF" + struct.pack("<I", 50) + b"WEBPVP8L" + struct.pack("<I", 30) + b"\x2f" + b"\xff" * 40,
            bomb,
        ),
        "bomb.ppm": (b"P6 99999999 99999999 255\n", bomb),
        "bomb.tga": (
            bytes([0, 0, 10, *[0] * 9]) + struct.pack("<HHBB", 65535, 65535, 24, 0) + bytes(99),
            bomb,
        ),
        "bomb.jpg": (jpeg.replace(struct.pack(">HH", 24, 32), b"\xff\xff\xff\xff"), bomb),
        "many scans.jpg": (many_scans(2_000), "scans"),
        # made to be slow
        "long text.png": (png(8, 8, 8, 0, zeros(72), chunk(b"zTXt", b"k\0\0" + zeros(1 << 28))), "too large"),
        "long profile.png": (
            png(8, 8, 8, 0, zeros(72), chunk(b"iCCP", b"k\0\0" + zeros(1 << 28))),
            "too large",
        ),
        "many entries.tif": (tiff(*sized(8, 8), count=65535), unknown),
        "long entry.tif": (tiff(*sized(8, 8), (273, 4, 0xFFFFFFFF, 8), (279, 4, 0xFFFFFFFF, 8)), unknown),
        "fractions.tif": (encoded("TIFF", Image.new("F", (8, 8))), "floating-point"),
    }


def decode_all(folder: Path) -> None:
    """A decoder that does not return within CPU_SECONDS is ended by the timer's signal."""
    from imclass.data.folder.decode import damage, strict_images

    reasons = {}
    with strict_images():
        for file in sorted(folder.iterdir()):
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            print(f"decoding {file.name}", file=sys.stderr, flush=True)
            reasons[file.name] = damage(file)
    signal.setitimer(signal.ITIMER_PROF, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"reasons": reasons, "peak": peak}))


if __name__ == "__main__":
    decode_all(Path(sys.argv[1]))
