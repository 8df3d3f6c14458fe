"""A URL that answers: one GET, bounded in total time and in size; and the verb that waits for the right answer.

    refused, no route, no such name    connection_refused
    the time was over                  deadline          also for a server that sends a byte a second
    anything that is no HTTP           bad_answer        also a connection that is closed before the answer
    any HTTP status                    an Answer: whether it is the right one is for the caller to say

No proxy is ever asked and no redirect followed: what is probed is this address, not what stands in for it.
`http.client` (20 ms) is imported by the first GET.
"""

from __future__ import annotations

import io
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.engine.waiting import wait_for
from cc.errors import ConfigError, Failure, Interrupted
from cc.resources.host import Host, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cc.clock import Cancel

PROBE_S = 5.0
BODY_BYTES = 1024 * 1024
LAST_LOOK_S = 0.05
SHOWN = 200  # characters of a body in a message or as evidence
LOG_LINES = 10


class Answer(NamedTuple):
    """What a server said. Header names in small letters; `truncated`: the body was longer than the 1 MiB read of it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    truncated: bool = False

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def shown(self) -> str:
        """The status and how the body begins, on one line."""
        start = " ".join(self.text[:SHOWN].split())
        more = "…" if len(self.text) > SHOWN else ""
        return f"{self.status} {start}{more}".strip()


class Url(NamedTuple):
    """A URL taken apart. `shown` is without user, password and query, where secrets stand."""

    secure: bool
    host: str
    port: int
    target: str
    shown: str
    user: str | None = None

    @classmethod
    def parse(cls, given: str) -> Url:
        """Raises ConfigError for what is no http or https URL."""
        from urllib.parse import unquote, urlsplit

        try:
            parts = urlsplit(given)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{given!r} is no URL: {error}", field="url") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{given!r} is no URL: expected http://HOST:PORT/PATH", field="url")
        if any(ord(letter) <= 32 or ord(letter) > 126 for letter in given):
            raise ConfigError(f"{given!r} is no URL: a space or a letter in it must be written as %XX", field="url")
        secure = parts.scheme == "https"
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        where = name if port is None else f"{name}:{port}"
        path = parts.path or "/"
        user = None
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(
            secure, parts.hostname, port if port is not None else 443 if secure else 80,
            f"{path}?{parts.query}" if parts.query else path, f"{parts.scheme}://{where}{path}", user,
        )  # fmt: skip


def get(
    url: str, *, timeout: float = PROBE_S, headers: Mapping[str, str] | None = None, cancel: Cancel | None = None
) -> Answer:
    """One GET. `timeout` in seconds is for all of it: name, connection, headers and body.

    Raises Failure connection_refused, deadline or bad_answer, Interrupted once cancelled, ConfigError for a bad URL.
    """
    import http.client

    at = Url.parse(url)
    wire = _Wire(at, time.monotonic() + timeout, cancel)
    connection: Any = http.client.HTTPConnection(at.host, at.port)
    try:
        wire.open()
        connection.sock = wire  # of a socket, http.client uses sendall, makefile and close
        connection.request("GET", at.target, headers=_headers(at, headers))
        response = connection.getresponse()
        body = response.read(BODY_BYTES + 1)
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, body[:BODY_BYTES], told, len(body) > BODY_BYTES)
    except TimeoutError as error:
        raise Failure(f"{at.shown} did not answer within {timeout:g} s{wire.seen()}", code="deadline") from error
    except http.client.RemoteDisconnected as error:
        raise Failure(f"{at.shown} closed the connection without an answer", code="bad_answer") from error
    except http.client.HTTPException as error:
        said = f"{type(error).__name__}{wire.seen()}"
        raise Failure(f"{at.shown} does not answer as HTTP ({said})", code="bad_answer") from error
    except OSError as error:
        raise _unreachable(at, error, connected=wire.connected) from error
    finally:
        wire.hang_up()


def _headers(at: Url, given: Mapping[str, str] | None) -> dict[str, str]:
    headers = {"User-Agent": "cc", "Accept": "*/*", "Connection": "close"}
    default = 443 if at.secure else 80
    name = f"[{at.host}]" if ":" in at.host else at.host
    headers["Host"] = name if at.port == default else f"{name}:{at.port}"
    if at.user is not None:
        import base64

        headers["Authorization"] = "Basic " + base64.b64encode(at.user.encode()).decode()
    headers.update(given or {})
    return headers


def _unreachable(at: Url, error: OSError, *, connected: bool) -> Failure:
    if connected or isinstance(error, ConnectionResetError):  # a reset may come before `connect` has returned
        return Failure(f"{at.shown} broke the connection off: {error.strerror or error}", code="bad_answer")
    if isinstance(error, ConnectionRefusedError):
        why = f"nothing listens on {at.host}:{at.port} (connection refused)"
    elif isinstance(error, socket.gaierror):
        why = f"the name {at.host} is not known ({error.strerror})"
    else:
        why = f"cannot connect to {at.host}:{at.port}: {error.strerror or error}"
    return Failure(f"{at.shown} does not answer: {why}", code="connection_refused")


class _Wire:
    """A connection all of whose waits end at one deadline, or when cancelled: a byte a second buys no more time."""

    def __init__(self, at: Url, end: float, cancel: Cancel | None) -> None:
        self._at, self._end, self._cancel = at, end, cancel
        self._socket: socket.socket | None = None
        self._first = b""
        self.connected = False

    def open(self) -> None:
        """Connect to the first address that takes us. Raises OSError."""
        trouble: OSError = ConnectionRefusedError("no address")
        for family, kind, protocol, _, address in self._addresses():
            wire = socket.socket(family, kind, protocol)
            try:
                wire.settimeout(self._left())
                wire.connect(address)
            except TimeoutError:
                wire.close()
                raise
            except OSError as error:
                wire.close()
                trouble = error
                continue
            self._socket = wire
            break
        if self._socket is None:
            raise trouble
        self.connected = True
        if self._at.secure:
            import ssl

            self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=self._at.host)

    def _addresses(self) -> list[Any]:
        """The C library resolves without a deadline, so a name that may need the network is asked for in a thread."""
        host = self._at.host.encode()  # of a text Python would import the codec for international names
        numeric = self._at.host == "localhost" or ":" in self._at.host or self._at.host.replace(".", "").isdigit()
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(socket.getaddrinfo(host, self._at.port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                found.append(error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, str(error)))

        if numeric:
            ask()
        else:
            thread = threading.Thread(target=ask, name="cc-resolve", daemon=True)
            thread.start()
            thread.join(self._left())
            if not found:
                raise TimeoutError
        if isinstance(found[0], OSError):
            raise found[0]
        return list(found[0])

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def seen(self) -> str:
        """What came until it went wrong, for the message."""
        if self._first:
            return f", it began with {self._first[:60]!r}"
        return " (connected, and silent)" if self.connected else ""

    # What http.client uses of a socket:

    def sendall(self, data: bytes) -> None:
        assert self._socket is not None  # noqa: S101 - open() came first
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """http.client closes as soon as it has the headers and still wants the body: `hang_up` is what ends it."""

    def receive(self, buffer: Any) -> int:
        assert self._socket is not None  # noqa: S101
        self._await_bytes(self._socket)
        self._socket.settimeout(self._left())
        count = self._socket.recv_into(buffer)
        if len(self._first) < 64:
            self._first += bytes(buffer[: min(count, 64)])
        return count

    def _await_bytes(self, wire: socket.socket) -> None:
        if self._cancel is None or getattr(wire, "pending", int)():  # TLS may hold bytes that no poll shows
            return
        poller = select.poll()
        poller.register(wire.fileno(), select.POLLIN)
        poller.register(self._cancel.fileno(), select.POLLIN)
        poller.poll(self._left() * 1000 + 1)
        if self._cancel.requested:
            raise Interrupted(f"cancelled ({self._cancel.requested})")

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()


class _Reader(io.RawIOBase):
    """What a BufferedReader reads from."""

    def __init__(self, wire: _Wire) -> None:
        super().__init__()
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)


class HttpAction:
    """A URL answers with a status, and with a text in its body."""

    probed = True

    def __init__(
        self,
        url: str,
        *,
        status: int = 200,
        contains: str | None = None,
        within: float = 0.0,
        headers: Mapping[str, str] | None = None,
        log: str | None = None,
    ) -> None:
        self._shown = Url.parse(url).shown
        self.name = f"http {self._shown}"
        self._url = url
        self._status = status
        self._contains = contains
        self._within = within
        self._headers = headers
        self._log = log
        self._asked = False
        self._last = Failure("it was not asked", code="deadline")

    def probe(self, context: Context) -> Probe:
        # The answer is the same before and after: waiting for a thing changes nothing, so the step says `ok`.
        if self._look(context):
            return Probe(True, f"{self._shown} answers {self._status}", "waited for")
        return Probe(False, self._last.message, "waited for", evidence=self._last.evidence)

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        started = context.clock.now()
        waiting = context.until(self._within) if self._within else context  # else: one GET more, with a GET's time
        if wait_for(waiting, self._shown, lambda: self._look(waiting), within=self._within):
            return Acted(f"{self._shown} answers {self._status}")
        late = f" (waited {context.clock.now() - started:.1f} s)" if self._within else ""
        raise Failure(
            f"{self._last.message}{late}", code=self._last.code, hint=f"curl -i {self._shown}",
            evidence=(*self._last.evidence, *log_tail(self._log)),
        )  # fmt: skip

    def _look(self, context: Context) -> bool | None:
        """True if it answers as it should; else None, and `_last` says how it did."""
        left = context.left(PROBE_S)
        if left < LAST_LOOK_S and self._asked:
            return None  # too late for an answer, and what it said before tells more than "no time was left"
        self._asked = True
        try:
            answer = get(self._url, timeout=left, headers=self._headers, cancel=context.cancel)
        except Interrupted:
            raise
        except Failure as failure:
            self._last = failure
            return None
        if answer.status != self._status:
            said = f"answers {answer.status}, not {self._status}"
        elif self._contains is not None and self._contains not in answer.text:
            said = f"answers {answer.status} without {self._contains!r} in it"
        else:
            return True
        self._last = Failure(f"{self._shown} {said}", code="bad_answer", evidence=(f"last answer: {answer.shown()}",))
        return None


def log_tail(path: str | None, lines: int = LOG_LINES, *, start: int = 0) -> tuple[str, ...]:
    """The last lines of a log file, from byte `start` on; () where there is none: evidence, never a goal."""
    if path is None:
        return ()
    try:
        with open(path, "rb") as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - 64 * 1024))
            text = file.read(64 * 1024).decode(errors="replace")
    except OSError:
        return ()
    return tuple(line[:500] for line in text.splitlines() if line.strip())[-lines:]


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    log = args.get("log")
    return HttpAction(
        args["url"],
        status=args.get("status") or 200,
        contains=args.get("contains"),
        within=args.get("within") or 0.0,
        headers=args.get("header"),
        log=None if log is None else host.path(log),
    )


VERB = Verb(
    VerbSpec(
        "http",
        (
            Field("url", "string", required=True, doc="http:// or https://; redirects are not followed"),
            Field("status", "int", default=200, doc="the status that it must answer"),
            Field("contains", "string", doc="a text that must stand in the body"),
            Field("within", "duration", default=0.0, doc="how long to wait for it"),
            Field("header", "mapping", doc="headers to send"),
            Field("log", "path", doc="a log file whose last lines explain a failure"),
        ),
        "a URL that answers",
        positional="url",
    ),
    _make,
)
