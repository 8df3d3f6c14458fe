"""What happened: the entries that were asked for, in their order, and what is said besides."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure, Interrupted
from cc.resources.journal import Entry
from cc.resources.state import Journal
from cc.services import history
from cc.services.history import Wanted, tell_history
from tests.services.conftest import Yard


def told(yard: Yard, wanted: Wanted | None = None, lines: int | None = 50) -> tuple[list[Any], list[str]]:
    found: list[Any] = []
    said: list[str] = []
    tell_history(
        yard.stack,
        wanted or Wanted(),
        lines,
        lambda entry: found.append(entry.told.get("n")),
        said.append,
        follow=False,
    )
    return found, said


def write(yard: Yard, *entries: dict[str, Any]) -> None:
    journal = Journal(yard.stack.state.journal)
    for number, entry in enumerate(entries):
        journal.append({"n": number, **entry})


def test_no_journal_is_said_and_no_failure(yard: Yard) -> None:
    found, said = told(yard)
    assert found == []
    assert "no journal yet" in said[0]
    assert yard.stack.state.journal in said[0]


def test_the_last_so_many_come_the_oldest_first(yard: Yard) -> None:
    write(yard, *({} for _ in range(5)))
    assert told(yard, lines=2) == ([3, 4], [])
    assert told(yard, lines=None) == ([0, 1, 2, 3, 4], [])
    assert told(yard, lines=0) == ([], [])


def test_lines_count_after_the_choice_of_services(yard: Yard) -> None:
    about = ({"step": "clickhouse"}, {"service": "clickhouse"}, {"step": "dashboard"}, {"step": "clickhouse password"})
    write(yard, *about, {"command": "up"}, {"service": ["odd"]})
    wanted = Wanted(services=frozenset({"clickhouse"}))
    assert told(yard, wanted)[0] == [0, 1, 3]
    assert told(yard, wanted, 2)[0] == [1, 3]
    assert told(yard, Wanted(services=frozenset({"dashboard"})))[0] == [2]


def test_since_leaves_out_what_is_older_and_what_has_no_time(yard: Yard) -> None:
    now = datetime.now(timezone.utc)
    old = (now - timedelta(hours=2)).isoformat()
    write(yard, {"time": old}, {"time": "?"}, {}, {"time": 5})
    assert told(yard, Wanted(since=now - timedelta(hours=1)), None)[0] == [2]
    assert told(yard, Wanted(since=now - timedelta(hours=3)), None)[0] == [0, 2]
    assert told(yard, None, None)[0] == [0, 1, 2, 3]


@pytest.mark.parametrize(("junk", "said"), [(b"x\n", "1 line of the journal cannot"), (b"x\ny\n", "2 lines of the")])
def test_what_cannot_be_read_is_counted_and_said(yard: Yard, junk: bytes, said: str) -> None:
    write(yard, {})
    with Path(yard.stack.state.journal).open("ab") as file:
        file.write(junk)
    write(yard, {})
    found, sentences = told(yard)
    assert found == [0, 0]
    assert len(sentences) == 1
    assert sentences[0].startswith(said)


def test_following_without_lines_tells_only_what_comes(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "POLL_S", 0.01)
    write(yard, {})
    found: list[Any] = []

    def heard(entry: Entry) -> None:
        found.append(entry.told["n"])
        yard.cancel.request("SIGINT")

    timer = threading.Timer(0.1, Journal(yard.stack.state.journal).append, ({"n": 7},))
    timer.start()
    with pytest.raises(Interrupted):
        tell_history(yard.stack, Wanted(), 0, heard, found.append, follow=True)
    timer.join()
    assert found == [7]


def test_a_directory_in_its_place_is_a_failure_that_names_it(yard: Yard) -> None:
    Path(yard.stack.state.journal).mkdir()
    with pytest.raises(Failure) as caught:
        told(yard)
    assert yard.stack.state.journal in caught.value.message
