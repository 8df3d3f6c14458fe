"""Breakers that threads, commands and daemons share (LADDERS.md, L12)."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cc import clock as clocks
from cc.engine.breaker import COOLDOWN_S
from cc.errors import ConfigError, Failure, Interrupted
from cc.resources.breakers import FLAG, Breakers
from cc.resources.kept import NAME
from tests.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[2]
BOOT = "boot-1"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def of(directory: Path, clock: FakeClock, boot_id: str = BOOT) -> Breakers:
    """As another process has them."""
    return Breakers(str(directory), clock=clock, boot_id=boot_id)


def call(breakers: Breakers, *, works: bool, typed: bool = False, what: str = "docker") -> str:
    """What becomes of a call: well, the code of its failure, or breaker_open without one."""
    try:
        with breakers.guarding(what, typed=typed):
            if not works:
                raise Failure("no answer", code="daemon_down")
    except Failure as failure:
        return failure.code
    return "well"


def opened(breakers: Breakers) -> Breakers:
    assert [call(breakers, works=False) for _ in range(6)] == ["daemon_down"] * 5 + ["breaker_open"]
    return breakers


def states(breakers: Breakers) -> dict[str, str]:
    return {told["what"]: told["state"] for told in breakers.troubled()}


@pytest.fixture(params=["kept", "in memory"])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Breakers:
    return of(tmp_path, clock) if request.param == "kept" else Breakers(clock=clock, boot_id=BOOT)


def test_it_opens_waits_probes_and_closes(either: Breakers, clock: FakeClock) -> None:
    assert call(either, works=True) == "well"
    opened(either)
    assert either.troubled() == ({"what": "docker", "state": "open", "reason": "no answer"},)
    assert call(either, works=True, what="another") == "well"
    clock.pass_by(COOLDOWN_S)
    assert call(either, works=False) == "daemon_down"
    assert call(either, works=True) == "breaker_open"
    assert call(either, works=True, typed=True) == "well"
    assert either.troubled() == ()
    assert call(either, works=True) == "well"


@pytest.mark.parametrize(
    ("raised", "opens"),
    [
        (Failure("refused", code="connection_refused"), True),
        (Failure("not counted", code="bad_config"), False),
        (Interrupted("cancelled"), False),
        (ConfigError("a mistake"), False),
        (KeyboardInterrupt(), False),
        (ZeroDivisionError(), False),
    ],
)
def test_a_guarded_call_counts_failures_of_the_thing_and_nothing_else(
    either: Breakers, raised: BaseException, opens: bool
) -> None:
    for _ in range(5):
        with (
            pytest.raises(type(raised)),
            either.guarding("docker", counts=lambda failure: failure.code != "bad_config"),
        ):
            raise raised
    assert bool(either.troubled()) is opens


def test_a_call_that_tells_nothing_is_refused_like_others_and_decides_nothing(
    either: Breakers, clock: FakeClock
) -> None:
    opened(either)
    with pytest.raises(Failure, match="Service unavailable: docker, next try in 60 s"):
        either.guarding("docker", tells=False).__enter__()
    clock.pass_by(COOLDOWN_S)
    with either.guarding("docker", tells=False):
        pass
    with pytest.raises(Failure, match="late"), either.guarding("docker", tells=False):
        raise Failure("late", code="deadline")
    assert call(either, works=True) == "well"


def test_whoever_saw_it_at_work_closes_it_for_all(tmp_path: Path, clock: FakeClock) -> None:
    dashboard, watchdog = opened(of(tmp_path, clock)), of(tmp_path, clock)
    watchdog.mended("docker")
    watchdog.mended("what never failed")
    assert call(dashboard, works=True) == "well"
    assert dashboard.troubled() == ()


def test_what_was_under_way_when_it_was_mended_does_not_open_it_again(tmp_path: Path, clock: FakeClock) -> None:
    ones = [of(tmp_path, clock) for _ in range(6)]
    begun = [one.guarding("docker") for one in ones]
    for guard in begun:
        guard.__enter__()
    clock.pass_by(1.0)
    opened(of(tmp_path, clock))
    of(tmp_path, clock).mended("docker")
    clock.pass_by(1.0)
    late = Failure("late", code="daemon_hung")
    for guard in begun:
        assert not guard.__exit__(Failure, late, None)
    assert states(ones[0]) == {}


# --- from one command to the next


def test_failures_add_up_over_commands_and_it_stays_open_from_one_to_the_next(tmp_path: Path, clock: FakeClock) -> None:
    assert [call(of(tmp_path, clock), works=False) for _ in range(5)] == ["daemon_down"] * 5
    assert call(of(tmp_path, clock), works=True) == "breaker_open"
    clock.pass_by(COOLDOWN_S)
    assert call(of(tmp_path, clock), works=True) == "well"
    assert call(of(tmp_path, clock), works=True) == "well"


def test_after_a_restart_of_the_machine_the_next_caller_is_the_probe(tmp_path: Path, clock: FakeClock) -> None:
    opened(of(tmp_path, clock))
    assert call(of(tmp_path, FakeClock(3.0), "boot-2"), works=True) == "well"


def test_a_wall_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breakers = opened(Breakers(str(tmp_path)))
    for hours in (-24, 24):
        monkeypatch.setattr(time, "time", lambda: 1e9 + hours * 3600.0)  # noqa: B023 - read at once
        monkeypatch.setattr(clocks, "wall_time", time.time)
        with pytest.raises(Failure, match=r"next try in (60|59|58) s"), breakers.guarding("docker"):
            raise AssertionError("let in")


def test_a_probe_whose_process_died_is_nobodys(tmp_path: Path, clock: FakeClock) -> None:
    opened(of(tmp_path, clock))
    clock.pass_by(COOLDOWN_S)
    probe = of(tmp_path, clock).guarding("docker")
    probe.__enter__()
    assert call(of(tmp_path, clock), works=True) == "breaker_open"
    with closing(sqlite3.connect(tmp_path / NAME)) as database, database:
        (text,) = database.execute("SELECT value FROM kept WHERE kind = 'breaker'").fetchone()
        kept = json.loads(text)
        assert kept["by"][0] == os.getpid()
        kept["by"] = [os.getpid(), kept["by"][1] + 1]  # that pid has another process now
        database.execute("UPDATE kept SET value = ? WHERE kind = 'breaker'", (json.dumps(kept),))
    assert call(of(tmp_path, clock), works=True) == "well"


# --- what it costs


def test_while_all_is_well_nothing_is_opened_and_sqlite_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from cc.resources.breakers import Breakers\n"
        "breakers = Breakers(sys.argv[1])\n"
        "for _ in range(9):\n"
        "    with breakers.guarding('docker', typed=True): breakers.mended('docker')\n"
        "print(breakers.troubled(), 'sqlite3' in sys.modules)\n"
    )
    asked = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (said.strip(), os.listdir(tmp_path)) == ("() False", [])


def test_once_all_is_well_again_nothing_is_opened_any_more(tmp_path: Path, clock: FakeClock) -> None:
    breakers = opened(of(tmp_path, clock))
    assert (tmp_path / FLAG).exists()
    assert call(breakers, works=True, typed=True) == "well"
    assert not (tmp_path / FLAG).exists()
    (tmp_path / NAME).unlink()
    assert call(breakers, works=True) == "well"
    assert not (tmp_path / NAME).exists()


# --- files that are of no use


def junk(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def odd(path: Path) -> None:
    opened(Breakers(str(path.parent)))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("""UPDATE kept SET value = '{"state": ["open"], "by": {}, "probe_since": "x"}'""")


@pytest.mark.parametrize("spoil", [junk, odd, Path.mkdir, os.mkfifo])
def test_a_file_of_no_use_is_a_breaker_that_is_closed_and_works(tmp_path: Path, clock: FakeClock, spoil: Any) -> None:
    spoil(tmp_path / NAME)
    (tmp_path / FLAG).touch()
    breakers = of(tmp_path, clock)
    assert call(breakers, works=True) == "well"
    opened(breakers)
    assert call(of(tmp_path, clock), works=True) == "breaker_open"


def test_a_flag_that_was_deleted_costs_calls_and_comes_back(tmp_path: Path, clock: FakeClock) -> None:
    opened(of(tmp_path, clock))
    (tmp_path / FLAG).unlink()
    assert [call(of(tmp_path, clock), works=False) for _ in range(2)] == ["daemon_down", "breaker_open"]


def test_a_flag_without_a_file_is_taken_down(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / FLAG).touch()
    assert call(of(tmp_path, clock), works=True) == "well"
    assert not (tmp_path / FLAG).exists()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system for reading only."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_on_a_disk_for_reading_only_each_process_has_its_own(read_only: Path, clock: FakeClock) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
    first, second = opened(of(read_only, clock)), of(read_only, clock)
    assert call(second, works=True) == "well"
    assert states(first) == {"docker": "open"}
    clock.pass_by(COOLDOWN_S)
    assert call(first, works=True) == "well"
    assert states(first) == {}


def test_where_there_is_no_directory_it_works_in_memory_and_makes_none(tmp_path: Path, clock: FakeClock) -> None:
    opened(of(tmp_path / "none", clock))
    assert os.listdir(tmp_path) == []


# --- many at once


class Crowd:
    """A hundred callers at once, over several processes' worth of breakers, all let in before one of them ends."""

    def __init__(self, *breakers: Breakers) -> None:
        self.breakers = breakers
        self.codes: list[str] = []

    def come(self, *, works: bool, typed: bool = False) -> list[str]:
        self.codes = []
        start = threading.Barrier(100)
        threads = [threading.Thread(target=self._call, args=(n, start, works, typed)) for n in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(self.codes)

    def _call(self, number: int, start: threading.Barrier, works: bool, typed: bool) -> None:
        start.wait()
        self.codes.append(call(self.breakers[number % len(self.breakers)], works=works, typed=typed))


def test_a_hundred_threads_open_it_once_send_one_probe_and_close_it(tmp_path: Path, clock: FakeClock) -> None:
    crowd = Crowd(*(of(tmp_path, clock) for _ in range(3)))
    crowd.come(works=False)
    assert states(of(tmp_path, clock)) == {"docker": "open"}
    assert crowd.come(works=True) == ["breaker_open"] * 100
    clock.pass_by(COOLDOWN_S)
    codes = crowd.come(works=False)
    assert codes == ["breaker_open"] * 99 + ["daemon_down"]
    assert crowd.come(works=True, typed=True) == ["well"] * 100
    assert states(of(tmp_path, clock)) == {}


def test_processes_open_it_once_send_one_probe_and_close_it_once(tmp_path: Path) -> None:
    """Real ones, that write down each change they made; the cooldown is four seconds here.

    The probe ends when all others have been refused, however slow the machine is.
    """
    code = """
import json, os, sys, time, threading
from cc.engine.breaker import Breaker
from cc.errors import Failure
from cc.resources.breakers import Breakers
from cc.resources.kept import Kept
Breaker.__init__.__kwdefaults__["cooldown_s"] = 4.0
changes = []
revise = Kept.revise
def noting(self, change):
    def noted(rows):
        new = change(rows)
        before, after = (each.get(("breaker", "docker")) or '{"state": "closed"}' for each in (rows, {**rows, **new}))
        state = json.loads(after)["state"]
        if state != json.loads(before)["state"]: changes.append(state)
        return new
    revise(self, noted)
Kept.revise = noting
breakers = Breakers(sys.argv[1])
def call(works):
    try:
        with breakers.guarding("docker"):
            while works and not os.path.exists(sys.argv[2]): time.sleep(0.01)
            if not works: raise Failure("no answer", code="daemon_down")
    except Failure as failure:
        with open(sys.argv[3], "a") as refused: refused.write("x" * works)
        return failure.code
    return "well"
def crowd(works):
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(call(works))) for _ in range(25)]
    for each in threads: each.start()
    for each in threads: each.join()
    return codes
sys.stdin.readline(); print(*crowd(False), flush=True)
sys.stdin.readline(); print(*crowd(True), flush=True)
sys.stdin.readline(); print(*crowd(True), flush=True)
print(*changes)
"""
    ended, refused = tmp_path / "ended", tmp_path / "refused"
    asked = [sys.executable, "-c", code, str(tmp_path), str(ended), str(refused)]
    processes = [
        subprocess.Popen(asked, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]

    def go() -> None:
        for one in processes:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()

    def told() -> list[str]:
        return [word for one in processes if one.stdout is not None for word in one.stdout.readline().split()]

    go()
    assert set(told()) <= {"daemon_down", "breaker_open"}
    time.sleep(4.1)
    go()
    end = time.monotonic() + 30
    while refused.stat().st_size < 99:
        assert time.monotonic() < end, "99 refusals: not within 30 s"
        time.sleep(0.01)
    ended.touch()
    assert sorted(told()) == ["breaker_open"] * 99 + ["well"]
    go()
    assert told() == ["well"] * 100
    changes = [word for one in processes if one.stdout is not None for word in one.stdout.read().split()]
    assert sorted(changes) == ["closed", "half_open", "open"]
    assert [one.wait(20) for one in processes] == [0] * 4
