"""Downloads: whole, verified and by https, or nothing and one line; one process downloads for all."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imclass.config.schema import DatasetConfig
from imclass.data import sources
from imclass.data.sources import Source, download
from imclass.errors import UserError

CONTENT = bytes(range(256)) * 4_000
LARGEST = len(CONTENT) + 10
LENGTHS = {"nonsense": "nonsense", "superscript": "\xb2", "digits": "9" * 5_000}  # no number is announced


class Server(ThreadingHTTPServer):
    """Serves CONTENT, and at other paths what can go wrong."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.end = threading.Event()
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.strip("/")
        self.server.asked.append(path)
        if path.startswith(("http", "ftp", "file", "round")):
            self.send_response(302)
            self.send_header("Location", path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if path != "endless":
            self.send_header("Content-Length", LENGTHS.get(path, str(len(CONTENT))))
        self.end_headers()
        self.send(path)

    def send(self, path: str) -> None:
        half = CONTENT[: len(CONTENT) // 2]
        if path in ("cut", "stalled"):
            self.wfile.write(half)
            if path == "stalled":
                self.server.end.wait()
        elif path == "drip":
            try:
                while not self.server.end.wait(0.01):
                    self.wfile.write(b"x")
            except OSError:  # the client has given up
                return
        elif path == "endless":
            try:
                while not self.server.end.is_set():
                    self.wfile.write(half)
            except OSError:  # the client has had enough
                return
        else:
            self.wfile.write(half + (bytes(len(half)) if path == "wrong" else half))

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine that passes for one of https."""
    require = sources._require_https
    with Server() as server:
        here = server.url("")
        monkeypatch.setattr(sources, "_require_https", lambda url: require(url.replace(here, "https://x/")))
        monkeypatch.setattr(sources, "STALLED_AFTER", 0.3)
        monkeypatch.setattr(sources, "PATIENCE", 0.2)
        monkeypatch.setenv("no_proxy", "*")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.end.set()
        server.shutdown()
        thread.join()


def verify(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise UserError("wrong checksum")


def fetch(folder: Path, *urls: str, largest: int = LARGEST) -> None:
    config = DatasetConfig(name="cifar10", root=str(folder))
    download(config, folder, {"archive": Source(urls, largest, verify)})


FAILURES = {
    "cut": "cut short: 512,000 of 1,024,000 bytes",
    "stalled": "timed out",
    "drip": "slower than 1,024 bytes a second",
    "wrong": "the file there has the wrong checksum",
    "endless": f"more than the {LARGEST:,} bytes that were expected",
    "missing": "404",
    "http://example.invalid/archive": "http://example.invalid/archive: only https is trusted",
    "ftp://example.invalid/archive": "ftp://example.invalid/archive: only https is trusted",
    "file:///etc/passwd": "is not allowed",
    "round": "infinite loop",
}


@pytest.mark.fault("D2")
@pytest.mark.parametrize("path", FAILURES)
def test_what_goes_wrong_leaves_nothing_and_is_one_line(server: Server, path: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(UserError) as error:
        fetch(folder, server.url(path))
    message = str(error.value)
    assert FAILURES[path] in message
    assert message.startswith(
        f"dataset=cifar10: not found in {folder} and not downloaded ({server.url(path)}"
    )
    assert f"put archive into {folder}, or set dataset.root" in message
    assert [file.name for file in folder.iterdir()] == [".archive.lock"]
    fetch(folder, server.url("archive"))  # the next attempt succeeds
    assert (folder / "archive").read_bytes() == CONTENT


@pytest.mark.fault("D2")
@pytest.mark.parametrize("path", ["archive", *LENGTHS])
def test_what_is_there_is_not_fetched_again(server: Server, path: str, tmp_path: Path) -> None:
    for _ in range(2):
        fetch(tmp_path, server.url(path))
    assert server.asked == [path]
    assert (tmp_path / "archive").read_bytes() == CONTENT


@pytest.mark.fault("D2")
def test_the_next_mirror_is_tried(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, server.url("cut"), server.url("wrong"), server.url("archive"))
    assert server.asked == ["cut", "wrong", "archive"]
    assert (tmp_path / "archive").read_bytes() == CONTENT


@pytest.mark.fault("D2")
def test_only_https_is_asked(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only https is trusted"):
        fetch(tmp_path, "http://example.invalid/archive")
    assert server.asked == []


@pytest.mark.fault("D2")
def test_a_disk_that_is_full_is_said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", **more: opened(Path("/dev/full") if mode == "wb" else self, mode, **more),
    )
    with pytest.raises(UserError, match="No space left on device"):
        fetch(tmp_path, server.url("archive"))
    assert [file.name for file in tmp_path.iterdir()] == [".archive.lock"]
