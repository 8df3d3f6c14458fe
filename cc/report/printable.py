"""Text of others (a container's log, a program's complaint, a name in a file) as it may go to a terminal."""

from __future__ import annotations

import re

ESCAPES = re.compile("\x1b\\[[0-9;]*m")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Without what would move the cursor, set a title or turn the reading direction; lines stay lines."""
    return CONTROLS.sub("\ufffd", ESCAPES.sub("", text)).replace("\t", "    ")


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(printable(text).split("\n"))
