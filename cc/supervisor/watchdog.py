"""The thread that sees to it that what has ended is started again (LADDERS.md, L11); states.py says when.

    look:  every 1 s while something is wrong with the service, every 5 s otherwise, at once when its process ended
           (pidfd; kqueue elsewhere) or somebody says so (`nudge`)
    act:   one restart at a time, after 1, 5, 15 s, by a callable that takes the operation lock and runs the ladder

A look may hang until its deadline and a restart takes as long as its ladder: both run in threads of their own, so that
the death of one service is seen while Docker keeps silent about another. An answer that was asked for before the last
thing happened to its service is dropped: nothing is judged from half-done states.

May import what services may. Knows nothing of what a service is made of: it is given how to look and how to restart.
"""

from __future__ import annotations

import math
import os
import queue
import select
import selectors
import sys
import threading
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from cc.clock import LONGEST_POLL_S, Cancel, Clock
from cc.engine.events import Listener
from cc.errors import CcError
from cc.services.health import Health
from cc.shell.failures import signal_name
from cc.supervisor import states
from cc.supervisor.states import Change, Decision, Observation, RestartResult, Seen, State, Watched

CLOSE_S, CALM_S = 1.0, 5.0
ECHO_S, ECHO_PAUSE_S = 1.0, 0.05  # so long the engine may go on telling of a process that has ended
LOOKS_AT_ONCE = 4

By = Callable[[Callable[[], None]], None]
Otherwise = Callable[[Exception], Any]


def observed(health: Health) -> Observation:
    """A rung of L10 as the watchdog sees it. What is paused is there; what exited, or is only created, has no pid."""
    there = health.state == State.RUNNING.value or health.pid is not None
    known = {"healthy": Seen.WELL, "degraded": Seen.DEGRADED, "unhealthy": Seen.UNHEALTHY if there else Seen.GONE}
    seen = known.get(health.health, Seen.UNKNOWN if health.state == State.UNKNOWN.value else Seen.GONE)
    return Observation(seen, health.reason, health.pid)


def _failed(error: Exception) -> RestartResult:
    return RestartResult(ready=False, reason=str(error), code=getattr(error, "code", "internal_error"))


