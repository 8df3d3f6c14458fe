"""What is kept, and that nothing which happens to its file costs more than a sentence."""

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

from cc.engine.outcome import Fallback
from cc.errors import Failure
from cc.resources import kept as module
from cc.resources.kept import NAME, Changes, Kept, Rows
from tests.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[2]
WEB: Changes = {("service", "web"): "1"}
DB: Changes = {("service", "db"): "1"}
OLD: Changes = {("service", "old"): "1"}


class Ear:
    """What was told."""

    def __init__(self) -> None:
        self.told: list[Failure | Fallback] = []

    def __call__(self, told: Failure | Fallback) -> None:
        self.told.append(told)

    @property
    def codes(self) -> list[str]:
        return [told.code if isinstance(told, Failure) else f"rung {told.rung}" for told in self.told]


def opened(directory: Path, ear: Ear | None = None, clock: FakeClock | None = None) -> Kept:
    return Kept(str(directory), tell=ear, clock=clock)


def services(kept: Kept) -> dict[str, str]:
    return dict(kept.read("service"))


def web(value: object) -> Changes:
    return {("service", "web"): str(value)}


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
    first.write({("service", "web"): '"ä"', ("service", "db"): "{}", ("alert", "web"): "[]"})
    second = opened(tmp_path)
    assert list(second.read("service")) == [("db", "{}"), ("web", '"ä"')]
    assert list(second.read("service", "web")) == [("web", '"ä"')]
    assert list(second.read("service", "other")) == list(second.read("other")) == []
    first.write({("service", "web"): None, ("service", "other"): None})
    assert services(second) == {"db": "{}"}
    assert first.fallbacks == second.fallbacks == ()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_two_see_what_the_other_one_wrote_and_neither_undoes_it(tmp_path: Path) -> None:
    supervisor, command = opened(tmp_path), opened(tmp_path)
    supervisor.write(WEB)
    command.write(DB)
    assert services(command) == {"db": "1", "web": "1"}
    supervisor.write(web(9))
    for one in (supervisor, command, opened(tmp_path)):
        assert services(one) == {"db": "1", "web": "9"}


