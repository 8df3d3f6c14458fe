"""Sizes and durations as Go reads and prints them: "1.5g" -> "1610612736", "90s" -> "1m30s"."""

from __future__ import annotations

import re
from fractions import Fraction

from cc.resources.compose_file.tree import Item
from cc.resources.go_duration import nanoseconds, printed

SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE)
POWERS = {unit: 1024**power for power, unit in enumerate("kmgtp", 1)}
MAX_BYTES = 2**63 - 1


def size(item: Item) -> str | None:
    """Bytes as text, from a number or from text with a unit of 1024; 0 says nothing."""
    value = item.value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value else None
    found = SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or len(value) > 40:
        item.refuse(f"must be a size, found {item.said()}", hint="such as 512m or 1.5g; a bare number is bytes")
    amount = int(Fraction(found[1]) * POWERS.get((found[2] or "").lower(), 1))
    if amount > MAX_BYTES:
        item.refuse(f"is too much: {item.said()}")
    return str(amount) if amount else None


def text_size(item: Item) -> str | None:
    """A size that compose takes only as text."""
    if not isinstance(item.value, str):
        item.refuse(f"must be text, found {item.said()}", hint="put it in quotes, or give it a unit")
    return size(item)


def duration(item: Item) -> str:
    """A duration as Go prints it, from text with units."""
    said = item.value if isinstance(item.value, str) else ""  # a bare number has no unit
    try:
        return printed(nanoseconds(said))
    except ValueError as error:
        item.refuse(f"{error}, found {item.said()}", hint="such as 500ms, 10s or 1m30s")
