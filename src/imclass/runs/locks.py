"""Locks on folders and files: held by one process, gone with it however it ends.

They hold between machines where the shared file system passes them on (NFS 4 does; Lustre if mounted with
`flock`). Where a file system has no locks, callers that can do without them do.
"""

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from imclass.endings import say
from imclass.errors import UserError

LOCK = ".lock"
_POLL_SECONDS = 0.02
_UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class NoLocksError(UserError):
    """The system or the file system cannot lock files."""


@contextlib.contextmanager
def lock_folder(folder: Path, *, instead: str = "choose another name=") -> Iterator[None]:
    """Within the block, no other process enters such a block with the same folder.

    The file `.lock` names the holder; one that a killed process left behind locks nothing.
    Raises UserError naming the holder, and what to do `instead` of waiting for it.
    """
    file = folder / LOCK
    try:
        descriptor = _lock_named(file)
    except NoLocksError:
        say(f"{folder}: cannot be locked here; do not start a second job in it")
        yield
        return
    if descriptor is None:
        raise UserError(f"{folder}: is in use by {_holder(file)}; wait for it, or {instead}")
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _holder(file: Path) -> str:
    """Return the holder that the lock names, if it still does: it may be leaving."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(errors="replace") or "another process"
    return "another process"


def _lock_named(file: Path) -> int | None:
    """Lock the file that has this name, which its last holder may be removing; None if it is held."""
    while (descriptor := try_lock(file)) is not None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                break
        os.close(descriptor)
    return descriptor


def try_lock(file: Path) -> int | None:
    """Lock `file`, which is created, and return its descriptor; None if another process holds the lock.

    The lock lasts until every process that has inherited the descriptor has closed it or ended.
    Raises NoLocksError, and UserError for what is no regular file.
    """
    if sys.platform == "win32":
        raise NoLocksError(f"{file}: this needs locks on files, which imclass knows on Linux and macOS only")
    import fcntl

    if file.is_symlink():
        raise UserError(f"{file}: a link, not a lock of imclass; remove it")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(file, flags, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{file}: no regular file, so not a lock of imclass; remove it")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        if error.errno in _UNSUPPORTED:
            raise NoLocksError(f"{file}: this file system has no locks (flock); use one that has") from error
        raise
    return descriptor


@contextlib.contextmanager
def locked(file: Path, *, required: bool = True) -> Iterator[bool]:
    """Within the block, no other process holds the lock of `file`; it is waited for. Yield True.

    Raises NoLocksError; unless it is `required`: then nothing is locked, and yields False.
    """
    descriptor = None
    with contextlib.suppress(*(() if required else (NoLocksError,))):
        while (descriptor := try_lock(file)) is None:
            time.sleep(_POLL_SECONDS)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
