"""The registry: what it keeps of services and alerts."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cc.engine.outcome import Fallback
from cc.errors import Failure
from cc.resources.kept import NAME
from cc.supervisor.registry import Registry
from cc.supervisor.states import ServiceRecord, State

BOOT = "boot-1"
WEB = ServiceRecord(
    "web", "container", "running", State.RUNNING, 4711, 99, BOOT, "abc", 8110, 1.5, 2, "why", 1, "on Flask's server"
)


def opened(directory: Path, boot_id: str = BOOT) -> Registry:
    return Registry(str(directory), boot_id=boot_id)


def test_what_one_kept_the_next_one_knows(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.put(WEB)
    first.alert("web", "3 restarts did not bring it up")
    second = opened(tmp_path)
    assert second.services() == (WEB,)
    assert second.service("web") == WEB
    assert second.service("db") is None
    assert [(told.service, told.reason) for told in second.alerts()] == [("web", "3 restarts did not bring it up")]
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_change_changes_these_fields_and_a_removal_forgets_the_alert_too(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.put(WEB)
    assert kept.change("web", state=State.BACKOFF, restarts=3).port == 8110
    assert kept.change("db", kind="container").state is State.STOPPED
    kept.alert("web", "once")
    kept.alert("web", "twice")
    assert [told.reason for told in kept.alerts()] == ["twice"]
    kept.clear_alert("db")
    kept.remove("web")
    again = opened(tmp_path)
    assert [record.name for record in again.services()] == ["db"]
    assert again.alerts() == ()
    with pytest.raises(TypeError):
        kept.change("web", colour="red")


@pytest.mark.parametrize("state", list(State))
def test_after_a_restart_of_the_machine_no_pid_is_known_and_what_claimed_life_is_unknown(
    tmp_path: Path, state: State
) -> None:
    opened(tmp_path).put(ServiceRecord("web", state=state, pid=4711, start_time=99, container="abc"))
    found = opened(tmp_path, boot_id="boot-2").service("web")
    assert found is not None
    assert (found.pid, found.start_time, found.container) == (None, None, "abc")
    calm = state in (State.STOPPED, State.FATAL, State.UNKNOWN)
    assert found.state is (state if calm else State.UNKNOWN)


def test_two_processes_see_what_the_other_one_wrote_and_neither_undoes_it(tmp_path: Path) -> None:
    supervisor, next_one = opened(tmp_path), opened(tmp_path)
    supervisor.put(WEB)
    assert next_one.services() == (WEB,)
    next_one.put(ServiceRecord("db"))
    supervisor.change("web", restarts=9)
    for one in (supervisor, next_one, opened(tmp_path)):
        assert {record.name: record.restarts for record in one.services()} == {"db": 0, "web": 9}


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    other = opened(tmp_path)

    def write(which: Registry, name: str) -> None:
        for number in range(20):
            which.change(name, restarts=number)

    threads = [
        threading.Thread(target=write, args=(which, f"{label}{number}"))
        for label, which in (("a", kept), ("b", other))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.close()
    other.close()
    assert {record.name: record.restarts for record in opened(tmp_path).services()} == {
        f"{label}{number}": 19 for label in "ab" for number in range(4)
    }


@pytest.mark.parametrize("value", ["{", "[]", "null", '{"state": "ajar"}', '{"state": ["running"]}'])
def test_a_record_that_makes_no_sense_is_not_there_and_its_neighbours_are(tmp_path: Path, value: str) -> None:
    opened(tmp_path).put(WEB)
    with closing(sqlite3.connect(tmp_path / NAME)) as database, database:
        database.execute("INSERT INTO kept VALUES ('service', 'odd', ?)", (value,))
        database.execute("INSERT INTO kept VALUES ('alert', 'odd', ?)", (value,))
    kept = opened(tmp_path)
    assert [record for record in kept.services() if record.name == "web"] == [WEB]
    kept.alerts()
    kept.put(WEB)
    assert WEB in opened(tmp_path).services()


def test_a_file_that_was_set_aside_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"junk" * 5000)
    told: list[Failure | Fallback] = []
    kept = Registry(str(tmp_path), boot_id=BOOT, tell=told.append)
    assert kept.services() == ()
    assert ["set aside" in str(getattr(each, "reason", "")) for each in told] == [True]
