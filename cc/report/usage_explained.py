"""`usage --explain`: which source knew what of the requests, and clients' own totals beside what is counted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cc.report.table import table, wrapped
from cc.usage.model import Coverage

HEADERS = ("model", "only files", "only telemetry", "both", "output in files", "final output", "added")
SPARE = (5, 4, 3, 1)
"""What a narrow terminal gives up, one after the other."""
SESSIONS_SHOWN = 10
SESSION_HEADERS = ("session", "client says USD", "counted USD")


def explained_text(coverage: Coverage, width: int | None) -> str:
    """Two tables: requests by who knows them, and sessions of which the client says another cost. Output is in tokens,
    of the requests that both know; each is counted once, with its final numbers."""
    parts = wrapped(
        "all requests known, by who knows them (each is counted once; telemetry's numbers are final)", width
    )
    rows = [
        (
            one.model, f"{one.only_files:,}", f"{one.only_telemetry:,}", f"{one.in_both:,}",
            f"{one.output_in_files:,}", f"{one.output_final:,}", _added(one.output_in_files, one.output_final),
        )
        for one in coverage.by_model
    ]  # fmt: skip
    right = range(1, len(HEADERS))
    parts.append(table(HEADERS, rows, right=right, width=width, spare=SPARE) if rows else "none is known")
    differ: list[dict[str, Any]] = list(coverage.client_totals.get("differ", ()))
    if differ:
        said = "sessions of which the client says another cost (one that was resumed begins anew)"
        parts += ["", *wrapped(said, width)]
        shown = [(each["session"], _usd(each["client_usd"]), _usd(each["counted_usd"])) for each in differ]
        parts.append(table(SESSION_HEADERS, shown[:SESSIONS_SHOWN], right=(1, 2), width=width))
        if len(differ) > SESSIONS_SHOWN:
            parts.append(f"and {len(differ) - SESSIONS_SHOWN:,} more")
    return "\n".join(parts)


def _added(files: int, final: int) -> str:
    """In tokens and as a share of what the files hold."""
    if final == files:
        return "0"
    share = f" ({100 * (final - files) / files:+.1f} %)" if files else ""
    return f"{final - files:+,}{share}"


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else f"{Decimal(str(cost)):.6f}"
