"""Blow after blow at random on one drill's stack, and what must hold once each has settled (`drill --random`).

    blow        kill, stop, remove or delete something of the stack's
    invariants  one of each service; nothing else of ours lives; status agrees with the process table; all healthy
                again by itself (what was given up on, or lost its supervisor, is armed by a typed `up`); a second `up`
                changes nothing

The seed says which blows fall and when, so that what broke can be broken again.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random

from cc.clock import Cancel, Clock
from cc.drill.exercise import expect
from cc.drill.rehearsal import unless_interrupted
from cc.drill.stage import Stage, kill, machine, ok
from cc.engine.events import Listener, StepFinished
from cc.engine.outcome import NamedOutcome, Outcome, Recap, Status
from cc.errors import Failure, Interrupted
from cc.resources.process_stop import find_ours

SETTLED_S = 60.0
PAUSE_S = (0.2, 3.0)


class Chaos:
    """One stack, one generator of blows. `docker`: with containers."""

    def __init__(self, environ: Mapping[str, str], clock: Clock, cancel: Cancel, seed: int, *, docker: bool) -> None:
        self._stage = Stage(machine(environ), clock, cancel)
        self._clock, self._cancel = clock, cancel
        self._random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._flags = ("docker",) if docker else ()
        self._blows: dict[str, Callable[[], None]] = {
            "kill the dashboard's master": lambda: kill(self._master()),
            "stop the dashboard's master": lambda: kill(self._master(), signal.SIGSTOP),
            "kill a worker": self._kill_worker,
            "kill the supervisor": lambda: kill(self._stage.supervisor()),
            "stop the supervisor": lambda: kill(self._stage.supervisor(), signal.SIGSTOP),
            "delete the supervisor's socket": lambda: self._delete("run/supervisor.sock"),
            "delete the registry": lambda: self._delete("registry.db"),
            "delete the pid files": lambda: self._delete("run/dashboard.pid", "run/supervisor.pid"),
            "spoil the registry": lambda: self._spoil("registry.db"),
            "take the cache away": lambda: shutil.rmtree(self._stage.state.cache, ignore_errors=True),
        }
        if docker:
            for service in ("clickhouse", "collector"):
                self._blows[f"kill {service}"] = partial(self._docker, "kill", service)
                self._blows[f"remove {service}"] = partial(self._docker, "rm", service, "-f")

    def run(self, seconds: float, listeners: Sequence[Listener]) -> Recap:
        """Blows for so many seconds; ends at the first invariant that is broken."""
        began = self._clock.now()
        steps: list[NamedOutcome] = []

        def played(name: str, play: Callable[[], str]) -> bool:
            steps.append(self._played(name, play))
            for listener in listeners:
                listener(StepFinished(steps[-1].name, steps[-1].outcome))
            return steps[-1].outcome.status is Status.OK

        try:
            going = played("up", self._up)
            while going and self._clock.now() - began < seconds:
                name = self._random.choice(sorted(self._blows))
                going = played(f"{len(steps)} {name}", partial(self._blow, name, self._random.uniform(*PAUSE_S)))
            if going:
                played("down", self._down)
        finally:
            self._stage.clear()
        return Recap("drill", tuple(steps), duration_s=self._clock.now() - began, stopped=self._cancel.requested)

    def _played(self, name: str, play: Callable[[], str]) -> NamedOutcome:
        began = self._clock.now()
        try:
            outcome = Outcome(Status.OK, play())
        except Failure as failure:
            code = Interrupted.code if self._cancel.requested else failure.code
            outcome = Outcome(Status.FAILED, failure.message, error=code)
        return NamedOutcome(name, unless_interrupted(outcome._replace(duration_s=self._clock.now() - began)))

    def _up(self) -> str:
        ok(self._stage.up(*self._flags))
        return "all up"

    def _blow(self, name: str, pause: float) -> str:
        self._blows[name]()
        self._clock.wait(pause, self._cancel)
        return self._settled()

    def _down(self) -> str:
        ok(self._stage.type("down"))
        self._stage.nothing_left()
        return "nothing left"

    def _settled(self) -> str:
        """The invariants. Raises the Failure of a drill."""
        typed = self._converged()
        second = ok(self._stage.up(*self._flags)).document["counts"]["changed"]
        expect(second == 0, "an up that changes nothing", f"{second} changes")
        owner = self._stage.state.owner
        ours = {each.pid for each in find_ours(owner)}
        masters = {each.pid for each in find_ours(owner, "dashboard") if os.getsid(each.pid) == each.pid}
        told = {each["name"]: each for each in self._stage.type("status").document["services"]}
        expect({told["dashboard"]["pid"]} == masters, f"status to tell of pid {masters}", told["dashboard"]["pid"])
        strangers = {pid for pid in ours - {self._stage.supervisor()} if _session(pid) not in {*masters, None}}
        expect(not strangers, "no process but the services'", strangers)
        wanted = 2 if self._flags else 0
        expect(len(self._stage.containers()) == wanted, f"{wanted} containers", self._stage.containers())
        return "healthy again by itself" if not typed else "healthy again after an `up`"

    def _converged(self) -> bool:
        """Wait until all is healthy; a typed `up` where nobody watches, or somebody gave up. Whether there was one."""
        names = ("clickhouse", "collector", "dashboard") if self._flags else ("dashboard",)
        typed = False

        def look() -> bool:
            nonlocal typed
            document = self._stage.type("status").document
            services = [each for each in document["services"] if each["name"] in names]
            if document["supervisor"]["state"] != "running" or any(each["state"] == "fatal" for each in services):
                typed = True
                ok(self._stage.up(*self._flags, "--lock-timeout", "30"))
                return False
            return all(each["health"] == "healthy" for each in services)

        self._stage.until("all healthy", look, SETTLED_S)
        return typed

    def _master(self) -> int:
        found = [
            each.pid for each in find_ours(self._stage.state.owner, "dashboard") if os.getsid(each.pid) == each.pid
        ]
        expect(len(found) == 1, "one dashboard", found)
        return found[0]

    def _kill_worker(self) -> None:
        every = (each.pid for each in find_ours(self._stage.state.owner, "dashboard"))
        workers = sorted(pid for pid in every if _session(pid) not in {pid, None})
        if workers:
            kill(self._random.choice(workers))

    def _delete(self, *names: str) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._stage.state.path, name))

    def _spoil(self, name: str) -> None:
        with suppress(FileNotFoundError), open(os.path.join(self._stage.state.path, name), "r+b") as file:
            file.write(self._random.randbytes(512))

    def _docker(self, word: str, service: str, *flags: str) -> None:
        with suppress(Failure):  # it may be down already: a blow is no promise
            self._stage.docker(word, *flags, self._stage.container(service))


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
