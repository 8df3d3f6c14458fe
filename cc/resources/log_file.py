"""A log file as it grows: its last lines, and what is added, whatever is done to the file meanwhile.

    NAME    what is written now      renamed           the rest of the old one is read, then the new one
    NAME.1  what it was before       removed           the old one is read on until there is a new one
                                     copied and cut    what was not read yet is in NAME.1; then from its start

Two renames between two looks lose nothing: what is NAME.1 by then is read as a whole. A third would.
May import the leaves. Bytes come in pieces of any length: lines are for whoever reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cc.files import os_failure
from cc.resources.state import open_regular

PIECE = 64 * 1024
KNOWN = 512  # bytes before the place where it was read to: others there, and it was cut and has grown again


class LogFile:
    """One file, by its name. Raises Failure permission_denied, or bad_config for what is no regular file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._older = path + ".1"
        self._descriptor = -1
        self._at = 0
        self._whole = True  # what was read ended in a line break
        self._before = b""  # the last bytes that were read, as far back as KNOWN
        self._older_known: tuple[int, int] | None = None

    def last(self, lines: int | None) -> Iterator[bytes]:
        """Its last so many lines (None: all of them), those of the older file included; `more` goes on from there."""
        self._open()
        self._older_known = _identity(self._older)
        end, start, found = 0, 0, 0
        if self._descriptor >= 0:
            end = os.fstat(self._descriptor).st_size
            start, found = _start_of_last(self._descriptor, end, lines)
        if lines is None or found < lines:
            yield from self._older_lines(None if lines is None else lines - found)
        self._at = start
        while self._at < end and (piece := os.pread(self._descriptor, min(PIECE, end - self._at), self._at)):
            yield self._read(piece)
        self._remember()

    def more(self) -> Iterator[bytes]:
        """What was added since."""
        mine = None
        if self._descriptor >= 0:
            yield from self._rest()
            mine, now = _identity(self._descriptor), _identity(self._path)
            if now == mine or (now is None and not self._older_is_new(mine)):
                self._older_known = _identity(self._older)
                return
            yield from self._rest()  # what came between the two looks
            self.close()
            if not self._whole:
                yield self._read(b"\n")
        if self._older_is_new(mine):  # it came and went between two looks
            yield from self._older_lines(None)
        self._older_known = _identity(self._older)
        if self._open():
            yield from self._rest()

    def _older_is_new(self, mine: tuple[int, int] | None = None) -> bool:
        """Whether the older file is another one than at the last look, and not the one that is read."""
        return _identity(self._older) not in (None, mine, self._older_known)

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def there(self) -> bool:
        """Whether there was a file when it was last looked at."""
        return self._descriptor >= 0

    def _open(self) -> bool:
        self.close()
        self._descriptor, self._at, self._before = _opened(self._path), 0, b""
        return self._descriptor >= 0

    def _rest(self) -> Iterator[bytes]:
        length = len(self._before)  # 0 of an empty file: one that had a moment's content is in the older one now
        if not length or os.pread(self._descriptor, length, self._at - length) != self._before:
            yield from self._cut_off()
            self._at = 0
            if not self._whole:
                yield b"\n"
        while piece := os.pread(self._descriptor, PIECE, self._at):
            yield self._read(piece)
        self._remember()

    def _remember(self) -> None:
        if self._descriptor >= 0:
            length = min(KNOWN, self._at)
            self._before = os.pread(self._descriptor, length, self._at - length)

    def _cut_off(self) -> Iterator[bytes]:
        """What had not been read when it was copied to the older file and cut."""
        if not self._older_is_new():
            return
        self._older_known = _identity(self._older)
        copy = b"".join(self._older_lines(None))
        found = copy.rfind(self._before) if self._before else 0
        if found >= 0 and (rest := copy[found + len(self._before) :]):
            yield self._read(rest)

    def _read(self, piece: bytes) -> bytes:
        self._at += len(piece)
        self._whole = piece.endswith(b"\n")
        return piece

    def _older_lines(self, lines: int | None) -> Iterator[bytes]:
        descriptor = _opened(self._older)
        if descriptor < 0:
            return
        try:
            if self._descriptor >= 0 and _identity(descriptor) == _identity(self._descriptor):
                return  # it was renamed just now, and is the one that is open already
            end = os.fstat(descriptor).st_size
            at, _ = _start_of_last(descriptor, end, lines)
            while at < end and (piece := os.pread(descriptor, min(PIECE, end - at), at)):
                at += len(piece)
                yield piece
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                yield b"\n"
        finally:
            os.close(descriptor)


def _opened(path: str) -> int:
    """A descriptor, -1 where there is no such file."""
    try:
        return open_regular(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    except OSError as error:
        raise os_failure(error, f"cannot read {path}") from error


def _identity(file: str | int) -> tuple[int, int] | None:
    try:
        told = os.stat(file)
    except OSError:
        return None
    return told.st_dev, told.st_ino


def _start_of_last(descriptor: int, end: int, lines: int | None) -> tuple[int, int]:
    """Where the last so many lines before `end` begin, and how many there are; a last one without its end counts."""
    if lines is None or end == 0:
        return 0, 0
    if lines == 0:
        return end, 0
    at, found = end, 0 if os.pread(descriptor, 1, end - 1) == b"\n" else 1
    while at > 0:
        begin = max(0, at - PIECE)
        piece = os.pread(descriptor, at - begin, begin)
        breaks = piece.count(b"\n")
        if found + breaks > lines:  # the break that precedes the first wanted line is in this piece
            place = len(piece)
            while found <= lines:
                place = piece.rindex(b"\n", 0, place)
                found += 1
            return begin + place + 1, lines
        found += breaks
        at = begin
    return 0, found
