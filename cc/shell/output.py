"""One stream of a command's output: counted, masked, cut into lines for the listener, and kept in bounded memory.

Pure; imports the mask only. A gigabyte on one line costs as much memory as a gigabyte on many.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cc.shell.mask import Mask

LINE_BYTES = 64 * 1024  # what a listener gets of one line at most


class Output:
    """Takes chunks; `text` afterwards. `on_line` is called for each line, also for one ended by a lone carriage return,
    as progress bars write them."""

    def __init__(self, mask: Mask, keep: int, on_line: Callable[[str], None] | None = None) -> None:
        self.total = 0  # bytes as they came
        self.undecodable = False
        self._mask = mask.stream()
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._pending = False  # the decoder may hold the start of a character
        self._lines = _Lines(on_line) if on_line else None
        self._half = max(1, keep // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._masked = 0

    def feed(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self._decode(chunk)
        self._take(self._mask.feed(chunk))

    def close(self) -> None:
        """The stream is at its end: what was held back comes out."""
        self._decode(b"", last=True)
        self._take(self._mask.feed(b"", last=True))
        if self._lines:
            self._lines.close()

    def mute(self) -> None:
        """The listener hears no more."""
        self._lines = None

    @property
    def left_out(self) -> int:
        return self._masked - len(self._head) - min(len(self._tail), self._half)

    @property
    def text(self) -> str:
        head, tail, left_out = bytes(self._head), bytes(self._tail[-self._half :]), self.left_out
        if left_out <= 0:
            return (head + tail).decode(errors="replace")
        head, tail = _whole_end(head), _whole_start(tail)
        return f"{head.decode(errors='replace')}\n... {left_out} bytes left out ...\n{tail.decode(errors='replace')}"

    def _decode(self, chunk: bytes, *, last: bool = False) -> None:
        if self.undecodable or (not self._pending and chunk.isascii()):
            return  # nearly all output is ASCII, and asking costs next to nothing
        try:
            self._decoder.decode(chunk, last)
            self._pending = bool(self._decoder.getstate()[0])
        except UnicodeDecodeError:
            self.undecodable = True

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self._masked += len(data)
        if self._lines:
            self._lines.feed(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._half :]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]


class _Lines:
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._part = bytearray()
        self._lost = 0
        self._after_return = False  # the last line ended in "\r": a "\n" that follows is no line of its own

    def feed(self, data: bytes) -> None:
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        self._after_return = data.endswith(b"\r")
        *whole, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            self._add(line)
            self._emit()
        self._add(rest)

    def close(self) -> None:
        if self._part:
            self._emit()

    def _add(self, data: bytes) -> None:
        room = LINE_BYTES - len(self._part)
        self._part += data[:room]
        self._lost += max(0, len(data) - room)

    def _emit(self) -> None:
        part, lost = bytes(self._part), self._lost
        self._part.clear()
        self._lost = 0
        if lost:
            part = _whole_end(part)
        self._tell(part.decode(errors="replace") + (f" ... {lost} bytes left out" if lost else ""))


def _whole_end(data: bytes) -> bytes:
    """Without the beginning of a character whose rest was cut off."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needs = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if needs > back else data
    return data


def _whole_start(data: bytes) -> bytes:
    """Without the end of a character whose beginning was cut off."""
    for skip in range(min(4, len(data))):
        if data[skip] & 0xC0 != 0x80:
            return data[skip:]
    return data
