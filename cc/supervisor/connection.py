"""One client at the server: what it sends, what waits to be written to it, and the one call that it may have running.

The loop (server) reads; the call's thread writes straight to the socket, which never blocks it: what the socket does
not take waits in `out`, and once `UNREAD` bytes wait, events are dropped and counted.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from cc.clock import Cancel
from cc.supervisor import protocol

REQUEST_S = 5.0  # to send a whole request, since the connection was made or the last answer given
ANSWER_S = 30.0  # to take the next bytes of an answer
LINGER_S = 1.0  # for one that is refused to read why
UNREAD = 64 * 1024


class Loop(Protocol):
    """What a connection asks of the server."""

    def now(self) -> float: ...
    def wants_to_write(self, connection: Connection) -> None: ...
    def is_full(self) -> bool: ...


class Call:
    """One running method: whom it answers, and whether it is still wanted."""

    def __init__(self, connection: Connection, request: protocol.Request, now: float, cancelled: Cancel) -> None:
        self.id = request.id
        self.method = request.method
        self.via = connection.via
        self.cancelled = cancelled
        """Requested when the client cancels or goes away, when its deadline passes, and when the server closes."""
        self.until = None if request.deadline_s is None else now + request.deadline_s
        self.heartbeat_at = now + protocol.HEARTBEAT_S
        self._connection = connection

    def emit(self, event: Mapping[str, Any]) -> None:
        """Stream an event. Never blocks: dropped, and counted, if the client reads too slowly or has gone.

        Raises Failure for what cannot cross: internal_error for what is not JSON, bad_answer for over 1 MiB.
        """
        self._connection.tell(self, protocol.said(self.id, "event", event))


class Connection:
    """`lock` guards what both the loop and a call's thread touch: out, call, until, closed."""

    def __init__(self, loop: Loop, peer: socket.socket, via: str, proof: protocol.ServerProof | None) -> None:
        self.peer = peer
        self.via = via
        self.proof = proof
        self.inbox = bytearray()
        self.out = bytearray()
        self.call: Call | None = None
        self.until = loop.now() + REQUEST_S
        self.refused = False  # what it sends is thrown away; it may read why, and is dropped
        self.closed = False
        self._hung_up = False
        self._dropped = 0
        self._lock = threading.Lock()
        self._loop = loop

    @property
    def proven(self) -> bool:
        return self.proof is None or self.proof.proven

    def begin(self, call: Call) -> None:
        """The call runs from now on, and the client is told so."""
        with self._lock:
            self.call, self._dropped = call, 0
            self._write(protocol.said(call.id, "ack", value=True))

    def tell(self, call: Call, line: bytes) -> None:
        """An event of the call."""
        with self._lock:
            if self.call is not call:
                return
            if self.out and len(self.out) + len(line) > UNREAD:
                self._dropped += 1
            else:
                self._write(line)

    def beat(self, call: Call) -> None:
        """A heartbeat, unless something waits to be written."""
        with self._lock:
            if self.call is call and not self.out:
                self._write(protocol.said(call.id, "heartbeat", value=True))

    def finish(self, call: Call, answer: bytes) -> None:
        """The one answer of the call; how many events were dropped is put into it."""
        with self._lock:
            # The client's next request may be here before the write returns.
            wanted, self.call = self.call is call, None
            call.cancelled.close()
            if wanted:
                self.until = self._loop.now() + REQUEST_S
                self._write(protocol.with_dropped(answer, self._dropped))

    def cancel(self, reason: str, number: int | None = None) -> None:
        """Ask the running call to stop; with `number`, only if it is that one."""
        with self._lock:
            if self.call is not None and number in (None, self.call.id):
                self.call.cancelled.request(reason)

    def say(self, line: bytes) -> None:
        """What belongs to no running call."""
        with self._lock:
            self._write(line)

    def refuse(self, line: bytes) -> None:
        """Say why, throw away what it still sends, and be done with it."""
        with self._lock:
            self.refused = True
            self.inbox.clear()
            self.until = self._loop.now() + LINGER_S
            self._write(line)

    def flush(self) -> None:
        """The socket takes more."""
        with self._lock:
            self._write(b"")

    def _write(self, line: bytes) -> None:
        """As far as the socket takes it; the rest waits for the loop. With the lock in hand."""
        if self.closed or self._hung_up:
            return
        waited = len(self.out)
        self.out += line
        try:
            sent = self.peer.send(self.out) if self.out else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.out.clear()  # gone: the loop reads the same
            return
        del self.out[:sent]
        if self.refused and not self.out:
            self._hang_up()
        elif self.out:
            if self.call is None and sent:
                self.until = self._loop.now() + ANSWER_S
            if len(self.out) > UNREAD and self._loop.is_full():
                self.out.clear()
                self._hang_up()
            elif not waited:
                self._loop.wants_to_write(self)

    def _hang_up(self) -> None:
        """Nothing more is written. It is not closed yet: that would take away what the client has not read."""
        self._hung_up = True
        self.refused = True
        try:
            self.peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has gone by itself

    def close(self) -> None:
        """Its call, if one runs, is cancelled."""
        with self._lock:
            self.closed = True
            self.out.clear()
            call, self.call = self.call, None
            if call is not None:
                call.cancelled.request("the client went away")
            self.peer.close()
