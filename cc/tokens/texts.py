"""The texts that were asked about: files, what lies in directories, stdin. Imports errors only.

Nothing here waits for ever or fails for one file: what is no regular file is never opened, a link inside a directory is
not followed (what it leads to is counted where it lies, and there are no loops), what vanishes is named. Of a
directory only `.git` is left out unasked; files that are no text are counted as skipped.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from cc.errors import UsageError

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
STDIN = "-"
LEFT_OUT = ".git"
LOOKED_AT = 8192
"""Bytes at the beginning among which a NUL says that this is no text."""
NO_TEXT = "binary: NUL among its first bytes"


@dataclass(slots=True, eq=False, repr=False)
class Found:
    """What was met on the way besides texts."""

    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)


class Source(NamedTuple):
    """A text to be read: its path, and whether it was named or lay in a directory that was."""

    path: str
    named: bool


def sources(paths: Sequence[str], found: Found) -> Iterator[Source]:
    """Every text under these paths, in path order; stdin without any. Raises UsageError where stdin is a terminal."""
    for path in dict.fromkeys(paths or (STDIN,)):
        if path == STDIN:
            if sys.stdin.isatty():
                raise UsageError(
                    "there is no text: stdin is a terminal", field="--path",
                    hint="context-cleaner tokens --path FILE, or pipe a text into it",
                )  # fmt: skip
            yield Source(STDIN, named=True)
            continue
        try:
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            found.unreadable.append((shown(path), why(error)))
            continue
        if is_directory:
            yield from (Source(each, named=False) for each in _inside(path, found))
        else:
            yield Source(path, named=True)


def _inside(top: str, found: Found) -> Iterator[str]:
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            found.unreadable.append((shown(directory), why(error)))
            continue
        for entry in entries:
            if entry.is_symlink():
                found.skipped["links"] += 1
            elif entry.is_file(follow_symlinks=False):
                yield entry.path
            elif not entry.is_dir(follow_symlinks=False):
                found.skipped["pipes, sockets and devices"] += 1
        folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        found.skipped[LEFT_OUT] += sum(os.path.basename(path) == LEFT_OUT for path in folders)
        waiting += [path for path in reversed(folders) if os.path.basename(path) != LEFT_OUT]


@contextmanager
def opened(source: Source, found: Found) -> Iterator[BinaryIO | None]:
    """The file for reading; None for what is no text or was read already. What can't be read is noted in `found`."""
    if source.path == STDIN:
        yield sys.stdin.buffer
        return
    descriptor = None
    try:
        if not stat.S_ISREG(os.stat(source.path).st_mode):
            raise OSError(0, "not a regular file")
        descriptor = os.open(source.path, FLAGS)  # should it have become a FIFO meanwhile, this doesn't wait
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
    except OSError as error:
        found.unreadable.append((shown(source.path), why(error)))
        if descriptor is not None:
            os.close(descriptor)
        yield None
        return
    identity = (status.st_dev, status.st_ino)
    with os.fdopen(descriptor, "rb") as file:
        if identity in found.seen:
            found.skipped["second names of a file"] += 1
        yield None if identity in found.seen else file
        found.seen.add(identity)


def shown(path: str) -> str:
    """A path that can be written out: bytes of it that are no UTF-8 become a replacement character."""
    return os.fsencode(path).decode("utf-8", "replace")


def why(error: OSError | ValueError) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return (strerror or str(error)).lower()
