"""`usage` for people: totals first, then the table, then where the numbers come from."""

from __future__ import annotations

import textwrap
from decimal import Decimal

from cc.report.printable import one_line
from cc.report.table import table
from cc.usage.model import Reading, Totals

HEADERS = ("requests", "input", "output", "cache write", "cache read", "cost USD")


def usage_text(reading: Reading, width: int | None = None) -> str:
    """The text, for a terminal of that width. A cost that is not known is a dash, and its models are named below."""
    rows = [(row.key, *_cells(row.totals)) for row in reading.rows]
    rows.append(("total", *_cells(reading.total)))
    lines = [table((reading.by or "", *HEADERS), rows, right=range(1, len(HEADERS) + 1), width=width)]
    if reading.total.cost_unknown_models:
        known = _money(reading.total.cost_known_usd)
        models = one_line(", ".join(reading.total.cost_unknown_models))
        lines += _wrapped(f"no price is known for: {models}; the rest cost {known} USD", width)
    lines.append("")
    for line in _provenance(reading):
        lines += _wrapped(one_line(line), width)
    return "\n".join(lines)


def _wrapped(line: str, width: int | None) -> list[str]:
    if width is None:
        return [line]
    return textwrap.wrap(line, max(width, 20), subsequent_indent="  ", break_on_hyphens=False)


def _cells(totals: Totals) -> tuple[str, ...]:
    return (
        f"{totals.messages:,}",
        f"{totals.input_tokens:,}",
        f"{totals.output_tokens:,}",
        f"{totals.cache_creation_tokens:,}",
        f"{totals.cache_read_tokens:,}",
        _money(totals.cost_usd),
    )


def _money(cost: Decimal | None) -> str:
    """To the cent; below a cent to the micro-dollar, so that little is not shown as nothing."""
    if cost is None:
        return "-"
    if cost >= Decimal("0.01") or not cost:
        return f"{cost:,.2f}"
    return f"{cost:.6f}" if cost >= Decimal("0.000001") else "<0.000001"


def _provenance(reading: Reading) -> list[str]:
    coverage = reading.coverage
    stale = ", stale" if reading.stale else ""
    lines = [
        f"source: {reading.source}{stale}, as of {reading.as_of}" + (f" ({reading.reason})" if reading.reason else "")
    ]
    span = f", {coverage.first} to {coverage.last}" if coverage.first else ""
    lines.append(f"coverage: {coverage.files:,} files, {coverage.lines:,} lines{span}")
    if coverage.skipped_lines:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in coverage.skipped_by_kind.items())
        lines.append(f"skipped: {coverage.skipped_lines:,} lines ({kinds})")
    lines += [f"not read: {path}: {why}" for path, why in coverage.unreadable]
    lines += list(reading.notes)
    return lines