class ProcessExit:
    """Readable once a process has ended: a pidfd, elsewhere a kqueue. Raises OSError where neither can be had."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.close: Callable[[], None]
        if sys.platform == "linux":
            self._descriptor = os.pidfd_open(pid)
            self.close = partial(os.close, self._descriptor)
        else:
            waiting = select.kqueue()
            end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            waiting.control([end], 0)
            self._descriptor, self.close = waiting.fileno(), waiting.close

    def fileno(self) -> int:
        return self._descriptor

    def reap(self) -> str:
        """How it ended, in words, if it was a child of this process; else "". That very one, never waitpid(-1)."""
        if sys.platform == "linux":
            with suppress(OSError):
                told = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
                if told is not None and told.si_code == os.CLD_EXITED:
                    return f"ended with code {told.si_status}"
                return "" if told is None else f"ended by {signal_name(told.si_status)}"
        return ""


class _Crew:
    """A few threads for calls that may hang. Daemons: one that hangs must not keep the process from ending."""

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0

    def call(self, function: Callable[[], None]) -> None:
        self._calls.put(function)
        if self._started < self._size:
            self._started += 1
            threading.Thread(target=self._work, name=f"watchdog-{self._name}-{self._started}", daemon=True).start()

    def _work(self) -> None:
        while (function := self._calls.get()) is not None:
            function()

    def dismiss(self) -> None:
        for _ in range(self._started):
            self._calls.put(None)


@dataclass(slots=True, eq=False)
class _Entry:
    """A watched service in the loop. An answer counts only for the entry that asked, and only in the same `turn`."""

    watched: Watched
    turn: int = 0  # grows with whatever makes a look that is under way worthless
    next_look: float = 0.0
    looking: bool = False
    unseen: bool = False  # not looked at since an operation ran: no restart begins before
    exit: ProcessExit | None = None
    ended: str = ""  # how the last process ended, if we could know
    ended_pid: int | None = None
    ended_at: float = 0.0


class Watchdog:
    """Watches services in a thread of its own, from `start` until `cancel`.

    `observe(name)` looks, within a deadline of its own. `restart(name)` takes the operation lock, then asks
    `wanted(name)`, and runs the ladder of the start; both may raise CcError. `on_change` and `events` are called by
    the watchdog's thread alone, with no lock held. All methods may be called from any thread; none waits for a service.
    `call` runs a function elsewhere; tests run it on the spot, and drive `turn` themselves.
    """

    def __init__(
        self,
        services: Iterable[Watched],
        observe: Callable[[str], Observation],
        restart: Callable[[str], RestartResult],
        *,
        clock: Clock,
        cancel: Cancel,
        on_change: Callable[[Change], None] = lambda change: None,
        events: Listener = lambda event: None,
        call: By | None = None,
    ) -> None:
        self._observe, self._restart, self._clock, self._cancel = observe, restart, clock, cancel
        self._on_change, self._events = on_change, events
        self._crews = (_Crew(LOOKS_AT_ONCE, "look"), _Crew(1, "restart"))
        self._look_by = call or self._crews[0].call
        self._restart_by = call or self._crews[1].call
        self._lock = threading.RLock()
        self._answers: deque[Callable[[], None]] = deque()
        self._outbox: deque[Callable[[], None]] = deque()
        self._agenda: list[tuple[float, int, _Entry]] = []  # a heap; what is out of date in it is passed over
        self._number = count()
        self._waiting: OrderedDict[_Entry, None] = OrderedDict()  # restarts that are due, a set in order
        self._restarting: _Entry | None = None
        self._paused = 0
        self._ends = selectors.DefaultSelector()  # ProcessExits: poll(2) costs by how many are awaited, this does not
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._closed = False
        self._poller = select.poll()
        self._poller.register(self._woken, select.POLLIN)
        self._poller.register(cancel.fileno(), select.POLLIN)
        self._poller.register(self._ends.fileno(), select.POLLIN)
        self._entries = {each.name: _Entry(states.adopted(each)) for each in services}
        for entry in self._entries.values():
            self._look_at(entry, clock.now())
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for its thread after `cancel`, so many seconds at most. Whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def watched(self) -> tuple[Watched, ...]:
        """What is known now, of every service."""
        with self._lock:
            return tuple(entry.watched for entry in self._entries.values())

    def wanted(self, name: str) -> bool:
        """Whether the restart that runs is still wanted: an operation may have come between it and the lock."""
        with self._lock:
            return self._restarting is not None and self._restarting is self._entries.get(name)

    def arm(self, name: str, *, ready: bool, reason: str = "") -> None:
        """Watch it, from a clean slate (a manual `up`). `ready`: it was seen ready just now."""
        with self._lock:
            old = self._entries.get(name) or _Entry(Watched(name))
            after = states.armed(old.watched, ready=ready, reason=reason)
            self._entries[name] = _Entry(after, exit=old.exit)
            self._tell(old.watched, Decision(after))
            self._look_now(self._entries[name])

    def forget(self, name: str) -> None:
        """Watch it no longer: it is being stopped on purpose."""
        with self._lock:
            self._entries.pop(name, None)

    def nudge(self, name: str) -> None:
        """Something happened to it: look at once."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                entry.turn += 1
                self._look_now(entry)

    def pause(self) -> None:
        """Judge nothing and begin no restart until `resume`. To be called before the operation lock is taken."""
        with self._lock:
            self._paused += 1
            for entry in self._entries.values():
                entry.turn += 1
                entry.unseen = True

    def resume(self) -> None:
        """Undo one `pause`; after the last one everything is looked at at once."""
        with self._lock:
            self._paused = max(0, self._paused - 1)
            if not self._paused:
                for entry in self._entries.values():
                    self._look_now(entry)

    def turn(self) -> float:
        """One round: take in what happened, decide, have it done. Returns the seconds until the next is due."""
        with self._lock:
            for descriptor, _ in self._poller.poll(0):
                self._heard(descriptor)
            while self._answers:
                self._answers.popleft()()
            now = self._clock.now()
            while not self._paused and self._agenda and self._agenda[0][0] <= now:
                self._due(heappop(self._agenda)[2], now)
            self._begin_restart()
            until = now + LONGEST_POLL_S if self._paused or not self._agenda else self._agenda[0][0]
            wait = 0.0 if self._answers else max(0.0, until - now)
        while self._outbox:
            self._outbox.popleft()()
        return wait

    def _run(self) -> None:
        while not self._cancel.requested:
            try:
                wait = self.turn()
            except Exception:  # noqa: BLE001 - the outermost edge of this thread: a listener's bug must not end the watch
                traceback.print_exc()  # the daemon's log
                wait = CLOSE_S
            self._poller.poll(math.ceil(min(wait, LONGEST_POLL_S) * 1000))
        self.close()

    def close(self) -> None:
        """Give its descriptors and its idle threads back. Its own thread does, when it ends."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for crew in self._crews:
                    crew.dismiss()
                for each in self._ends.get_map().values():
                    each.data[0].close()
                self._ends.close()
                os.close(self._woken)
                os.close(self._wake)

    def _poke(self) -> None:
        with self._lock, suppress(BlockingIOError):  # full: it will wake all the same
            if not self._closed:
                os.write(self._wake, b"x")

    def _look_now(self, entry: _Entry) -> None:
        self._look_at(entry, self._clock.now())
        self._poke()

    def _look_at(self, entry: _Entry, when: float) -> None:
        entry.next_look = when
        self._remind(entry, when)

    def _remind(self, entry: _Entry, when: float) -> None:
        heappush(self._agenda, (when, next(self._number), entry))

    def _due(self, entry: _Entry, now: float) -> None:
        """Its time has come, for a look or a restart; or had been put off since."""
        watched = entry.watched
        if self._entries.get(watched.name) is not entry:
            return
        if watched.due is not None and watched.due <= now and not entry.unseen:
            self._waiting.setdefault(entry)
        idle = not entry.looking and watched.state not in (State.STARTING, State.STOPPED)
        if idle and entry.next_look <= now:
            entry.looking = True
            call = partial(self._observe, watched.name)
            then = partial(self._looked, entry, entry.turn)
            self._apart(self._look_by, call, lambda error: Observation(Seen.UNKNOWN, str(error)), then)

    def _apart(self, by: By, call: Callable[[], Any], otherwise: Otherwise, then: Callable[[Any], None]) -> None:
        """Have a crew call it, and the loop take in what came of it, or `otherwise` if it raised."""

        def work() -> None:
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - the outermost edge of the crews: a bug must not end the watch
                if not isinstance(error, CcError):
                    traceback.print_exc()  # the daemon's log
                answer = otherwise(error)
            self._answers.append(partial(then, answer))
            self._poke()

        by(work)

    def _looked(self, entry: _Entry, turn: int, seen: Observation) -> None:
        entry.looking = False
        now = self._clock.now()
        if self._entries.get(entry.watched.name) is not entry or self._paused:
            return
        if turn != entry.turn:
            self._look_at(entry, now)
        elif seen.seen is not Seen.GONE and seen.pid == entry.ended_pid is not None and now - entry.ended_at < ECHO_S:
            self._look_at(entry, now + ECHO_PAUSE_S)  # Docker needs a moment to notice what the kernel has told us
        else:
            if seen.seen is Seen.GONE and entry.ended:
                seen = replace(seen, reason="; ".join(filter(None, (entry.ended, seen.reason))))
            entry.ended = entry.ended if seen.seen is Seen.GONE else ""
            entry.unseen = False
            self._settle(entry, states.decide(entry.watched, seen, now))
            self._await_exit(entry, seen.pid)
            self._look_at(entry, now + (CLOSE_S if entry.watched.wrong else CALM_S))
            if entry.watched.due is not None:
                self._remind(entry, entry.watched.due)

    def _begin_restart(self) -> None:
        while self._waiting and self._restarting is None and not self._paused:
            entry, _ = self._waiting.popitem(last=False)
            if self._entries.get(entry.watched.name) is not entry or entry.unseen:
                continue
            decision = states.decide(entry.watched, None, self._clock.now())
            self._settle(entry, decision)
            if decision.act is not states.Act.NOTHING:
                entry.turn += 1
                self._restarting = entry
                call = partial(self._restart, entry.watched.name)
                self._apart(self._restart_by, call, _failed, partial(self._restart_ended, entry))

    def _restart_ended(self, entry: _Entry, result: RestartResult) -> None:
        self._restarting = None
        if self._entries.get(entry.watched.name) is entry:
            now = self._clock.now()
            self._settle(entry, states.restarted(entry.watched, result, now), result)
            entry.turn += 1
            entry.ended = ""
            self._look_at(entry, now)

    def _settle(self, entry: _Entry, decision: Decision, result: RestartResult | None = None) -> None:
        before, after = entry.watched, decision.watched
        entry.watched = after
        if after.due is not None and after.due != before.due:
            self._remind(entry, after.due)
        told = (before.state, before.reason, before.tries) != (after.state, after.reason, after.tries)
        if told or result or decision.alert:
            self._tell(before, decision, result)

    def _tell(self, before: Watched, decision: Decision, result: RestartResult | None = None) -> None:
        self._outbox.append(partial(self._on_change, Change(before.state, decision.watched, result, decision.alert)))
        for event in states.told_of(before, decision, result, self._clock.now()):
            self._outbox.append(partial(self._events, event))

    def _await_exit(self, entry: _Entry, pid: int | None) -> None:
        """Have the poll wake us when that process ends."""
        if pid is None or (entry.exit is not None and entry.exit.pid == pid):
            return
        if entry.exit is not None:
            entry.exit.reap()
            self._let_go(entry.exit)
        try:
            entry.exit = ProcessExit(pid)
        except (OSError, AttributeError):
            entry.exit = None  # ended already, or it is not to be had here: then looking has to do
        else:
            self._ends.register(entry.exit.fileno(), selectors.EVENT_READ, (entry.exit, entry.watched.name))

    def _let_go(self, told: ProcessExit) -> None:
        self._ends.unregister(told.fileno())
        told.close()

    def _heard(self, descriptor: int) -> None:
        if descriptor == self._woken:
            os.read(self._woken, 65536)
        for ready, _ in self._ends.select(0) if descriptor == self._ends.fileno() else ():
            told, name = ready.data
            how, pid = told.reap(), told.pid
            self._let_go(told)
            if (entry := self._entries.get(name)) is not None and entry.exit is told:
                entry.exit, entry.ended, entry.ended_pid, entry.ended_at = None, how, pid, self._clock.now()
                entry.turn += 1
                self._look_at(entry, entry.ended_at)
