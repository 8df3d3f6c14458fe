"""The orchestrator: a playbook, this project's lock, and the runner, in the process of whoever asked.

    playbook file -> parsed and checked -> the project is ours -> lock -> runner -> Recap

What an operation needs to know comes in; what happened goes to the listeners and into the Recap. Prints nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cc.engine.events import Listener, Waiting
from cc.engine.outcome import Fallback, Recap
from cc.engine.plan import planned
from cc.engine.playbook import parse, select
from cc.engine.runner import Runner, Step
from cc.engine.spec import Playbook, StepSpec
from cc.engine.step import Context
from cc.engine.waiting import QUIET_S
from cc.errors import ConfigError, Failure, LockHeldError, RunDeadlineError
from cc.resources import verbs
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Docker
from cc.resources.host import Verb
from cc.resources.state import OperationLock, take_lock
from cc.services import dashboard, leftovers, secret
from cc.services.selection import left_out
from cc.services.stack import BY_NAME, Stack
from cc.services.undo import standing, undo

PLAYBOOKS = ("up", "down", "restart")
LARGEST_PLAYBOOK = 1024 * 1024 + 1
BEFORE = "before the run"


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
        steps = self._steps(operation)
        self._stack.state.ensure()
        if operation.command in PLAYBOOKS:
            self._aloud("Docker to say whose containers these are", self._refuse_a_stranger)
        lock = self._lock(operation, self._context().until(_left(operation.timeout, started, self._stack.clock.now())))
        try:
            fallbacks = self._after_a_killed_run(lock.interrupted)
            left = _left(operation.timeout, started, self._stack.clock.now())
            return self._carry_out(operation, steps, fallbacks, left)
        finally:
            lock.release()

    def _carry_out(
        self, operation: Operation, steps: Sequence[Step], fallbacks: Sequence[Fallback], left: float | None
    ) -> Recap:
        host = self._stack.host()
        before = standing(host) if operation.command == "up" else None
        recap = self._runner(left).run(operation.command, steps, fallbacks=fallbacks)
        if before is None or recap.stopped in (None, "deadline"):  # out of time, less is better than nothing
            return recap
        return replace(recap, warnings=(*recap.warnings, *undo(host, before, self._context())))

    def _lock(self, operation: Operation, context: Context) -> OperationLock:
        try:
            return take_lock(self._stack.state, operation.command, context, timeout=operation.lock_timeout)
        except LockHeldError as held:
            if context.deadline is None or context.clock.now() < context.deadline:
                raise
            message = f"the deadline of {operation.timeout:g} s passed: {held.message}"
            raise RunDeadlineError(message, hint="wait for it, or give --timeout more SECONDS") from held

    def plan(self, operation: Operation) -> Recap:
        """Foretell it. Takes no lock and touches nothing. Raises ConfigError.

        What a `down` leaves over is known once it has run, not before: that step is left out.
        """
        if operation.command in PLAYBOOKS:
            self._aloud("Docker to say whose containers these are", self._refuse_a_stranger)
        steps = [
            replace(step, left_out=step.left_out or "known after the run")
            if step.name == "leftovers"
            else planned(step)
            for step in self._steps(operation)
        ]
        recap = self._runner(operation.timeout).run("plan", steps)
        return replace(recap, planned=True)

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

    def _steps(self, operation: Operation) -> list[Step]:
        known = stack_verbs(self._stack.settings.clickhouse_password)
        read = self._read(operation, known)
        own = operation.command in PLAYBOOKS or os.path.dirname(operation.file) == os.path.join(
            self._stack.root, "playbooks"
        )
        base = self._stack.root if own else os.path.dirname(os.path.abspath(operation.file))
        host = self._stack.host(base, read.vars, wait=operation.wait)
        return verbs.bind(read, host, known, lambda step: self._left_out(operation, step))

    @staticmethod
    def _left_out(operation: Operation, step: StepSpec) -> str | None:
        if operation.command not in PLAYBOOKS:
            return None
        return left_out(operation.command, step.name, operation.services, docker=operation.docker)

    def _read(self, operation: Operation, known: Sequence[Verb]) -> Playbook:
        try:
            with open(operation.file, "rb") as file:
                text = file.read(LARGEST_PLAYBOOK)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=operation.file) from error
        containers = self._stack.containers_of(operation.services)
        everything = len(operation.services) == len(BY_NAME)
        environ = {
            **self._stack.environ(),
            "CC_CONTAINERS": "" if everything else ",".join(containers),
            "CC_VOLUMES": "true" if operation.volumes else "false",
        }
        read = parse(text, file=operation.file, verbs=verbs.specs(known), set_vars=operation.set_vars, environ=environ)
        return select(read, operation.tags, operation.start_at)

    def _refuse_a_stranger(self) -> None:
        """A project belongs to one home: another one that claims it is refused (DESIGN.md, "State")."""
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
