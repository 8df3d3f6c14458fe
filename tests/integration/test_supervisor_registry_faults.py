"""The daemon's registry taken away, spoilt, made read-only, out of room: it says so once and goes on watching."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.box import Box, eventually, supervisors
from tests.integration.test_supervisor import healthy

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and "CI" not in os.environ, reason="needs root, which CI has: it mounts"
)


def kept(box: Box) -> dict[str, str]:
    """The state of each service as it is on the disk; {} for a file of no use."""
    try:
        with closing(sqlite3.connect(f"file:{box.state / 'registry.db'}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name, value FROM kept WHERE kind = 'service'").fetchall()
    except sqlite3.Error:
        return {}
    return {name: json.loads(text)["state"] for name, text in rows}


def restarts(box: Box) -> int:
    """As the file has it, whoever may be asked."""
    try:
        with closing(sqlite3.connect(f"file:{box.state / 'registry.db'}?mode=ro", uri=True)) as database:
            (row,) = database.execute("SELECT value FROM kept WHERE kind = 'service' AND name = 'dashboard'").fetchall()
    except (sqlite3.Error, ValueError):
        return -1
    return int(json.loads(row[0])["restarts"])


def killed_and_healed(box: Box) -> None:
    """The watchdog does its work, and the daemon answers, whatever became of its file."""
    before = healthy(box, "dashboard")
    daemon = supervisors(box)
    os.kill(before["pid"], signal.SIGKILL)
    after = healthy(box, "dashboard", other_than=before["pid"])
    assert after["port"] == before["port"]
    told = box.ask("status")
    assert (told.code, [told.json["supervisor"]["pid"]], supervisors(box)) == (0, daemon, daemon)
    eventually(lambda: box.service("dashboard")["restarts"] == 1, what="the restart to be counted")


def said(box: Box) -> str:
    """All that was said of the registry: in the daemon's log, and in the journal."""
    lines = (box.state / "logs" / "supervisor.log").read_text().splitlines()
    notes = [line for line in (box.state / "journal.jsonl").read_text().splitlines() if '"registry"' in line]
    return "\n".join([line for line in lines if "registry:" in line] + notes)


def deleted(path: Path) -> None:
    path.unlink()


def random_bytes(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


@pytest.mark.parametrize(
    ("spoil", "word"), [(deleted, "taken away while in use"), (random_bytes, "set aside")], ids=["deleted", "spoilt"]
)
def test_spoilt_while_the_daemon_runs_it_is_written_anew_and_the_watch_goes_on(
    box: Box, spoil: Callable[[Path], None], word: str
) -> None:
    box.ask("up", "--no-docker")
    spoil(box.state / "registry.db")
    killed_and_healed(box)
    assert word in said(box)
    eventually(lambda: kept(box).get("dashboard") == "running" and restarts(box) == 1, what="the file to be written")
    assert box.ask("down").code == 0
    assert (kept(box).get("dashboard"), box.processes()) == ("stopped", [])


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """The file mounted over itself for reading only: no rights of root's help against that."""
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@needs_root
def test_for_reading_only_it_is_kept_in_memory_and_written_once_it_may_be(box: Box) -> None:
    box.ask("up", "--no-docker")
    with read_only(box.state / "registry.db"):
        killed_and_healed(box)
        assert "remembered in memory only" in said(box)
        assert restarts(box) == 0
    eventually(lambda: box.service("dashboard") and restarts(box) == 1, what="the file to be written again")
    assert "is written again" in said(box)
    assert box.ask("down").code == 0
    assert (kept(box).get("dashboard"), box.processes()) == ("stopped", [])


@contextmanager
def small(directory: Path) -> Iterator[None]:
    """A file system of 2 MiB."""
    directory.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while os.statvfs(ballast).f_bavail:
            file.write(b"x" * 4096)


@needs_root
def test_a_supervisor_that_finds_no_room_is_gone_without_and_the_disk_is_named(box: Box) -> None:
    with small(box.state):
        try:
            assert box.ask("up", "--no-docker", "--no-supervisor").code == 0
            fill(box.state / "ballast")
            up = box.ask("up", "--no-docker")
            full = f"the disk of {box.state}/run is full (mounted at {box.state})"
            assert (up.code, up.step("supervisor")["reason"].endswith(f"; {full}")) == (0, True), up.out
        finally:
            box.run("down")


@needs_root
def test_on_a_full_disk_the_watch_goes_on_and_there_is_a_record_again_once_there_is_room(box: Box) -> None:
    with small(box.state):
        try:
            assert box.ask("up", "--no-docker").code == 0
            fill(box.state / "ballast")
            killed_and_healed(box)
            assert restarts(box) < 1
            (box.state / "ballast").unlink()
            eventually(lambda: box.service("dashboard") and restarts(box) == 1, what="the file to be written again")
            assert "is written again" in said(box)
            down = box.ask("down")
            assert (down.code, box.processes()) == (0, [])
            assert kept(box).get("dashboard") == "stopped"
        finally:
            box.clean()  # while its state is still there


@needs_root
def test_on_a_disk_that_is_full_from_the_start_the_stack_comes_up_and_goes_down(box: Box) -> None:
    with small(box.state):
        try:
            fill(box.state / "ballast")
            up = box.ask("up", "--no-docker")
            assert (up.code, up.step("dashboard")["status"]) == (0, "changed"), up.err
            assert healthy(box, "dashboard")
            down = box.ask("down")
            assert (down.code, box.processes()) == (0, []), down.err
        finally:
            box.clean()
