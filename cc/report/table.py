"""Tables for people. The only importer of tabulate, and only when a table is printed."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

from cc.report.printable import one_line

LEAST = 10  # a day
FILL = "\x00"
"""Behind a letter that takes two columns of a terminal, so that its length is its width; no text has one by itself."""


def table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = (), width: int | None = None
) -> str:
    """Plain columns under headers. `right` are the columns of numbers; nothing is taken for a number by itself.

    Where it would be wider than `width`, headers are broken at their spaces and the first column is shortened, to LEAST
    characters at most.
    """
    from tabulate import tabulate

    cells = [[_filled(one_line(str(cell))) for cell in row] for row in rows]
    align = ["right" if column in right else "left" for column in range(len(headers))] if rows else None
    whole = str(tabulate(cells, headers, tablefmt="simple", colalign=align, disable_numparse=True))
    if width is None or max(map(len, whole.split("\n"))) <= width:
        return whole.replace(FILL, "")
    words = [header.rsplit(" ", 1) if " " in header else ["", header] for header in headers]
    above, below = zip(*words, strict=True)
    columns = [max(map(len, column)) for column in zip(above, below, *cells, strict=True)]
    columns[0] = min(columns[0], max(width - sum(columns[1:]) - 2 * len(columns[1:]), LEAST))
    cells = [[_filled(shortened(row[0].replace(FILL, ""), columns[0])), *row[1:]] for row in cells]
    heads = [above, below] if any(above) else [below]
    lines = [*heads, ["-" * each for each in columns], *cells]  # given as headers they would be padded
    return str(tabulate(lines, tablefmt="plain", colalign=align, disable_numparse=True)).replace(FILL, "")


def shortened(text: str, most: int) -> str:
    """At most so many columns, without its middle: what tells keys apart is at either end."""
    if columns_of(text) <= most:
        return text
    for size in range(min(most, len(text) - 1), 0, -1):
        tail = (size - 1) // 2
        cut = f"{text[: size - 1 - tail]}…{text[len(text) - tail :]}"
        if columns_of(cut) <= most:
            return cut
    return ""


def columns_of(text: str) -> int:
    """How much of a terminal's line it takes: East Asian letters are two columns wide."""
    return len(text) if text.isascii() else len(text) + sum(unicodedata.east_asian_width(each) in "WF" for each in text)


def wrapped(line: str, width: int | None) -> list[str]:
    """The lines of a terminal so wide, of which all but the first are indented; None: one line."""
    if width is None:
        return [line]
    lines = textwrap.wrap(_filled_each(line), max(width, 20), subsequent_indent="  ", break_on_hyphens=False)
    return [each.replace(FILL, "") for each in lines]


def _filled_each(text: str) -> str:
    return text if text.isascii() else "".join(each + FILL * (columns_of(each) - 1) for each in text)


def _filled(text: str) -> str:
    return text + FILL * (columns_of(text) - len(text))
