"""The watchdog's own thread on a clock that runs thirty times as fast: its waits of a minute, with real processes."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cc.clock import Cancel, SystemClock
from cc.engine.step import Context
from cc.resources.process_stop import OWNER, PROCESS, find_ours, mark, stop_group
from cc.resources.process_table import Identity
from cc.shell import Command, SystemShell
from cc.shell.identity import is_alive
from cc.supervisor.states import Alert, Observation, RestartResult, Seen, State, Watched
from cc.supervisor.watchdog import Watchdog
from tests.supervisor.watchdog_yard import HANG, SLEEP, Log, Yard

FASTER = 30.0


class HurriedClock:
    """Seconds of its own, thirty in a real one."""

    def now(self) -> float:
        return time.monotonic() * FASTER

    def wait(self, seconds: float, cancel: Cancel | None = None) -> bool:
        return SystemClock().wait(seconds / FASTER, cancel)


class HurriedPoll:
    """The watchdog's own poll, which waits for so long on that clock."""

    def __init__(self, real: Any) -> None:
        self.register, self.unregister, self._poll = real.register, real.unregister, real.poll

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        return list(self._poll(math.ceil(milliseconds / FASTER)))


Watch = Callable[..., tuple[Watchdog, Log]]


@pytest.fixture
def watch() -> Iterator[Watch]:
    cancel, dogs = Cancel(), []

    def start(observe: object, restart: object, *names: str) -> tuple[Watchdog, Log]:
        clock = HurriedClock()
        log = Log(clock.now)
        dog = Watchdog(
            [Watched(name) for name in names], observe, restart, clock=clock, cancel=cancel,  # type: ignore[arg-type]
            on_change=log.change, events=log.events.append,
        )  # fmt: skip
        dog._poller = HurriedPoll(dog._poller)  # type: ignore[assignment]
        dogs.append(dog)
        dog.start()
        return dog, log

    yield start
    cancel.request("the test is over")
    for dog in dogs:
        assert dog.join(HANG)
    cancel.close()


@pytest.fixture
def yards() -> Iterator[list[Yard]]:
    made: list[Yard] = []
    yield made
    for yard in made:
        for name in yard.running:
            yard.end(name)


def watched(dog: Watchdog) -> Watched:
    (only,) = dog.watched()
    return only


def alerts(log: Log) -> list[str]:
    return [event.reason for event in log.events if isinstance(event, Alert)]


def test_what_exits_at_once_is_restarted_exactly_three_times_after_1_5_and_15_s(
    yards: list[Yard], watch: Watch
) -> None:
    yards.append(yard := Yard(web=("sh", "-c", "exit 3")))
    yard.running["web"].wait(HANG)
    begun: list[float] = []
    ended = [HurriedClock().now()]

    def restart(name: str) -> RestartResult:
        begun.append(HurriedClock().now())
        result = yard.restart(name)
        ended.append(HurriedClock().now())
        return result

    dog, log = watch(yard.observe, restart, "web")
    log.wait_for(State.FATAL)
    waits = [start - since for start, since in zip(begun, ended, strict=False)]
    assert [wait >= least for wait, least in zip(waits, (1.0, 5.0, 15.0), strict=True)] == [True] * 3, waits
    assert alerts(log) == ["3 restarts did not bring it up: it ended at once"]
    HurriedClock().wait(60.0)  # a minute later it has still been left alone
    assert len(begun) == 3
    assert watched(dog).state is State.FATAL
    yard.argv["web"] = SLEEP
    dog.arm("web", ready=False)
    dog.nudge("web")
    log.wait_for(State.RUNNING)
    assert len(begun) == 4


def test_what_crashes_every_11_s_is_restarted_ten_times_in_ten_minutes_and_then_given_up(
    yards: list[Yard], watch: Watch
) -> None:
    yards.append(yard := Yard(web=("sleep", f"{11.0 / FASTER}")))
    begun: list[float] = []

    def restart(name: str) -> RestartResult:
        begun.append(HurriedClock().now())
        return yard.restart(name)

    _, log = watch(yard.observe, restart, "web")
    log.wait_for(State.FATAL)
    (alert,) = alerts(log)
    assert alert.startswith("10 restarts in ten minutes did not keep it up: ended with code 0")
    assert sum(change.restart is not None for change in log.changes) == 10
    assert len(begun) == 10
    assert all(after - before >= 11.0 + 1.0 for before, after in pairwise(begun)), begun


# -- processes that are hard to end, started and ended as the stack's own are

OURS = "test:hurried"
FORKS_AWAY = """
import os, time
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
time.sleep(1000)
"""
IGNORES_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
FLOODS = "import os\nfor _ in range(100): os.write(1, b'x' * 1_000_000)"


