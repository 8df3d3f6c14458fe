"""What people read, line by line: colours, the width, and a stream that may take no more. Imports printable only."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping
from typing import TextIO

from cc.report.printable import ESCAPES

COLOURS = {"ok": "32", "changed": "33", "skipped": "36", "failed": "31", "degraded": "35", "hint": "1"}
COLUMNS = 80


def wants_colour(stream: TextIO, environ: Mapping[str, str], *, refused: bool) -> bool:
    """Colour only for a terminal that can show it (https://no-color.org)."""
    return not refused and stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def painted(word: str, text: str) -> str:
    """The text in the colour of this word, as it is if that has none."""
    code = COLOURS.get(word)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _columns(stream: TextIO) -> int | None:
    """The width of the terminal that this very stream writes to, None where it is none."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS
    except OSError:
        return COLUMNS


class Console:
    """Writes to one stream. `width` is the terminal's in columns, None where lines are not broken (a pipe). `quiet` and
    `verbose` are for those who decide what is said.

    A stream that takes no more must not end what is told about: the first error is kept in `lost`, the rest unsaid.
    """

    def __init__(self, stream: TextIO, *, colour: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self._stream = stream
        self._colour = colour
        self.quiet = quiet
        self.verbose = verbose
        self.width = _columns(stream)
        self.lost: OSError | None = None

    def paragraph(self, head: str, text: str, *, gap: str = " ") -> None:
        """Head and text on one line where they fit; else the text below it, broken at the terminal's width."""
        line = f"{head}{gap}{text}".rstrip()
        if self.width is None or len(re.sub(ESCAPES, "", line)) <= self.width:
            self.say(line)
            return
        indent = "    " if self.width > 40 else " "
        self.say(head.rstrip())
        self.say(textwrap.fill(text, max(self.width, 10), initial_indent=indent, subsequent_indent=indent))

    def paint(self, word: str, text: str) -> str:
        """The text in the colour of this word, where colours are shown."""
        return painted(word, text) if self._colour else text

    def say(self, text: str) -> None:
        """A line, however long."""
        if self.lost is not None:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except OSError as error:
            self.lost = error
