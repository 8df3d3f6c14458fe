"""GETs against real servers on real sockets: good ones, and ones that refuse, hang, dribble, flood and talk junk."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cc.engine.outcome import Status
from cc.engine.step import Context, Judged, run_action
from cc.errors import ConfigError, Failure, Interrupted
from cc.resources import http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cc.resources.host import Host

    Talk = Callable[[socket.socket, threading.Event], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
RETURNED = 5.0  # seconds: tells a GET that came back at its deadline of a fraction of a second from one that hung


@contextmanager
def serving(talk: Talk) -> Iterator[str]:
    """A server that handles each connection by `talk(connection, over)`; yields http://127.0.0.1:PORT."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    threads = []

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                talk(connection, over)
            except OSError:
                pass  # the client left

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in (accepting, *threads):
            thread.join(10)
            assert not thread.is_alive()


def saying(*answers: bytes) -> Talk:
    """One answer a connection, the last one from then on; then the connection is closed."""
    left = list(answers)

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return talk


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def dribbling(start: bytes, each: bytes) -> Talk:
    """A byte now and then, for ever: each of them would renew the time-out of a socket."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(start)
        while not over.wait(0.02):
            connection.sendall(each)

    return talk


def failure_of(url: str, timeout: float = 0.4) -> Failure:
    started = time.monotonic()
    with pytest.raises(Failure) as caught:
        http.get(url, timeout=timeout)
    assert time.monotonic() - started < RETURNED
    return caught.value


def unused() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_an_answer_has_status_body_and_headers_in_small_letters() -> None:
    with serving(saying(b"HTTP/1.1 503 Busy\r\nX-Why: Load\r\nContent-Length: 2\r\n\r\nno")) as url:
        answer = http.get(url)
    assert (answer.status, answer.body, answer.headers["x-why"]) == (503, b"no", "Load")
    assert not answer.truncated


def test_chunked_and_unbounded_bodies_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with serving(saying(chunked, b"HTTP/1.0 200 OK\r\n\r\nuntil the end")) as url:
        assert http.get(url).text == "abcde"
        assert http.get(url).text == "until the end"


def test_what_is_sent_is_one_plain_request() -> None:
    got: list[bytes] = []

    def talk(connection: socket.socket, over: threading.Event) -> None:
        got.append(connection.recv(65536))
        connection.sendall(OK)

    with serving(talk) as url:
        where = url.removeprefix("http://")
        http.get(f"http://us%65r:p%40ss@{where}/a/b?c=d&e", headers={"X-Key": "v"})
    lines = got[0].decode().split("\r\n")
    assert lines[0] == "GET /a/b?c=d&e HTTP/1.1"
    assert {f"Host: {where}", "Connection: close", "X-Key: v", "Authorization: Basic dXNlcjpwQHNz"} <= set(lines)


def test_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, unused())
    with serving(saying(OK)) as url:
        assert http.get(url).text == "ready"


def test_a_redirect_is_the_answer_and_is_not_followed() -> None:
    with serving(saying(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", OK)) as url:
        assert http.get(url).status == 302


def test_nobody_listening_is_connection_refused() -> None:
    url = unused()
    failure = failure_of(url)
    assert failure.code == "connection_refused"
    assert failure.message.startswith(f"{url}/ does not answer: nothing listens on 127.0.0.1:")


def test_a_name_that_nobody_knows_is_connection_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failure = failure_of("http://no-such-name.invalid/")
    assert (failure.code, "is not known" in failure.message) == ("connection_refused", True)


def test_a_resolver_that_hangs_costs_the_deadline_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    failure = failure_of("http://slow-name.invalid/", timeout=0.2)
    over.set()
    assert failure.code == "deadline"


def test_a_connection_that_is_never_taken_ends_at_the_deadline() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        try:
            for _ in range(4):  # fill the backlog: from then on the kernel drops what knocks
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(listening.getsockname())
            failure = failure_of(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            for one in waiting:
                one.close()
    assert failure.code == "deadline"


@pytest.mark.parametrize(
    "talk",
    [
        silent,
        dribbling(b"", b"H"),
        dribbling(b"HTTP/1.1 200 OK\r\n", b"X"),
        dribbling(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        dribbling(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"."),
        dribbling(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        dribbling(b"HTTP/1.1 200 OK\r\n\r\n", b"."),
        dribbling(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "status line", "header", "headers", "body", "chunks", "endless body", "continue"],
)
def test_a_server_that_hangs_or_dribbles_cannot_hold_us(talk: Talk) -> None:
    with serving(talk) as url:
        assert failure_of(url).code == "deadline"


@pytest.mark.parametrize(
    "junk",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\1\2\xff" * 100, b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConten",
     b"x" * 100_000, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["nothing", "ssh", "bytes", "no number", "half", "long line", "many headers", "short", "chunks"],
)  # fmt: skip
def test_junk_is_a_bad_answer_or_an_answer_and_never_an_exception_of_its_own(junk: bytes) -> None:
    with serving(saying(junk)) as url:
        try:
            answer = http.get(url, timeout=2.0)
        except Failure as failure:
            assert failure.code == "bad_answer"  # noqa: PT017 - either is right, by the junk
        else:
            assert answer.status == 200


def test_a_connection_that_is_reset_is_a_bad_answer() -> None:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets

    with serving(talk) as url:
        failure = failure_of(url)
    assert failure.code == "bad_answer"


def test_a_flood_is_read_up_to_a_mebibyte() -> None:
    with serving(dribbling(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (3 * 1024 * 1024), b"x")) as url:
        answer = http.get(url)
    assert (len(answer.body), answer.truncated) == (http.BODY_BYTES, True)


def test_a_server_that_speaks_no_tls_fails_typed_and_in_time() -> None:
    with serving(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        failure = failure_of(url.replace("http:", "https:"), timeout=2.0)
        assert failure.code == "bad_answer"
    with serving(silent) as url:
        assert failure_of(url.replace("http:", "https:")).code == "deadline"
    with serving(dribbling(b"\x16\x03\x03\x40\x00", b"\0")) as url:
        assert failure_of(url.replace("http:", "https:")).code in ("deadline", "bad_answer")


def test_neither_password_nor_query_stand_in_messages() -> None:
    where = unused().removeprefix("http://")
    failure = failure_of(f"http://me:hunter2@{where}/ping?password=hunter2")
    assert "hunter2" not in str(failure)
    assert f"http://{where}/ping" in failure.message


def test_cancelling_ends_a_get_at_once(context: Context) -> None:
    with serving(silent) as url:
        timer = threading.Timer(0.1, context.cancel.request, ("SIGINT",))
        timer.start()
        started = time.monotonic()
        with pytest.raises(Interrupted):
            http.get(url, timeout=60.0, cancel=context.cancel)
        timer.join()
    assert time.monotonic() - started < RETURNED


@pytest.mark.parametrize("url", ["", "localhost:8110", "ftp://x/", "http://", "http://x:port/", "http://x:99999/",
                                 "http://[::1/", "http://x/a b", "http://x/\r\nHost: y", "http://ü/"])  # fmt: skip
def test_no_url_is_an_error_of_the_playbook(host: Host, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        http.VERB.make(host, {"url": url})
    assert caught.value.field == "url"


def test_an_ipv6_address_is_reached() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        thread = threading.Thread(target=lambda: listening.accept()[0].sendall(OK))
        thread.start()
        assert http.get(f"http://[::1]:{listening.getsockname()[1]}/").text == "ready"
        thread.join()


def ensure(host: Host, context: Context, **args: Any) -> Judged:
    return run_action(http.VERB.make(host, args), context)


def test_a_step_is_ok_when_it_answers_and_waiting_for_it_changes_nothing(host: Host, context: Context) -> None:
    starting = b"HTTP/1.1 503 Starting\r\nContent-Length: 0\r\n\r\n"
    with serving(saying(OK)) as url:
        assert ensure(host, context, url=url, status=200, contains="ready").status is Status.OK
    with serving(saying(starting, starting, starting, OK)) as url:
        assert ensure(host, context, url=url, within=20.0).status is Status.OK


def test_giving_up_hands_back_the_last_answer_and_the_last_log_lines(
    host: Host, context: Context, tmp_path: Path
) -> None:
    (tmp_path / "app.log").write_text("".join(f"line {number}\n" for number in range(30)))
    oops = saying(b"HTTP/1.1 500 Oops\r\nContent-Length: 11\r\n\r\nno database")
    with serving(oops) as url, pytest.raises(Failure) as caught:
        ensure(host, context, url=url, within=0.1, log="app.log")
    failure = caught.value
    assert failure.code == "bad_answer"
    assert failure.message == f"{url}/ answers 500, not 200 (waited 0.1 s)"
    assert failure.evidence == ("last answer: 500 no database", *(f"line {number}" for number in range(20, 30)))
    assert failure.hint == f"curl -i {url}/"


def test_a_body_without_the_text_is_a_bad_answer(host: Host, context: Context) -> None:
    with serving(saying(OK)) as url, pytest.raises(Failure, match="answers 200 without 'other' in it") as caught:
        ensure(host, context, url=url, contains="other")
    assert caught.value.code == "bad_answer"


def test_another_status_may_be_the_wanted_one(host: Host, context: Context) -> None:
    with serving(saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as url:
        assert ensure(host, context, url=url, status=404).status is Status.OK


@pytest.mark.parametrize(("talk", "code"), [(None, "connection_refused"), (silent, "deadline")])
def test_the_code_says_how_it_failed_last(host: Host, context: Context, talk: Talk | None, code: str) -> None:
    if talk is None:
        url, failing = unused(), None
    else:
        failing = serving(talk)
        url = failing.__enter__()
    try:
        with pytest.raises(Failure) as caught:
            ensure(host, context.until(0.5), url=url, within=60.0)
    finally:
        if failing is not None:
            failing.__exit__(None, None, None)
    assert caught.value.code == code


def test_waiting_says_what_it_waits_for(host: Host, context: Context) -> None:
    said: list[str] = []
    url = unused()
    with pytest.raises(Failure):
        ensure(host, context._replace(say=lambda what, *_: said.append(what)), url=url, within=1.3)
    assert said == [f"{url}/"]


def test_headers_come_from_the_playbook(host: Host, context: Context) -> None:
    got: list[bytes] = []

    def talk(connection: socket.socket, over: threading.Event) -> None:
        got.append(connection.recv(65536))
        connection.sendall(OK)

    with serving(talk) as url:
        ensure(host, context, url=url, header={"X-Token": "abc"})
    assert b"X-Token: abc\r\n" in got[0]
