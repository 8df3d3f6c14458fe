"""Sizes and durations as Go reads and prints them: "1.5g" -> "1610612736", "90s" -> "1m30s"."""

from __future__ import annotations

import re
from fractions import Fraction

from cc.resources.compose_file.tree import Item

SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE)
POWERS = {unit: 1024**power for power, unit in enumerate("kmgtp", 1)}
UNITS_NS = {
    "ns": 1, "us": 1_000, "\u00b5s": 1_000, "\u03bcs": 1_000, "ms": 1_000_000, "s": 1_000_000_000,
    "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
PART = re.compile("([0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
MAX_NS = 2**63 - 1


def size(item: Item) -> str | None:
    """Bytes as text, from a number or from text with a unit of 1024; 0 says nothing."""
    value = item.value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value else None
    found = SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or len(value) > 40:
        item.refuse(f"must be a size, found {item.said()}", hint="such as 512m or 1.5g; a bare number is bytes")
    amount = int(Fraction(found[1]) * POWERS.get((found[2] or "").lower(), 1))
    if amount > MAX_NS:
        item.refuse(f"is too much: {item.said()}")
    return str(amount) if amount else None


def text_size(item: Item) -> str | None:
    """A size that compose takes only as text."""
    if not isinstance(item.value, str):
        item.refuse(f"must be text, found {item.said()}", hint="put it in quotes, or give it a unit")
    return size(item)


def duration(item: Item) -> str:
    """A duration, from text with units."""
    value = item.value
    hint = "such as 500ms, 10s or 1m30s"
    if not isinstance(value, str) or len(value) > 100:
        item.refuse(f"must be a duration, found {item.said()}", hint=hint)
    unsigned = value[1:] if value[:1] in ("-", "+") else value
    parts = PART.findall(unsigned)
    if unsigned != "0" and (not parts or "".join(amount + unit for amount, unit in parts) != unsigned):
        item.refuse(f"must be a duration with units, found {item.said()}", hint=hint)
    nanoseconds = sum(int(_amount(amount) * UNITS_NS[unit]) for amount, unit in parts)
    if nanoseconds > MAX_NS:
        item.refuse(f"is too long: {item.said()}")
    return ("-" if value[0] == "-" and nanoseconds else "") + duration_text(nanoseconds)


def _amount(written: str) -> Fraction:
    return Fraction("0" + written.rstrip(".")) if written[0] == "." else Fraction(written.rstrip("."))


def duration_text(nanoseconds: int) -> str:
    """As Go prints it: 1h30m0s, 1.5s, 250ms, 0s."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        unit, scale = next(
            (unit, scale) for unit, scale in (("ms", 1_000_000), ("\u00b5s", 1_000), ("ns", 1)) if nanoseconds >= scale
        )
        return _decimal(nanoseconds, scale) + unit
    minutes, rest = divmod(nanoseconds, UNITS_NS["m"])
    hours, minutes = divmod(minutes, 60)
    seconds = _decimal(rest, 1_000_000_000) + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(amount: int, scale: int) -> str:
    whole, rest = divmod(amount, scale)
    fraction = str(rest).rjust(len(str(scale)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
