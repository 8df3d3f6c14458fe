"""A real ClickHouse engine in a container of its own, and the commands of a user whose store it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cc.errors import Failure
from cc.usage.clickhouse import ClickHouse
from tests.integration.box import PROGRAM, Done, eventually
from tests.usage.rows import row, session_file, write

USER, PASSWORD = "cc", "s3cret"
COMMAND_S = 90.0


class Store:
    """The engine in its container. `database` is made anew by `empty`."""

    def __init__(self, url: str, container: str) -> None:
        self.url, self.container = url, container
        self.client = ClickHouse((url,), USER, PASSWORD)

    def empty(self) -> None:
        """As a store that nobody has written to."""
        server = ClickHouse((self.url,), USER, PASSWORD, database="default")
        server.change("DROP DATABASE IF EXISTS otel", "")
        server.change("CREATE DATABASE otel", "")

    def ask(self, statement: str) -> list[list[str]]:
        """Rows of a question; its columns must be strings."""
        return self.client.rows(statement, "")

    def number(self, what: str) -> int:
        """One number of our requests, each counted as it is now."""
        return int(self.ask(f"SELECT toString({what}) FROM cc_requests FINAL")[0][0])  # noqa: S608 - a test's own


@contextmanager
def engine(*options: str) -> Iterator[Store]:
    """A container of the lab's image, gone at the end; `options` are `docker run`'s."""
    name = f"cctest-store-{uuid.uuid4().hex[:12]}"
    words = ["docker", "run", "-d", "--name", name, "-p", "127.0.0.1::8123", *options]
    for variable in (f"CLICKHOUSE_USER={USER}", f"CLICKHOUSE_PASSWORD={PASSWORD}", "CLICKHOUSE_DB=otel"):
        words += ["-e", variable]
    subprocess.run([*words, os.environ["CC_CLICKHOUSE_IMAGE"]], check=True, capture_output=True)
    try:
        published = subprocess.run(["docker", "port", name, "8123/tcp"], check=True, capture_output=True, text=True)
        store = Store(f"http://{published.stdout.split()[0]}", name)
        eventually(lambda: _answers(store), within=60, what="the engine")
        yield store
    finally:
        subprocess.run(["docker", "rm", "-fv", name], check=True, capture_output=True)


def _answers(store: Store) -> bool:
    try:
        return store.ask("SELECT '1'") == [["1"]]
    except Failure:
        return False


class User:
    """Somebody with session files under `claude` whose store is the engine."""

    def __init__(self, directory: Path, url: str) -> None:
        self.claude = directory / "claude"
        self.env = {
            "HOME": str(directory),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "CC_HOME": str(directory / "state"),
            "CC_CLICKHOUSE_URL": url,
            "CC_CLICKHOUSE_USER": USER,
            "CC_CLICKHOUSE_PASSWORD": PASSWORD,
            "CLAUDE_CONFIG_DIR": str(self.claude),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }

    def start(
        self, *words: str, env: Mapping[str, str] | None = None, program: Sequence[str] = PROGRAM
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*program, *words], env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        """A command to its end."""
        process = self.start(*words, env=env)
        out, err = process.communicate(timeout=COMMAND_S)
        assert "Traceback" not in out + err, err
        return Done(process.returncode, out, err)

    def ingest(self) -> Any:
        """The document of an `ingest` that went well."""
        done = self.run("ingest", "--json")
        assert done.code == 0, done.err
        return done.json

    def usage(self, source: str, by: str = "day", *words: str) -> Any:
        """Total and rows of `usage`."""
        done = self.run("usage", "--json", "--source", source, "--by", by, *words)
        assert done.code == 0, done.err
        document = json.loads(done.out)
        return {"total": document["total"], "rows": document["rows"]}


def in_batches_of(rows: int) -> tuple[str, ...]:
    """The program, with small batches: what happens between two of them needs few rows then."""
    code = f"from cc.usage import ingest; ingest.BATCH_ROWS = {rows}; from cc.program import main; main()"
    return (sys.executable, "-c", code)


def rows_of(user: User, session: str, *rows: Any) -> Path:
    return write(session_file(user.claude, session), *rows)


def settled(user: User, turn: int) -> None:
    """The same messages with other counts, some at another time, and a few more of them."""
    for session in range(20):
        hour = (turn + session) % 24
        rows = [
            row(f"m{session}-{number}", f"r{session}-{number}", output=turn + 1, session=f"s{session}",
                at=f"2026-11-{1 + number % 20:02}T{hour if number % 5 == 0 else 12:02}:00:00.000Z")
            for number in range(50 + turn)
        ]  # fmt: skip
        rows_of(user, f"s{session}", *rows)
