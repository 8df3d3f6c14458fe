"""Session files as Claude Code writes them, and a store as ClickHouse answers: real files, a real socket."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SONNET = "claude-sonnet-4-5-20250929"
HAIKU = "claude-haiku-4-5-20251001"
UNPRICED = "claude-of-tomorrow-9"


@dataclass
class Sessions:
    """A `CLAUDE_CONFIG_DIR` that a test fills."""

    root: Path
    written: int = 0

    def message(
        self,
        *,
        project: str = "/home/ada/engine",
        model: str = SONNET,
        days_ago: int = 0,
        tokens: tuple[int, int, int, int] = (1000, 200, 0, 0),
    ) -> None:
        """One answer. Tokens are input, output, cache write, cache read."""
        self.written += 1
        given, output, write, read = tokens
        at = datetime.now(timezone.utc) - timedelta(days=days_ago)
        self.line(
            project,
            json.dumps(
                {
                    "type": "assistant",
                    "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "sessionId": "a-session",
                    "cwd": project,
                    "uuid": f"u-{self.written}",
                    "requestId": f"req_{self.written}",
                    "message": {
                        "id": f"msg_{self.written}",
                        "role": "assistant",
                        "model": model,
                        "usage": {
                            "input_tokens": given,
                            "output_tokens": output,
                            "cache_creation_input_tokens": write,
                            "cache_read_input_tokens": read,
                        },
                    },
                }
            ),
        )

    def line(self, project: str, text: str) -> None:
        """Any line, into the session file of that project."""
        folder = self.root / "projects" / re.sub(r"[^A-Za-z0-9]", "-", project)[:200]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "a-session.jsonl").open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def event(request_id: str, *, model: str = SONNET, output_tokens: int = 7) -> list[str]:
    """A row about one request, as the store holds it (usage.telemetry.COLUMNS)."""
    now = datetime.now(timezone.utc)
    return [
        request_id, "a-session", model, "10", str(output_tokens), "0", "0", "", "", "0.5", "500000", "", "1",
        now.isoformat().replace("+00:00", "Z"), str(int(now.timestamp() * 1000)),
    ]  # fmt: skip


@dataclass
class Store:
    """Answers every query with `rows`, in ClickHouse's JSONCompact, to whoever knows the password.

    While `hold` is there and not set, it takes the query and is silent; `asked` is set once it has one.
    """

    rows: list[list[str]]
    password: str = ""
    hold: threading.Event | None = None
    asked: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                store.asked.set()
                if store.hold is not None:
                    store.hold.wait(30)
                if self.headers["X-ClickHouse-Key"] != store.password:
                    refusal = b"Code: 516. DB::Exception: cc: Authentication failed"
                    return self.answer(403, refusal, [("X-ClickHouse-Exception-Code", "516")])
                document = {"meta": [], "data": store.rows, "rows": len(store.rows)}
                return self.answer(200, json.dumps(document).encode(), [])

            def answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
                self.send_response(status)
                for name, value in [*headers, ("Content-Length", str(len(body)))]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def stop(self) -> None:
        """Nothing listens on the port afterwards. Idempotent."""
        self.server.shutdown()
        self.server.server_close()
