"""L8 tokens: a server of the drill's own stands in for Anthropic, so that no text of anybody's leaves the machine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cc.drill.exercise import Drill, expect
from cc.drill.stage import Stage, ok

TEXT = "Nobody knows how many tokens this is before somebody has counted them.\n" * 20
COUNTED = 4711
NO_KEY = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": ""}


@contextmanager
def _server(status: int | None, headers: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """What answers every question with this status (None: with nothing), and the environment in which it is asked."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if status is None:
                over.wait(60)
                return
            body = json.dumps({"input_tokens": COUNTED} if status == 200 else {}).encode()
            self.send_response(status)
            told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield _keyed(server.server_address[1])
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _keyed(port: int) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": "of-a-drill", "ANTHROPIC_AUTH_TOKEN": "", "CC_TOKENS_TIMEOUT": "2",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip


def _asked(stage: Stage, rung: int, **environ: str) -> Mapping[str, Any]:
    path = os.path.join(stage.dir, "text.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write(TEXT)
    told = ok(stage.type("tokens", "--path", path, **environ)).document
    expect(told["rung"] == rung, f"rung {rung}", told)
    expect(told["degraded"] is (rung > 0), "degraded unless by rung 0", told)
    return told


def counted(stage: Stage) -> str:
    with _server(200) as environ:
        told = _asked(stage, 0, **environ)
    expect(told["tokens"] == COUNTED, f"{COUNTED} tokens", told)
    return f"{COUNTED} tokens, counted"


def no_key(stage: Stage) -> str:
    return _estimated(stage, "no key", **NO_KEY)


def _estimated(stage: Stage, why: str, **environ: str) -> str:
    told = _asked(stage, 1, **environ)
    expect(why in str(told["reason"]), why, told["reason"])
    expect(told["error"] is not None, "the error stated", told)
    return f"{told['tokens']} tokens ± {100 * told['error']['p90']:.1f} %: {told['reason']}"


def refused_key(stage: Stage) -> str:
    with _server(401) as environ:
        return _estimated(stage, "answered 401: the key is not accepted", **environ)


def rate_limit(stage: Stage) -> str:
    with _server(429, {"Retry-After": "60"}) as environ:
        return _estimated(stage, "answered 429: rate limit, to be asked again after 60 s", **environ)


def silence(stage: Stage) -> str:
    with _server(None) as environ:
        return _estimated(stage, "within 2 s", **environ)


def nobody(stage: Stage) -> str:
    return _estimated(stage, "is out of reach", **_keyed(stage.ports[-1]))


def data_damaged(stage: Stage) -> str:
    path = os.path.join(stage.dir, "pieces.bin")
    with open(path, "wb") as file:
        file.write(b"cc-tokens 2\nspoilt")
    told = _asked(stage, 2, CC_TOKENS_DATA=path, **NO_KEY)
    expect(told["rung_name"] == "rough", "the name rough", told["rung_name"])
    expect(told["tokens"] == -(-len(TEXT) // 4), "characters / 4", told["tokens"])
    return f"rough: {told['reason']}"


DRILLS = (
    Drill("L8", 0, "nothing", "the number that Anthropic's API gave", "", counted),
    Drill("L8", 1, "there is no key", "an estimate with its error, and why", "", no_key),
    Drill("L8", 1, "the key is refused (401)", "an estimate, and that the key is not accepted", "", refused_key),
    Drill("L8", 1, "the rate limit is reached (429)", "an estimate, and when to ask again", "", rate_limit),
    Drill("L8", 1, "the API is silent", "an estimate after the deadline, and so named", "", silence),
    Drill("L8", 1, "nobody listens there", "an estimate, and that the API is out of reach", "", nobody),
    Drill(
        "L8", 2, "no key, and the estimate's data file is damaged", "characters / 4, rough, and why", "", data_damaged
    ),
)
