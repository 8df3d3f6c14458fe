"""A secret that lies in a file of its own: how it is read, and what counts as one.

Who writes such a file and who gives its content to a container must agree on both.
"""

from __future__ import annotations

import os

from cc.resources.state import open_regular

LARGEST = 1024 * 1024
LEAST = 8


def read_secret(path: str) -> str:
    """What the file holds, without white space around it; "" for what is no line of text.

    Raises Failure bad_config for a pipe, a directory or a device in its place, and OSError.
    """
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        data = file.read(LARGEST)
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def is_strong(value: str) -> bool:
    """Whether it could be one of ours. The user's own may be shorter, or have spaces in it."""
    return len(value) >= LEAST and value.isprintable() and not any(letter.isspace() for letter in value)
