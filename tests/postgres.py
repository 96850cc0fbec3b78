"""A PostgreSQL server of the tests' own: Debian's package, run as an unprivileged user."""

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD = "tester", "s3cret/pw"
_IN_URL = "s3cret%2Fpw"


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, None where PostgreSQL is not installed."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    found = shutil.which("initdb")
    folders += [Path(found).parent] if found else []
    return next((folder for folder in sorted(folders, reverse=True) if (folder / "initdb").exists()), None)


class Server:
    """A server that listens on a socket in its folder only."""

    def __init__(self, folder: Path, bin_folder: Path):
        self.folder, self._bin = folder, bin_folder
        self._user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        # As Hydra reads it, with quotes: it has a `=`.
        self.url = f"postgresql://{USER}:{_IN_URL}@/postgres?host={folder}"

    def create(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._user)
        (self.folder.parent / f"{self.folder.name}.pw").write_text(PASSWORD)
        password = self.folder.parent / f"{self.folder.name}.pw"
        password.chmod(0o644)
        how = ["-A", "scram-sha-256", f"--pwfile={password}", "-U", USER, "--no-sync"]
        self._run("initdb", "-D", str(self.folder / "data"), *how)
        password.unlink()

    def start(self) -> None:
        options = f"-k {self.folder} -h '' -c fsync=off -c max_connections=40"
        log = ["-l", str(self.folder / "log")]
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", *log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        user = self._user if os.geteuid() == 0 else None
        command = [str(self._bin / program), *arguments]
        done = subprocess.run(
            command, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Start a server, which ends with the block. Skips the test where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'imclass[postgres]'")
    if (bin_folder := programs()) is None:
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="imclass-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = Server(Path(folder), bin_folder)
        server.create()
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):  # a test may have stopped it
                server.stop()
