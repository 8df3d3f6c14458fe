"""Text of others (a container's log, a program's complaint, a name in a file) as it may go to a terminal."""

from __future__ import annotations

import re

ESCAPES = "\x1b\\[[0-9;]*m"
CONTROLS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
"""Patterns, which are compiled when they are first used: every command imports this module, and few need it."""


def printable(text: str) -> str:
    """Without what would move the cursor, set a title or turn the reading direction; lines stay lines."""
    return re.sub(CONTROLS, "\ufffd", re.sub(ESCAPES, "", text)).replace("\t", "    ")


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(printable(text).split("\n"))
