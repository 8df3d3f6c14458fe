"""Durations as Go writes and reads them: compose's file, Docker's flags, the collector's uptime.

    1h2m3.5s  90s  .5m  500ms  -2s  +1us  0      read; printed, 90s is 1m30s
    90  1d  1 s  1h-2m  and nothing at all       refused: no unit, none of Go's, or more than numbers and units
    3000000h                                     refused: Go holds 2**63 - 1 nanoseconds, some 292 years

Whole nanoseconds, cut off and not rounded, as Go has them. A playbook's own durations (engine/spec.py) are less: one
number and one unit. Pure.
"""

from __future__ import annotations

import re

UNITS_NS = {
    "ns": 1, "us": 1_000, "\u00b5s": 1_000, "\u03bcs": 1_000, "ms": 1_000_000, "s": 1_000_000_000,
    "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
PART = "([0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
MAX_NS = 2**63 - 1
MAX_CHARACTERS = 100


def nanoseconds(text: str) -> int:
    """Raises ValueError that says what is wrong with it, to be put after a name."""
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    parts = re.findall(PART, unsigned) if len(text) <= MAX_CHARACTERS else []
    if unsigned != "0" and (not parts or "".join(amount + unit for amount, unit in parts) != unsigned):
        raise ValueError("must be a duration with units")
    amount = sum(_of(written, UNITS_NS[unit]) for written, unit in parts)
    if amount > MAX_NS:
        raise ValueError("must be a duration that is not too long")
    return -amount if text[0] == "-" else amount


def seconds(text: str) -> float:
    """Raises ValueError as `nanoseconds` does."""
    return nanoseconds(text) / UNITS_NS["s"]


def _of(written: str, unit: int) -> int:
    whole, _, part = written.partition(".")
    parts: int = 10 ** len(part)
    return int(whole or 0) * unit + int(part or 0) * unit // parts


def printed(amount: int) -> str:
    """Nanoseconds as Go prints them: 1h30m0s, 1.5s, 250ms, 0s."""
    if amount == 0:
        return "0s"
    if amount < 0:
        return "-" + printed(-amount)
    if amount < UNITS_NS["s"]:
        unit, scale = next((unit, UNITS_NS[unit]) for unit in ("ms", "\u00b5s", "ns") if amount >= UNITS_NS[unit])
        return _decimal(amount, scale) + unit
    minutes, rest = divmod(amount, UNITS_NS["m"])
    hours, minutes = divmod(minutes, 60)
    last = _decimal(rest, UNITS_NS["s"]) + "s"
    if hours:
        return f"{hours}h{minutes}m{last}"
    return f"{minutes}m{last}" if minutes else last


def _decimal(amount: int, scale: int) -> str:
    whole, rest = divmod(amount, scale)
    fraction = str(rest).rjust(len(str(scale)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
