"""Writing a file whole, or not at all. A leaf: imports only errors.

Anything may be killed at any moment, so no reader must ever see half a file: temp, fsync, rename (DESIGN.md, "State").
"""

from __future__ import annotations

import errno
import os
import tempfile

from cc.errors import Failure


def write_whole(path: str, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace `path` by `data` in one step, with these permission bits, in a directory that exists.

    `durable` waits until it is on disk. Raises Failure with code disk_full or permission_denied.
    """
    directory, name = os.path.split(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory or ".")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.lexists(temporary):
            os.unlink(temporary)
        raise os_failure(error, f"cannot write {path}") from error


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
