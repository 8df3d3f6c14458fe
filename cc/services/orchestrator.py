"""The orchestrator: a playbook, this project's lock, and the runner, in the process of whoever asked.

    playbook file -> parsed and checked -> the project is ours -> lock -> runner -> Recap

A playbook of the stack's own that is of no use is done without (L1 rung 2: one_by_one); if that fails too, the recap
says what to type (rung 3).

What an operation needs to know comes in; what happened goes to the listeners and into the Recap. Prints nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cc.engine.events import Listener, Waiting
from cc.engine.outcome import Fallback, Recap, Status
from cc.engine.plan import planned
from cc.engine.playbook import parse, select
from cc.engine.runner import Runner, Step
from cc.engine.spec import Playbook
from cc.engine.step import Context
from cc.engine.waiting import QUIET_S
from cc.errors import ConfigError, Failure, Interrupted, LockHeldError, RunDeadlineError
from cc.resources import verbs
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Docker
from cc.resources.host import Verb
from cc.resources.state import OperationLock, take_lock
from cc.services import dashboard, leftovers, omitted, one_by_one, secret
from cc.services.by_hand import to_start
from cc.services.selection import left_out, wanted
from cc.services.stack import BY_NAME, Stack
from cc.services.undo import is_undone, standing, undo

PLAYBOOKS = ("up", "down", "restart")
LARGEST_PLAYBOOK = 1024 * 1024 + 1
BEFORE = "before the run"
CONTROL = "control path"


@dataclass(frozen=True, slots=True)
class Operation:
    """One run to be: which playbook, and what of it. `services` are those that take part.

    `set_vars` are the user's `--set`; `timeout` in seconds, None for none; `lock_timeout`: so many seconds another run
    is waited for.
    """

    command: str
    file: str
    services: tuple[str, ...] = tuple(BY_NAME)
    docker: bool = True
    wait: bool = True
    volumes: bool = False
    set_vars: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    start_at: str | None = None
    timeout: float | None = None
    lock_timeout: float = 0.0

    @property
    def everything(self) -> bool:
        """Whether every service takes part."""
        return set(self.services) == set(BY_NAME)

    @property
    def with_containers(self) -> bool:
        """Whether a container takes part."""
        return self.docker and any(BY_NAME[name].container for name in wanted(self.command, self.services))


def stack_verbs(password: str | None = None) -> tuple[Verb, ...]:
    """Every verb that a playbook may use here. `password` is ClickHouse's as the user gave it, if he did."""
    return (*verbs.VERBS, dashboard.VERB, leftovers.VERB, secret.verb(password))


