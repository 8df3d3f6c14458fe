"""Reaching this project's supervisor: connecting, starting one (LADDERS.md, L2), asking it to end, ending it.

    L2  0 a fresh supervisor · 1 one runs already: connect · 2 a stale socket was in its way · 3 without one

A supervisor of another version or with other settings is replaced; one that holds the place and does not answer is
ended first, by identity, so that it can't wake up later and bring back what was stopped. Its services live on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Status
from cc.engine.step import Context
from cc.engine.waiting import wait_for
from cc.errors import CcError, Failure, Interrupted
from cc.files import full_disk
from cc.resources.process_stop import OWNER, PROCESS, find_ours, stop_group
from cc.resources.process_table import Identity
from cc.services.stack import Stack
from cc.shell import Command, is_alive, start_time
from cc.supervisor import request, transport
from cc.supervisor.client import Client
from cc.supervisor.listener import is_stale, remove_stale
from cc.supervisor.protocol import Busy

NAME = "supervisor"
START_S = 10.0
STOP_S = 5.0
ANSWER_S = 2.0
IPC = "IPC connection"
NOBODY_WATCHES = "nobody restarts what crashes; `up` tries again"


class Reached(NamedTuple):
    """A connection to the supervisor, or why there is none; and the step that tells of it.

    `ended` is why one that lived was ended, when there is a step that tells of nothing else.
    """

    client: Client | None
    step: NamedOutcome | None = None
    fallbacks: tuple[Fallback, ...] = ()
    ended: str | None = None


class Foretold(NamedTuple):
    """The step that would tell of the supervisor, and the fallbacks that would lead to it."""

    step: NamedOutcome
    fallbacks: tuple[Fallback, ...] = ()


class Reach:
    """The way to the supervisor of one project. `directory`: where the command was typed."""

    def __init__(self, stack: Stack, directory: str) -> None:
        self._stack = stack
        self._run = stack.state.run
        self._directory = directory
        self._context = Context(clock=stack.clock, cancel=stack.cancel)
        self._fingerprint = request.fingerprint(stack.settings, stack.base_environ)

    def start(self) -> Reached:
        """Connect to the supervisor that runs, or start one."""
        self._stack.state.ensure()
        fallbacks: list[Fallback] = []
        client, pid, silence = self._found(fallbacks)
        if silence is not None and silence.code == "connection_refused" and self._await_one_that_starts():
            client, pid, silence = self._found(fallbacks)
        if silence is not None and self.end_hung():
            fallbacks.append(Fallback(NAME, 2, f"it did not answer and was ended: {silence.message}"))
        if client is not None and pid is not None:
            outcome = Outcome(Status.OK, f"supervisor running, pid {pid}", rung=1, rung_name="connect")
            told = (Fallback(NAME, 1, "one runs already"), *_ways(client))
            return Reached(client, NamedOutcome(NAME, outcome), told)
        try:
            return self._fresh(fallbacks)
        except Failure as failure:
            if isinstance(failure, Interrupted):
                raise
            return self._without(failure, fallbacks)

    def _found(self, fallbacks: list[Fallback]) -> tuple[Client | None, int | None, Failure | None]:
        """A connection and the pid of the one that answers, if it is to be used; or why none does."""
        try:
            client = self._client()
            return client, self._agreed(client, fallbacks), None
        except Failure as failure:
            if not tells_of_silence(failure):
                raise
            return None, None, failure

    def _await_one_that_starts(self) -> bool:
        """Whether one answers that another `up` has started a moment ago: it has no socket yet, and must not be taken
        for one that hangs."""
        owner = self._stack.state.owner

        def look() -> bool | None:
            try:
                self._client().close()
            except Failure:
                return None if find_ours(owner, NAME) else False
            return True

        if not find_ours(owner, NAME):
            return False
        return bool(wait_for(self._context, "the supervisor that is starting to answer", look, within=START_S))

    def _agreed(self, client: Client, fallbacks: list[Fallback]) -> int | None:
        """Its pid if it is of this version and these settings; else it is asked to go, and None."""
        told_of = client.call("ping", deadline=ANSWER_S).result
        if told_of.get("fingerprint") == self._fingerprint:
            return int(told_of["pid"])
        client.call("shutdown", deadline=ANSWER_S)
        client.close()
        self._await_end()
        fallbacks.append(Fallback(NAME, 0, "the one that ran had other settings or another version, and was replaced"))
        return None

    def _fresh(self, fallbacks: list[Fallback]) -> Reached:
        state = self._stack.state
        environ = {
            **self._stack.environ(), OWNER: state.owner, PROCESS: f"{state.owner}/{NAME}",
            request.FINGERPRINT: self._fingerprint,
        }  # fmt: skip
        log = os.path.join(state.logs, f"{NAME}.log")
        began = os.path.getsize(log) if os.path.exists(log) else 0
        command = Command((sys.executable, "-m", "cc.supervisor"), env=environ, cwd=self._directory)
        started = self._stack.clock.now()
        child = self._stack.shell.spawn(command, log=log)

        def look() -> tuple[Client, dict[str, object]] | None:
            try:
                client = self._client()
                return client, dict(client.call("ping", deadline=ANSWER_S).result)
            except Failure as failure:
                if not child.alive() and not transport.is_held(self._run):
                    said = _tail(log, began)
                    full = None if said else full_disk(self._run)  # then it could not say that itself
                    why = "; ".join(("it ended at once", *said[-1:], *filter(None, (full,))))
                    code = "disk_full" if full else "unhealthy"
                    raise Failure(why, code=code, evidence=said) from failure
                return None

        try:
            found = wait_for(self._context, "the supervisor to answer", look, within=START_S)
            if found is None:
                told = _tail(log, began)
                last = () if child.alive() else told[-1:]  # why it has given up its place
                why = "; ".join((f"it did not answer within {START_S:g} s", *last))
                raise Failure(why, code="deadline", evidence=told)
        except Failure:
            child.poll()  # if it ended, it is ours to bury; else it must not wake up when nobody expects it any more
            # Not by its mark, which the one that another `up` has just started carries too.
            stop_group(Identity(child.pid, child.start_time), grace=1.0, context=self._context, kin=False)
            raise
        client, said = found
        if said.get("repaired"):
            fallbacks.append(Fallback(NAME, 2, str(said["repaired"])))
        ours = said.get("pid") == child.pid
        reason = f"supervisor {'started' if ours else 'running'}, pid {said.get('pid')}"
        outcome = Outcome(
            Status.CHANGED, reason, duration_s=self._stack.clock.now() - started,
            rung=0 if ours else 1, rung_name="start" if ours else "connect",
        )  # fmt: skip
        return Reached(client, NamedOutcome(NAME, outcome), tuple(fallbacks))

    def _without(self, failure: Failure, fallbacks: Sequence[Fallback]) -> Reached:
        why = f"running without a supervisor: {failure.message}"
        return Reached(None, unwatched(why, failure.evidence), (*fallbacks, Fallback(NAME, 3, why)))

    def _client(self) -> Client:
        return Client.connect(self._run, self._stack.settings.ipc_tcp, again=(), cancel=self._stack.cancel)

    def connect(self) -> Reached:
        """For what is not an `up`: the supervisor if one is there; without one directly, which is no fallback."""
        try:
            client = Client.connect(self._run, self._stack.settings.ipc_tcp, cancel=self._stack.cancel)
            client.call("ping", deadline=ANSWER_S)
        except Failure as failure:
            if not tells_of_silence(failure):
                raise
            fallbacks, why = [], None
            if self.end_hung():
                why = f"supervisor unavailable: {failure.message}; managing services directly"
                fallbacks.append(Fallback("control path", 1, why))
            if stale := self.clear_stale():
                fallbacks.append(Fallback(NAME, 2, stale))
            return Reached(None, fallbacks=tuple(fallbacks), ended=why)
        return Reached(client, fallbacks=_ways(client))

    def foretell(self, command: str) -> Foretold | None:
        """What an `up` or a `down` of everything would do to the supervisor, if nothing is in its way.

        None for a `down` where no supervisor is.
        """
        try:
            with self._client() as client:
                told_of = client.call("ping", deadline=ANSWER_S).result
                ways = _ways(client)
        except Failure as failure:
            if not tells_of_silence(failure):
                raise
            return self._foretell_without_answer(command, failure)
        running = f"supervisor running, pid {told_of.get('pid')}"
        if command == "down":
            return Foretold(_would_change(running, 0, "shutdown"), ways)
        if told_of.get("fingerprint") == self._fingerprint:
            outcome = Outcome(Status.OK, running, rung=1, rung_name="connect")
            return Foretold(NamedOutcome(NAME, outcome), (Fallback(NAME, 1, "one runs already"), *ways))
        return Foretold(_would_change(f"{running}, has other settings or another version", 0, "start"), ways)

    def _foretell_without_answer(self, command: str, failure: Failure) -> Foretold | None:
        hung = self._found_here()
        if hung:
            why = f"pid {hung[0].pid} does not answer: {failure.message}"
            if command == "down":
                return Foretold(_would_change(why, 2, "by its mark"))
            return Foretold(_would_change(f"{why}; known by trying: whether it is about to", 0, "start"))
        if command == "down":
            return None
        try:
            if transport.is_held(self._run):
                raise Failure(f"somebody else holds {os.path.join(self._run, transport.LOCK)}", code="not_ours")
            stale = is_stale(self._run, is_alive)
        except Failure as in_the_way:
            why = f"would run without a supervisor: {in_the_way.message}"
            return Foretold(unwatched(why), (Fallback(NAME, 3, why),))
        said = f"stale socket {transport.socket_path(self._run)} would be removed"
        return Foretold(_would_change("no supervisor runs", 0, "start"), (Fallback(NAME, 2, said),) if stale else ())

    def clear_stale(self) -> str | None:
        try:
            return remove_stale(self._run, is_alive)
        except Failure:
            return None  # a live one, or a stranger's file: left alone

    def shut_down(self, client: Client) -> NamedOutcome:
        """Ask it to end, and see it gone: the last step of a `down` of everything."""
        try:
            client.call("shutdown", deadline=ANSWER_S)
            client.close()
        except CcError:
            pass  # it is ended below, whatever it said
        self._await_end()
        left = self.end_hung()
        why = "it did not end when it was asked to, and was ended" if left else "stopped"
        return NamedOutcome(NAME, Outcome(Status.CHANGED, why, rung=0, rung_name="shutdown"))

    def _await_end(self) -> None:
        wait_for(self._context, "the supervisor to end", lambda: not self._found_here() or None, within=STOP_S)

    def _found_here(self, *, younger: bool = False) -> list[Identity]:
        """What carries the supervisor's mark; not what is younger than this process, which another `up` has started."""
        began = start_time(os.getpid()) or 0
        return [each for each in find_ours(self._stack.state.owner, NAME) if younger or each.start_time < began]

    def end_hung(self, *, younger: bool = False) -> bool:
        """End a supervisor that lives and does not answer, and what it has at work; its services stay.

        One that is younger than this process is not it, unless told so: another `up` has just started that.
        """
        found = self._found_here(younger=younger)
        for identity in found:
            stop_group(identity, grace=STOP_S, context=self._context, kin=False)
        return bool(found)


