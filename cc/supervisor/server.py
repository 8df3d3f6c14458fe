"""Takes connections and answers them from a table of methods. Knows what a message is, not what a method does.

    the loop     one thread: accepts, reads, finishes writes, sends heartbeats, drops who is silent
    a call       a thread of its own: runs the method and writes what it says straight to the socket
    a quick one  (`quick`) is answered by the loop itself, without a thread and an ack: three times as fast

While nobody asks there is no other thread, and the loop wakes only to see whether the socket is still where clients
look for it. A slow reader never blocks an operation: its events are dropped, and the answer says how many (see
connection). While its call runs it may be as slow as it likes (somebody pressed Ctrl-Z), afterwards it has 30 s to take
its answer. A client that closes, or only its writing half, is gone: its call is cancelled. Everything is bounded:
connections, those that have not proven yet, calls, and what waits in memory for all of them together.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from cc.clock import Cancel, Clock, SystemClock
from cc.errors import CcError, Failure
from cc.supervisor import protocol
from cc.supervisor.connection import REQUEST_S, UNREAD, Call, Connection
from cc.supervisor.listener import Seen

CONNECTIONS = 256  # each takes up to three descriptors (a call's Cancel has two), and 1024 is a common limit
UNPROVEN = 32  # of them, over TCP: strangers can't fill the table
CALLS = 256  # also those whose client has gone and that have not noticed yet
HELD = 4 * 1024 * 1024  # bytes that wait to be read or written, all connections together
LOOK_S = 2.0  # between two looks at the socket's file
STARVED_S = 1.0  # no descriptor was left: accepting rests
CLOSE_S = 2.0
CHUNK = 64 * 1024
STARVED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Method = Callable[[Mapping[str, Any], Call], Mapping[str, Any]]
"""Answers a call, in a thread of its own. A CcError that it raises is an answer, too."""


class Listener(Protocol):
    """What cc.supervisor.listener makes."""

    via: str
    listening: socket.socket

    def accept(self) -> tuple[socket.socket, protocol.ServerProof | None]: ...
    def check(self) -> Seen | None: ...
    def close(self) -> None: ...


class Server:
    """`log` gets what went wrong, tracebacks too. `on_lost` is told once another supervisor has taken the place.

    Methods named in `quick` wait for nothing, not even a lock or a file, and emit nothing.
    `hooks` are called in the loop every two seconds: they must be quick. The listeners are closed with the server.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        methods: Mapping[str, Method],
        *,
        quick: Collection[str] = (),
        clock: Clock | None = None,
        log: Callable[[str], None] = lambda text: None,
        on_lost: Callable[[str], None] = lambda text: None,
        hooks: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._listeners = tuple(listeners)
        self._methods = dict(methods)
        self._quick = frozenset(quick)
        self._never = Cancel()
        self._clock = clock or SystemClock()
        self._log = log
        self._on_lost = on_lost
        self._hooks = tuple(hooks)
        self._selector = selectors.DefaultSelector()
        self._connections: dict[Connection, None] = {}
        self._open = list(self._listeners)
        self._calls = 0
        self._calls_lock = threading.Lock()
        self._writers: deque[Connection] = deque()
        self._bell, self._ringer = socket.socketpair()
        self._sweep_at = 0.0
        self._look_at = 0.0
        self._accept_at: float | None = None
        self._closing: float | None = None  # until when
        self._thread = threading.Thread(target=self._loop, name="ipc", daemon=True)

    def start(self) -> None:
        """Answer from now on, in a thread."""
        for one in (self._bell, self._ringer):
            one.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
        for listener in self._listeners:
            self._listen(listener)
        self._thread.start()

    def close(self, grace: float = CLOSE_S) -> None:
        """No new connections and calls; what runs is cancelled and has `grace` seconds to answer. Not from a method."""
        self._closing = self._clock.now() + grace
        self._ring()
        self._thread.join()

    def now(self) -> float:
        return self._clock.now()

    def is_full(self) -> bool:
        """Whether too much waits in memory, all connections together."""
        return sum(len(one.out) + len(one.inbox) for one in list(self._connections)) > HELD

    def wants_to_write(self, connection: Connection) -> None:
        """Its socket took not everything: the loop goes on with it."""
        self._writers.append(connection)
        self._ring()

    def _ring(self) -> None:
        try:
            self._ringer.send(b"x")
        except OSError:
            pass  # full, and then it rings already; or closed

    def _loop(self) -> None:
        try:
            while self._closing is None or not self._is_done(self._closing):
                timeout = max(0.0, self._sweep_at - self._clock.now())
                for key, events in self._selector.select(timeout):
                    key.data(events)
                now = self._clock.now()
                if now >= self._sweep_at:
                    self._sweep(now)
        except BaseException:
            self._log(f"the IPC loop ended: {traceback.format_exc()}")
            raise
        finally:
            self._end()

    def _is_done(self, until: float) -> bool:
        """Closing: whether nothing runs or waits to be written any more. Heartbeats go on until then."""
        while self._open:
            listener = self._open.pop()
            if self._accept_at is None:
                self._selector.unregister(listener.listening)
            listener.close()
        for one in list(self._connections):
            one.cancel("the supervisor is stopping")
            if one.call is None and not one.out:
                self._drop(one)
        self._sweep_at = min(self._sweep_at, self._clock.now() + 0.05)  # a call without a client rings no bell
        return not (self._connections or self._calls) or self._clock.now() >= until

    def _end(self) -> None:
        for one in list(self._connections):
            self._drop(one)
        for listener in self._open:
            listener.close()
        self._selector.close()
        self._never.close()
        self._bell.close()
        self._ringer.close()

    def _on_bell(self, _: int) -> None:
        try:
            self._bell.recv(4096)
        except BlockingIOError:
            pass
        while self._writers:
            one = self._writers.popleft()
            if one in self._connections:
                self._selector.modify(one.peer, selectors.EVENT_READ | selectors.EVENT_WRITE, self._serve(one))

    # -- connections

    def _listen(self, listener: Listener) -> None:
        self._selector.register(listener.listening, selectors.EVENT_READ, lambda _: self._accept(listener))

    def _accept(self, listener: Listener) -> None:
        while True:
            try:
                peer, proof = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except Failure as failure:
                self._log(f"refused: {failure.message}")
                continue
            except OSError as error:
                if error.errno in STARVED:
                    self._rest(error)
                    return
                continue  # that client has gone already
            peer.setblocking(False)
            self._admit(peer, listener.via, proof)

    def _rest(self, error: OSError) -> None:
        """No descriptors: the clients wait in the queue, and the loop does not spin on them."""
        self._log(f"accepting rests for {STARVED_S:g} s: {error.strerror}")
        for listener in self._listeners:
            self._selector.unregister(listener.listening)
        self._accept_at = self._clock.now() + STARVED_S
        self._sweep_at = min(self._sweep_at, self._accept_at)

    def _admit(self, peer: socket.socket, via: str, proof: protocol.ServerProof | None) -> None:
        if len(self._connections) >= CONNECTIONS:
            try:
                peer.send(protocol.said_error(None, protocol.Busy(f"the supervisor has {CONNECTIONS} connections")))
            except OSError:
                pass
            peer.close()
        elif proof is not None and sum(not one.proven for one in self._connections) >= UNPROVEN:
            peer.close()
        else:
            one = Connection(self, peer, via, proof)
            self._selector.register(peer, selectors.EVENT_READ, self._serve(one))
            self._connections[one] = None
            self._sweep_at = min(self._sweep_at, one.until)

    def _serve(self, one: Connection) -> Callable[[int], None]:
        return lambda events: self._on_connection(one, events)

    def _on_connection(self, one: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            one.flush()
            if not one.out:
                self._selector.modify(one.peer, selectors.EVENT_READ, self._serve(one))
        if events & selectors.EVENT_READ:
            try:
                read = one.peer.recv(CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                read = b""
            if not read:
                self._drop(one)
            elif not one.refused:
                one.inbox += read
                self._read_lines(one)

    def _drop(self, one: Connection) -> None:
        if one in self._connections:
            self._selector.unregister(one.peer)
            one.close()
            del self._connections[one]  # last: what is listed and what is open are the same

    def _read_lines(self, one: Connection) -> None:
        limit = protocol.MAX_LINE if one.proven else protocol.MAX_PROOF_LINE
        while not one.refused:
            end = one.inbox.find(b"\n")
            if end < 0 and len(one.inbox) < limit:
                if len(one.inbox) > UNREAD and self.is_full():
                    self._refuse(one, protocol.Busy("the supervisor has too much to read"))
                return
            if not 0 <= end < limit:
                self._refuse(one, Failure(f"a line of over {limit} bytes", code="bad_answer"))
                return
            line = bytes(one.inbox[: end + 1])
            del one.inbox[: end + 1]
            try:
                self._on_message(one, protocol.decode(line))
            except CcError as error:
                self._refuse(one, error)

    def _refuse(self, one: Connection, error: CcError) -> None:
        one.refuse(protocol.said_error(None, error))
        one.cancel(error.message)  # after it: what the call still answers is not sent
        self._sweep_at = min(self._sweep_at, one.until)

    # -- calls

    def _on_message(self, one: Connection, message: protocol.Message) -> None:
        """Raises CcError for one after which nothing on this connection can be trusted."""
        if one.proof is not None and not one.proof.proven:
            one.say(one.proof.feed(message))
            return
        if "cancel" in message:
            one.cancel(str(message["cancel"])[:200], message["id"])
            return
        try:
            self._begin(one, protocol.read_request(message))
        except CcError as error:
            one.say(protocol.said_error(message.get("id"), error))

    def _begin(self, one: Connection, request: protocol.Request) -> None:
        """Raises CcError for a call that is not begun."""
        if one.call is not None:
            raise Failure(f"{one.call.method} still runs on this connection", code="bad_answer")
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(sorted(self._methods))
            raise Failure(f"there is no method {request.method[:100]!r}; there are {known}", code="bad_answer")
        if self._closing is not None:
            raise Failure("the supervisor is stopping", code="connection_refused")
        if request.method in self._quick:
            call = Call(one, request, self._clock.now(), self._never)
            one.say(self._line(call, method, request.params))
            one.until = self._clock.now() + REQUEST_S
            return
        if self._calls >= CALLS:
            raise protocol.Busy(f"the supervisor has {CALLS} calls running")
        try:
            call = Call(one, request, self._clock.now(), Cancel())
        except OSError as error:
            raise protocol.Busy(f"the supervisor cannot take another call: {error.strerror}") from error
        self._sweep_at = min(self._sweep_at, call.heartbeat_at, call.until or call.heartbeat_at)
        with self._calls_lock:
            self._calls += 1
        one.begin(call)
        thread = threading.Thread(
            target=self._answer, args=(one, call, method, request.params), name=f"ipc-{request.method}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            self._finish(one, call, protocol.said_error(call.id, protocol.Busy(str(error))))

    def _answer(self, one: Connection, call: Call, method: Method, params: Mapping[str, Any]) -> None:
        """A call, from beginning to end."""
        self._finish(one, call, self._line(call, method, params))

    def _line(self, call: Call, method: Method, params: Mapping[str, Any]) -> bytes:
        """What a method answers."""
        try:
            return protocol.said_result(call.id, method(params, call))
        except CcError as error:
            return protocol.said_error(call.id, error)
        except BaseException as error:  # noqa: BLE001 - the outermost edge: whatever a method raises is answered
            self._log(f"{call.method} raised: {traceback.format_exc()}")
            what = f"{call.method}: {type(error).__name__}: {error}"
            return protocol.said_error(call.id, Failure(what, code="internal_error"))

    def _finish(self, one: Connection, call: Call, line: bytes) -> None:
        one.finish(call, line)
        with self._calls_lock:
            self._calls -= 1
        if self._closing is not None:
            self._ring()

    # -- time

    def _sweep(self, now: float) -> None:
        """What time brings: heartbeats, deadlines, silent clients, a socket that was deleted."""
        if self._accept_at is not None and now >= self._accept_at and self._closing is None:
            self._accept_at = None
            for listener in self._listeners:
                self._listen(listener)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look()
        due = [self._sweep_connection(one, now) for one in list(self._connections)]
        self._sweep_at = min([self._look_at, *due, *([] if self._accept_at is None else [self._accept_at])])

    def _sweep_connection(self, one: Connection, now: float) -> float:
        """When to look at it again."""
        call = one.call
        if call is not None:
            if call.until is not None and now >= call.until:
                one.cancel("its deadline passed", call.id)
                call.until = None
            if now >= call.heartbeat_at:
                one.beat(call)
                call.heartbeat_at = now + protocol.HEARTBEAT_S
            return min(call.heartbeat_at, call.until or call.heartbeat_at)
        if now < one.until:
            return one.until
        if one.inbox and not one.refused:
            self._refuse(one, Failure("no whole request came in time", code="deadline"))
            return one.until
        self._drop(one)
        return now + LOOK_S

    def _look(self) -> None:
        if self._closing is not None:
            return
        for listener in self._listeners:
            before = listener.listening
            seen = listener.check()
            if seen is None:
                continue
            self._log(seen.text)
            if seen.retired is not None:
                if self._accept_at is None:
                    self._selector.unregister(before)
                    self._listen(listener)
                seen.retired.close()
            if seen.lost:
                self._on_lost(seen.text)
        for hook in self._hooks:
            try:
                hook()
            except Exception:  # noqa: BLE001 - the loop is an edge: one bad hook must not end all answers
                self._log(f"a hook raised: {traceback.format_exc()}")
