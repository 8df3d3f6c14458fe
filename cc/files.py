"""Writing a file whole, or not at all. A leaf: imports only errors.

Anything may be killed at any moment, so no reader must ever see half a file: temp, fsync, rename (DESIGN.md, "State").
"""

from __future__ import annotations

import errno
import os
import stat

from cc.errors import Failure

ROOM = 4096  # bytes: what a small file takes on most disks


def write_whole(path: str, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace `path` by `data` in one step, with these permission bits, in a directory that exists.

    `durable` waits until it is on disk. Raises Failure with code disk_full or permission_denied, bad_config for a
    device or a pipe: root would replace /dev/null by a file.
    """
    directory, name = os.path.split(path)
    # Named before it is made: whatever interrupts us in between, the name of what has to go is known.
    temporary = os.path.join(directory, f".{name[:40]}.{os.urandom(8).hex()}")
    try:
        _refuse_special(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException as error:  # also what a signal handler raises: no temporary file may stay
        if os.path.lexists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise os_failure(error, f"cannot write {path}") from error
        raise


def full_disk(directory: str) -> str | None:
    """That nothing more can be written there since its disk is full, and which disk that is; None if something can.

    Found out by trying: of a quota the file system tells nothing.
    """
    tried = os.path.join(directory, f".room.{os.urandom(8).hex()}")
    try:
        write_whole(tried, bytes(ROOM), durable=False)
        os.unlink(tried)
    except Failure as failure:
        return (
            f"the disk of {directory} is full (mounted at {mount_of(directory)})"
            if failure.code == "disk_full"
            else None
        )
    return None


def mount_of(path: str) -> str:
    """The directory at which the file system of `path`, which is there, is mounted."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _refuse_special(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
        raise Failure(f"cannot write {path}: it is a device, a pipe or a socket", code="bad_config")


def os_failure(error: OSError, what: str) -> Failure:
    """The typed failure that an OSError is, its reason in the system's own words."""
    codes = {
        errno.ENOSPC: "disk_full",
        errno.EDQUOT: "disk_full",
        errno.EACCES: "permission_denied",
        errno.EPERM: "permission_denied",
        errno.EROFS: "permission_denied",
        errno.ECONNREFUSED: "connection_refused",
    }
    hint = {
        "disk_full": "free some space there, or set CC_HOME to a directory on another disk",
        "permission_denied": "give yourself the right to it, or set CC_HOME to a directory of your own",
    }
    code = codes.get(error.errno or 0, "bad_answer")
    return Failure(f"{what}: {error.strerror or error}", code=code, hint=hint.get(code))