def test_a_revision_sees_what_is_kept_and_nobody_comes_in_between(tmp_path: Path) -> None:
    clock = FakeClock()
    ones = [opened(tmp_path, clock=clock) for _ in range(3)]

    def add(rows: Rows) -> Changes:
        return web(int(rows.get(("service", "web"), "0")) + 1)

    def work(which: Kept) -> None:
        for _ in range(20):
            which.revise(add)

    threads = [threading.Thread(target=work, args=(which,)) for which in ones for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert services(opened(tmp_path)) == {"web": "120"}


def test_a_revision_that_changes_nothing_writes_nothing_and_one_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.write(WEB)
    before = (tmp_path / NAME).stat().st_mtime_ns
    kept.revise(dict)
    assert (tmp_path / NAME).stat().st_mtime_ns == before
    with pytest.raises(ZeroDivisionError):
        kept.revise(lambda rows: web(1 // 0))
    kept.revise(lambda rows: DB)
    assert services(kept) == services(opened(tmp_path)) == {"db": "1", "web": "1"}


def test_a_revision_in_memory_is_one_too_and_reaches_the_disk_later(tmp_path: Path, ear: Ear) -> None:
    clock = FakeClock()
    kept = opened(tmp_path, ear, clock)
    kept.write(web(1))
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            kept.revise(lambda rows: web(int(rows["service", "web"]) + 1))
        assert services(kept) == {"web": "4"}
        theirs.execute("ROLLBACK")
    assert ear.codes == ["deadline"]
    clock.pass_by(module.RETRY_S)
    assert services(kept) == services(opened(tmp_path)) == {"web": "4"}


def test_a_flag_is_there_while_a_row_of_its_kind_is_and_is_put_right_by_the_next_revision(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    kept = Kept(str(tmp_path), flags={"breaker": str(flag)})
    kept.revise(lambda rows: WEB)
    assert not flag.exists()
    kept.revise(lambda rows: {("breaker", "x"): "1"})
    assert flag.exists()
    flag.unlink()
    kept.revise(lambda rows: {})
    assert flag.exists()
    kept.revise(lambda rows: {("breaker", "x"): None})
    assert not flag.exists()
    flag.touch()
    kept.revise(lambda rows: {})
    assert not flag.exists()


def test_what_is_no_text_is_passed_over(tmp_path: Path) -> None:
    opened(tmp_path).write(WEB)
    with closing(sqlite3.connect(tmp_path / NAME)) as database, database:
        database.execute("INSERT INTO kept VALUES (1, X'00', NULL)")
    kept = opened(tmp_path)
    assert services(kept) == {"web": "1"}
    assert kept.trouble is None


def junk(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def half(path: Path) -> None:
    Kept(str(path.parent)).write(WEB)
    with path.open("r+b") as file:
        file.truncate(5000)


def middle_overwritten(path: Path) -> None:
    Kept(str(path.parent)).write(WEB)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def newer(path: Path) -> None:
    Kept(str(path.parent)).write(WEB)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")


def without_table(path: Path) -> None:
    Kept(str(path.parent)).write(WEB)
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
    assert services(kept) == {}
    kept.write(WEB)
    assert services(opened(tmp_path)) == {"web": "1"}


@pytest.mark.parametrize(("make", "why"), USELESS[:6], ids=lambda value: getattr(value, "__name__", ""))
def test_a_file_that_is_spoilt_while_in_use_is_made_again_from_what_is_known(
    tmp_path: Path, ear: Ear, make: Callable[[Path], object], why: str
) -> None:
    kept = opened(tmp_path, ear)
    kept.write(WEB)
    (tmp_path / NAME).unlink()
    make(tmp_path / NAME)
    kept.write(DB)
    assert list(services(kept)) == ["db", "web"]
    assert list(services(opened(tmp_path))) == ["db", "web"]
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
    kept.write(WEB)
    if taken_away == "deleted":
        (tmp_path / NAME).unlink()
    else:
        os.truncate(tmp_path / NAME, 0)
    assert services(kept) == {"web": "1"}
    assert ear.codes == ["rung 1"]
    assert "taken away while in use" in kept.fallbacks[0].reason
    assert services(opened(tmp_path)) == {"web": "1"}


def test_no_descriptor_stays_open_between_two_changes(tmp_path: Path) -> None:
    """SQLite maps the file beside it; who truncates that under an open connection ends the process."""
    kept = opened(tmp_path)
    kept.write(WEB)
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
    kept.write(WEB)
    kept.write(OLD)
    ballast = tiny / "ballast"
    fill(ballast)
    for number in range(50):
        clock.pass_by(module.RETRY_S)
        kept.write(web(number))
    kept.write({("service", "old"): None})
    assert ear.codes == ["disk_full"]
    assert kept.trouble is not None
    assert "remembered in memory only" in kept.trouble.message
    assert services(kept) == {"web": "49"}
    ballast.unlink()
    clock.pass_by(module.RETRY_S)
    assert services(kept) == {"web": "49"}
    assert ear.codes == ["disk_full", "rung 0"]
    assert kept.trouble is None
    assert services(opened(tiny)) == {"web": "49"}


def test_a_disk_that_was_full_from_the_start_costs_a_sentence(tiny: Path, ear: Ear) -> None:
    fill(tiny / "ballast")
    kept = opened(tiny, ear)
    kept.write(WEB)
    assert services(kept) == {"web": "1"}
    assert ear.codes == ["disk_full"]


def test_on_a_disk_for_reading_only_what_is_there_is_known_and_changes_stay_in_memory(tiny: Path, ear: Ear) -> None:
    opened(tiny).write(WEB)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    kept = opened(tiny, ear)
    assert services(kept) == {"web": "1"}
    kept.write(DB)
    assert list(services(kept)) == ["db", "web"]
    assert ear.codes == ["permission_denied"]


def test_without_a_right_to_the_directory_it_works_in_memory() -> None:
    code = (
        "import os, sys, tempfile; from cc.resources.kept import Kept\n"
        "there = tempfile.mkdtemp(); os.chmod(there, 0o555)\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setuid(65534)\n"
        "kept = Kept(there, tell=lambda told: print(told.code))\n"
        "kept.write({('service', 'web'): '1'}); print(len(kept.read('service')), kept.trouble.hint)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == "permission_denied"
    assert said.splitlines()[1].startswith("1 give yourself the right")


def test_a_lock_that_somebody_else_holds_is_waited_for_so_long_and_no_longer(tmp_path: Path, ear: Ear) -> None:
    clock = FakeClock()
    kept = opened(tmp_path, ear, clock)
    kept.write(WEB)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for number in range(100):
            kept.write(web(number))
        assert time.monotonic() - started < 20 * module.BUSY_S
        assert ear.codes == ["deadline"]
        theirs.execute("ROLLBACK")
    clock.pass_by(module.RETRY_S)
    kept.write(DB)
    assert services(opened(tmp_path)) == {"db": "1", "web": "99"}


def test_closing_writes_what_could_not_be_written_before(tmp_path: Path) -> None:
    kept = opened(tmp_path, clock=FakeClock())
    kept.write(WEB)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as theirs:
        theirs.execute("BEGIN IMMEDIATE")
        kept.write(DB)
        theirs.execute("ROLLBACK")
    kept.close()
    assert list(services(opened(tmp_path))) == ["db", "web"]
