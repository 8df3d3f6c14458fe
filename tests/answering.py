"""A server on a real socket that answers as it is told: a fixture of those rooms whose conftest imports it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Server:
    """What it answers is `reply`, called with the handler: `say`, or anything worse. `asked` is what came.

    To a question about the tables that `ingest` makes it answers `ours`: that there are none, unless told otherwise.
    """

    def __init__(self) -> None:
        self.reply: Callable[[BaseHTTPRequestHandler], object] = say(500, b"nobody told me what to answer")
        self.ours = say(404, b"Code: 60. DB::Exception: Unknown table cc_migrations. (UNKNOWN_TABLE)")
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if b" cc_" in body:
                    outer.ours(self)
                    return
                outer.asked.append((self.path, dict(self.headers), body))
                outer.reply(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def say(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], object]:
    """An ordinary answer."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()
