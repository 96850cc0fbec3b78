"""Archives, pickles and idx files from strangers: refused in one line; nothing in them runs or escapes."""

import contextlib
import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from originals import accept, make_cifar, python2_pickle

from imclass.config.schema import DatasetConfig
from imclass.data import cifar
from imclass.data.cifar import _parse
from imclass.data.datasets import load_dataset, prepare_data
from imclass.data.fashion_mnist import parse_idx, read_verified
from imclass.data.gunzip import Gunzip
from imclass.errors import UserError

BASE = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the hostile files would create."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here/canary"


def refused(root: Path, name: str = "cifar10") -> str:
    before = sorted(root.rglob("*"))
    with pytest.raises(UserError) as error:
        load_dataset(DatasetConfig(name=name, root=str(root), download=False))
    assert "\n" not in str(error.value)
    assert sorted(root.rglob("*")) == before
    assert not list(Path.cwd().iterdir())
    return str(error.value)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def tar(*members: tarfile.TarInfo, form: int = tarfile.GNU_FORMAT, data: bytes = b"") -> bytes:
    return b"".join(info.tobuf(form) for info in members) + data


def long_header(size: int) -> bytes:
    """A gzip file whose header has a name of `size` bytes."""
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * size


def negative_size() -> bytes:
    header = bytearray(tar(member("x")))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


# Archives without the original's files: contents, and what the message says.
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "damaged"),
    "text": (lambda: b"text" * 99, "damaged"),
    "gzip of nothing": (lambda: gzip.compress(b""), "damaged"),
    "gzip of text": (lambda: gzip.compress(b"text" * 999), "damaged"),
    "gzip cut in its header": (lambda: b"\x1f\x8b\x08", "damaged"),
    "gzip with a long name": (lambda: long_header(1 << 25), "damaged"),
    "gzip with a wrong checksum": (lambda: gzip.compress(tar(member("x")))[:-8] + bytes(8), "damaged"),
    "not packed": (lambda: tar(member("x")), "damaged"),
    "no members": (lambda: gzip.compress(bytes(10240)), "lacks"),
    "parent folder": (lambda: gzip.compress(tar(member("../canary"), data=bytes(1024))), "lacks"),
    "absolute name": (lambda: gzip.compress(tar(member("/tmp/canary"), data=bytes(1024))), "lacks"),
    "name with a NUL": (lambda: gzip.compress(tar(member("a\0b"), data=bytes(1024))), "lacks"),
    "escape in the folder": (
        lambda: gzip.compress(tar(member(f"{BASE}/../{BASE}/test_batch"), data=bytes(1024))),
        "lacks",
    ),
    **{
        f"instead of a batch: {word}": (
            lambda kind=kind, link=link: gzip.compress(
                tar(member(f"{BASE}/data_batch_1", kind, link), data=bytes(1024))
            ),
            "lacks",
        )
        for word, kind, link in (
            ("symbolic link", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard link", tarfile.LNKTYPE, "/etc/passwd"),
            ("character device", tarfile.CHRTYPE, ""),
            ("block device", tarfile.BLKTYPE, ""),
            ("FIFO", tarfile.FIFOTYPE, ""),
            ("folder", tarfile.DIRTYPE, ""),
        )
    },
    "sparse file": (
        lambda: gzip.compress(tar(member(f"{BASE}/test_batch", tarfile.GNUTYPE_SPARSE), data=bytes(1024))),
        "",
    ),
    "huge member": (lambda: gzip.compress(tar(member("x", size=1 << 40))), "lacks"),
    "huge batch": (lambda: gzip.compress(tar(member(f"{BASE}/test_batch", size=1 << 40))), "lacks"),
    "bomb": (lambda: bomb(size=200 << 20), "lacks"),
    "bomb of a long name": (lambda: bomb(tarfile.GNUTYPE_LONGNAME), "more than the original"),
    "bomb of a header": (lambda: bomb(tarfile.XHDTYPE), "more than the original"),
    "long chain of headers": (
        lambda: gzip.compress(tar(member("x", tarfile.XHDTYPE)) * 3_000),
        "damaged",
    ),
    "many members": (lambda: gzip.compress(tar(member("x")) * 200_000), "lacks"),
    "negative size": (
        lambda: gzip.compress(negative_size()),
        "lacks",
    ),
}


def bomb(kind: bytes = tarfile.REGTYPE, size: int = 8 << 30) -> bytes:
    """An archive that unpacks to a gigabyte of zeros, in a first member of that size."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(tar(member("x", kind, size=size))) + packer.flush(zlib.Z_FULL_FLUSH)
    packer.compress(bytes(1 << 20))
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * 1_000


@pytest.mark.fault("S3")
@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archives_are_refused(name: str, tmp_path: Path) -> None:
    made, expected = ARCHIVES[name]
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ARCHIVE).write_bytes(made())
    message = refused(tmp_path / "root")
    assert str(tmp_path / "root" / ARCHIVE) in message
    assert expected in message
    assert "delete it to have it fetched again" in message


def opcodes(text: bytes) -> bytes:
    return b"\x80\x02" + text + b"."


class Call:
    """Unpickled without restriction, it creates the canary."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


