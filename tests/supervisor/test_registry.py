"""The registry: what it keeps, and that nothing which happens to its file costs more than a sentence."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cc.engine.breaker import Breaker
from cc.engine.outcome import Fallback
from cc.errors import Failure
from cc.supervisor import registry
from cc.supervisor.registry import NAME, Registry, read_boot_id
from cc.supervisor.states import ServiceRecord, State
from tests.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[2]
BOOT = "boot-1"
WEB = ServiceRecord(
    "web", "container", "running", State.RUNNING, 4711, 99, BOOT, "abc", 8110, 1.5, 2, "why", 1, "on Flask's server"
)


class Ear:
    """What the registry told."""

    def __init__(self) -> None:
        self.told: list[Failure | Fallback] = []

    def __call__(self, told: Failure | Fallback) -> None:
        self.told.append(told)

    @property
    def codes(self) -> list[str]:
        return [told.code if isinstance(told, Failure) else f"rung {told.rung}" for told in self.told]


def opened(directory: Path, ear: Ear | None = None, clock: FakeClock | None = None, boot_id: str = BOOT) -> Registry:
    return Registry(str(directory), boot_id=boot_id, tell=ear, clock=clock)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_what_one_kept_the_next_one_knows(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.put(WEB)
    first.keep_breaker("Docker", {"state": "open", "failures": 5})
    first.alert("web", "3 restarts did not bring it up")
    second = opened(tmp_path)
    assert second.services() == (WEB,)
    assert second.service("web") == WEB
    assert second.service("db") is None
    assert second.breaker("Docker") == {"state": "open", "failures": 5}
    assert second.breaker("ClickHouse") is None
    assert [(told.service, told.reason) for told in second.alerts()] == [("web", "3 restarts did not bring it up")]
    assert first.fallbacks == second.fallbacks == ()
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


def test_the_boot_id_is_the_same_throughout_a_boot() -> None:
    assert read_boot_id() == read_boot_id() != ""


def test_two_processes_see_what_the_other_one_wrote_and_neither_undoes_it(tmp_path: Path) -> None:
    supervisor, command = opened(tmp_path), opened(tmp_path)
    supervisor.put(WEB)
    breaker = Breaker("Docker", boot_id=BOOT)
    for _ in range(5):
        breaker.failed(breaker.admit(1.0), 1.0, "no answer")
    command.keep_breaker("Docker", breaker.as_dict())
    assert command.services() == (WEB,)
    supervisor.change("web", restarts=9)
    for one in (supervisor, command, opened(tmp_path)):
        assert one.breaker("Docker") == breaker.as_dict()
        found = one.service("web")
        assert found is not None
        assert found.restarts == 9


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


def junk(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def half(path: Path) -> None:
    Registry(str(path.parent)).put(WEB)
    with path.open("r+b") as file:
        file.truncate(5000)


def middle_overwritten(path: Path) -> None:
    Registry(str(path.parent)).put(WEB)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def newer(path: Path) -> None:
    Registry(str(path.parent)).put(WEB)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")


def without_table(path: Path) -> None:
    Registry(str(path.parent)).put(WEB)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE kept")


def anothers(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (a)")


def a_directory(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def a_dead_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


USELESS: list[tuple[Callable[[Path], object], str]] = [
    (junk, "file is not a database"),
    (half, "malformed"),
    (middle_overwritten, "corrupt|malformed"),
    (newer, "version 2, and this program knows 1"),
    (without_table, "no such table"),
    (anothers, "another program's"),
    (a_directory, "no regular file"),
    (os.mkfifo, "no regular file"),
    (a_socket, "no regular file"),
    (a_dead_link, "a link to nothing"),
]


@pytest.mark.parametrize(("make", "why"), USELESS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_of_no_use_is_set_aside_whole_and_a_new_one_begun(
    tmp_path: Path, ear: Ear, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / NAME)
    inode = (tmp_path / NAME).lstat().st_ino
    kept = opened(tmp_path, ear)
    (told,) = kept.fallbacks
    assert ear.told == [told]
    assert (told.what, told.rung) == ("registry", 1)
    assert re.search(why, told.reason)
    assert f"set aside as {tmp_path / NAME}.aside-1" in told.reason
    assert (tmp_path / f"{NAME}.aside-1").lstat().st_ino == inode
    assert kept.services() == ()
    kept.put(WEB)
    assert opened(tmp_path).services() == (WEB,)


@pytest.mark.parametrize(("make", "why"), USELESS[:6], ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_that_is_spoilt_while_in_use_is_made_again_from_what_is_known(
    tmp_path: Path, ear: Ear, make: Callable[[Path], object], why: str
) -> None:
    kept = opened(tmp_path, ear)
    kept.put(WEB)
    (tmp_path / NAME).unlink()
    make(tmp_path / NAME)
    kept.put(ServiceRecord("db"))
    assert [record.name for record in kept.services()] == ["db", "web"]
    assert [record.name for record in opened(tmp_path).services()] == ["db", "web"]
    assert re.search(why, kept.fallbacks[-1].reason)
    assert kept.trouble is None


def test_only_the_last_few_that_were_set_aside_are_kept(tmp_path: Path) -> None:
    for _ in range(7):
        junk(tmp_path / NAME)
        opened(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [NAME] + [f"{NAME}.aside-{number}" for number in (5, 6, 7)]


@pytest.mark.parametrize("taken_away", ["deleted", "emptied"])
def test_a_file_that_is_taken_away_while_in_use_is_written_anew(tmp_path: Path, ear: Ear, taken_away: str) -> None:
    kept = opened(tmp_path, ear)
    kept.put(WEB)
    if taken_away == "deleted":
        (tmp_path / NAME).unlink()
    else:
        os.truncate(tmp_path / NAME, 0)
    assert kept.services() == (WEB,)
    assert ear.codes == ["rung 1"]
    assert "taken away while in use" in kept.fallbacks[0].reason
    assert opened(tmp_path).services() == (WEB,)


def test_no_descriptor_stays_open_between_two_changes(tmp_path: Path) -> None:
    """SQLite maps the file beside it; who truncates that under an open connection ends the process."""
    kept = opened(tmp_path)
    kept.put(WEB)
    links = {os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name.isdecimal()
             if os.path.lexists(f"/proc/self/fd/{name}")}  # fmt: skip
    assert not [link for link in links if str(tmp_path) in link]
    assert os.listdir(tmp_path) == [NAME]
    with closing(sqlite3.connect(tmp_path / NAME)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def fill(ballast: Path) -> None:
    """Until there is no room left on its disk."""
    with ballast.open("wb", buffering=0) as file:
        while os.statvfs(ballast).f_bavail:
            file.write(b"x" * 4096)


def test_on_a_full_disk_it_works_on_in_memory_says_so_once_and_catches_up(tiny: Path, ear: Ear) -> None:
    clock = FakeClock()
    kept = opened(tiny, ear, clock)
    kept.put(WEB)
    kept.put(ServiceRecord("old"))
    ballast = tiny / "ballast"
    fill(ballast)
    for number in range(50):
        clock.pass_by(registry.RETRY_S)
        kept.change("web", restarts=number)
    kept.remove("old")
    assert ear.codes == ["disk_full"]
    assert kept.trouble is not None
    assert "remembered in memory only" in kept.trouble.message
    found = kept.service("web")
    assert found is not None
    assert found.restarts == 49
    ballast.unlink()
    clock.pass_by(registry.RETRY_S)
    assert kept.service("web") == found
    assert ear.codes == ["disk_full", "rung 0"]
    assert kept.trouble is None
    assert opened(tiny).services() == (found,)


def test_a_disk_that_was_full_from_the_start_costs_a_sentence(tiny: Path, ear: Ear) -> None:
    fill(tiny / "ballast")
    kept = opened(tiny, ear)
    kept.put(WEB)
    assert kept.services() == (WEB,)
    assert ear.codes == ["disk_full"]


def test_on_a_disk_for_reading_only_what_is_there_is_known_and_changes_stay_in_memory(tiny: Path, ear: Ear) -> None:
    opened(tiny).put(WEB)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    kept = opened(tiny, ear)
    assert kept.services() == (WEB,)
    kept.put(ServiceRecord("db"))
    assert [record.name for record in kept.services()] == ["db", "web"]
    assert ear.codes == ["permission_denied"]


def test_without_a_right_to_the_directory_it_works_in_memory() -> None:
    code = (
        "import os, sys, tempfile; from cc.supervisor.registry import Registry; from cc.supervisor.states import *\n"
        "there = tempfile.mkdtemp(); os.chmod(there, 0o555)\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setuid(65534)\n"
        "kept = Registry(there, tell=lambda told: print(told.code))\n"
        "kept.put(ServiceRecord('web')); print(len(kept.services()), kept.trouble.hint)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == "permission_denied"
    assert said.splitlines()[1].startswith("1 give yourself the right")


def test_a_lock_that_somebody_else_holds_is_waited_for_so_long_and_no_longer(tmp_path: Path, ear: Ear) -> None:
    clock = FakeClock()
    kept = opened(tmp_path, ear, clock)
    kept.put(WEB)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for number in range(100):
            kept.change("web", restarts=number)
        assert time.monotonic() - started < 20 * registry.BUSY_S
        assert ear.codes == ["deadline"]
        theirs.execute("ROLLBACK")
    clock.pass_by(registry.RETRY_S)
    kept.keep_breaker("Docker", {})
    found = opened(tmp_path).service("web")
    assert found is not None
    assert found.restarts == 99


def test_closing_writes_what_could_not_be_written_before(tmp_path: Path) -> None:
    kept = opened(tmp_path, clock=FakeClock())
    kept.put(WEB)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        kept.put(ServiceRecord("db"))
        theirs.execute("ROLLBACK")
    kept.close()
    assert [record.name for record in opened(tmp_path).services()] == ["db", "web"]


@pytest.mark.parametrize("value", ["{", "[]", "null", '{"state": "ajar"}', '{"state": ["running"]}'])
def test_a_record_that_makes_no_sense_is_not_there_and_its_neighbours_are(tmp_path: Path, value: str) -> None:
    opened(tmp_path).put(WEB)
    with closing(sqlite3.connect(tmp_path / NAME)) as database, database:
        database.execute("INSERT INTO kept VALUES ('service', 'odd', ?)", (value,))
        database.execute("INSERT INTO kept VALUES ('breaker', 'odd', ?)", (value,))
        database.execute("INSERT INTO kept VALUES ('alert', 'odd', ?)", (value,))
        database.execute("INSERT INTO kept VALUES (1, X'00', NULL)")
    kept = opened(tmp_path)
    assert [record for record in kept.services() if record.name == "web"] == [WEB]
    kept.breaker("odd")
    kept.alerts()
    kept.put(WEB)
    assert kept.trouble is None
