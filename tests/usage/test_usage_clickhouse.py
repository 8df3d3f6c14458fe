"""ClickHouse that does not answer as it should, on a real socket: each way has its code, its URL and no secret."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from cc.errors import Failure
from cc.usage.clickhouse import ClickHouse, NoTableError, without_password
from cc.usage.telemetry import EVENTS, EVENTS_TABLE
from tests.answering import Server, say
from tests.usage.rows import answer, event

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

SECRET = "hunter2-s3cret"
GOOD = answer([event("r1"), event("r2")])


def failure_of(*urls: str, timeout: float = 5.0, password: str = SECRET) -> Failure:
    with pytest.raises(Failure) as caught:
        ClickHouse(urls, "cc", password, timeout=timeout).rows(EVENTS, EVENTS_TABLE)
    shown = str(caught.value) + repr(caught.value.evidence) + repr(caught.value.hint)
    assert password.strip() not in shown
    return caught.value


def cut(body: bytes, promised: int) -> Callable[[BaseHTTPRequestHandler], object]:
    """More is promised than comes."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(promised))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return reply


def chunks(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> Callable[[BaseHTTPRequestHandler], object]:
    """As ClickHouse really sends."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(last)
        handler.close_connection = True

    return reply


def test_the_question_and_the_answer(server: Server) -> None:
    server.reply = chunks(GOOD[:100], GOOD[100:])
    rows = ClickHouse((server.url + "/",), "cc", SECRET, database="otel_b").rows(EVENTS, EVENTS_TABLE)
    assert rows == [event("r1"), event("r2")]
    ((path, headers, body),) = server.asked
    assert path == "/?database=otel_b"
    assert (headers["X-ClickHouse-User"], headers["X-ClickHouse-Key"]) == ("cc", SECRET)
    assert b"FORMAT JSONCompact" in body


def test_nobody_listens(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    failure = failure_of(url)
    assert failure.code == "connection_refused"
    assert failure.message == f"ClickHouse: connection refused at {url}"


def test_a_host_that_does_not_exist() -> None:
    failure = failure_of("http://clickhouse.invalid:8123")
    assert failure.code == "connection_refused"
    assert "clickhouse.invalid:8123 cannot be reached" in failure.message


@pytest.mark.parametrize(
    ("status", "body", "code", "says"),
    [
        (403, b"Code: 516. DB::Exception: cc: Authentication failed", "permission_denied", "refuses the user cc"),
        (401, b"", "permission_denied", "refuses the user cc"),
        (500, b"Code: 497. DB::Exception: cc: Not enough privileges.", "permission_denied", "refuses the user cc"),
        (404, b"Code: 60. DB::Exception: Table otel.otel_logs does not exist.", "bad_answer", "no table otel.otel"),
        (404, b"Code: 81. DB::Exception: Database otel does not exist.", "bad_answer", "has no table otel.otel_logs"),
        (500, b"Code: 241. DB::Exception: Memory limit exceeded\nmore", "bad_answer", "answered 500: Code: 241."),
        (502, b"<html>\x1b[31mbad gateway</html>", "bad_answer", "answered 502: <html> [31mbad gateway</html>"),
        (302, b"", "bad_answer", "answered 302: (nothing)"),
        (200, b"", "bad_answer", "no answer of ClickHouse's"),
        (200, b"Ok.\n", "bad_answer", "no answer of ClickHouse's"),
        (200, b"<html>a router says hello</html>", "bad_answer", "no answer of ClickHouse's"),
        (200, b'{"data": [[1]], "rows": 1}', "bad_answer", "no answer of ClickHouse's"),
        (200, b"[" * 100_000, "bad_answer", "no answer of ClickHouse's"),
        (200, b"\x00\xff" * 1000, "bad_answer", "no answer of ClickHouse's"),
        (200, GOOD[:300], "bad_answer", "no answer of ClickHouse's"),
        (200, GOOD[:300] + b"\nCode: 159. DB::Exception: Timeout", "bad_answer", "Code: 159. DB::"),
    ],
)  # fmt: skip
def test_answers_that_are_none(server: Server, status: int, body: bytes, code: str, says: str) -> None:
    server.reply = say(status, body, Location="http://127.0.0.1:1/")
    failure = failure_of(server.url)
    assert failure.code == code
    assert says in failure.message
    assert server.url in failure.message


@pytest.mark.parametrize(
    "reply",
    [cut(GOOD[:200], len(GOOD)), chunks(GOOD[:200], last=b""), chunks(GOOD[:200], last=b"zz\r\n"), cut(b"", 10)],
)
def test_an_answer_that_is_cut_in_the_middle(server: Server, reply: Callable[[BaseHTTPRequestHandler], object]) -> None:
    server.reply = reply
    assert failure_of(server.url).code == "bad_answer"


def test_a_connection_that_is_closed_without_a_word(server: Server) -> None:
    server.reply = lambda handler: handler.connection.close()
    assert failure_of(server.url).code in ("connection_refused", "bad_answer")


def test_silence_ends_at_the_deadline(server: Server) -> None:
    server.reply = lambda _handler: server.over.wait(30)
    failure = failure_of(server.url, timeout=0.1)
    assert failure.code == "deadline"
    assert failure.message == f"ClickHouse: no answer from {server.url} within 0.1 s"


def test_a_byte_now_and_then_does_not_put_off_the_deadline(server: Server) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        while not server.over.wait(0.02):
            try:
                handler.wfile.write(b"H")
            except OSError:
                return

    server.reply = drip
    assert failure_of(server.url, timeout=0.1).code == "deadline"


def test_replicas_are_tried_in_turn_and_all_their_failures_are_told(server: Server, port: int) -> None:
    dead = f"http://127.0.0.1:{port}"
    server.reply = say(200, GOOD)
    assert len(ClickHouse((dead, server.url), "cc", SECRET).rows(EVENTS, EVENTS_TABLE)) == 2
    server.reply = say(500, b"Code: 241. DB::Exception: Memory limit exceeded")
    failure = failure_of(dead, server.url)
    assert failure.code == "connection_refused"
    assert dead in failure.message
    assert server.url in failure.message


def test_no_url_at_all_is_a_failure_and_no_crash() -> None:
    assert failure_of().code == "tool_missing"


@pytest.mark.parametrize("url", ["nonsense", "http://[", "ftp://127.0.0.1/", "http://127.0.0.1:99999"])
def test_a_url_that_is_none(url: str) -> None:
    assert failure_of(url).code in ("bad_answer", "connection_refused")


def test_secrets_are_never_shown(server: Server) -> None:
    server.reply = say(200, GOOD)
    inside = server.url.replace("http://", f"http://cc:{SECRET}@")
    assert without_password(inside) == server.url
    failure_of("http://cc:" + SECRET + "@127.0.0.1:99999")
    failure_of(server.url, password=SECRET + "\n")  # what HTTP cannot carry
    assert len(ClickHouse((server.url,), "cc", "pässwörd €").rows(EVENTS, EVENTS_TABLE)) == 2


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    server.reply = say(200, GOOD)
    assert len(ClickHouse((server.url,), "cc", SECRET).rows(EVENTS, EVENTS_TABLE)) == 2


def test_no_thread_is_left_behind_by_an_answer(server: Server) -> None:
    server.reply = say(200, GOOD)
    ClickHouse((server.url,), "cc", SECRET).rows(EVENTS, EVENTS_TABLE)
    assert not [thread for thread in threading.enumerate() if thread.name == "within"]


def kept_open(reply: Callable[[BaseHTTPRequestHandler], object], seen: list[object]) -> Callable[..., object]:
    """As a server that speaks HTTP/1.1; `seen` gets the address of each question's connection."""

    def replies(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = False
        seen.append(handler.client_address)
        reply(handler)

    return replies


def test_questions_share_a_connection_until_one_is_late(server: Server) -> None:
    seen: list[object] = []
    server.reply = kept_open(say(200, GOOD), seen)
    store = ClickHouse((server.url,), "cc", SECRET, timeout=0.2)
    for _ in range(3):
        store.rows(EVENTS, EVENTS_TABLE)
    assert len(set(seen)) == 1
    server.reply = lambda _handler: server.over.wait(30)
    with pytest.raises(Failure, match="no answer"):
        store.rows(EVENTS, EVENTS_TABLE)
    server.reply = kept_open(say(200, GOOD), seen)
    assert len(store.rows(EVENTS, EVENTS_TABLE)) == 2
    assert len(set(seen)) == 2


def test_values_are_parameters_and_never_part_of_the_statement(server: Server) -> None:
    server.reply = say(200, answer([]))
    evil = "x'); DROP TABLE t --"
    ClickHouse((server.url,)).rows(
        "SELECT {a:String}, {n:Int64}, {s:Array(String)}", "t", a=evil, n=-7, s=[evil, "\\", "\n"]
    )
    ((path, _, body),) = server.asked
    assert body == b"SELECT {a:String}, {n:Int64}, {s:Array(String)}\nFORMAT JSONCompact"
    given = dict(parse_qsl(urlsplit(path).query))
    assert given["param_a"] == evil
    assert given["param_n"] == "-7"
    assert given["param_s"] == r"['x\'); DROP TABLE t --','\\','\n']"


def test_a_change_is_silent_and_its_data_are_its_body(server: Server) -> None:
    store = ClickHouse((server.url,), "cc", SECRET)
    server.reply = say(200, b"")
    store.change("INSERT INTO t FORMAT JSONCompactEachRow", "t", b'["x"]\n')
    ((path, _, body),) = server.asked
    assert body == b'["x"]\n'
    assert parse_qsl(urlsplit(path).query)[1] == ("query", "INSERT INTO t FORMAT JSONCompactEachRow")
    server.reply = say(200, b"Code: 241. DB::Exception: Memory limit exceeded")
    with pytest.raises(Failure, match=r"Code: 241\. DB::Exception: Memory") as caught:
        store.change("INSERT INTO t FORMAT JSONCompactEachRow", "t", b"[]")
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, b"Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space.", "disk_full"),
        (500, b"Code: 75. DB::Exception: Cannot write to file: No space left on device.", "disk_full"),
        (500, b"Code: 164. DB::Exception: cc: Cannot execute query in readonly mode.", "permission_denied"),
    ],
)
def test_why_a_change_is_refused(server: Server, status: int, body: bytes, code: str) -> None:
    server.reply = say(status, body)
    with pytest.raises(Failure) as caught:
        ClickHouse((server.url,), "cc", SECRET).change("INSERT", "t", b"")
    assert caught.value.code == code
    assert caught.value.hint


