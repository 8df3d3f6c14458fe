"""Writes docs/ladders.md: every ladder with its rungs as the contract has them, beside the drills that prove each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cc.drill.catalogue import CATALOGUE, title  # noqa: E402
from cc.drill.contract import LADDERS, Ladder  # noqa: E402

FILE = ROOT / "docs" / "ladders.md"
HEAD = """# Ladders, rungs and their drills

Written by scripts/write_ladders.py from cc/drill/contract.py and from the catalogue that `context-cleaner drill` plays.
Of each ladder: its rungs, and below them the drills that prove them, several for some. "needs" is what a drill cannot
do without; the others play on any machine. Where a ladder has rules in place of rungs, each has a number all the same.
"""


def _row(*cells: object) -> str:
    """One of a table; a `|` in a cell would end it."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") or "-" for cell in cells) + " |"


def _table(*heads: str) -> Iterator[str]:
    yield _row(*heads)
    yield "|---" * len(heads) + "|"


def _ladder(ladder: Ladder) -> Iterator[str]:
    yield f"## {ladder.name}: {ladder.what}\n"
    yield from _table("rule" if ladder.rules else "rung", "way", "taken when", "the user sees")
    for number, rung in ladder.numbered():
        yield _row(number, rung.way, rung.when, rung.seen)
    if ladder.more:
        yield f"\n{ladder.more}"
    yield ""
    yield from _table("drill", "fault", "seen", "after", "needs")
    for drill in CATALOGUE:
        if drill.ladder == ladder.name:
            yield _row(title(drill), drill.fault, drill.seen, drill.after, drill.needs)
    yield ""


def text() -> str:
    """The whole file."""
    return "\n".join([HEAD, *(line for ladder in LADDERS for line in _ladder(ladder))])


if __name__ == "__main__":
    FILE.write_text(text())
