"""What is read with an index beside what is read without one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cc.usage import transcripts
from cc.usage.groups import fold
from tests.usage.portions import in_portions
from tests.usage.rows import row, text

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ONE, TWO, THREE = (text(row(f"m{n}", f"r{n}", output=n)) for n in (1, 2, 3))


def both(root: Path, kept: Path) -> transcripts.Transcripts:
    """With the index, with it once more, and without one: the same but for what has been deleted."""
    found, again, anew = transcripts.read((root,), kept), transcripts.read((root,), kept), transcripts.read((root,))
    assert found.notes == again.notes == ()
    for name in ("groups", "files", "lines", "skipped", "unreadable", "project_names", "said"):
        assert getattr(found, name) == getattr(again, name) == getattr(anew, name), name
    assert found.deleted == again.deleted
    assert fold(found.requests) == found.groups
    assert sorted(found.requests, key=str) == sorted(anew.requests, key=str)
    for most in (1, 7, 10**6):
        in_portions(again, most)
    return found


def output(found: transcripts.Transcripts) -> int:
    return sum(sums[2] for sums in found.groups.values())


def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The session files that are opened from now on."""
    seen: list[str] = []
    really = os.open

    def opening(path: Any, *more: Any, **named: Any) -> int:
        if str(path).endswith(".jsonl"):
            seen.append(os.path.basename(path))
        return really(path, *more, **named)

    monkeypatch.setattr(os, "open", opening)
    return seen


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
