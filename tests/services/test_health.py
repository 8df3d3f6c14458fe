"""The rungs of a service's health, each on a real server: healthy, degraded, unhealthy, unknown."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cc.resources import docker as docker_module
from cc.services import health as module
from cc.services import vitals
from cc.services.health import Health, read_all, read_health
from cc.services.vitals import _uptime, clickhouse_password
from cc.supervisor.states import Seen
from cc.supervisor.watchdog import observed
from tests.integration.box import held
from tests.services.conftest import PROJECT, Says, Yard, as_json, web


def state(yard: Yard, **more: Any) -> dict[str, Any]:
    return yard.container(State={"Status": "running", "StartedAt": "2026-11-24T10:00:00.123456789Z", "Pid": 7, **more})


ROW = b"25.8.1.1\t61\t123456\t10\t20\t\\N\t4096\n"
METRICS = {
    "version": "25.8.1.1", "uptime_s": 61, "memory_bytes": 123456, "log_rows": 10, "metric_rows": 20,
    "trace_rows": None, "disk_bytes": 4096,
}  # fmt: skip


def store(status: int = 200, query: tuple[int, bytes] = (200, ROW)) -> Says:
    """A ClickHouse that answers /ping with `status`, and a query so."""
    return lambda path: query if path.startswith("/?query=SELECT") else (status if path == "/ping" else 404, b"Ok.")


def asked(
    yard: Yard, *containers: dict[str, Any], status: int | None = 200, query: tuple[int, bytes] | None = None
) -> Health:
    with ExitStack() as open_:
        open_.enter_context(yard.docker(*containers))
        if status is not None:
            full = query or ((200, ROW) if status == 200 else (status, b"no"))
            open_.enter_context(web(yard.stack.settings.clickhouse_port, store(status, full)))
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


REFUSAL = b"Code: 516. DB::Exception: cc: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"
QUERIES = [
    # what a query is answered with -> in the reason
    ((403, REFUSAL), "refuses the user cc or its password"),
    ((500, REFUSAL), "refuses the user cc or its password"),
    ((401, b""), "refuses the user cc or its password"),
    ((500, b"Code: 241. DB::Exception: memory limit exceeded"), "500 Code: 241. DB::Exception: memory limit exceeded"),
    ((200, b"Ok."), "a query is answered with 200 Ok."),
    ((200, b""), "a query is answered with 200"),
    ((200, b"\xff\x00\t\t"), "a query is answered with 200"),
]


@pytest.mark.parametrize(("query", "reason"), QUERIES)
def test_a_query_that_fails_while_ping_answers_is_degraded_and_says_why(
    yard: Yard, query: tuple[int, bytes], reason: str
) -> None:
    found = asked(yard, state(yard), query=query)
    assert (found.state, found.health, found.rung, found.metrics) == ("running", "degraded", 1, {})
    assert found.reason.startswith("/ping answers, but ")
    assert reason in found.reason


def test_a_wrong_password_is_nothing_that_the_watchdog_restarts_for(yard: Yard) -> None:
    assert observed(asked(yard, state(yard), query=(403, REFUSAL))).seen is Seen.DEGRADED


def test_the_full_check_logs_in_as_our_user_and_tells_metrics(yard: Yard) -> None:
    heard: list[tuple[str | None, str | None]] = []
    secret = "a/päss%&word"
    Path(yard.stack.state.password).write_text(secret + "\n", encoding="utf-8")
    with yard.docker(state(yard)), web(yard.stack.settings.clickhouse_port, store(), heard=heard):
        found = read_health(yard.stack, "clickhouse")
    assert (found.health, found.rung, found.metrics) == ("healthy", 0, METRICS)
    user, key = heard[0]
    assert (user, str(key).encode("latin-1").decode()) == ("cc", secret)
    assert secret not in json.dumps(found.as_dict())


def test_the_password_that_was_set_goes_over_the_file(yard: Yard) -> None:
    yard.environ["CC_CLICKHOUSE_PASSWORD"] = "given"
    Path(yard.stack.state.password).write_text("stored\n")
    assert clickhouse_password(yard.stack) == "given"


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"two\nlines", b""])
def test_junk_where_the_password_should_be_counts_as_none(yard: Yard, junk: bytes) -> None:
    Path(yard.stack.state.password).write_bytes(junk)
    assert clickhouse_password(yard.stack) == ""
    assert asked(yard, state(yard)).health == "healthy"


def test_a_query_that_hangs_does_not_make_one_unhealthy_whose_ping_answers(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "FULL_S", 0.2)
    go = threading.Event()

    def says(path: str) -> tuple[int, bytes]:
        if path != "/ping":
            go.wait(10)
        return 200, b"Ok."

    with yard.docker(state(yard)), web(yard.stack.settings.clickhouse_port, says):
        found = read_health(yard.stack, "clickhouse")
        go.set()
    assert (found.health, found.rung) == ("degraded", 1)
    assert "did not answer within 0.2 s" in found.reason


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
    assert found.obstacle.startswith(f"port {found.port} is held by ")
    assert f"(pid {os.getpid()}: " in found.obstacle
    assert found.reason == f"there is no such container; {found.obstacle}"


@pytest.mark.parametrize("name", ["otlp_grpc_port", "otlp_http_port", "otel_health_port"])
def test_whichever_port_of_a_service_is_held_is_named_also_while_docker_is_down(yard: Yard, name: str) -> None:
    number = getattr(yard.stack.settings, name)
    with held(number):
        found = read_health(yard.stack, "collector")
    assert (found.state, found.reason.endswith(f"; {found.obstacle}")) == ("unknown", True)
    assert found.obstacle.startswith(f"port {number} is held by ")
    assert read_health(yard.stack, "collector").obstacle == ""


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


WELL = as_json({"status": "Server available", "upSince": "2026-11-24T14:02:56Z", "uptime": "1h2m3.46s"})
COLLECTORS = [
    # what its health port answers, what its OTLP port does (None: nobody there) -> health, rung, in the reason
    ((200, WELL), None, "healthy", 0, ""),
    ((200, as_json({"status": "Starting"})), 404, "degraded", 1, "it says of itself: Starting"),
    ((503, as_json({"status": "Server not available"})), 404, "degraded", 1, "answers 503 (Server not available)"),
    ((503, b"busy"), 405, "degraded", 1, "its OTLP port answers (405), but "),
    ((200, b"hello"), 400, "degraded", 1, "tells no status"),
    ((200, b"{}"), 400, "degraded", 1, "tells no status"),
    ((503, b""), None, "unhealthy", 2, "nothing listens on "),
    (None, 404, "degraded", 1, "its OTLP port answers (404), but "),
    (None, None, "unhealthy", 2, "nothing listens on "),
]


@pytest.mark.parametrize(("check", "otlp", "health", "rung", "reason"), COLLECTORS)
def test_the_collector_by_its_own_check_and_below_it_by_its_otlp_port(
    yard: Yard, check: tuple[int, bytes] | None, otlp: int | None, health: str, rung: int, reason: str
) -> None:
    settings = yard.stack.settings
    with ExitStack() as open_:
        open_.enter_context(yard.docker(yard.container("p-otel-collector")))
        if check is not None:
            open_.enter_context(web(settings.otel_health_port, lambda path: check))
        if otlp is not None:
            open_.enter_context(web(settings.otlp_http_port, lambda path: (otlp, b"")))
        found = read_health(yard.stack, "collector")
    assert (found.health, found.rung, found.port) == (health, rung, settings.otlp_http_port)
    assert reason in found.reason
    assert bool(found.reason) is bool(reason)
    if not rung:
        assert found.metrics == {"uptime_s": 3723.5, "status": "Server available"}


@pytest.mark.parametrize(
    ("told", "uptime_s"), [("4.01s", 4.0), ("2m0s", 120.0), ("12µs", 0.0), ("", None), ("soon", None), (3, None)]
)
def test_an_uptime_that_is_none_is_not_known(told: object, uptime_s: float | None) -> None:
    assert _uptime(told) == uptime_s


def test_a_service_that_is_silent_is_unhealthy_after_its_deadline(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.2)
    monkeypatch.setattr(vitals, "FULL_S", 0.2)
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
    with yard.docker(state(yard)), web(yard.stack.settings.clickhouse_port, store()):
        threads = [
            threading.Thread(target=lambda: found.append(read_health(yard.stack, "clickhouse").health))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["healthy"] * 8


def test_all_are_asked_at_once_and_one_of_which_nothing_comes_is_unknown(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def slow(stack: Any, name: str) -> Health:
        if name != "dashboard":
            go.wait(30)
        return Health(name, "process", "running", "healthy")

    monkeypatch.setattr(module, "read_health", slow)
    found = {each.name: each for each in read_all(yard.stack, within=0.2)}
    go.set()
    assert list(found) == ["clickhouse", "collector", "dashboard"]
    assert found["dashboard"].health == "healthy"
    assert (found["clickhouse"].state, found["clickhouse"].health, found["clickhouse"].rung) == (
        "unknown",
        "unknown",
        3,
    )
    assert found["collector"].reason == "nothing could be known within 0.2 s"


def test_a_bug_in_a_look_is_not_taken_for_an_answer(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(stack: Any, name: str) -> Health:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "read_health", broken)
    with pytest.raises(ZeroDivisionError):
        read_all(yard.stack, ("dashboard",))


def test_an_answer_knows_how_long_it_took(yard: Yard) -> None:
    found = asked(yard, state(yard))
    assert 0 < found.took_ms < 5000
    assert json.loads(json.dumps(found.as_dict()))["took_ms"] == found.took_ms


@pytest.mark.parametrize(
    ("health", "reason", "degraded"),
    [("healthy", "", False), ("healthy", "on another port", True), ("degraded", "x", True), ("unhealthy", "x", False)],
)
def test_degraded_is_what_answers_and_is_less(health: str, reason: str, degraded: bool) -> None:
    assert Health("a", "process", "running", health, reason).degraded is degraded


def test_the_fields_are_those_of_the_contract() -> None:
    told = Health("a", "container", "running", "healthy").as_dict()
    assert {"name", "kind", "state", "health", "reason", "pid", "container", "port", "url", "uptime_s"} < set(told)
    assert {"restarts", "rss_bytes"} < set(told)
