"""The dashboard as it runs: real processes on a free port, by gunicorn and by Flask's own server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from cc.drill.ground import claim_ports, give_back_ports
from tests.dashboard.sessions import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.dashboard.sessions import Sessions

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ["gunicorn", "flask"]
WITHIN = 30.0  # seconds: whoever takes so long hangs


def wait_until(condition: Callable[[], bool], log: Path | None = None) -> None:
    """Ask again until it is so; whoever takes too long hangs."""
    until = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < until, log.read_text() if log else "it hangs"
        time.sleep(0.02)


def command(server: str, port: int) -> list[str]:
    if server == "flask":
        return [sys.executable, "-m", "cc.dashboard", "--host", "127.0.0.1", "--port", str(port)]
    words = ["-c", "python:cc.dashboard.gunicorn_conf", "-b", f"127.0.0.1:{port}"]
    return [sys.executable, "-m", "gunicorn", *words, "cc.dashboard.app:from_environment()"]


@contextmanager
def serving(server: str, environ: dict[str, str], log: Path) -> Iterator[tuple[int, int]]:
    """A server in a group of its own, as (port, pid); afterwards the whole group is gone."""
    claimed = claim_ports(1)
    port = claimed[0]
    marked = {
        **environ,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "CC_OWNER": "a-project:4711",
        "CC_DASHBOARD_BOUND": f"127.0.0.1:{port}",
        "CC_DASHBOARD_SERVER": server,
    }
    with log.open("wb") as output:
        child = subprocess.Popen(
            command(server, port), cwd=environ["HOME"], env=marked, stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until(lambda: child.poll() is not None or answers(port), log)
            assert child.poll() is None, log.read_text()
            yield port, child.pid
        finally:
            family = psutil.Process(child.pid).children(recursive=True)
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(WITHIN)
            _, alive = psutil.wait_procs(family, WITHIN)
            assert not alive
            give_back_ports(claimed)


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except OSError:
        return False


def get(port: int, path: str, *, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> Iterator[tuple[str, int, int]]:
    """(kind, port, pid) of a running dashboard over one session."""
    sessions.message(tokens=(4242, 1, 0, 0))
    with serving(request.param, environ, tmp_path / "log") as (port, pid):
        yield request.param, port, pid


def test_a_server_answers_with_its_owner_its_address_and_the_numbers(server: tuple[str, int, int]) -> None:
    kind, port, pid = server
    status, body = get(port, "/healthz")
    known: dict[str, Any] = json.loads(body)
    assert status == 200
    assert known["owner"] == "a-project:4711"
    assert known["project"] == "a-project"
    assert known["server"] == kind
    assert known["bound"] == f"127.0.0.1:{port}"
    assert known["pid"] in {pid, *(child.pid for child in psutil.Process(pid).children())}
    status, body = get(port, "/")
    assert status == 200
    assert b"4,242" in body
    assert get(port, "/", method="HEAD") == (200, b"")
    assert get(port, "/", host="evil.example")[0] == 421
    assert get(port, "/healthz", host='a"b')[0] in (400, 421)
    assert json.loads(get(port, "/api/usage?by=model")[1])["total"]["input_tokens"] == 4242


def test_eight_at_once_all_get_the_page(server: tuple[str, int, int]) -> None:
    _, port, _ = server
    got: list[tuple[int, bytes]] = []
    paths = ["/", "/api/usage", "/?since=7d", "/healthz", "/api/usage?by=project", "/", "/api/usage?by=day", "/"]
    threads = [threading.Thread(target=lambda path=path: got.append(get(port, path))) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert [status for status, _ in got] == [200] * 8
    assert sum(b"4,242" in body or b'"input_tokens":4242' in body for _, body in got) == 7


@pytest.mark.parametrize("kind", SERVERS)
def test_pages_that_wait_for_a_silent_store_do_not_keep_healthz_waiting(
    kind: str, environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    sessions.message(tokens=(4242, 1, 0, 0))
    store = Store([], hold=threading.Event())
    assert store.hold is not None
    environ["CC_CLICKHOUSE_PORT"] = str(store.port)
    got: list[tuple[int, bytes]] = []
    try:
        with serving(kind, environ, tmp_path / "log") as (port, _):
            threads = [threading.Thread(target=lambda: got.append(get(port, "/"))) for _ in range(8)]
            for thread in threads:
                thread.start()
            assert store.asked.wait(WITHIN)
            assert get(port, "/healthz")[0] == 200
            assert got == []  # and no page came meanwhile: they do wait
            store.hold.set()
            for thread in threads:
                thread.join(WITHIN)
            assert [status for status, _ in got] == [200] * 8
            assert all(b"4,242" in body for _, body in got)
    finally:
        store.hold.set()
        store.stop()


def test_a_server_that_is_asked_to_end_leaves_nothing_and_says_nothing(
    server: tuple[str, int, int], tmp_path: Path
) -> None:
    kind, port, pid = server
    get(port, "/")
    family = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGTERM)
    assert psutil.wait_procs(family, WITHIN)[1] == []
    wait_until(lambda: not answers(port))
    if kind == "flask":
        assert (tmp_path / "log").read_text() == ""


def run(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cc.dashboard", *words],
        env={**environ, "PYTHONPATH": str(ROOT)},
        cwd=environ["HOME"],
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def test_a_port_that_is_taken_ends_flasks_server_with_one_line(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ended = run(environ, "--port", str(port))
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert ended.stderr == f"dashboard: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("words", "more", "code", "said"),
    [
        (["--port", "0"], {}, 2, "must be a port from 1 to 65535"),
        (["--port", "http"], {}, 2, "must be a port from 1 to 65535"),
        ([], {}, 2, "--port"),
        (["--host", "192.0.2.1", "--port", "8110"], {}, 1, "cannot listen on 192.0.2.1:8110"),
        (["--host", "no-such-host.invalid", "--port", "8110"], {}, 1, "cannot listen on no-such-host.invalid:8110"),
        (["--port", "{free}"], {"CC_CLICKHOUSE_PORT": "many"}, 2, "CC_CLICKHOUSE_PORT"),
    ],
)
def test_what_cannot_be_served_is_said_without_a_traceback(
    environ: dict[str, str], port: int, words: list[str], more: dict[str, str], code: int, said: str
) -> None:
    ended = run({**environ, **more}, *(word.format(free=port) for word in words))
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_ctrl_c_ends_flasks_server_as_interrupted(environ: dict[str, str], port: int) -> None:
    child = subprocess.Popen(
        command("flask", port), cwd=environ["HOME"], env={**environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: answers(port))
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=WITHIN)
        assert (child.returncode, said) == (130, b"")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
