"""The runner: steps in the order of their dependencies, independent ones in parallel, each yielding an outcome.

    waiting -> ready -> running -> finished
               `needs` and `requires` finished: ready. A failed one among them leaves a step out, unless it is `always`;
               a skipped one leaves it out only where it is `requires`. Cancelled or out of time: nothing more starts.

This is the outermost edge: an exception that nobody foresaw becomes a `failed` outcome here, its traceback the
evidence, and a listener that raises costs a warning, never the run.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from cc.clock import Cancel, Clock
from cc.engine.events import (
    AttemptFailed,
    Event,
    Listener,
    Note,
    RunFinished,
    RungFailed,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from cc.engine.graph import circle
from cc.engine.ladder import Ladder, Rung, run_ladder
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status, all_fallbacks
from cc.engine.retry import RetryPolicy
from cc.engine.step import Action, AttemptsOver, Context, failed, outcome_of, run_with_retry
from cc.engine.waiting import QUIET_S, REPEAT_S
from cc.errors import ConfigError, Failure

WORKERS = 8
FIRST_WORKERS = 2
GROW_S = 0.02  # a step that waits so long for a thread gets a new one
T = TypeVar("T")


class Step(NamedTuple):
    """A named goal and its place in the run. `timeout` in seconds, of one step with all its attempts and rungs.

    `left_out` is the reason why a flag or a condition leaves the step out, None where it takes part.
    """

    name: str
    goal: Action | Ladder
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    retry: RetryPolicy | None = None
    timeout: float | None = None
    always: bool = False
    left_out: str | None = None

    @property
    def after(self) -> tuple[str, ...]:
        return (*self.needs, *self.requires)


@dataclass(slots=True)
class _AtWork:
    """A running step: which way it is going, since when, and when it was last heard of (the clock's seconds)."""

    way: str
    since: float
    heard: float


@dataclass(slots=True)
class _State:
    finished: dict[str, Outcome] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)  # a step that failed or was left out for it -> what failed
    waiting: dict[str, set[str]] = field(default_factory=dict)
    dependents: dict[str, list[str]] = field(default_factory=dict)


