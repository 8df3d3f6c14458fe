"""Rung 0 by the real client against a real server: each way in which it can fail, by its name."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cc.clock import SystemClock
from cc.errors import Failure
from cc.resources.breakers import Breakers
from cc.tokens.api import BREAKER, Account, Counter, retry_after
from tests.answering import Server, say
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from cc.clock import Clock

MODEL = "claude-opus-5"
JSON = {"Content_Type": "application/json"}
KEY = "sk-ant-secret-of-this-test"


def counter(url: str, *, timeout: float = 5.0, clock: Clock | None = None, breakers: Breakers | None = None) -> Counter:
    return Counter(Account(KEY, None, url, timeout), breakers or Breakers(), clock or SystemClock())


def failure(server: Server, **more: object) -> Failure:
    with pytest.raises(Failure) as raised:
        counter(server.url, **more).count(["a text"], MODEL)  # type: ignore[arg-type]
    assert KEY not in str(raised.value)
    return raised.value


def test_texts_are_counted_each_by_a_call_of_its_own(server: Server) -> None:
    def in_turn(handler: BaseHTTPRequestHandler) -> None:
        say(200, b'{"input_tokens": %d}' % len(server.asked), **JSON)(handler)

    server.reply = in_turn
    assert counter(server.url).count(["one", "", " \n", "two"], MODEL) == [1, 0, 0, 2]
    path, headers, body = server.asked[0]
    assert path == "/v1/messages/count_tokens"
    assert any(value.endswith(KEY) for value in headers.values()), "in which one is the client's to choose"
    assert json.loads(body) == {"model": MODEL, "messages": [{"role": "user", "content": "one"}]}


def test_a_token_of_another_kind_is_sent_as_a_bearer(server: Server) -> None:
    server.reply = say(200, b'{"input_tokens": 3}', **JSON)
    account = Account.of({"ANTHROPIC_AUTH_TOKEN": "tok", "ANTHROPIC_BASE_URL": server.url}, 5.0)
    assert Counter(account, Breakers(), SystemClock()).count(["x"], MODEL) == [3]
    assert server.asked[0][1]["Authorization"] == "Bearer tok"


@pytest.mark.parametrize(
    ("status", "headers", "code", "said"),
    [
        (401, {}, "permission_denied", "answered 401: the key is not accepted"),
        (403, {}, "permission_denied", "answered 403: the key may not do this"),
        (404, {}, "not_satisfied", "answered 404: there is no such model"),
        (400, {}, "bad_answer", "answered 400: refused"),
        (429, {}, "unhealthy", "answered 429: rate limit"),
        (429, {"Retry_After": "60"}, "unhealthy", "answered 429: rate limit, to be asked again after 60 s"),
        (500, {}, "unhealthy", "answered 500: an error of its own"),
        (529, {}, "unhealthy", "answered 529: overloaded"),
    ],
)
def test_a_refusal_is_named_and_asked_once(
    server: Server, status: int, headers: dict[str, str], code: str, said: str
) -> None:
    server.reply = say(status, b'{"type": "error", "error": {"type": "x", "message": "y"}}', **JSON, **headers)
    found = failure(server)
    assert found.code == code
    assert found.message.endswith(said)
    assert server.url.removeprefix("http://") in found.message
    assert len(server.asked) == 1


def test_a_limit_that_names_a_time_before_the_deadline_is_waited_for(server: Server) -> None:
    answers = iter(
        [say(429, b"{}", Retry_After="2"), say(529, b"{}", Retry_After="1"), say(200, b'{"input_tokens": 9}', **JSON)]
    )
    server.reply = lambda handler: (next(answers)(handler), None)[1]
    clock = FakeClock()
    assert counter(server.url, clock=clock).count(["x"], MODEL) == [9]
    assert clock.waits == [2.0, 1.0]


def test_waits_end_with_the_deadline_of_all(server: Server) -> None:
    server.reply = say(429, b"{}", Retry_After="2")
    clock = FakeClock()
    assert failure(server, clock=clock).code == "unhealthy"
    assert clock.waits == [2.0, 2.0], "a third would end after the 5 s"


@pytest.mark.parametrize("body", [b"", b"nonsense", b"{}", b"[]", b"null", b'{"input_tokens": "7"}', b"\xff\xfe",
    b'{"input_tokens": -1}', b'{"input_tokens": true}', b'{"input_tokens": NaN}', b'{"input_tokens": 1'])  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_an_answer_without_a_number_is_a_bad_answer(server: Server, body: bytes, kind: str) -> None:
    server.reply = say(200, body, Content_Type=kind)
    assert failure(server).code == "bad_answer"


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"input')
    handler.close_connection = True


def test_an_answer_that_is_cut_is_named(server: Server) -> None:
    server.reply = cut
    assert failure(server).code in ("bad_answer", "connection_refused")


def test_silence_ends_with_the_deadline(server: Server) -> None:
    server.reply = lambda handler: server.over.wait(20)
    found = failure(server, timeout=0.3)
    assert found.code == "deadline"
    assert found.message.endswith("within 0.3 s")


def test_who_waits_for_more_than_a_second_hears_for_what(server: Server) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        heard.wait(20)
        say(200, b'{"input_tokens": 3}', **JSON)(handler)

    heard, lines = threading.Event(), []
    server.reply = slow
    asked = Counter(
        Account(KEY, None, server.url, 20.0),
        Breakers(),
        SystemClock(),
        say=lambda line: (lines.append(line), heard.set()),
    )
    assert asked.count(["x"], MODEL) == [3]
    assert lines == ["waiting for Anthropic's count, 20 s at most (--offline estimates at once)"]


def test_an_answer_that_drips_ends_with_the_deadline(server: Server) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not server.over.wait(0.05):
            handler.wfile.write(b" ")

    server.reply = drip
    threading.excepthook, before = (lambda _: None), threading.excepthook
    try:
        assert failure(server, timeout=0.5).code == "deadline"
    finally:
        threading.excepthook = before


def test_where_nobody_listens_that_is_said(port: int) -> None:
    with pytest.raises(Failure, match=f"127.0.0.1:{port} is out of reach: .*refused") as raised:
        counter(f"http://127.0.0.1:{port}").count(["x"], MODEL)
    assert raised.value.code == "connection_refused"


@pytest.mark.parametrize("key", ["with\nnewline", "schlüssel\u20ac", "\ud800"])
def test_a_key_that_can_not_be_sent_is_never_shown(server: Server, key: str) -> None:
    server.reply = say(401, b"{}")
    with pytest.raises(Failure) as raised:
        Counter(Account(key, None, server.url, 5.0), Breakers(), SystemClock()).count(["x"], MODEL)
    assert key not in raised.value.message
    assert raised.value.code in ("bad_answer", "bad_config", "connection_refused", "permission_denied")


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://127.0.0.1:99999", "ftp://127.0.0.1/"])
def test_an_address_that_is_none_leads_down(url: str) -> None:
    with pytest.raises(Failure):
        counter(url).count(["x"], MODEL)


def test_without_a_key_nobody_is_asked() -> None:
    account = Account.of({"ANTHROPIC_API_KEY": "  "}, 5.0)
    with pytest.raises(Failure, match="no key") as raised:
        Counter(account, Breakers(), SystemClock()).count(["x"], MODEL)
    assert raised.value.code == "tool_missing"
    assert KEY not in repr(Account(KEY))


def test_the_breaker_opens_after_five_of_silence_or_refusal_and_a_typed_command_is_its_probe(
    server: Server, tmp_path: Path
) -> None:
    breakers = Breakers(str(tmp_path))
    server.reply = say(500, b"{}")
    for _ in range(5):
        failure(server, breakers=breakers)
    assert [each["what"] for each in breakers.troubled()] == [BREAKER]
    server.reply = say(200, b'{"input_tokens": 1}', **JSON)
    assert counter(server.url, breakers=breakers).count(["x"], MODEL) == [1]
    assert breakers.troubled() == ()


def test_a_key_that_is_refused_opens_no_breaker(server: Server, tmp_path: Path) -> None:
    breakers = Breakers(str(tmp_path))
    server.reply = say(401, b"{}")
    for _ in range(6):
        failure(server, breakers=breakers)
    assert breakers.troubled() == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("", None), ("soon", None), ("-1", None), ("nan", None), ("inf", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_only_a_number_of_seconds_is_a_time_to_come_again(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}) == seconds
