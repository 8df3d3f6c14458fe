"""The watchdog's own thread: real processes on the real clock. It hears of an end at once, and nothing holds it up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cc.clock import Cancel, SystemClock
from cc.shell.identity import start_time
from cc.supervisor.states import Change, Observation, RestartResult, Seen, ServiceChanged, State, Watched
from cc.supervisor.watchdog import CALM_S, Watchdog
from tests.supervisor.watchdog_yard import HANG, SLEEP, Log, Yard


@pytest.fixture
def cancel() -> Iterator[Cancel]:
    made = Cancel()
    yield made
    made.request("the test is over")
    made.close()


@pytest.fixture
def yards() -> Iterator[list[Yard]]:
    made: list[Yard] = []
    yield made
    for yard in made:
        for name in yard.running:
            yard.end(name)


@pytest.fixture
def watch(cancel: Cancel) -> Iterator[Callable[..., tuple[Watchdog, Log]]]:
    dogs: list[Watchdog] = []

    def start(observe: object, restart: object, *names: str, **options: object) -> tuple[Watchdog, Log]:
        clock = SystemClock()
        log = Log(clock.now)
        hear = {"on_change": log.change, "events": log.events.append} | options
        services = [Watched(name) for name in names]
        dogs.append(Watchdog(services, observe, restart, clock=clock, cancel=cancel, **hear))  # type: ignore[arg-type]
        dogs[-1].start()
        return dogs[-1], log

    yield start
    cancel.request("the test is over")
    for dog in dogs:
        assert dog.join(HANG)


def test_the_end_of_a_process_is_heard_at_once_and_not_by_looking(
    yards: list[Yard], watch: Callable[..., tuple[Watchdog, Log]], monkeypatch: pytest.MonkeyPatch
) -> None:
    yards.append(yard := Yard(web=SLEEP))
    _, log = watch(yard.observe, yard.restart, "web")
    log.wait_for(State.RUNNING)
    looks = len(yard.looks)
    monkeypatch.setattr(time, "time", lambda: 1e9)  # and the wall clock jumps
    killed = time.monotonic()
    os.kill(yard.running["web"].pid, signal.SIGKILL)
    noticed = log.wait_for(State.BACKOFF)
    assert noticed - killed < CALM_S / 2
    assert len(yard.looks) == looks + 1
    assert log.changes[-1].watched.reason == "ended by SIGKILL; it does not run"
    back = log.wait_for(State.RUNNING, times=2)
    assert 0.95 < back - noticed < HANG
    assert [type(event) for event in log.events].count(ServiceChanged) == len(log.states)


def test_a_nudge_is_a_look_at_once(watch: Callable[..., tuple[Watchdog, Log]]) -> None:
    seen = [Seen.WELL]
    dog, log = watch(lambda name: Observation(seen[0]), lambda name: RestartResult(ready=True), "web")
    log.wait_for(State.RUNNING)
    seen[0] = Seen.GONE
    asked = time.monotonic()
    dog.nudge("web")
    assert log.wait_for(State.BACKOFF) - asked < CALM_S / 2


def test_a_look_or_a_restart_that_hangs_delays_nobody_else(
    yards: list[Yard], watch: Callable[..., tuple[Watchdog, Log]]
) -> None:
    yards.append(yard := Yard(web=SLEEP))
    release, hanging = threading.Event(), threading.Semaphore(0)

    def observe(name: str) -> Observation:
        if name == "silent":
            hanging.release()
            release.wait(HANG)
        return yard.observe(name) if name == "web" else Observation(Seen.GONE)

    def restart(name: str) -> RestartResult:
        if name == "slow":
            hanging.release()
            release.wait(HANG)
        return yard.restart("web") if name == "web" else RestartResult(ready=True)

    dog, log = watch(observe, restart, "web", "silent", "slow")
    for _ in range(2):
        assert hanging.acquire(timeout=HANG)
    killed = time.monotonic()
    os.kill(yard.running["web"].pid, signal.SIGKILL)
    with log.told:
        assert log.told.wait_for(lambda: ("web", "backoff") in names(log), HANG)
    assert time.monotonic() - killed < CALM_S / 2
    asked = time.monotonic()
    dog.pause()
    dog.arm("silent", ready=True)
    dog.resume()
    dog.watched()
    assert time.monotonic() - asked < 1.0
    release.set()
    with log.told:
        assert log.told.wait_for(lambda: names(log).count(("web", "running")) == 2, HANG)


def names(log: Log) -> list[tuple[str, str]]:
    return [(change.watched.name, change.watched.state.value) for change in log.changes]


def test_a_listener_with_a_bug_does_not_end_the_watch(watch: Callable[..., tuple[Watchdog, Log]]) -> None:
    looks = threading.Semaphore(0)

    def observe(name: str) -> Observation:
        looks.release()
        return Observation(Seen.WELL)

    def buggy(change: Change) -> None:
        raise ZeroDivisionError

    dog, _ = watch(observe, lambda name: RestartResult(ready=True), "web", on_change=buggy)
    for _ in range(3):
        assert looks.acquire(timeout=HANG)
        dog.nudge("web")


def test_a_hundred_deaths_leave_no_descriptor_no_thread_and_no_dead_child(
    watch: Callable[..., tuple[Watchdog, Log]], cancel: Cancel
) -> None:
    pids: list[int] = []

    def start() -> None:
        pids.append(os.posix_spawn("/bin/sleep", list(SLEEP), os.environ))

    def observe(name: str) -> Observation:
        alive = start_time(pids[-1]) is not None
        return Observation(Seen.WELL, pid=pids[-1]) if alive else Observation(Seen.GONE)

    start()
    dog, log = watch(observe, lambda name: RestartResult(ready=True), "web")
    log.wait_for(State.RUNNING)
    counts: list[tuple[int, int]] = []
    for number in range(1, 101):
        os.kill(pids[-1], signal.SIGKILL)
        log.wait_for(State.BACKOFF, times=number)
        start()
        dog.arm("web", ready=False)
        log.wait_for(State.RUNNING, times=number + 1)
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    os.kill(pids[-1], signal.SIGKILL)
    log.wait_for(State.BACKOFF, times=101)
    assert max(counts[10:]) <= max(counts[:10])
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    cancel.request("done")
    assert dog.join(HANG)
