"""Writes docs/ladders.md: every ladder's rungs with the fault that leads there, as `drill` plays them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cc.drill.catalogue import CATALOGUE, LADDERS  # noqa: E402

FILE = ROOT / "docs" / "ladders.md"
HEAD = """# Ladders, rungs and their drills

Written by scripts/write_ladders.py from the catalogue that `context-cleaner drill` plays. "needs" is what a drill
cannot do without; the others play on any machine. L8, tokens, is not built yet.
"""


def text() -> str:
    """The whole file."""
    parts = [HEAD]
    for ladder, (what, _) in LADDERS.items():
        rows = [drill for drill in CATALOGUE if drill.ladder == ladder]
        parts.append(f"## {ladder}: {what}\n")
        parts.append("| rung | fault | seen | after | needs |\n|---|---|---|---|---|")
        parts += [
            f"| {drill.rung} | {drill.fault} | {drill.seen} | {drill.after or '-'} | {drill.needs or '-'} |"
            for drill in rows
        ]
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(text())