class _Crew:
    """The threads that run steps. It grows only while steps wait: many short ones are quickest on few threads (each
    fork copies page tables under the one interpreter lock), and long ones get more as soon as they turn out long.
    """

    def __init__(self, work: Callable[[Step], None], most: int) -> None:
        self._work, self._most = work, most
        self._jobs: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def take(self, step: Step) -> None:
        self._jobs.put(step)
        if len(self._threads) < FIRST_WORKERS:
            self._add()

    @property
    def short(self) -> bool:
        """Whether a step waits for a thread that could still be added."""
        return len(self._threads) < self._most and not self._jobs.empty()

    def grow(self) -> None:
        if self.short:
            self._add()

    def dismiss(self) -> None:
        """Wait until all have ended."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _add(self) -> None:
        thread = threading.Thread(target=self._until_dismissed, name="cc-step", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _until_dismissed(self) -> None:
        while (step := self._jobs.get()) is not None:
            self._work(step)


class Runner:
    """Runs steps. One instance a run.

    `deadline_s` bounds the whole run in seconds; `random` in [0, 1) is the jitter of retries.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        cancel: Cancel,
        listeners: Sequence[Listener] = (),
        deadline_s: float | None = None,
        random: Callable[[], float] = lambda: 0.5,
        workers: int = WORKERS,
    ) -> None:
        self._clock = clock
        self._cancel = cancel
        self._listeners = list(listeners)
        self._deadline = None if deadline_s is None else clock.now() + deadline_s
        self._random = random
        self._workers = workers
        self._telling = threading.Lock()
        self._at_work: dict[str, _AtWork] = {}
        self._warnings: list[str] = []

    def run(self, command: str, steps: Sequence[Step], *, fallbacks: Sequence[Fallback] = ()) -> Recap:
        """Run them all and say what came of it. Raises ConfigError for a dependency on nothing, or on itself.

        `fallbacks` are those taken before the first step (a stale lock removed, ...): they belong to the recap.
        """
        started = self._clock.now()
        by_name = check_graph(steps)
        self._tell(RunStarted(command, tuple(by_name)))
        outcomes = self._run_all(by_name)
        named = tuple(NamedOutcome(step.name, outcomes[step.name]) for step in steps)
        late = self._deadline is not None and self._clock.now() >= self._deadline
        if late and any(step.outcome.status is Status.FAILED for step in named):
            self._cancel.request("deadline")
        recap = Recap(
            command=command,
            steps=named,
            fallbacks=(*fallbacks, *all_fallbacks(named)),
            warnings=tuple(self._warnings),
            duration_s=self._clock.now() - started,
            stopped=self._cancel.requested,
        )
        self._tell(RunFinished(recap))
        return recap._replace(warnings=tuple(self._warnings))

    def _run_all(self, by_name: dict[str, Step]) -> dict[str, Outcome]:
        state = _State(waiting={name: set(step.after) for name, step in by_name.items()})
        for name, step in by_name.items():
            for before in set(step.after):
                state.dependents.setdefault(before, []).append(name)
        ready = [name for name, after in state.waiting.items() if not after]
        done: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        crew = _Crew(lambda step: done.put((step.name, self._run_step(step))), self._workers)
        running = 0
        while ready or running:
            for name in ready:
                step = by_name[name]
                reason = self._left_out(step, state)
                if reason is not None:
                    outcome = Outcome(Status.SKIPPED, reason, attempts=0)
                    self._tell(StepFinished(name, outcome))
                    done.put((name, outcome))
                else:
                    crew.take(step)
                running += 1
            name, outcome = self._next(done, crew)
            running -= 1
            ready = _finish(name, outcome, state)
        crew.dismiss()
        return state.finished

    def _next(self, done: queue.SimpleQueue[tuple[str, Outcome]], crew: _Crew) -> tuple[str, Outcome]:
        """The next finished step. The run's deadline passing asks for the stop, and the running acts then end."""
        while True:
            left = GROW_S if crew.short else QUIET_S
            if self._deadline is not None and not self._cancel.requested:
                left = min(left, max(0.0, self._deadline - self._clock.now()))
            try:
                return done.get(timeout=left)
            except queue.Empty:
                crew.grow()
                if self._deadline is not None and self._clock.now() >= self._deadline:
                    self._cancel.request("deadline")
                self._tell_of_the_silent()

    def _tell_of_the_silent(self) -> None:
        """A step that has said nothing for a while is told of: nobody shall wonder whether it hangs."""
        now = self._clock.now()
        for name, work in list(self._at_work.items()):
            if now - work.heard >= (QUIET_S if work.heard == work.since else REPEAT_S):
                self._tell(Waiting(name, work.way, now - work.since, None))

    def _left_out(self, step: Step, state: _State) -> str | None:
        """Why this step does not start, or None."""
        if self._deadline is not None and self._clock.now() >= self._deadline:
            self._cancel.request("deadline")
        if self._cancel.requested:
            return f"not started: {'the deadline passed' if self._cancel.requested == 'deadline' else 'cancelled'}"
        if step.left_out is not None:
            return step.left_out
        if not step.always:
            for name in step.after:
                if name in state.blocked:
                    state.blocked[step.name] = state.blocked[name]
                    return f"{state.blocked[name]!r} failed"
        for name in step.requires:
            if state.finished[name].status is Status.SKIPPED:
                return f"requires {name!r}, which was skipped"
        return None

    def _run_step(self, step: Step) -> Outcome:
        self._tell(StepStarted(step.name))
        started = self._clock.now()
        way = step.goal.rungs[0].name if isinstance(step.goal, Ladder) else step.goal.name
        self._at_work[step.name] = _AtWork(way, started, started)
        outcome, unforeseen = self._guarded(lambda: self._reach(step))
        if outcome is None:
            lines = tuple(unforeseen.splitlines())
            outcome = Outcome(
                Status.FAILED, f"a bug in cc: {lines[-1]}", evidence=lines, error="internal_error",
                hint="please report it, with the lines above",
            )  # fmt: skip
        del self._at_work[step.name]
        outcome = outcome._replace(duration_s=self._clock.now() - started)
        self._tell(StepFinished(step.name, outcome))
        return outcome

    def _reach(self, step: Step) -> Outcome:
        context = self._context(step.name).until(step.timeout)
        if isinstance(step.goal, Ladder):
            ladder = step.goal

            def left_rung(number: int, rung: Rung, failure: Failure, following: int | None) -> None:
                if following is not None:
                    self._at_work[step.name].way = ladder.rungs[following].name
                gives_up = following is not None and ladder.rungs[following].action is None
                told = RungFailed(step.name, number, rung.name, failure.code, failure.message, following, gives_up)
                self._tell(told)

            return run_ladder(step.name, ladder, context, step.retry, left_rung)
        try:
            return outcome_of(*run_with_retry(step.goal, context, step.retry))
        except AttemptsOver as over:
            return failed(over.failure, over.attempts)

    def _context(self, name: str) -> Context:
        return Context(
            clock=self._clock,
            cancel=self._cancel,
            deadline=self._deadline,
            say=lambda what, elapsed, within: self._tell(Waiting(name, what, elapsed, within)),
            note=lambda text: self._tell(Note(name, text)),
            retried=lambda attempt, failure, wait: self._tell(
                AttemptFailed(name, attempt, failure.code, failure.message, wait)
            ),
            random=self._random,
        )

    def _tell(self, event: Event) -> None:
        with self._telling:
            if (work := self._at_work.get(getattr(event, "step", ""))) is not None:
                work.heard = self._clock.now()
            for listener in list(self._listeners):
                _, unforeseen = self._guarded(lambda to=listener: to(event))  # type: ignore[misc]
                if unforeseen:
                    self._listeners.remove(listener)
                    kind, _, message = unforeseen.strip().splitlines()[-1].partition(": ")
                    self._warnings.append(f"{message or kind}; nothing more is told there")

    @staticmethod
    def _guarded(call: Callable[[], T]) -> tuple[T | None, str]:
        """Call it; an exception that nobody foresaw comes back as its traceback. The outermost edge."""
        try:
            return call(), ""
        except Exception:  # noqa: BLE001 - the one place: whatever a step or a listener raises must not end the run
            return None, traceback.format_exc()


def _finish(name: str, outcome: Outcome, state: _State) -> list[str]:
    """Take a finished step in; returns the steps that are ready now, in the playbook's order."""
    state.finished[name] = outcome
    if outcome.status is Status.FAILED:
        state.blocked[name] = name
    ready = []
    for dependent in state.dependents.get(name, ()):
        state.waiting[dependent].discard(name)
        if not state.waiting[dependent]:
            ready.append(dependent)
    return ready


def check_graph(steps: Sequence[Step]) -> dict[str, Step]:
    """The steps by name, in order. Raises ConfigError for a name used twice, an unknown one, or a circle of them."""
    by_name: dict[str, Step] = {}
    for step in steps:
        if step.name in by_name:
            raise ConfigError(f"two steps are called {step.name!r}")
        by_name[step.name] = step
    for step in steps:
        for name in step.after:
            if name not in by_name:
                raise ConfigError(f"step {step.name!r} comes after {name!r}, and no step is called so")
    if found := circle({name: step.after for name, step in by_name.items()}):
        raise ConfigError("steps wait for each other in a circle: " + " -> ".join(found))
    return by_name
