"""What the stream that people read can show, and the bars that are drawn on it. Only `screen_of` looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from cc.report.console import wants_colour

EIGHTHS = "▏▎▍▌▋▊▉█"
STEPS = "▁▂▃▄▅▆▇█"
PLAIN_STEPS = ".:-=+*%@"
COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python itself puts in LC_CTYPE where the locale is C (PEP 538): nobody said that."""

OURS = str.maketrans({"…": "~", "–": "-"})
"""What we write ourselves beyond ASCII. Names of others stay as they are, as far as the stream takes them."""


@dataclass(frozen=True, slots=True)
class Screen:
    """`width` is in columns, None where there is no terminal: lines are then not broken and nothing is drawn."""

    width: int | None = None
    colour: bool = False
    unicode: bool = True

    def bar(self, share: float, most: int) -> str:
        """A bar of that share of `most` columns; anything more than nothing is seen."""
        if share <= 0:
            return ""
        if not self.unicode:
            return "#" * max(round(share * most), 1)
        whole, eighths = divmod(max(round(share * most * 8), 1), 8)
        return EIGHTHS[-1] * whole + (EIGHTHS[eighths - 1] if eighths else "")

    def sparkline(self, shares: Sequence[float]) -> str:
        """A column for each share of the highest, a gap for nothing."""
        steps = STEPS if self.unicode else PLAIN_STEPS
        return "".join(" " if share <= 0 else steps[min(int(share * len(steps)), len(steps) - 1)] for share in shares)

    def text(self, text: str) -> str:
        """The same without letters of ours that it may not have."""
        return text if self.unicode else text.translate(OURS)


def screen_of(stream: TextIO, environ: Mapping[str, str], width: int | None, *, no_color: bool = False) -> Screen:
    """What this stream can show. With the locale C (or POSIX) nothing but ASCII is drawn, also where Python itself
    would write UTF-8: the terminal may not.
    """
    try:
        (EIGHTHS + STEPS + "…–").encode(stream.encoding or "utf-8")
        encodes = True
    except (UnicodeError, LookupError):
        encodes = False
    named = {name: environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")}
    if named["LC_CTYPE"] in COERCED:
        del named["LC_CTYPE"]
    locale = next(filter(None, named.values()), "")
    return Screen(
        width,
        colour=width is not None and wants_colour(stream, environ, refused=no_color),
        unicode=encodes and locale not in ("C", "POSIX"),
    )