# _reconstruct(ndarray, (0,), b"b") and dtype("u1", 0, 1)
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01bt\x52"
BYTES = b"cnumpy\ndtype\n(U\x02u1I0\nI1\nt\x52"
PICKLES: dict[str, bytes] = {
    "system": pickle.dumps(Call(os.system, "touch canary"), 2),
    "mkdir": pickle.dumps(Call(os.mkdir, "canary"), 4),
    "open": pickle.dumps(Call(open, "canary", "w")),
    "eval": opcodes(b"cbuiltins\neval\n(U\x16open('canary', 'w')  #t\x52"),
    "popen by an old opcode": b"(S'touch canary'\nios\nsystem\n.",
    "object by an old opcode": b"(cos\nsystem\nS'touch canary'\no.",
    "dotted name": pickle.dumps(Call(print, Call(os.mkdir, "canary")), 4),
    "numpy.load": opcodes(b"cnumpy\nload\n(U\x01xt\x52"),
    "numpy's test runner": opcodes(b"cnumpy.testing._private.utils\nrunstring\n(U\x01x}t\x52"),
    "codecs": opcodes(b"c_codecs\nencode\n(U\x01xU\x05rot13t\x52"),
    "dtype's attribute": opcodes(b"cnumpy\ndtype.newbyteorder\n."),
    "torch": opcodes(b"ctorch\nload\n(U\x01xt\x52"),
    "copyreg": opcodes(b"ccopyreg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNt\x52"),
    "extension": opcodes(b"\x82\x01"),
    "persistent id": opcodes(b"Px\n"),
    "array of objects": opcodes(b"cnumpy\ndtype\n(U\x02O8I0\nI1\nt\x52"),
    "huge array": opcodes(b"}U\x04data" + ARRAY + b"(I1\n(L99999999999999L\nt" + BYTES + b"I00\nU\x00tbs"),
    "array of nothing": opcodes(b"}U\x04data" + ARRAY + b"(I1\nNNNNtbs"),
    "state of another length": opcodes(b"}U\x04data" + ARRAY + b"(I1\ntbs"),
    "long text": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50),
    "deep": b"(" * 200_000 + b".",
    "nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "list": opcodes(b"]"),
    "dict of nothing": opcodes(b"}"),
    "labels out of range": python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}),
    "negative labels": python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]}),
    "labels of text": python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [b"cat"]}),
    "more labels than images": python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]}),
    "images of another size": python2_pickle({b"data": np.zeros((1, 99), np.uint8), b"labels": [1]}),
    "huge labels": python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1 << 80]}),
    "cut": python2_pickle({b"data": np.zeros((1, 3072), np.uint8)})[:99],
    "empty": b"",
}


@pytest.mark.fault("S2")
@pytest.mark.parametrize("name", PICKLES)
def test_hostile_batches_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once by their checksum, and once more where that were the original's."""
    make_cifar("cifar10", tmp_path / "root", monkeypatch)
    (tmp_path / "root" / BASE / "test_batch").write_bytes(PICKLES[name])
    assert "test_batch: damaged or not the original (wrong checksum)" in refused(tmp_path / "root")
    accept("cifar10", tmp_path / "root" / BASE, monkeypatch)
    config = DatasetConfig(name="cifar10", root=str(tmp_path / "root"), download=False)
    with pytest.raises(UserError) as error:
        prepare_data(config, 0)
    assert "\n" not in str(error.value)
    assert not list(Path.cwd().iterdir())


