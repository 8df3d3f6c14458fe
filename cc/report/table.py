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
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[int] = (),
    width: int | None = None,
    spare: Sequence[int] = (),
) -> str:
    """Plain columns under headers. `right` are the columns of numbers; nothing is taken for a number by itself.

    Where it would be wider than `width`, headers are broken at their spaces and the first column is shortened, to LEAST
    characters at most. Where that is not enough, or keys would look alike, columns of `spare` are left out, the first
    of them first, and named below.
    """
    from tabulate import tabulate

    cells = [[_filled(one_line(str(cell))) for cell in row] for row in rows]
    align = ["right" if column in right else "left" for column in range(len(headers))] if rows else None
    whole = str(tabulate(cells, headers, tablefmt="simple", colalign=align, disable_numparse=True))
    if width is None or max(map(len, whole.split("\n"))) <= width:
        return whole.replace(FILL, "")
    words = [header.rsplit(" ", 1) if " " in header else ["", header] for header in headers]
    columns = [max(map(len, column)) for column in zip(*zip(*words, strict=True), *cells, strict=True)]
    keys = [row[0].replace(FILL, "") for row in cells]
    out, first = _room(keys, columns, width, spare)
    kept = [column for column in range(len(headers)) if column not in out]
    columns[0] = first
    cells = [[_filled(shortened(key, first)), *row[1:]] for key, row in zip(keys, cells, strict=True)]
    heads = [list(each) for each in zip(*words, strict=True)]
    lines = [*(heads if any(heads[0]) else heads[1:]), ["-" * each for each in columns], *cells]
    shown = [[line[column] for column in kept] for line in lines]  # given as headers they would be padded
    align = None if align is None else [align[column] for column in kept]
    text = str(tabulate(shown, tablefmt="plain", colalign=align, disable_numparse=True)).replace(FILL, "")
    left_out = ", ".join(headers[column] for column in sorted(out))
    return "\n".join([text, *(wrapped(f"no room for: {left_out}", width) if out else [])])


def _room(keys: Sequence[str], columns: Sequence[int], width: int, spare: Sequence[int]) -> tuple[Sequence[int], int]:
    """The columns that are left out, and how wide the first one is then: as few as leave it room and tell keys apart;
    if none do, as few as leave it room.
    """
    ways = []
    for count in range(len(spare) + 1):
        out = spare[:count]
        others = [each for column, each in enumerate(columns) if column and column not in out]
        ways.append((out, min(columns[0], width - sum(others) - 2 * len(others))))
    roomy = [way for way in ways if way[1] >= min(columns[0], LEAST)] or [(ways[-1][0], min(columns[0], LEAST))]
    apart = (way for way in roomy if len({shortened(key, way[1]) for key in keys}) == len(set(keys)))
    return next(apart, roomy[0])


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
