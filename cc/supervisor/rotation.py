"""Logs that don't grow for ever: LOG past 4 MiB becomes LOG.1, in the place of the one before, and begins anew.

The programs that write to them hold them open, appending, and know nothing of it: so the file is copied and cut, not
renamed (what logrotate calls copytruncate). What is written between the copy and the cut, microseconds, is lost; a
service that floods its output costs 8 MiB of disk and not the disk. Imports the leaves.
"""

from __future__ import annotations

import os
import shutil
import stat

LARGEST = 4 * 1024 * 1024


def rotate(directory: str, largest: int = LARGEST) -> tuple[str, ...]:
    """Rotate every *.log in it that has over `largest` bytes; of those the last so many are kept, whole lines.

    Returns the paths of those that were. Raises OSError for what the disk refuses.
    """
    done = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name.endswith(".log") and _is_over(path, largest):
            _cut(path, largest)
            done.append(path)
    return tuple(done)


def _is_over(path: str, largest: int) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > largest


def _cut(path: str, largest: int) -> None:
    kept = path + ".1"
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor, "r+b") as file:
        size = os.fstat(descriptor).st_size
        if size > largest:
            file.seek(size - largest)
            file.readline()  # the rest of a line that is cut
        with open(kept + ".new", "wb", opener=_private) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        os.replace(kept + ".new", kept)
        os.ftruncate(descriptor, 0)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