class Orchestrator:
    """Operates one project of the stack, or any playbook on this machine."""

    def __init__(self, stack: Stack, listeners: Sequence[Listener] = ()) -> None:
        self._stack = stack
        self._listeners = tuple(listeners)

    def run(self, operation: Operation) -> Recap:
        """Carry it out.

        Raises ConfigError, LockHeldError, RunDeadlineError if the time is over before the lock is had, and Failure if
        the state directory is of no use.
        """
        started = self._stack.clock.now()
        steps, fallbacks = self._steps(operation)
        self._refuse_a_stranger(operation)
        context = self._context().until(_left(operation.timeout, started, self._stack.clock.now()))
        lock, unlocked = self._lock(operation, context)
        try:
            fallbacks = [*fallbacks, *unlocked, *self._after_a_killed_run(lock.interrupted if lock else None)]
            left = _left(operation.timeout, started, self._stack.clock.now())
            return self._carry_out(operation, steps, fallbacks, left)
        finally:
            if lock is not None:
                lock.release()

    def _carry_out(
        self, operation: Operation, steps: Sequence[Step], fallbacks: Sequence[Fallback], left: float | None
    ) -> Recap:
        host = self._stack.host()
        before = standing(host, docker=operation.with_containers) if operation.command == "up" else None
        recap = self._runner(left).run(operation.command, steps, fallbacks=fallbacks)
        self._close_breakers(operation, recap)
        if operation.command in PLAYBOOKS:
            untold = omitted.note(self._stack.state, operation.command, operation.services, recap)
            recap = recap._replace(warnings=(*recap.warnings, *filter(None, (untold,))))
        recap = self._say_what_to_type(operation, recap)
        if before is None or not is_undone(recap):
            return recap
        return recap._replace(warnings=(*recap.warnings, *undo(host, before, self._context())))

    def _close_breakers(self, operation: Operation, recap: Recap) -> None:
        """What was seen ready just now is not to be waited for any longer (LADDERS.md, L12)."""
        for step in recap.steps if operation.command in ("up", "restart") and operation.wait else ():
            if step.name in BY_NAME and step.outcome.status in (Status.OK, Status.CHANGED):
                self._stack.breakers.mended(step.name)

    def _say_what_to_type(self, operation: Operation, recap: Recap) -> Recap:
        """L1 rung 3: rung 2 has failed as well."""
        failed = {step.name for step in recap.steps if step.outcome.status is Status.FAILED}
        last = any((told.what, told.rung) == (CONTROL, 2) for told in recap.fallbacks)
        if not (failed and last) or operation.command == "down":  # what a `down` leaves is told by its own ladder, L5
            return recap
        names = ", ".join(sorted(failed))
        told = Fallback(CONTROL, 3, f"{names}: nothing could start it by itself; what to type is below")
        lines = to_start(self._stack, failed or operation.services)
        return recap._replace(fallbacks=(*recap.fallbacks, told), by_hand=lines)

    def _lock(self, operation: Operation, context: Context) -> tuple[OperationLock | None, list[Fallback]]:
        """The operation lock. A `down` goes on without one where the state directory, which is there, can't hold it:
        what runs has to be ended all the same."""
        try:
            return take_lock(self._stack.state, operation.command, context, timeout=operation.lock_timeout), []
        except (ConfigError, Failure) as error:
            gone = isinstance(error, Interrupted) or not os.path.isdir(self._stack.state.path)
            if operation.command != "down" or gone:
                raise
            return None, [Fallback("operation lock", 1, f"going on without it: {error.message}")]
        except LockHeldError as held:
            if context.deadline is None or context.clock.now() < context.deadline:
                raise
            message = f"the deadline of {operation.timeout:g} s passed: {held.message}"
            raise RunDeadlineError(message, hint="wait for it, or give --timeout more SECONDS") from held

    def plan(self, operation: Operation) -> Recap:
        """Foretell it. Takes no lock and touches nothing. Raises ConfigError.

        What a `down` leaves over is known once it has run, not before: that step is left out.
        """
        self._refuse_a_stranger(operation)
        found, fallbacks = self._steps(operation)
        steps = [
            step._replace(left_out=step.left_out or "known after the run")
            if step.name == "leftovers"
            else planned(step)
            for step in found
        ]
        recap = self._runner(operation.timeout).run("plan", steps, fallbacks=fallbacks)
        return recap._replace(planned=True)

    def _runner(self, deadline_s: float | None) -> Runner:
        return Runner(
            clock=self._stack.clock,
            cancel=self._stack.cancel,
            listeners=self._listeners,
            deadline_s=deadline_s,
            random=_random,
        )

    def _context(self) -> Context:
        return Context(clock=self._stack.clock, cancel=self._stack.cancel, say=self._say)

    def _say(self, what: str, elapsed: float, within: float | None) -> None:
        for listener in self._listeners:
            try:
                listener(Waiting(BEFORE, what, elapsed, within))
            except Failure:
                pass  # a journal on a full disk: the run itself will tell of it

    def _aloud(self, what: str, call: Callable[[], None]) -> None:
        """Call it, and say after a second what is awaited: there is no runner yet that would."""
        timer = threading.Timer(QUIET_S, self._say, (what, QUIET_S, None))
        timer.daemon = True
        timer.start()
        try:
            call()
        finally:
            timer.cancel()

    def _steps(self, operation: Operation) -> tuple[list[Step], list[Fallback]]:
        """The playbook's steps. One of the stack's own that is of no use costs nothing but its ways (L1 rung 2)."""
        known = stack_verbs(self._stack.settings.clickhouse_password)
        try:
            read = self._read(operation, known)
            own = operation.command in PLAYBOOKS or os.path.dirname(operation.file) == os.path.join(
                self._stack.root, "playbooks"
            )
            base = self._stack.root if own else os.path.dirname(os.path.abspath(operation.file))
            host = self._stack.host(base, read.vars, wait=operation.wait)
            return verbs.bind(read, host, known, lambda step: self._left_out(operation, step.name)), []
        except ConfigError as error:
            if operation.command not in PLAYBOOKS:
                raise
            why = f"{error}; each service by its own commands, from the program's own table"
            table = one_by_one.steps(
                self._stack, operation.command, operation.services, volumes=operation.volumes, wait=operation.wait
            )
            steps = [step._replace(left_out=self._left_out(operation, step.name)) for step in table]
            return steps, [Fallback(CONTROL, 2, why)]

    @staticmethod
    def _left_out(operation: Operation, step: str) -> str | None:
        if operation.command not in PLAYBOOKS:
            return None
        return left_out(operation.command, step, operation.services, docker=operation.docker)

    def _read(self, operation: Operation, known: Sequence[Verb]) -> Playbook:
        try:
            with open(operation.file, "rb") as file:
                text = file.read(LARGEST_PLAYBOOK)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=operation.file) from error
        containers = self._stack.containers_of(operation.services)
        environ = {
            **self._stack.environ(),
            "CC_CONTAINERS": "" if operation.everything else ",".join(containers),
            "CC_VOLUMES": "true" if operation.volumes else "false",
        }
        read = parse(text, file=operation.file, verbs=verbs.specs(known), set_vars=operation.set_vars, environ=environ)
        return select(read, operation.tags, operation.start_at)

    def _refuse_a_stranger(self, operation: Operation) -> None:
        """A project belongs to one home: another one that claims it is refused (DESIGN.md, "State").

        Where no container takes part, nobody waits for a Docker that may be silent.
        """
        if operation.command in PLAYBOOKS and operation.with_containers:
            self._aloud("Docker to say whose containers these are", self._refuse_another_home)

    def _refuse_another_home(self) -> None:
        state = self._stack.state
        try:
            found = Docker(self._stack.host()).containers({PROJECT_LABEL: state.project})
        except Failure:
            return  # what cannot be read cannot be claimed either: the ladders say what is wrong with Docker
        for container in found:
            owner = container.labels.get("cc.owner")
            if owner and owner != state.owner:
                theirs = container.labels.get("cc.home") or "an unknown home"
                raise ConfigError(
                    f"project {state.project!r} belongs to {theirs} (container {container.name}), not to {state.home}",
                    field="CC_PROJECT",
                    hint=f"set CC_HOME={theirs}, or CC_PROJECT to a name of its own",
                )

    def _after_a_killed_run(self, holder: Mapping[str, object] | None) -> list[Fallback]:
        """A run that was killed in the middle may have left commands at work: they are ended before anything starts."""
        if not holder:
            return []
        ended = leftovers.end_commands_of(self._stack.state.owner, self._context())
        who = f"`{holder.get('command', '?')}` (pid {holder.get('pid', '?')})"
        what = f", {ended} of its commands ended" if ended else ""
        return [Fallback("operation lock", 0, f"{who} was killed in the middle{what}")]


def _left(timeout: float | None, started: float, now: float) -> float | None:
    """Seconds of the whole command's time that are left, at least 0; None where it has no end."""
    return None if timeout is None else max(0.0, timeout - (now - started))


def _random() -> float:
    import random

    return random.random()  # noqa: S311 - the jitter of retries is no secret
