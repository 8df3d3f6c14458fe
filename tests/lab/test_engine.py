"""The lab's ClickHouse answers as the image does: what clients of this project rely on, asked over HTTP.

Nothing here knows which of the two is asked: with the real image's name in CC_CLICKHOUSE_IMAGE the same tests show
whether the stand-in is still true.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

IMAGE = os.environ.get("CC_CLICKHOUSE_IMAGE", "")
READY_S = 60.0
LOGIN = {"X-ClickHouse-User": "cc", "X-ClickHouse-Key": "secret"}

pytestmark = [
    pytest.mark.docker,
    # In CI a missing image is a failure, not a skip: the container does not start, and says why.
    pytest.mark.skipif(not IMAGE and not os.environ.get("CI"), reason='needs Docker: eval "$(tests/lab/lab env)"'),
]


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str | None:
        """ClickHouse's own error code."""
        return self.headers.get("X-ClickHouse-Exception-Code")


class Server:
    """One container, and how to ask it. Its password is `secret`."""

    def __init__(self, container: str) -> None:
        self.container = container
        self.address = ""
        self.wait()

    def wait(self) -> None:
        """Until it answers; the port is another one after each start."""
        deadline = time.monotonic() + READY_S
        while True:
            published = docker("port", self.container, "8123/tcp").split()
            self.address = published[0] if published else ""
            try:
                if published and self.ask("SELECT 1", database="otel").status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass  # not yet
            if time.monotonic() > deadline:
                pytest.fail(docker("logs", self.container))
            time.sleep(0.05)

    def ask(
        self, body: str | bytes = b"", *, path: str = "/", headers: Mapping[str, str] = LOGIN, **words: str
    ) -> Answer:
        """GET without a body, POST with one; `words` are the URL's parameters."""
        data = body.encode() if isinstance(body, str) else body
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("POST" if data else "GET", f"{path}?{urlencode(words)}", data or None, dict(headers))
            got = connection.getresponse()
            return Answer(got.status, got.read(), got.headers)
        finally:
            connection.close()

    def rows(self, query: str, **words: str) -> str:
        answer = self.ask(query, **words)
        assert answer.status == 200, answer.text
        return answer.text


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr if words[0] == "logs" else done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    words = ["run", "--detach", "--publish", "127.0.0.1::8123", "--label", "cc.project=cc-lab-test"]
    for pair in ("CLICKHOUSE_USER=cc", "CLICKHOUSE_PASSWORD=secret", "CLICKHOUSE_DB=otel"):
        words += ["--env", pair]
    done = subprocess.run(["docker", *words, IMAGE], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    container = done.stdout.strip()
    try:
        yield Server(container)
    finally:
        docker("rm", "--force", "--volumes", container)


@pytest.fixture(scope="module")
def table(server: Server) -> None:
    """otel.t, for all tests of this module."""
    server.rows("CREATE TABLE otel.t (a UInt32, b String, m Map(String, String)) ENGINE = MergeTree ORDER BY a")


def test_ping_needs_no_login_and_a_query_does(server: Server) -> None:
    ping = server.ask(path="/ping", headers={})
    assert (ping.status, ping.body) == (200, b"Ok.\n")
    refused = server.ask("SELECT 1", headers={**LOGIN, "X-ClickHouse-Key": "wrong"})
    assert (refused.status, refused.code) == (403, "516")
    assert refused.text.startswith("Code: 516. DB::Exception: cc: Authentication failed")
    basic = {"Authorization": "Basic " + base64.b64encode(b"cc:secret").decode()}
    assert server.ask("SELECT 1", headers=basic).body == b"1\n"


@pytest.mark.parametrize(
    ("query", "words", "status", "code"),
    [
        ("SELECT * FROM otel.nothing", {}, 404, 60),
        ("SELECT nothing", {}, 404, 47),
        ("SELECT (", {}, 400, 62),
        ("SELECT 1", {"database": "nowhere"}, 404, 81),
        ("SELECT 1", {"no_such_setting": "1"}, 404, 115),
        ("SELECT {x:UInt32}", {}, 500, 456),
        ("SELECT throwIf(1)", {}, 500, 395),
        ("SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", {"max_execution_time": "1"}, 408, 159),
    ],
)
def test_an_error_has_the_status_and_the_code_of_clickhouse(
    server: Server, query: str, words: dict[str, str], status: int, code: int
) -> None:
    answer = server.ask(query, **words)
    assert (answer.status, answer.code) == (status, str(code)), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


def test_a_get_changes_nothing(server: Server) -> None:
    answer = server.ask(query="CREATE DATABASE by_get")
    assert answer.code == "164"
    assert "by_get" not in server.rows("SHOW DATABASES")


def test_values_are_bound_by_the_server(server: Server) -> None:
    given = {"param_n": "7", "param_s": r"it's\ta \\ tab", "param_l": "['x','y']"}
    assert (
        server.rows("SELECT {n:UInt32} + 1, {s:String}, {l:Array(String)}[2]", **given) == "8\tit\\'s\\ta \\\\ tab\ty\n"
    )


@pytest.mark.parametrize("form", ["JSONEachRow", "TabSeparated"])
def test_the_format_is_the_querys_or_the_requests(server: Server, form: str) -> None:
    text = {"JSONEachRow": '{"x":1}\n', "TabSeparated": "1\n"}[form]
    assert server.rows(f"SELECT 1 AS x FORMAT {form}") == text
    answer = server.ask("SELECT 1 AS x", default_format=form)
    assert (answer.text, answer.headers["X-ClickHouse-Format"]) == (text, form)


@pytest.mark.usefixtures("table")
def test_rows_go_in_by_name_in_any_format_also_compressed(server: Server) -> None:
    insert = "INSERT INTO otel.t (a, b) FORMAT JSONEachRow"
    assert server.ask('{"b":"one","a":1}\n', query=insert).status == 200
    zipped = gzip.compress(b'{"b":"two","a":2}\n')
    assert server.ask(zipped, query=insert, headers={**LOGIN, "Content-Encoding": "gzip"}).status == 200
    block = server.ask("SELECT toUInt32(3) AS a, unhex('00ff0a') AS b FORMAT Native").body
    assert server.ask(block, query="INSERT INTO otel.t (a, b) FORMAT Native").status == 200
    assert server.rows("SELECT a, hex(b) FROM otel.t WHERE a < 10 ORDER BY a") == "1\t6F6E65\n2\t74776F\n3\t00FF0A\n"


def test_settings_end_with_their_statement(server: Server) -> None:
    assert server.rows("SELECT getSetting('max_threads')", max_threads="1") == "1\n"
    server.rows("SELECT 1", max_result_rows="7")
    assert server.rows("SELECT getSetting('max_result_rows')") != "7\n"


@pytest.mark.usefixtures("table")
def test_rows_survive_a_kill(server: Server) -> None:
    server.rows("INSERT INTO otel.t (a, b) VALUES (4711, 'still here')")
    docker("kill", "--signal", "KILL", server.container)
    docker("start", server.container)
    server.wait()
    assert server.rows("SELECT b FROM otel.t WHERE a = 4711") == "still here\n"


@pytest.mark.usefixtures("table")
def test_a_stop_is_clean_and_quick(server: Server) -> None:
    server.rows("INSERT INTO otel.t (a, b) VALUES (4712, 'here too')")
    began = time.monotonic()
    docker("stop", "--time", "30", server.container)
    assert time.monotonic() - began < 15
    assert docker("inspect", "--format", "{{.State.ExitCode}}", server.container).strip() == "0"
    docker("start", server.container)
    server.wait()
    assert server.rows("SELECT b FROM otel.t WHERE a = 4712") == "here too\n"
