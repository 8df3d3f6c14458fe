"""A ClickHouse server for machines where its image cannot be pulled: port 8123 over the real engine, as a library.

    engine.py DATA_DIRECTORY PORT      environment: CLICKHOUSE_USER, CLICKHOUSE_PASSWORD, CLICKHOUSE_DB, as in the image

Parsing, storage, merges and every answer are ClickHouse's own (chdb). Only the HTTP interface is written here, because
the library has none. May import the standard library and chdb's extension; must not know what is kept in it.

On the wire, as the real server has it:

    GET  /ping, /replicas_status    200 "Ok.\\n", nobody need log in
    GET  /?query=...                read only, any change is error 164
    POST /?query=...                the statement is the parameter, a newline and the body: what follows
                                    `INSERT ... FORMAT x` is data, in whatever format, bytes untouched
         Content-Encoding: gzip     the body; Accept-Encoding: gzip with enable_http_compression=1, the answer
         database, default_format   or the headers X-ClickHouse-Database and -Format
         query_id                   comes back in X-ClickHouse-Query-Id
         param_NAME=...             the value of {NAME:Type}, escaped as in TabSeparated
         user, password             or X-ClickHouse-User and -Key, or basic authorization
         any other word             a setting of this one statement; unknown ones are error 115
    an error                        its own status (below), X-ClickHouse-Exception-Code: 60, and as text
                                    "Code: 60. DB::Exception: ... (UNKNOWN_TABLE) (version ...)\\n"

and the dialect of clickhouse-go, which the collector's exporter speaks. It asks for default_format=Native and names
its client_protocol_version, and then expects what the server's TCP protocol would send at the lower revision of both:

    answer   = one block
    block    = info  columns:varint  rows:varint  column*
    info     = 01 00  02 ff ff ff ff  00          (from revision 1 on: field 1 is_overflows, field 2 bucket, end)
    column   = name:string  type:string  [custom:00 from revision 54454 on]  data        string = length:varint bytes

Its first question is `SELECT displayName(), version(), revision(), timezone()`, and that answer is read at the client's
own revision; it is written by hand here. It says revision 1, so that all that follows are the engine's own Native
blocks behind `info`. What the client inserts has neither `info` nor `custom`, whatever the revision.

Left out, and refused with error 48: sessions, the block compression of compress=1 and decompress=1, multipart bodies.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
import uuid
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chdb import _chdb  # type: ignore[import-not-found] # in the image only; the extension alone: the package around it wants pandas and pyarrow

DRAIN_S = 5.0
KEEP_ALIVE_S = 30.0

CODES_OF_STATUS = {
    400: "6 8 15 25 26 27 36 37 38 41 44 53 62 72 117 123 167 168 223 321 376 427 441 675 676",
    401: "194",
    403: "192 193 497 512 516",
    404: "46 47 50 56 60 63 73 78 81 115 152 336 511",
    408: "159",
    411: "381",
    413: "229",
    415: "779",
    501: "48",
    503: "76 209 439",
}
STATUS = {int(code): status for status, codes in CODES_OF_STATUS.items() for code in codes.split()}
"""The status of each error code; 500 for those that are not here."""

CONTENT_TYPE = (
    (re.compile(r"JSON\w*EachRow\w*|JSONLines|NDJSON"), "application/x-ndjson; charset=UTF-8"),
    (re.compile(r"JSON\w*"), "application/json; charset=UTF-8"),
    (re.compile(r"(TabSeparated|TSV)\w*"), "text/tab-separated-values; charset=UTF-8"),
    (re.compile(r"CSV\w*"), "text/csv; charset=UTF-8; header=absent"),
    (re.compile(r"Native|RowBinary\w*|Parquet|Arrow\w*|ORC|MsgPack"), "application/octet-stream"),
    (re.compile(r""), "text/plain; charset=UTF-8"),
)

# Every insert is written before it is answered, which is what a waiting asynchronous insert promises. The engine as a
# library has nobody to flush its queue.
ALWAYS_SO = frozenset({"async_insert", "wait_for_async_insert", "async_insert_busy_timeout_ms"})
RESERVED = ALWAYS_SO | {
    *("query", "query_id", "database", "default_format", "client_protocol_version", "compress", "decompress"),
    *("user", "password", "role", "quota_key", "session_id", "session_timeout", "session_check"),
    *("stacktrace", "buffer_size", "wait_end_of_query"),
}
UNSUPPORTED = {"session_id": "sessions", "compress": "block compression", "decompress": "block compression"}

NAME = re.compile(r"[A-Za-z_]\w*")
FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b[^;]*)?;?\s*\Z", re.IGNORECASE)
HELLO = re.compile(rb"\s*SELECT\s+displayName\(\),\s*version\(\),\s*revision\(\),\s*timezone\(\)", re.IGNORECASE)
CODE = re.compile(r"Code: (\d+)\.")
NO_DATA_TO_INSERT = 108  # over HTTP an empty insert is fine: it inserts nothing

BLOCK_INFO = bytes.fromhex("01 00 02 ff ff ff ff 00")
EMPTY_BLOCK = b"\0\0"
CUSTOM_SERIALIZATION_REVISION = 54454


class EngineError(Exception):
    """What the engine, or this server in its stead, refused. `code` is ClickHouse's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Query:
    """One statement and how it is to be run. `revision` is clickhouse-go's protocol revision, 0 for everybody else."""

    text: bytes
    database: str = "default"
    form: str = "TabSeparated"
    params: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    read_only: bool = False
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows in `form`, and what it took. Times in seconds."""

    body: bytes
    form: str
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    elapsed: float = 0.0


class Engine:
    """The engine on one directory. Every statement has a connection of its own (0.8 ms), so that its database and its
    settings end with it, and statements run side by side."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._anchor = self._connect()  # the engine shuts down with its last connection
        self._running = 0
        self._idle = threading.Condition()
        self.version = self._ask(self._anchor, "SELECT version()").decode().strip()
        self.timezone = self._ask(self._anchor, "SELECT timezone()").decode().strip()

    def _connect(self) -> Any:
        return _chdb.connect(self._path)

    @staticmethod
    def _ask(connection: Any, text: str | bytes) -> bytes:
        return bytes(connection.query(text, "TabSeparated").bytes())

    def run(self, query: Query) -> Answer:
        """Run one statement; EngineError if the engine refuses."""
        if query.revision and HELLO.match(query.text):
            return Answer(hello(self.version, self.timezone, query.revision), "Native")
        with self._idle:
            self._running += 1
        try:
            connection = self._connect()
            try:
                return self._run(connection, query)
            finally:
                connection.close()
        except RuntimeError as error:
            code = int(found[1]) if (found := CODE.search(str(error))) else 1002
            if code == NO_DATA_TO_INSERT:
                return Answer(b"", query.form)
            raise EngineError(code, str(error)) from error
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _run(self, connection: Any, query: Query) -> Answer:
        self._ask(connection, f"USE {quoted(query.database, '`')}")
        for name, value in query.settings.items():
            if not NAME.fullmatch(name):
                raise EngineError(115, f"Code: 115. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
            self._ask(connection, f"SET {name} = {quoted(value)}")
        if query.read_only:
            self._ask(connection, "SET readonly = 2")
        named = FORMAT.search(query.text)
        form = named[1].decode() if named else query.form
        result = connection.query(query.text, form, params=query.params)
        body = bytes(result.bytes() or b"")
        if query.revision and form == "Native":
            body = BLOCK_INFO + (body or EMPTY_BLOCK)
        return Answer(
            body, form, result.rows_read(), result.bytes_read(), max(result.rows_written(), 0), result.elapsed()
        )  # fmt: skip

    def drain(self, within: float) -> bool:
        """Wait until nothing runs, at most `within` seconds. True if so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._running, within)


def quoted(text: str, mark: str = "'") -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return f"{mark}{escaped}{mark}"


def hello(version: str, timezone: str, revision: int) -> bytes:
    """One row: who we are, and that we speak revision 1 from here on. Written as a client of `revision` reads it."""
    custom = b"\0" if revision >= CUSTOM_SERIALIZATION_REVISION else b""
    columns = (
        ("displayName()", "String", string("cc-lab")),
        ("version()", "String", string(version)),
        ("revision()", "UInt32", (1).to_bytes(4, "little")),
        ("timezone()", "String", string(timezone)),
    )
    described = (string(name) + string(kind) + custom + data for name, kind, data in columns)
    return BLOCK_INFO + varint(len(columns)) + varint(1) + b"".join(described)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str) -> bytes:
    data = text.encode()
    return varint(len(data)) + data


def content_type(form: str) -> str:
    return next(mime for pattern, mime in CONTENT_TYPE if pattern.fullmatch(form) or not pattern.pattern)


class Handler(BaseHTTPRequestHandler):
    """One client. The server's class attributes `engine`, `user` and `password` are set by `serve`."""

    protocol_version = "HTTP/1.1"
    timeout = KEEP_ALIVE_S
    wbufsize = 1 << 16  # headers and body in one packet
    disable_nagle_algorithm = True

    engine: Engine
    user: str
    password: str

    def do_GET(self) -> None:
        self._serve(read_only=True)

    def do_HEAD(self) -> None:
        self._serve(read_only=True)

    def do_POST(self) -> None:
        self._serve(read_only=False)

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()  # the client waits for it before it sends its body
        return True

    def _serve(self, *, read_only: bool) -> None:
        url = urlsplit(self.path)
        words = dict(parse_qsl(url.query, keep_blank_values=True))
        query_id = words.get("query_id") or str(uuid.uuid4())
        try:
            body = self._body()
            if url.path in ("/ping", "/replicas_status") or (url.path == "/" and not url.query and not body):
                self._reply(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
                return
            if url.path != "/":
                self._reply(404, f"There is no handle {url.path}\n\nUse / or /ping for health checks.\n".encode(), {})
                return
            self._authenticate(words)
            answer = self.engine.run(self._query(words, body, read_only=read_only))
        except EngineError as error:
            self._refuse(error, query_id)
            return
        summary = {
            "read_rows": str(answer.read_rows), "read_bytes": str(answer.read_bytes),
            "written_rows": str(answer.written_rows), "elapsed_ns": str(round(answer.elapsed * 1e9)),
        }  # fmt: skip
        headers = {
            "Content-Type": content_type(answer.form), "X-ClickHouse-Format": answer.form,
            "X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": self.engine.timezone,
            "X-ClickHouse-Server-Display-Name": "cc-lab", "X-ClickHouse-Summary": json.dumps(summary),
        }  # fmt: skip
        self._reply(200, answer.body, headers, gzipped=words.get("enable_http_compression") == "1")

    def _query(self, words: dict[str, str], body: bytes, *, read_only: bool) -> Query:
        for word, what in UNSUPPORTED.items():
            if words.get(word, "0") not in ("", "0"):
                raise refusal(48, f"the lab's server has no {what} ({word})", "NOT_IMPLEMENTED")
        if self.headers.get_content_type() == "multipart/form-data":
            raise refusal(48, "the lab's server takes no external tables", "NOT_IMPLEMENTED")
        given = words.get("query", "").encode("utf-8", "surrogateescape")
        headers = self.headers
        return Query(
            text=given + b"\n" + body if given and body else given or body,
            database=words.get("database") or headers.get("X-ClickHouse-Database") or "default",
            form=words.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
            params={word[6:]: value for word, value in words.items() if word.startswith("param_")},
            settings={
                word: value for word, value in words.items() if word not in RESERVED and not word.startswith("param_")
            },
            read_only=read_only,
            revision=int(words.get("client_protocol_version") or 0),
        )

    def _authenticate(self, words: dict[str, str]) -> None:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise refusal(516, "Invalid authentication: not base64", "AUTHENTICATION_FAILED") from None
        else:
            user = self.headers.get("X-ClickHouse-User") or words.get("user") or "default"
            password = self.headers.get("X-ClickHouse-Key") or words.get("password") or ""
        right_name = hmac.compare_digest(user.encode(), self.user.encode())
        if not (hmac.compare_digest(password.encode(), self.password.encode()) and right_name):
            why = "Authentication failed: password is incorrect, or there is no user with such name."
            raise refusal(516, f"{user}: {why}", "AUTHENTICATION_FAILED")

    def _body(self) -> bytes:
        data = self._chunks() if self.headers.get("Transfer-Encoding", "").lower() == "chunked" else self.rfile.read(
            int(self.headers.get("Content-Length") or 0)
        )  # fmt: skip
        match self.headers.get("Content-Encoding", "identity").lower():
            case "identity" | "":
                return data
            case "gzip" | "x-gzip":
                try:
                    return gzip.decompress(data)
                except (OSError, EOFError, zlib.error) as error:
                    raise refusal(354, f"inflate failed: {error}", "ZLIB_INFLATE_FAILED") from error
            case other:
                raise refusal(48, f"the lab's server does not read {other}", "NOT_IMPLEMENTED")

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers, and the empty line that ends them
            pass
        return b"".join(parts)

    def _refuse(self, error: EngineError, query_id: str) -> None:
        text = f"{error} (version {self.engine.version} (lab))\n"
        say(f"<Error> {query_id}: {text.strip()}")
        headers = {
            "Content-Type": "text/plain; charset=UTF-8", "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Query-Id": query_id,
        }  # fmt: skip
        self._reply(STATUS.get(error.code, 500), text.encode("utf-8", "replace"), headers)

    def _reply(self, status: int, body: bytes, headers: dict[str, str], *, gzipped: bool = False) -> None:
        if gzipped and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 3)
            headers = {**headers, "Content-Encoding": "gzip"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not news; errors are, and `_refuse` says them."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """As the parent's parent: http.server would ask DNS for our name, and wait for it where there is no network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "cc-lab", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is not news either."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def refusal(code: int, message: str, name: str) -> EngineError:
    return EngineError(code, f"Code: {code}. DB::Exception: {message} ({name})")


def say(text: str) -> None:
    print(time.strftime("%Y.%m.%d %H:%M:%S"), text, file=sys.stderr, flush=True)


def main(path: str, port: int) -> None:
    # Before any thread starts, so that all of them leave these to sigwait below. As process 1 of a container we would
    # not get them at all without asking: the kernel drops what has no handler there.
    stops = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    _chdb.set_signal_handlers_enabled(False)

    engine = Engine(path)
    if database := os.environ.get("CLICKHOUSE_DB"):
        engine.run(Query(f"CREATE DATABASE IF NOT EXISTS {quoted(database, '`')}".encode()))
    Handler.engine = engine
    Handler.user = os.environ.get("CLICKHOUSE_USER") or "default"
    Handler.password = os.environ.get("CLICKHOUSE_PASSWORD", "")

    server = Server(("0.0.0.0", port), Handler)  # noqa: S104 # inside a container; Docker decides what is published
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"<Information> Ready for connections on port {port}, engine {engine.version}")
    name = signal.Signals(signal.sigwait(stops)).name
    server.shutdown()
    clean = engine.drain(DRAIN_S)
    say(f"<Information> {name}: {'all statements are done' if clean else 'statements were cut off'}, exiting")
    # What has been answered is on the disk. A regular exit would let the engine's threads run into their own teardown.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