def _ways(client: Client) -> tuple[Fallback, ...]:
    """The rung of L9 below the first by which it was reached, if it was, and what failed above."""
    if not client.fallbacks:
        return ()
    rung = 1 if client.via == "tcp" else 2
    return (Fallback(IPC, rung, "; ".join(map(str, client.fallbacks))),)


def unwatched(why: str, evidence: tuple[str, ...] = ()) -> NamedOutcome:
    """The step where services run and no supervisor does (L2 rung 3)."""
    less = Outcome(Status.SKIPPED, why, degraded=True, rung=3, rung_name="without", evidence=evidence)
    return NamedOutcome(NAME, less._replace(hint=NOBODY_WATCHES))


def _would_change(why: str, rung: int, way: str) -> NamedOutcome:
    return NamedOutcome(NAME, Outcome(Status.CHANGED, f"would change: {why}", rung=rung, rung_name=way))


def tells_of_silence(failure: Failure) -> bool:
    """Whether it is gone, hung, broken, or talks nonsense. One that is busy, or somebody else's, is left alone."""
    if isinstance(failure, Busy):
        return False
    return failure.code in ("connection_refused", "deadline", "bad_answer", "internal_error")


def _tail(log: str, began: int) -> tuple[str, ...]:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            file.seek(max(began, os.fstat(file.fileno()).st_size - 4096))
            return tuple(file.read(4096).splitlines()[-10:])
    except OSError:
        return ()
