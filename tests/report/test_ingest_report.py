"""What `ingest` says: what was new, what could not be read, and how far it was when it was ended."""

from __future__ import annotations

from typing import Any

import pytest

from cc.report.ingest import ingest_document, ingest_text, so_far
from cc.usage.ingest import Ingested
from cc.usage.transcripts import Transcripts

FILES = Transcripts(files=3, lines=40, skipped={"cut": 2}, unreadable=(("/a", "no permission"),), notes=("a note",))


def said(nothing: str | None = None, **came: Any) -> list[str]:
    made = Ingested(store="http://s", requests=1200, sessions=2, **came)
    return ingest_text(ingest_document(made, FILES, 1.5, nothing)).splitlines()


def test_nothing_new_is_ok() -> None:
    assert said()[0] == "ok: nothing new, the store at http://s has all 1,200 requests of 2 sessions in 3 files"


def test_the_document_is_degraded_where_a_file_could_not_be_read() -> None:
    assert ingest_document(Ingested(), FILES, 0, None)["degraded"] is True
    assert ingest_document(Ingested(), Transcripts(skipped={"cut": 2}), 0, None)["degraded"] is False


def test_why_there_is_nothing_is_said() -> None:
    assert said("no session files under /x")[-2:] == ["no session files under /x", "a note"]


def test_what_was_written_and_removed_is_a_change_and_what_was_not_read_is_told() -> None:
    assert said(written=1000, removed=1) == [
        "changed: 1,000 rows written, 1 removed: http://s has all 1,200 requests of 2 sessions in 3 files",
        "skipped: 2 lines, in whole or in part (2 cut)",
        "not read: /a: no permission",
        "a note",
    ]
    one = Ingested(store="http://s", requests=1, sessions=1, written=1)
    assert ingest_text(ingest_document(one, Transcripts(files=1), 0, None)) == (
        "changed: 1 row written: http://s has the 1 request of 1 session in 1 file"
    )
    assert said(migrations=1)[0].startswith("changed: 0 rows written:")


@pytest.mark.parametrize(
    ("came", "told"),
    [
        (Ingested(requests=9, stored=3), "nothing was written yet"),
        (Ingested(requests=5000, stored=2000, written=1999, removed=1),
         "2,000 of 5,000 requests are in the store, the rest comes the next time"),
    ],
)  # fmt: skip
def test_how_far_it_was(came: Ingested, told: str) -> None:
    assert so_far(came) == told
