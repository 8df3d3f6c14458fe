"""The rungs of a service's health, each on a real server: healthy, degraded, unhealthy, unknown."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from cc.resources import docker as docker_module
from cc.services import health as module
from cc.services.health import Health, read_health
from tests.integration.box import held
from tests.services.conftest import PROJECT, Yard, web


def state(yard: Yard, **more: Any) -> dict[str, Any]:
    return yard.container(State={"Status": "running", "StartedAt": "2026-11-24T10:00:00.123456789Z", "Pid": 7, **more})


def asked(yard: Yard, *containers: dict[str, Any], status: int | None = 200) -> Health:
    with ExitStack() as open_:
        open_.enter_context(yard.docker(*containers))
        if status is not None:
            port = yard.stack.settings.clickhouse_port
            open_.enter_context(web(port, lambda path: (status if path == "/ping" else 404, b"Ok.")))
        return read_health(yard.stack, "clickhouse")


STATES = [
    # of the container, what /ping answers (None: nobody there) -> state, health, rung, in the reason
    ({}, 200, "running", "healthy", 0, ""),
    ({"Health": {"Status": "healthy"}}, 200, "running", "healthy", 0, ""),
    ({"Health": {"Status": "starting"}}, 200, "running", "healthy", 0, ""),
    ({"Health": {"Status": "unhealthy"}}, 200, "running", "degraded", 1, "own check says unhealthy"),
    ({}, 503, "running", "unhealthy", 2, "answers 503"),
    ({}, 404, "running", "unhealthy", 2, "answers 404"),
    ({}, None, "running", "unhealthy", 2, "/ping"),
    ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, None, "exited", "unhealthy", 2, "137, out of memory"),
    ({"Status": "paused"}, 200, "stopped", "unhealthy", 2, "paused"),
    ({"Status": "restarting"}, None, "starting", "unhealthy", 2, "restarting"),
    ({"Status": "created"}, None, "stopped", "unhealthy", 2, "created"),
    ({"Status": "dead"}, None, "fatal", "unhealthy", 2, "dead"),
    ({"Status": "new in Docker 99"}, None, "unknown", "unhealthy", 2, "new in Docker 99"),
]


@pytest.mark.parametrize(("told", "status", "said", "health", "rung", "reason"), STATES)
def test_a_container_by_the_first_rung_that_answers(
    yard: Yard, told: dict[str, Any], status: int | None, said: str, health: str, rung: int, reason: str
) -> None:
    found = asked(yard, state(yard, **told), status=status)
    assert (found.state, found.health, found.rung) == (said, health, rung)
    assert reason in found.reason
    assert bool(found.reason) is bool(reason)
    assert (found.container, found.port) == ("p-clickhouse-otel", yard.stack.settings.clickhouse_port)


def test_what_runs_tells_for_how_long_and_as_whom(yard: Yard) -> None:
    found = asked(yard, state(yard))
    assert (found.pid, found.url) == (7, f"http://127.0.0.1:{found.port}")
    assert found.uptime_s is not None
    assert found.uptime_s >= 0
    assert asked(yard, state(yard, StartedAt="when?")).uptime_s is None
    assert asked(yard, state(yard, Status="exited")).uptime_s is None


def test_no_container_is_known_to_be_stopped_and_its_port_to_be_held(yard: Yard) -> None:
    found = asked(yard, status=None)
    assert (found.state, found.health, found.rung, found.reason) == (
        "stopped", "unknown", 3, "there is no such container",
    )  # fmt: skip
    with held(yard.stack.settings.clickhouse_port):
        found = asked(yard, status=None)
    assert f"port {found.port} is held by " in found.reason


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        ({}, "somebody else"),
        ({PROJECT: "other"}, "project 'other'"),
        ({PROJECT: "p", "cc.owner": "p:theirs", "cc.home": "/theirs"}, "another home, /theirs"),
        ({PROJECT: "p", "cc.owner": "p:theirs"}, "another home, which it does not tell"),
    ],
)
def test_somebody_elses_container_of_our_name_is_not_our_service(
    yard: Yard, labels: dict[str, str], whose: str
) -> None:
    found = asked(yard, yard.container(Config={"Labels": labels}))
    assert (found.state, found.health, found.rung) == ("stopped", "unknown", 3)
    assert f"a container called p-clickhouse-otel is there and belongs to {whose}" in found.reason


def test_one_that_was_brought_up_by_hand_is_ours(yard: Yard) -> None:
    assert asked(yard, yard.container(Config={"Labels": {PROJECT: "p", "cc.owner": ""}})).health == "healthy"


def test_without_docker_nothing_can_be_known(yard: Yard) -> None:
    found = read_health(yard.stack, "collector")
    assert (found.state, found.health, found.rung) == ("unknown", "unknown", 3)
    assert "not running" in found.reason


def test_the_collector_is_asked_on_its_own_port_of_health(yard: Yard) -> None:
    with yard.docker(yard.container("p-otel-collector")):
        settings = yard.stack.settings
        with web(settings.otel_health_port, lambda path: (200 if path == "/" else 404, b"{}")):
            found = read_health(yard.stack, "collector")
    assert (found.health, found.port) == ("healthy", settings.otlp_http_port)


def test_a_service_that_is_silent_is_unhealthy_after_its_deadline(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.2)
    with yard.docker(state(yard)), held(yard.stack.settings.clickhouse_port):
        found = read_health(yard.stack, "clickhouse")
    assert (found.health, found.rung) == ("unhealthy", 2)
    assert found.reason


def test_an_engine_that_is_silent_costs_its_deadline_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_module, "READ_S", 0.2)
    path = yard.dir / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(8)
        yard.environ["DOCKER_HOST"] = f"unix://{path}"
        found = read_health(yard.stack, "clickhouse")
    assert (found.health, found.rung) == ("unknown", 3)
    assert "silent for 0.2 s" in found.reason


def test_no_dashboard_is_stopped_and_who_holds_its_port_is_told(yard: Yard) -> None:
    found = read_health(yard.stack, "dashboard")
    assert (found.state, found.health, found.rung, found.reason) == ("stopped", "unknown", 3, "it does not run")
    with web(yard.ports[0], lambda path: (200, b'{"status": "ok"}')):
        found = read_health(yard.stack, "dashboard")
    assert (found.state, found.pid) == ("stopped", None)  # a stranger, whatever it answers
    assert f"port {yard.ports[0]} is held by " in found.reason


def test_services_are_asked_in_parallel_threads_without_harm(yard: Yard) -> None:
    found: list[str] = []
    with yard.docker(state(yard)), web(yard.stack.settings.clickhouse_port, lambda path: (200, b"Ok.")):
        threads = [
            threading.Thread(target=lambda: found.append(read_health(yard.stack, "clickhouse").health))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["healthy"] * 8


def test_the_fields_are_those_of_the_contract() -> None:
    told = Health("a", "container", "running", "healthy").as_dict()
    assert {"name", "kind", "state", "health", "reason", "pid", "container", "port", "url", "uptime_s"} < set(told)
    assert {"restarts", "rss_bytes"} < set(told)
