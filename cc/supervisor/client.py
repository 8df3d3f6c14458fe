"""Asks the supervisor, within deadlines. Imports leaves, protocol and transport only: `status` has to feel instant.

L9 of the ladders, walked by `Client.connect`:

    rung 0   the Unix socket
    rung 1   TCP on a loopback address, if one is configured
    rung 2   the Unix socket again, after 1, 2 and 4 s; only while a supervisor lives that could come back
    rung 3   Failure connection_refused with every attempt as evidence: direct calls are the caller's to make

A supervisor that lives and does not answer (hung, or stopped by a signal) accepts connections all the same, since the
kernel does that: it is noticed by `call`, whose first byte has 2 s and which hears something every second from then on.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

from cc.clock import Cancel, Clock, SystemClock
from cc.errors import Failure, Interrupted
from cc.supervisor import protocol, transport

CONNECT_S = 2.0
FIRST_BYTE_S = 2.0
SILENCE_S = 3.0  # three heartbeats
CANCEL_S = 30.0  # for what was cancelled to clear up and answer
AGAIN_S = (1.0, 2.0, 4.0)
CHUNK = 64 * 1024


class Fallback(NamedTuple):
    """A way that was tried in vain: its rung of L9, and why it failed."""

    rung: int
    way: str
    reason: str
    code: str

    def __str__(self) -> str:
        return f"{self.way}: {self.reason}"


class Answer(NamedTuple):
    """What came of a call: `via` unix or tcp, after which `fallbacks`; `dropped` events were read too slowly."""

    result: Mapping[str, Any]
    via: str
    fallbacks: tuple[Fallback, ...]
    dropped: int


@final
class Client:
    """One connection to the supervisor, for one call at a time; not for several threads. A context manager."""

    def __init__(
        self,
        run: str,
        connection: socket.socket,
        via: str,
        fallbacks: tuple[Fallback, ...] = (),
        *,
        tcp: transport.Address | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.via = via
        self.fallbacks = fallbacks
        self._run = run
        self._tcp = tcp
        self._clock = clock or SystemClock()
        self._connection: socket.socket | None = None
        self._poller = select.poll()
        self._inbox = bytearray()
        self._number = 0
        self._take(connection)

    @classmethod
    def connect(
        cls,
        run: str,
        tcp: transport.Address | None = None,
        *,
        deadline: float = CONNECT_S,
        again: tuple[float, ...] = AGAIN_S,
        clock: Clock | None = None,
        cancel: Cancel | None = None,
        on_fallback: Callable[[Fallback, float], None] = lambda fallback, wait: None,
    ) -> Client:
        """Walk L9 in the run directory `run`; each attempt has `deadline` seconds.

        `on_fallback` is told each attempt that failed and the seconds until the next. Raises Failure
        connection_refused, with the attempts as evidence; Interrupted once `cancel` is requested.
        """
        clock = clock or SystemClock()
        failed: list[Fallback] = []
        ways = [(0, "unix", 0.0)] + ([(1, "tcp", 0.0)] if tcp else []) + [(2, "unix", wait) for wait in again]
        for number, (rung, via, wait) in enumerate(ways):
            if wait and not clock.wait(wait, cancel):
                raise Interrupted(f"connecting was cancelled: {cancel and cancel.requested}")
            try:
                connection = _connect(run, tcp, via, deadline)
                return cls(run, connection, via, tuple(failed), tcp=tcp, clock=clock)
            except Failure as failure:
                way = f"{via} after {wait:g} s" if wait else via
                failed.append(Fallback(rung, way, failure.message, failure.code))
            following = ways[number + 1] if number + 1 < len(ways) else None
            if following is None or (following[2] and not could_come_back(run)):
                break
            on_fallback(failed[-1], following[2])
        raise Failure(
            f"no connection to the supervisor: {failed[0].reason}", code="connection_refused",
            evidence=tuple(map(str, failed)),
        )  # fmt: skip

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        first_byte: float = FIRST_BYTE_S,
        silence: float = SILENCE_S,
        deadline: float | None = None,
        cancel: Cancel | None = None,
    ) -> Answer:
        """Call a method and wait for its answer; seconds everywhere.

        `deadline` is for the whole call, None for as long as the supervisor says that it works on it. Once it has
        passed, or `cancel` is requested, the supervisor is asked to stop and its answer still awaited, for 30 s.
        Raises the error that the supervisor answered, of its own class; Failure deadline for one that is silent or
        too late, connection_refused for one that went away, bad_answer for nonsense, Busy.
        """
        waiting = _Waiting(self._clock, method, first_byte, silence, deadline)
        try:
            connection = self._fresh(first_byte)
            self._number += 1
            self._send(connection, protocol.request(self._number, method, params or {}, deadline), waiting)
            while True:
                message = self._next(connection, waiting, cancel)
                if "result" in message or "error" in message:
                    break
                if on_event is not None and isinstance(message.get("event"), dict):
                    on_event(message["event"])
        except BaseException:
            self.close()  # nobody knows what would come next
            raise
        return self._answered(message, waiting)

    def close(self) -> None:
        """Hang up: a call that runs is cancelled. Idempotent; the next call connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._inbox.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, connection: socket.socket) -> socket.socket:
        """It never blocks, and one poll is made ready for all its waits: both are a good part of a round trip."""
        connection.setblocking(False)
        self._poller = select.poll()
        self._poller.register(connection, select.POLLIN)
        self._connection = connection
        return connection

    def _fresh(self, timeout: float) -> socket.socket:
        """A connection that the server has not closed: it does so after 5 s without a request."""
        if self._connection is not None and self._poller.poll(0):
            self.close()
        return self._connection or self._take(_connect(self._run, self._tcp, self.via, timeout))

    def _send(self, connection: socket.socket, line: bytes, waiting: _Waiting) -> None:
        try:
            try:
                sent = connection.send(line)
            except BlockingIOError:
                sent = 0
            if sent < len(line):
                connection.settimeout(waiting.first_byte)
                connection.sendall(line[sent:])
                connection.setblocking(False)
        except TimeoutError as error:
            raise Failure(f"the supervisor does not take the request {waiting.method}", code="deadline") from error
        except OSError as error:
            # It may have said why before it closed (too many connections).
            if not self._poller.poll(0):
                raise _gone(waiting.method, error) from error

    def _next(self, connection: socket.socket, waiting: _Waiting, cancel: Cancel | None) -> protocol.Message:
        """The next message that is about this call."""
        while True:
            end = self._inbox.find(b"\n")
            if end >= 0:
                line = bytes(self._inbox[: end + 1])
                del self._inbox[: end + 1]
                message = protocol.decode(line)
                if message.get("id") == self._number:
                    return message
                if message.get("id") is None and "error" in message:
                    raise protocol.to_error(message["error"])  # and then it closed
                raise Failure("the supervisor answered another call", code="bad_answer")
            if len(self._inbox) >= protocol.MAX_LINE:
                raise Failure(f"the supervisor sent a line of over {protocol.MAX_LINE} bytes", code="bad_answer")
            self._read(connection, waiting, cancel)

    def _read(self, connection: socket.socket, waiting: _Waiting, cancel: Cancel | None) -> None:
        while True:
            reason = waiting.why_stop(cancel)
            if reason is not None:
                self._send(connection, protocol.said(self._number, "cancel", reason), waiting)
            if self._is_readable(connection, waiting.left(), cancel if waiting.stopping is None else None):
                break
            waiting.refuse_silence()  # only once there is nothing to read: it may be we who were stopped (Ctrl-Z)
        try:
            read = connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise _gone(waiting.method, error) from error
        if not read:
            raise _gone(waiting.method, None)
        waiting.heard()
        self._inbox += read

    def _is_readable(self, connection: socket.socket, seconds: float, cancel: Cancel | None) -> bool:
        """Whether there is something to read; False once the time is over or the cancel is requested."""
        if cancel is None:
            return bool(self._poller.poll(seconds * 1000))
        both = select.poll()
        both.register(connection, select.POLLIN)
        both.register(cancel, select.POLLIN)
        return any(descriptor == connection.fileno() for descriptor, _ in both.poll(seconds * 1000))

    def _answered(self, message: protocol.Message, waiting: _Waiting) -> Answer:
        if "error" in message:
            error = protocol.to_error(message["error"])
            if waiting.passed():
                error = Failure(
                    waiting.too_late, code="deadline", hint=error.hint, evidence=(error.message, *error.evidence)
                )
            raise error
        dropped = message.get("dropped", 0)
        if not isinstance(message["result"], dict) or not isinstance(dropped, int):
            raise Failure("the supervisor's answer is not an object", code="bad_answer")
        return Answer(message["result"], self.via, self.fallbacks, dropped)