class Kennel:
    """One service of real Python code, with our marks; every one that was ever started is remembered."""

    def __init__(self, directory: Path, code: str) -> None:
        self._shell, self._code, self._log = SystemShell(), code, str(directory / "web.log")
        self.context = Context(clock=SystemClock(), cancel=Cancel())
        self.started: list[Identity] = []
        self.answers = True
        self.start()

    def start(self) -> None:
        environ = {"PATH": os.environ["PATH"], OWNER: OURS, PROCESS: f"{OURS}/web"}
        child = self._shell.spawn(Command((sys.executable, "-c", self._code), env=environ), log=self._log)
        self.started.append(Identity(child.pid, child.start_time))
        self.child = child

    def observe(self, name: str) -> Observation:
        last = self.started[-1]
        if not is_alive(last.pid, last.start_time):
            return Observation(Seen.GONE, "it does not run")
        return Observation(Seen.WELL if self.answers else Seen.UNHEALTHY, "", last.pid)

    def restart(self, name: str) -> RestartResult:
        self.end()
        self.start()
        self.answers = True
        for _ in range(50):  # what cannot start ends within half a second
            if not self.child.alive():
                self.child.poll()
                return RestartResult(ready=False, reason="it ended at once", code="unhealthy")
            time.sleep(0.01)
        return RestartResult(ready=True)

    def end(self) -> None:
        stop_group(self.started[-1], grace=0.3, context=self.context, marked=mark(OURS, "web"))
        self.child.poll()

    def alive(self) -> list[int]:
        return [each.pid for each in find_ours(OURS, "web")]


@pytest.fixture
def kennel(tmp_path: Path) -> Iterator[Callable[[str], Kennel]]:
    made: list[Kennel] = []

    def make(code: str) -> Kennel:
        made.append(Kennel(tmp_path, code))
        return made[-1]

    yield make
    for each in made:
        each.end()
        assert each.alive() == []
        each.context.cancel.close()
        (tmp_path / "web.log").unlink()  # pytest keeps the last directories


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_a_child_that_forks_away_is_given_up_and_leaves_no_generation_behind(
    kennel: Callable[[str], Kennel], watch: Watch
) -> None:
    service = kennel(FORKS_AWAY)
    _, log = watch(service.observe, service.restart, "web")
    log.wait_for(State.FATAL)
    until(lambda: len(service.alive()) <= 1, "one process, of the last generation")
    assert len(service.started) == 4
    assert alerts(log) == ["3 restarts did not bring it up: it ended at once"]
    assert not {each.pid for each in service.started} & set(service.alive())


@pytest.mark.parametrize("also_stopped", [False, True], ids=["ignores TERM", "and is stopped by a signal"])
def test_what_hangs_and_cannot_be_asked_to_end_is_killed_and_started_again(
    kennel: Callable[[str], Kennel], watch: Watch, also_stopped: bool
) -> None:
    service = kennel(IGNORES_TERM)
    _, log = watch(service.observe, service.restart, "web")
    log.wait_for(State.RUNNING)
    until(lambda: ignores_term(service.started[-1].pid), "TERM to be ignored")
    if also_stopped:
        os.kill(service.started[-1].pid, signal.SIGSTOP)
    service.answers = False
    log.wait_for(State.RUNNING, times=2)
    first, second = service.started
    assert not is_alive(first.pid, first.start_time)
    assert service.alive() == [second.pid]
    assert "unhealthy 2 times in a row" in " ".join(change.watched.reason for change in log.changes)


def ignores_term(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn")]
    return bool(mask >> (signal.SIGTERM - 1) & 1)


def test_a_child_that_writes_a_hundred_megabytes_and_ends_is_restarted_and_its_neighbour_stays_watched(
    kennel: Callable[[str], Kennel], yards: list[Yard], watch: Watch, tmp_path: Path
) -> None:
    yards.append(yard := Yard(calm=SLEEP))
    service = kennel(FLOODS)

    def observe(name: str) -> Observation:
        return yard.observe(name) if name == "calm" else service.observe(name)

    def restart(name: str) -> RestartResult:
        return yard.restart(name) if name == "calm" else service.restart(name)

    dog, log = watch(observe, restart, "web", "calm")
    before = resident_kb()
    until(lambda: (tmp_path / "web.log").stat().st_size >= 200_000_000, "two floods")
    yard.running["calm"].kill()
    until(
        lambda: ("calm", "backoff") in [(each.watched.name, each.watched.state.value) for each in log.changes], "seen"
    )
    until(lambda: {each.name: each.state for each in dog.watched()}["calm"] is State.RUNNING, "calm runs again")
    assert resident_kb() - before < 30_000


def resident_kb() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])
