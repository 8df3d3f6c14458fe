"""Who carries an operation out: the control path (LADDERS.md, L1), and the end of a `down` (L5).

    L1  0 the supervisor carries it out · 1 it can't be reached, or went away: the same operation in this process
        2 and 3 are the orchestrator's: without its playbook, and what to type
    L5  0 by the supervisor · 1 by this process · 2 whatever carries our mark (the step `leftovers` of both)
        3 scripts/stop-context-cleaner.sh · 4 what to type

Both rungs of L1 are one call, `run(operation)`, of two classes. What is done to the supervisor itself is a step of the
run: the first of an `up` or a `restart`, the last of a `down` of everything; and `plan` foretells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from cc.clock import wall_time
from cc.engine import told
from cc.engine.events import Event, Listener, RunFinished, StepFinished
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status
from cc.engine.step import Context
from cc.errors import Failure, Interrupted
from cc.services.by_hand import prove
from cc.services.orchestrator import CONTROL, Operation, Orchestrator
from cc.services.stack import Stack
from cc.supervisor import request
from cc.supervisor.client import Client
from cc.supervisor.reach import NAME, Foretold, Reach, Reached, tells_of_silence, unwatched


class Supervised:
    """By the supervisor at the other end of a connection; what it tells of goes to the listeners as it happens.

    Raises besides the Failure of a connection that broke, was silent, or told nonsense (`tells_of_silence`).
    """

    def __init__(self, client: Client, stack: Stack, listeners: Sequence[Listener], directory: str) -> None:
        self._client, self._stack, self._directory = client, stack, directory
        self._listeners = tuple(listeners)

    def run(self, operation: Operation) -> Recap:
        """As Orchestrator.run, elsewhere."""

        def hear(raw: object) -> None:
            if isinstance(raw, dict) and (event := told.event(raw)) is not None:
                for listener in self._listeners:
                    listener(event)

        params = request.pack(operation, self._stack.base_environ, self._directory)
        answer = self._client.call("run", params, on_event=hear, cancel=self._stack.cancel)
        recap = told.recap(answer.result)
        return recap._replace(stopped=self._stack.cancel.requested or recap.stopped)


class _StoppingError(Exception):
    """The supervisor stopped an operation that nobody here has cancelled: it was asked to end."""


class Control:
    """Operates one project, through its supervisor where that is possible. `directory`: where the command was typed."""

    def __init__(self, stack: Stack, listeners: Sequence[Listener], direct: Sequence[Listener], directory: str) -> None:
        self._stack = stack
        self._listeners = tuple(listeners)
        self._direct = tuple(direct)  # and the journal, which a supervisor writes itself
        self._forgiving = tuple(map(_forgiving, direct))
        self._directory = directory
        self._reach = Reach(stack, directory)

    def run(self, operation: Operation, *, supervised: bool) -> Recap:
        """Carry it out. Raises what Orchestrator.run raises."""
        began, since = self._stack.clock.now(), wall_time()
        reached = self._reached(operation) if supervised else Reached(None, _left_out())
        if reached.client is not None:
            self._stack.breakers.mended("supervisor")
        if reached.step is not None:
            self._tell(StepFinished(reached.step.name, reached.step.outcome))
        try:
            recap, supervised = self._carry_out(operation, reached)
        except _StoppingError:  # a `down` before us in the queue took it away: what we were asked for is still wanted
            again = self._reached(operation)
            reached = again._replace(step=again.step or reached.step, fallbacks=(*reached.fallbacks, *again.fallbacks))
            if again.step is not None:
                self._tell(StepFinished(again.step.name, again.step.outcome))
            recap, supervised = self._carry_out(operation, reached, last=True)
        if (step := self._of_the_supervisor(operation, reached, recap, supervised=supervised)) is not None:
            recap = recap._replace(steps=(step, *recap.steps))
        recap = recap._replace(fallbacks=(*reached.fallbacks, *recap.fallbacks))
        if _ends_everything(operation):
            context = Context(clock=self._stack.clock, cancel=self._stack.cancel)
            left = None if operation.timeout is None else began + operation.timeout - self._stack.clock.now()
            recap = prove(
                self._stack, recap, context.until(left), self._forgiving, volumes=operation.volumes, since=since
            )
        recap = recap._replace(duration_s=self._stack.clock.now() - began)
        for listener in self._listeners if supervised else self._forgiving:
            listener(RunFinished(recap))
        return recap

    def _reached(self, operation: Operation) -> Reached:
        """What ends with services running wants a supervisor that watches them; to stop them one is not started."""
        return self._reach.connect() if operation.command == "down" else self._reach.start()

    def plan(self, operation: Operation, *, supervised: bool) -> Recap:
        """Foretell it, what becomes of the supervisor included. Raises what Orchestrator.plan raises."""
        recap = self._this_process().plan(operation)
        if (foretold := self._foretold(operation, supervised=supervised)) is not None:
            first = operation.command != "down"
            steps = (foretold.step, *recap.steps) if first else (*recap.steps, foretold.step)
            recap = recap._replace(steps=steps, fallbacks=(*foretold.fallbacks, *recap.fallbacks))
            self._tell(StepFinished(foretold.step.name, foretold.step.outcome))
        for listener in self._forgiving:
            listener(RunFinished(recap))
        return recap

    def _foretold(self, operation: Operation, *, supervised: bool) -> Foretold | None:
        if operation.command in ("up", "restart"):
            return self._reach.foretell("up") if supervised else Foretold(_left_out())
        return self._reach.foretell("down") if _ends_everything(operation) else None

    def _of_the_supervisor(
        self, operation: Operation, reached: Reached, recap: Recap, *, supervised: bool
    ) -> NamedOutcome | None:
        """The step that tells of it: as it was reached, or what it means that it did not answer and was ended."""
        lost = reached.client is not None and not supervised
        why = recap.fallbacks[0].reason if lost else reached.ended
        if why is None:
            return reached.step
        if _ends_everything(operation):
            return NamedOutcome(NAME, Outcome(Status.CHANGED, f"ended: {why}", rung=2, rung_name="by its mark"))
        # At the end of this run nobody watches (L2 rung 3).
        return unwatched(f"running without a supervisor: {why}")

    def _carry_out(self, operation: Operation, reached: Reached, *, last: bool = False) -> tuple[Recap, bool]:
        """What came of it, and whether the supervisor carried it out, which then has told the journal of its end.

        Raises _StoppingError where the supervisor was ended by somebody else meanwhile; not at the `last` attempt.
        """
        if reached.client is None:
            return self._this_process().run(operation), False
        try:
            recap = Supervised(reached.client, self._stack, self._listeners, self._directory).run(operation)
            if recap.stopped not in (None, "deadline") and not self._stack.cancel.requested and not last:
                raise _StoppingError
        except Failure as failure:
            if isinstance(failure, Interrupted) and not self._stack.cancel.requested and not last:
                raise _StoppingError from failure
            if not tells_of_silence(failure) or self._stack.cancel.requested:
                raise
            why = f"supervisor unavailable: {failure.message}; managing services directly"
            self._reach.end_hung(younger=True)  # it may be the one that this very `up` has started
            recap = self._this_process().run(operation)
            return recap._replace(fallbacks=(Fallback(CONTROL, 1, why), *recap.fallbacks)), False
        if _ends_everything(operation):
            step = self._reach.shut_down(reached.client)
            self._tell(StepFinished(step.name, step.outcome))
            recap = recap._replace(steps=(*recap.steps, step))
        return recap, True

    def _this_process(self) -> Orchestrator:
        return Orchestrator(self._stack, [_but_the_end(listener) for listener in self._direct])

    def _tell(self, event: Event) -> None:
        """What happens around the run, of which a supervisor does not know: to the journal too."""
        for listener in self._forgiving:
            listener(event)


def _left_out() -> NamedOutcome:
    return NamedOutcome(NAME, Outcome(Status.SKIPPED, "switched off by --no-supervisor", attempts=0))


def _ends_everything(operation: Operation) -> bool:
    """Whether the supervisor ends as well."""
    return operation.command == "down" and operation.everything


def _but_the_end(listener: Listener) -> Listener:
    """The recap is told once, when the supervisor's step is in it."""

    def listen(event: object) -> None:
        if not isinstance(event, RunFinished):
            listener(event)  # type: ignore[arg-type]

    return listen


def _forgiving(listener: Listener) -> Listener:
    """Outside of a run nobody turns a journal that can't be written into a warning: the run has done so."""

    def listen(event: Event) -> None:
        with suppress(Failure):
            listener(event)

    return listen
