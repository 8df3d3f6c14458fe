"""`usage --csv`: a row for each key, RFC 4180, costs to the last digit."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

from cc.report.printable import CONTROLS
from cc.usage.model import Reading, Row

FIELDS = (
    "messages", "input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens", "cost_usd",
    "cost_known_usd", "cost_unknown_models",
)  # fmt: skip
OF_A_BLOCK = ("start", "end", "active")
FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
"""With what a cell begins that a spreadsheet would run (OWASP, "CSV Injection"): names are those of others."""


def usage_csv(reading: Reading) -> str:
    """The table, its header named by the grouping. A cost that is not known is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    more = OF_A_BLOCK if reading.by == "block" else ()
    writer.writerow((reading.by or "key", *FIELDS, *more))
    for row in reading.rows:
        writer.writerow((*_cells(row), *(_block(row) if more else ())))
    return out.getvalue()


def _cells(row: Row) -> tuple[object, ...]:
    totals = row.totals
    return (
        _text(row.key),
        totals.messages,
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_creation_tokens,
        totals.cache_read_tokens,
        _money(totals.cost_usd),
        _money(totals.cost_known_usd),
        _text("; ".join(totals.cost_unknown_models)),
    )


def _block(row: Row) -> tuple[str, ...]:
    told = row.as_dict(of_blocks=True)
    return (told["start"] or "", told["end"] or "", "true" if told["active"] else "false")


def _money(cost: Decimal | None) -> str:
    return "" if cost is None else format(cost.normalize() if cost else Decimal(0), "f")


def _text(text: str) -> str:
    """An apostrophe before what would be a formula, and nothing that moves a cursor, should it go to a terminal."""
    text = re.sub(CONTROLS, "\ufffd", text)
    return f"'{text}" if text.startswith(FORMULA) else text
