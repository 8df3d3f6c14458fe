"""Tables for people. The only importer of tabulate, and only when a table is printed."""

from __future__ import annotations

from collections.abc import Sequence

from cc.report.printable import one_line


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """Plain columns under headers. `right` are the columns of numbers; nothing is taken for a number by itself."""
    from tabulate import tabulate

    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    align = ["right" if column in right else "left" for column in range(len(headers))]
    return str(tabulate(cells, headers, tablefmt="simple", colalign=align if rows else None, disable_numparse=True))
