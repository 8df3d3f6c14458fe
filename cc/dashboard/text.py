"""Numbers, dates and ages as a person reads them. Pure: the time is handed in.

A number that is not known is a dash, never a 0; a cost under a cent is not rounded to one that reads like nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

UNKNOWN = "—"


def count(number: int | None) -> str:
    """1234567 -> 1,234,567."""
    return UNKNOWN if number is None else f"{number:,}"


def short(number: int) -> str:
    """1234567 -> 1.2 M: for where an axis has little room; the exact number stands beside it."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:,.0f} {unit}"
    return str(number)


def money(usd: float | None) -> str:
    """US dollars to the cent."""
    if usd is None:
        return UNKNOWN
    if 0 < usd < 0.005:
        return "< $0.01"
    return f"${usd:,.2f}"


def age(then: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that says enough."""
    seconds = (now - then).total_seconds()
    if seconds < -2:
        return "in the future by this machine's clock"
    if seconds < 1:
        return "just now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    return f"{timedelta(seconds=seconds).days} days ago"


def listed(words: tuple[str, ...] | list[str], *, at_most: int = 4) -> str:
    """a, b, c and 5 more."""
    shown = list(words[:at_most])
    rest = len(words) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