@pytest.mark.fault("S2")
@pytest.mark.parametrize("text", [b"}r" + struct.pack("<I", 1 << 24), b"\x96" + struct.pack("<Q", 1 << 28)])
def test_a_pickle_of_a_few_bytes_takes_little_memory(text: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(UserError):
            _parse(opcodes(text), Path("test_batch"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.fault("S2")
def test_the_bytes_that_are_parsed_are_those_that_were_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is exchanged after its checksum was taken is not read again."""
    make_cifar("cifar10", tmp_path / "root", monkeypatch)
    original = cifar._verified

    def exchange(content: bytes, md5: str, path: Path) -> bytes:
        verified = original(content, md5, path)
        path.write_bytes(PICKLES["mkdir"])
        return verified

    monkeypatch.setattr(cifar, "_verified", exchange)
    data = load_dataset(DatasetConfig(name="cifar10", root=str(tmp_path / "root"), download=False))
    assert (len(data.train), len(data.test)) == (35, 7)
    assert not list(Path.cwd().iterdir())


IDX = b"\0\0\x08\x01\0\0\0\x03abc"
IDX_FILES = {
    "empty": b"",
    "short": b"\0\0",
    "text": b"text" * 9,
    "no dimensions": b"\0\0\x08\0",
    "many dimensions": b"\0\0\x08\xff" + b"\xff" * 1020,
    "another type": b"\0\0\x0d" + IDX[3:],
    "too few values": IDX[:-1],
    "too many values": IDX + b"x",
    "huge": b"\0\0\x08\x03" + b"\xff" * 12,
    "sizes cut short": IDX[:6],
    "nothing, in sizes that overflow": b"\0\0\x08\x04" + b"\0\0\0\0" + b"\x7f" * 12,
}


@pytest.mark.fault("S3")
@pytest.mark.parametrize("name", IDX_FILES)
def test_hostile_idx_files_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="idx file"):
        parse_idx(IDX_FILES[name])
    assert parse_idx(IDX).tolist() == list(b"abc")


@pytest.mark.fault("S3")
@pytest.mark.parametrize("name", ["bomb", "long name", "cut", "wrong checksum", "FIFO", "folder", "device"])
def test_hostile_gzip_files_are_refused(name: str, tmp_path: Path) -> None:
    file, packed = tmp_path / "x.gz", gzip.compress(b"content" * 999)
    contents = {"bomb": bomb(), "long name": long_header(1 << 25), "cut": packed[:-20]}
    if name == "FIFO":
        os.mkfifo(file)
    elif name == "folder":
        file.mkdir()
    elif name == "device":
        file.symlink_to("/dev/zero")
    else:
        file.write_bytes(contents.get(name, packed[:-8] + bytes(8)))
    with pytest.raises(UserError, match=f"^{file}: cannot be read"):
        read_verified(file, "")


@pytest.mark.fault("S11")
@pytest.mark.parametrize("place", ["FIFO", "folder", "nowhere"])
@pytest.mark.parametrize(
    ("name", "file"), [("cifar10", ARCHIVE), ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte.gz")]
)
def test_what_is_no_file_is_neither_read_nor_waited_for(
    name: str, file: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "root" / file
    target.parent.mkdir(parents=True)
    {"FIFO": os.mkfifo, "folder": Path.mkdir, "nowhere": lambda path: path.symlink_to("gone")}[place](target)
    assert "not found in" in refused(tmp_path / "root", name)
    with pytest.raises(UserError, match="not a regular file; remove it"):
        load_dataset(DatasetConfig(name=name, root=str(tmp_path / "root")))


# Fuzzing: only what is documented is raised, whatever the bytes.


@pytest.mark.fault("S2", "S3")
@settings(max_examples=100)
@given(start=st.sampled_from([b"", *IDX_FILES.values(), IDX]), more=st.binary(max_size=64))
def test_any_bytes_as_idx(start: bytes, more: bytes) -> None:
    try:
        array = parse_idx(start + more)
    except ValueError:
        return
    assert array.dtype == torch.uint8
    assert array.numel() <= len(start + more)


@pytest.mark.fault("S2", "S3")
@settings(max_examples=100)
@given(
    content=st.binary(max_size=200), start=st.integers(0, 40), packed=st.booleans(), limit=st.integers(0, 99)
)
def test_any_bytes_as_gzip(content: bytes, start: int, packed: bool, limit: int) -> None:
    whole = gzip.compress(content)
    file = io.BytesIO(whole if packed else whole[:start] + content)
    try:
        assert len(Gunzip(file, limit).read()) <= limit
    except (OSError, EOFError, zlib.error):
        assert not packed or len(content) > limit


def fuzz_pickle(seed: bytes, change: bytes, at: int) -> None:
    # the memo is an array in C: an index in the billions costs memory, which only the checksum prevents
    content = (seed[: at % (len(seed) + 1)] + change + seed[at % (len(seed) + 1) :]).replace(b"r", b"q")
    try:
        assert isinstance(_parse(content, Path("x")), dict)
    except UserError as error:
        assert "\n" not in str(error)


SEEDS = st.sampled_from([python2_pickle({b"data": np.zeros((1, 3072), np.uint8)}), *PICKLES.values()])


@pytest.mark.fault("S2")
@settings(max_examples=100)
@given(seed=SEEDS, change=st.binary(max_size=8), at=st.integers(0, 400))
def test_any_bytes_as_a_pickle(seed: bytes, change: bytes, at: int) -> None:
    fuzz_pickle(seed, change, at)
    assert not list(Path.cwd().iterdir())


@pytest.mark.soak
@pytest.mark.fault("S2")
@settings(max_examples=5_000, suppress_health_check=list(HealthCheck))
@given(seed=SEEDS, change=st.binary(max_size=8), at=st.integers(0, 400))
def test_many_bytes_as_a_pickle(seed: bytes, change: bytes, at: int) -> None:
    fuzz_pickle(seed, change, at)
    assert not list(Path.cwd().iterdir())
