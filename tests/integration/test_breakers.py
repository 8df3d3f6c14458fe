"""Breakers between real processes (LADDERS.md, L12): a command, the supervisor, the dashboard's workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure
from cc.resources.breakers import FLAG, Breakers
from tests.integration.box import Box, eventually, supervisors
from tests.integration.test_supervisor import healthy


def trip(box: Box, what: str) -> None:
    """As five failed calls of another process would."""
    breakers = Breakers(str(box.state))
    for _ in range(5):
        try:
            with breakers.guarding(what, typed=True):
                raise Failure("no answer", code="deadline")
        except Failure:
            pass
    assert [told["state"] for told in breakers.troubled() if told["what"] == what] == ["open"]


def open_ones(box: Box) -> dict[str, str]:
    return {told["what"]: told["state"] for told in box.ask("status").json["breakers"]}


def page(box: Box, url: str) -> Any:
    with urllib.request.urlopen(f"{url}/api/usage", timeout=15) as answer:  # noqa: S310 - our own
        return json.loads(answer.read())


class Relay:
    """A way to the engine that can be cut without harm to others, and mended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen(64)
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def cut(self) -> None:
        self.path.unlink()
        for one in [self._listening, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _serve(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, there = listening.accept()[0], socket.socket(socket.AF_UNIX)
                there.connect("/var/run/docker.sock")
                self._open += [here, there]
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while some := one.recv(65536):
                other.sendall(some)
            other.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(box: Box) -> Iterator[Relay]:
    made = Relay(box.dir / "docker.sock")
    box.env["DOCKER_HOST"] = f"unix://{made.path}"
    yield made
    box.env.pop("DOCKER_HOST")
    if made.path.exists():
        made.cut()


def test_a_supervisor_that_hangs_costs_the_later_rounds_of_watch_nothing_and_a_typed_status_finds_it_again(
    box: Box,
) -> None:
    assert box.ask("up", "--no-docker").code == 0
    pid = supervisors(box)[0]
    os.kill(pid, signal.SIGSTOP)
    trip(box, "supervisor")
    watch = box.start("status", "--watch", "--json")
    assert watch.stdout is not None
    try:
        rounds = [read_document(watch.stdout) for _ in range(3)]
    finally:
        watch.kill()
        watch.communicate()
    assert [told["supervisor"]["via"] for told, _ in rounds] == ["direct"] * 3
    assert rounds[0][0]["breakers"][0]["what"] == "supervisor"
    waits = [later[1] - earlier[1] for earlier, later in pairwise(rounds)]
    assert all(wait < 3.9 for wait in waits), waits  # 2 s between two rounds, and 2 s more for one that is silent
    os.kill(pid, signal.SIGCONT)
    told = box.ask("status").json
    assert (told["supervisor"]["via"], told["breakers"]) == ("unix", [])
    assert not (box.state / FLAG).exists()


def read_document(stream: Any) -> tuple[Any, float]:
    """The next one, and when it was whole."""
    text = ""
    while True:
        text += stream.readline()
        try:
            return json.loads(text), time.monotonic()
        except ValueError:
            continue


def test_where_nothing_runs_status_counts_nothing(box: Box) -> None:
    for _ in range(6):
        assert "supervisor" not in open_ones(box)


@pytest.mark.docker
def test_an_engine_that_is_away_opens_it_nothing_is_counted_and_its_return_is_noticed(box: Box, relay: Relay) -> None:
    assert box.ask("up", "--service", "clickhouse").code == 0
    name = f"docker at {relay.path}"
    relay.cut()
    eventually(lambda: open_ones(box).get(name), within=60, what="the breaker open")
    told = box.service("clickhouse")
    assert (told["state"], told["restarts"]) == ("unknown", 0)
    assert told["reason"].startswith(f"Service unavailable: {name}, next try in ")
    relay.mend()
    eventually(lambda: open_ones(box) == {}, within=20, what="the breaker closed by the reconnect of the events")
    assert healthy(box, "clickhouse", within=10)["restarts"] == 0


@pytest.mark.docker
def test_an_up_that_somebody_types_closes_it_at_once_and_the_watchdog_goes_on(box: Box, relay: Relay) -> None:
    assert box.ask("up", "--service", "clickhouse").code == 0
    before = box.service("clickhouse")
    name = f"docker at {relay.path}"
    relay.cut()
    eventually(lambda: open_ones(box).get(name), within=60, what="the breaker open")
    up = box.ask("up", "--service", "clickhouse")
    assert up.step("clickhouse")["tried"][0]["error"] == "daemon_down", "a typed command is not refused"
    relay.mend()
    trip(box, name)
    up = box.ask("up", "--service", "clickhouse")
    assert (up.code, up.json["degraded"], open_ones(box)) == (0, False, {})
    os.kill(before["pid"], signal.SIGKILL)
    healthy(box, "clickhouse", other_than=before["pid"], within=40)


@pytest.mark.docker
def test_the_dashboard_reads_a_store_again_as_soon_as_up_saw_it_ready(box: Box) -> None:
    assert box.ask("up", "--service", "clickhouse,dashboard").code == 0
    url = box.service("dashboard")["url"]
    trip(box, "clickhouse")
    tried = page(box, url)["tried"]
    assert [each["error"] for each in tried if each["name"] == "clickhouse"] == ["breaker_open"]
    assert box.ask("up", "--service", "clickhouse").code == 0
    eventually(lambda: "breaker_open" not in json.dumps(page(box, url)["tried"]), within=5, what="asked again")