class _Waiting:
    """How long a call may still wait, and whether it has been asked to stop (`stopping`: cancel or deadline)."""

    def __init__(self, clock: Clock, method: str, first_byte: float, silence: float, deadline: float | None) -> None:
        self.method = method
        self.first_byte = first_byte
        self.stopping: str | None = None
        self.too_late = f"the supervisor did not finish {method} within {deadline} s"
        self._clock = clock
        self._silence = silence
        self._allowed = first_byte
        self._began = self._quiet_since = clock.now()
        self._end = None if deadline is None else self._began + deadline

    def left(self) -> float:
        """Until something has to be said or given up."""
        now, end = self._clock.now(), self._end
        quiet = self._quiet_since + self._allowed
        return max(0.0, (quiet if end is None else min(quiet, end)) - now)

    def passed(self) -> bool:
        """Whether the deadline has; the supervisor keeps it too, and may have stopped before it was asked to."""
        late = self._end is not None and self._clock.now() >= self._end
        return self.stopping == "deadline" or (self.stopping is None and late)

    def heard(self) -> None:
        self._quiet_since = self._clock.now()
        self._allowed = self._silence

    def refuse_silence(self) -> None:
        """Raises Failure deadline if nothing came for too long."""
        quiet = self._clock.now() - self._quiet_since
        if quiet >= self._allowed:
            raise Failure(f"the supervisor has not answered {self.method} for {quiet:.1f} s", code="deadline")

    def why_stop(self, cancel: Cancel | None) -> str | None:
        """Why the supervisor has to be asked to stop now; None if not, or once it has been. Raises Failure."""
        late = self._end is not None and self._clock.now() >= self._end
        if self.stopping is not None:
            if late:
                why = f"the supervisor did not stop {self.method} within {CANCEL_S:g} s"
                raise Failure(why, code="deadline") if self.stopping == "deadline" else Interrupted(why)
            return None
        asked = cancel.requested if cancel is not None else None
        if asked is None and not late:
            return None
        self.stopping = "deadline" if asked is None else "cancel"
        self._end = self._clock.now() + CANCEL_S
        return asked or "its deadline passed"


def could_come_back(run: str) -> bool:
    """Whether waiting for the supervisor makes sense: one lives, though it takes no connection now."""
    return transport.is_held(run)


def _connect(run: str, tcp: transport.Address | None, via: str, timeout: float) -> socket.socket:
    if via == "tcp" and tcp is not None:
        return transport.connect_tcp(run, tcp, timeout)
    return transport.connect_unix(run, timeout)


def _gone(method: str, error: OSError | None) -> Failure:
    why = f" ({error.strerror})" if error is not None and error.strerror else ""
    return Failure(f"the supervisor went away before it answered {method}{why}", code="connection_refused")
