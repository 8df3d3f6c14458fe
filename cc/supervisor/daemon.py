"""The supervisor's process: carries out operations, answers, watches, restarts.

    ping      who answers: version, fingerprint of its settings, where its Docker is, pid
    run       an operation (request.py): its events are streamed, its recap is the answer
    status    the services' health now, and what the watchdog made of it
    shutdown  ends the process; the services live on

Started detached by reach.py, in a session of its own, or by systemd or launchd (unit.py). Signal handlers only ask for
the end. If it is killed, the services live on, and the next one finds them by their marks and labels: nothing has to be
handed over.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cc import __version__
from cc.clock import Cancel, SystemClock, wall_time
from cc.engine.events import Event, Note
from cc.engine.outcome import Fallback, Recap, Status
from cc.errors import CcError, Failure, LockHeldError
from cc.resources.docker import Docker
from cc.resources.docker_socket import endpoint
from cc.resources.state import Journal
from cc.services.health import Health, read_all, read_health
from cc.services.orchestrator import Operation, Orchestrator
from cc.services.selection import wanted
from cc.services.stack import BY_NAME, Stack, stack_for, stack_root
from cc.services.undo import is_undone
from cc.settings import load
from cc.shell import is_alive, start_time
from cc.supervisor import request
from cc.supervisor.connection import Call
from cc.supervisor.listener import listen_tcp, listen_unix
from cc.supervisor.orphans import Orphans, become_subreaper
from cc.supervisor.registry import Registry
from cc.supervisor.rotation import rotate
from cc.supervisor.server import Listener, Server
from cc.supervisor.states import Change, Observation, RestartResult, State, Watched
from cc.supervisor.transport import Owner
from cc.supervisor.watchdog import Watchdog, observed

EVENTS_AGAIN_S = 5.0
CLEAN_UP_S = 60.0
TIDY_S = 10.0
STATUS_S = 12.0  # less than whoever asks waits for the whole answer
LIVES = (State.STARTING, State.RUNNING)


class Daemon:
    """One supervisor of one project."""

    def __init__(self, environ: Mapping[str, str], directory: str) -> None:
        self._fingerprint = environ.get(request.FINGERPRINT, "")
        self._docker = endpoint(environ)
        self._settings = load(environ, directory)
        self._clock = SystemClock()
        self._stop = Cancel()
        self._started = self._clock.now()
        self._stack = stack_for(self._settings, dict(environ), clock=self._clock, cancel=self._stop, typed=False)
        self._state = self._stack.state
        self._state.ensure()
        self._journal = Journal(self._state.journal)
        self._current: Call | None = None
        self._restarting = False
        self._idle = threading.Condition()
        self._registry = Registry(self._state.path, tell=self._heed_registry)
        self._noted: dict[str, tuple[object, ...]] = {}
        self._untidy = ""
        known = [
            Watched(record.name, record.state, record.tries, record.restarted_at, reason=record.reason)
            for record in self._registry.services()
            if record.desired == "running" and record.name in BY_NAME
        ]
        self._watchdog = Watchdog(
            known, self._observe, self._restart, clock=self._clock, cancel=self._stop,
            on_change=self._changed, events=self._tell,
        )  # fmt: skip

    def serve(self) -> int:
        """Until asked to end. 0 when another one serves already."""
        own = Owner(os.getpid(), start_time(os.getpid()) or 0)
        unix = listen_unix(self._state.run, owner=own, alive=is_alive)
        self._repaired = unix.repaired
        listeners: list[Listener] = [unix]
        if self._settings.ipc_tcp is not None:
            listeners.append(listen_tcp(self._state.run, self._settings.ipc_tcp))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._stop.request("signal"))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        methods = {"ping": self._ping, "run": self._run, "status": self._status, "shutdown": self._shutdown}
        server = Server(listeners, methods, quick={"ping"}, clock=self._clock, log=_log, on_lost=self._stop.request)
        become_subreaper()
        self._watchdog.start()
        for work in (self._adopt, self._hear_docker):  # Docker may keep silent: who asks us does not wait for it
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()
        server.start()
        orphans = Orphans()
        while not self._stop.wait(TIDY_S):
            orphans.reap(self._clock.now())
            self._rotate()
        server.close()
        self._watchdog.join(5.0)
        self._registry.close()
        return 0

    def _adopt(self) -> None:
        """What runs already, and is not in the registry, is watched from now on, as it is."""
        for name in BY_NAME:
            if self._registry.service(name) is not None:
                continue
            runs = read_health(self._fresh(), name).state == State.RUNNING.value
            if runs and self._registry.service(name) is None:
                self._want(name, ready=False)
                self._tell(Note(name, "found running and unknown to the registry: watched from now on"))

    def _rotate(self) -> None:
        """A disk that refuses is told of once: the log itself may be what can't be written."""
        try:
            rotate(self._state.logs)
            self._untidy = ""
        except OSError as error:
            if self._untidy != (said := f"cannot rotate the logs in {self._state.logs}: {error.strerror}"):
                self._untidy = said
                _log(said)

    # -- methods

    def _ping(self, params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        return {
            "version": __version__,
            "fingerprint": self._fingerprint,
            "docker": self._docker,
            "pid": os.getpid(),
            "project": self._settings.project,
            "repaired": self._repaired,
        }

    def _run(self, params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        operation, environ, directory = request.unpack(params)
        settings, breakers = load(environ, directory), self._stack.breakers
        stack = stack_for(settings, environ, clock=self._clock, cancel=call.cancelled, breakers=breakers)
        own = os.path.join(stack_root(), "playbooks", f"{operation.command}.yml")
        if operation.file != own:
            raise Failure(
                f"the supervisor runs the stack's own playbooks only, not {operation.file}", code="bad_answer"
            )
        with self._operating(call), self._unwatched():
            stopped = self._forget(operation)
            try:
                recap = Orchestrator(stack, [lambda event: call.emit(event.as_dict()), self._tell]).run(operation)
            except CcError:  # refused: nothing was stopped, and all of it is to be watched as before
                for name in stopped:
                    self._want(name, ready=False)
                raise
            self._take_over(environ)
            self._arm(operation, recap)
        return recap.as_dict(0)

    def _take_over(self, environ: Mapping[str, str]) -> None:
        """What is restarted from now on finds its programs where the last command found them."""
        if any(self._stack.base_environ.get(name) != value for name, value in environ.items()):
            together = {**self._stack.base_environ, **environ}
            self._stack = stack_for(
                self._settings, together, clock=self._clock, cancel=self._stop,
                breakers=self._stack.breakers, typed=False,
            )  # fmt: skip

    @contextmanager
    def _operating(self, call: Call) -> Iterator[None]:
        """One at a time; the operation lock says so to the others. What only we hold it for is waited for: a run that
        nobody waits for any more cleans up, a restart of the watchdog's ends."""
        with self._idle:
            gone = self._current is not None and self._current.cancelled.requested
            if gone and not self._idle.wait_for(lambda: self._current is None, timeout=CLEAN_UP_S):
                raise LockHeldError("an interrupted run is still cleaning up", hint="try again in a moment")
            first = self._current is None
            if first:
                self._current = call
            self._idle.wait_for(lambda: not self._restarting, timeout=CLEAN_UP_S)
        try:
            yield
        finally:
            if first:
                with self._idle:
                    self._current = None
                    self._idle.notify_all()

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        self._watchdog.pause()
        try:
            yield
        finally:
            self._watchdog.resume()

    def _arm(self, operation: Operation, recap: Recap) -> None:
        """What an `up` brought up is watched; what it could not is not: nobody asked for it to be tried for ever. Nor
        is what an interrupted one has removed again (services/undo.py)."""
        if operation.command == "down":
            return
        services = wanted(operation.command, operation.services)
        reached = {
            step.name: step.outcome
            for step in recap.steps
            if step.name in services and step.outcome.status in (Status.OK, Status.CHANGED)
        }
        if reached and is_undone(recap):
            found = read_all(self._fresh(), tuple(reached), within=STATUS_S)
            reached = {each.name: reached[each.name] for each in found if each.state in LIVES}
        for name, outcome in reached.items():
            self._want(name, ready=True)
            less = (outcome.rung, outcome.reason) if outcome.degraded else (None, "")
            self._registry.change(name, degraded_rung=less[0], degraded_reason=less[1])

    def _want(self, name: str, *, ready: bool) -> None:
        self._watchdog.arm(name, ready=ready)
        state = State.RUNNING if ready else State.UNKNOWN
        self._registry.change(name, desired="running", state=state, reason="", tries=0, restarted_at=())
        self._registry.clear_alert(name)

    def _forget(self, operation: Operation) -> list[str]:
        """What a `down` stops on purpose is watched no longer. Returns what was."""
        if operation.command != "down":
            return []
        were = {each.name for each in self._watchdog.watched()}
        for name in operation.services:
            self._watchdog.forget(name)
            self._registry.change(name, desired="stopped", state=State.STOPPED)
            self._registry.clear_alert(name)
        return [name for name in operation.services if name in were]

    def _status(self, params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        stack = self._fresh()
        found = read_all(stack, within=STATUS_S)
        watched = {each.name: each for each in self._watchdog.watched()}
        services = [self._as_watched(health, watched.get(health.name)) for health in found]
        uptime = round(self._clock.now() - self._started, 1)
        supervisor = {"state": "running", "pid": os.getpid(), "uptime_s": uptime}
        alerts = [{"service": each.service, "at": each.at, "reason": each.reason} for each in self._registry.alerts()]
        breakers = list(stack.breakers.troubled())
        return {
            "supervisor": supervisor, "services": services, "alerts": alerts, "breakers": breakers,
            "docker": self._docker,
        }  # fmt: skip

    def _as_watched(self, health: Health, watched: Watched | None) -> dict[str, Any]:
        record = self._registry.service(health.name)
        told = health.as_dict() | {"restarts": record.restarts if record is not None else 0}
        if watched is not None and watched.state in (State.BACKOFF, State.EXITED, State.FATAL, State.STARTING):
            told["state"] = watched.state.value
            if health.health != "healthy":
                told["reason"] = watched.reason or health.reason
        return told

    def _shutdown(self, params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        # A moment for the answer to leave; the socket goes with the process.
        threading.Timer(0.05, self._stop.request, ("shutdown",)).start()
        return {"pid": os.getpid()}

    # -- what the watchdog asks for

    def _fresh(self) -> Stack:
        """The stack with nothing remembered of an earlier look."""
        return replace(self._stack, memo={})

    def _observe(self, name: str) -> Observation:
        health = read_health(self._fresh(), name, brief=True)
        self._note(health)
        return observed(health)

    def _note(self, health: Health) -> None:
        """Which process or container it is, in the registry, whenever it is another one."""
        which = (health.pid, health.container_id, health.port)
        if health.pid is None or self._noted.get(health.name) == which:
            return
        self._noted[health.name] = which
        since = None if health.uptime_s is None else round(wall_time() - health.uptime_s, 1)
        self._registry.change(
            health.name, kind=health.kind, pid=health.pid, start_time=start_time(health.pid),
            container=health.container_id, port=health.port, started_at=since,
        )  # fmt: skip

    def _restart(self, name: str) -> RestartResult:
        """The ladder of the start, under the operation lock, for this one service; not while an operation runs."""
        with self._idle:
            if self._current is not None or not self._watchdog.wanted(name):
                return RestartResult(ready=False, reason="an operation runs", code="interrupted")
            self._restarting = True
        try:
            return self._run_up(name)
        finally:
            with self._idle:
                self._restarting = False
                self._idle.notify_all()

    def _run_up(self, name: str) -> RestartResult:
        """As a person would type it: it has its own pace, and a Docker whose breaker is open is what it mends."""
        operation = Operation("up", os.path.join(stack_root(), "playbooks", "up.yml"), services=(name,))
        try:
            recap = Orchestrator(replace(self._fresh(), typed=True), [self._tell]).run(operation)
        except CcError as error:
            return RestartResult(ready=False, reason=error.message, code=error.code)
        outcome = next(step.outcome for step in recap.steps if step.name == name)
        ready = outcome.status in (Status.OK, Status.CHANGED)
        code = outcome.error or (outcome.tried[-1].error if outcome.tried and not ready else None)
        return RestartResult(ready=ready, reason=outcome.reason, code=code)

    def _changed(self, change: Change) -> None:
        watched, name, restarts = change.watched, change.watched.name, {}
        record = self._registry.service(name)
        counted = record.restarted_at if record is not None else ()
        # A repair of Docker, and a restart that could not begin, are not restarts of it.
        if change.restart is not None and watched.restarted_at[-1:] != tuple(counted)[-1:]:
            restarts = {"restarts": (record.restarts if record is not None else 0) + 1}
        self._registry.change(
            name, state=watched.state, reason=watched.reason, tries=watched.tries,
            restarted_at=watched.restarted_at, **restarts,
        )  # fmt: skip
        if change.alert is not None:
            self._registry.alert(name, change.alert)
        elif watched.state is State.RUNNING:
            self._registry.clear_alert(name)
        if watched.state is State.RUNNING and not watched.unhealthy:
            self._stack.breakers.mended(name)  # what reads ClickHouse need not find out by itself

    def _heed_registry(self, told: Failure | Fallback) -> None:
        text = told.message if isinstance(told, Failure) else told.reason
        _log(f"registry: {text}")
        self._tell(Note("registry", text))

    def _tell(self, event: Event) -> None:
        try:
            self._journal.append(event.as_dict())
        except Failure as failure:
            _log(failure.message)

    def _hear_docker(self) -> None:
        """Docker tells at once when a container died: faster than the next look."""
        while not self._stop.requested:
            try:
                for service in Docker(self._fresh().host()).deaths(self._settings.project):
                    self._watchdog.nudge(service)
            except Failure:
                pass  # out of reach: the looks say so
            if self._stop.wait(EVENTS_AGAIN_S):
                return


def _log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text.rstrip()}\n")
    sys.stderr.flush()