def test_a_table_that_is_missing_on_all_replicas_is_told_from_all_other_failures(server: Server) -> None:
    server.reply = say(404, b"Code: 60. DB::Exception: Unknown table t. (UNKNOWN_TABLE)")
    with pytest.raises(NoTableError, match=r"no table otel\.t yet"):
        ClickHouse((server.url, server.url)).rows("SELECT 1", "t")
    with pytest.raises(Failure) as caught:
        ClickHouse((server.url, "http://127.0.0.1:1")).rows("SELECT 1", "t")
    assert not isinstance(caught.value, NoTableError)


def test_what_is_compared_and_written_is_one_replica(server: Server, port: int) -> None:
    server.reply = say(200, b"1\n")
    dead = f"http://127.0.0.1:{port}"
    assert ClickHouse((dead, server.url, dead), "cc", SECRET).first_in_reach().urls == (server.url,)
    with pytest.raises(Failure, match="connection refused"):
        ClickHouse((dead,)).first_in_reach()


@pytest.mark.parametrize("body", [b"<html>a router says hello</html>", b"", b"1\nCode: 159. DB::Exception: Timeout"])
def test_what_answers_and_is_no_store_is_not_the_one_in_reach(server: Server, body: bytes) -> None:
    server.reply = say(200, body)
    other = Server()
    try:
        other.reply = say(200, b"1\n")
        assert ClickHouse((server.url, other.url)).first_in_reach().urls == (other.url,)
    finally:
        other.close()
    with pytest.raises(Failure) as caught:
        ClickHouse((server.url,)).first_in_reach()
    assert (caught.value.code, server.url in caught.value.message) == ("bad_answer", True)
