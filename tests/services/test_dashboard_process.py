"""The dashboard as a process: what counts as one that runs, what does not, and nobody else's ended."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from cc import __version__
from cc.engine.step import Judged, run_action
from cc.errors import Failure
from cc.resources.process_stop import find_ours
from cc.resources.process_table import Identity, identify
from cc.services import health
from cc.services.dashboard import NAME, SERVICE, VERB, Running, find_dashboard
from cc.services.health import read_health
from tests.integration.box import eventually, held
from tests.services.conftest import Yard, as_json, web


def ensure(yard: Yard, state: str = "running", server: str = "gunicorn", **more: Any) -> Judged:
    ports = (yard.ports[0], yard.ports[0]) if server == "gunicorn" else (yard.ports[0], yard.ports[-1])
    args = {"state": state, "server": server, "ports": ports, **more}
    return run_action(VERB.make(yard.stack.host(), args), yard.context)


def stop(yard: Yard) -> None:
    ensure(yard, "stopped")


def running(yard: Yard) -> Running:
    found = find_dashboard(yard.stack.host())
    assert found is not None
    return found


def test_it_starts_answers_stays_and_goes(yard: Yard) -> None:
    first = ensure(yard)
    assert (first.status.value, first.probe.reason) == (
        "changed", f"Dashboard running on http://localhost:{yard.ports[0]}",
    )  # fmt: skip
    before = running(yard)
    assert (before.port, before.server, before.answers(yard.stack.state.owner)) == (yard.ports[0], "gunicorn", None)
    assert read_health(yard.stack, "dashboard").health == "healthy"
    assert ensure(yard).status.value == "ok"
    assert running(yard).identity == before.identity
    assert [ensure(yard, "stopped").status.value for _ in range(2)] == ["changed", "ok"]
    assert find_ours(yard.stack.state.owner) == ()


def test_workers_that_outlive_their_master_are_not_a_dashboard_and_are_ended_by_the_next(yard: Yard) -> None:
    ensure(yard)
    master = running(yard).identity
    owner = yard.stack.state.owner
    eventually(lambda: len(find_ours(owner, NAME)) > 1)
    os.kill(master.pid, signal.SIGKILL)
    eventually(lambda: master not in find_ours(owner, NAME))
    orphans = find_ours(owner, NAME)
    assert orphans
    assert find_dashboard(yard.stack.host()) is None
    assert read_health(yard.stack, "dashboard").state == "stopped"
    assert ensure(yard).status.value == "changed"  # on the same port, which they held
    assert running(yard).port == yard.ports[0]
    assert not set(orphans) & set(find_ours(owner, NAME))
    stop(yard)


def test_stopping_ends_workers_without_a_master_too(yard: Yard) -> None:
    ensure(yard)
    master = running(yard).identity
    eventually(lambda: len(find_ours(yard.stack.state.owner, NAME)) > 1)
    os.kill(master.pid, signal.SIGKILL)
    assert ensure(yard, "stopped").status.value == "changed"
    assert find_ours(yard.stack.state.owner) == ()


def test_it_is_found_without_its_pid_file_and_whatever_that_holds(yard: Yard) -> None:
    ensure(yard)
    found = running(yard).identity
    eventually(lambda: len(find_ours(yard.stack.state.owner, NAME)) > 1)
    worker = next(each for each in find_ours(yard.stack.state.owner, NAME) if each != found)
    file = Path(yard.stack.state.run) / "dashboard.pid"
    for text in ("", "junk", f"{os.getpid()} 1", "1 1", f"{worker.pid} {worker.start_time}"):
        file.write_text(text)
        assert running(yard).identity == found
    file.unlink()
    assert running(yard).identity == found
    assert ensure(yard).status.value == "ok"
    stop(yard)


def test_a_restart_is_another_process_on_the_same_port(yard: Yard) -> None:
    ensure(yard)
    before = running(yard)
    assert ensure(yard, "restarted").status.value == "changed"
    after = running(yard)
    assert (after.port, after.identity != before.identity) == (before.port, True)
    stop(yard)


STRANGERS: dict[str, tuple[int, bytes]] = {
    "any 200": (200, b"<html>hello"),
    "json": (200, as_json({"status": "ok"})),
    "a list": (200, as_json([])),
    "another service": (200, as_json({"service": "other", "owner": "p:1"})),
    "another home's": (200, as_json({"service": SERVICE, "owner": "p:other"})),
    "an error": (500, b"broken"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_whoever_answers_with_something_else_is_not_this_dashboard(yard: Yard, stranger: str) -> None:
    port = yard.ports[0]
    with web(port, lambda path: STRANGERS[stranger]):
        told = Running(Identity(1, 1), "127.0.0.1", port, "gunicorn", {}).answers("p:1")
    assert told == f"what answers at http://localhost:{port} is not this dashboard"


def test_the_one_that_names_our_service_and_owner_is_it(yard: Yard) -> None:
    with web(yard.ports[0], lambda path: (200, as_json({"service": SERVICE, "owner": "p:1"}))):
        assert Running(Identity(1, 1), "127.0.0.1", yard.ports[0], "gunicorn", {}).answers("p:1") is None
        assert Running(Identity(1, 1), "0.0.0.0", yard.ports[0], "gunicorn", {}).answers("p:1") is None  # noqa: S104


def test_nobody_there_is_said_in_the_systems_words(yard: Yard) -> None:
    told = Running(Identity(1, 1), "127.0.0.1", yard.ports[0], "gunicorn", {}).answers("p:1")
    assert told
    assert str(yard.ports[0]) in told


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:8110"), ("0.0.0.0", "http://localhost:8110"),  # noqa: S104
        ("::1", "http://localhost:8110"), ("192.0.2.7", "http://192.0.2.7:8110"),
    ],
)  # fmt: skip
def test_where_a_person_finds_it(host: str, url: str) -> None:
    assert Running(Identity(1, 1), host, 8110, "gunicorn", {}).url == url


def test_its_full_check_tells_workers_and_memory(yard: Yard) -> None:
    ensure(yard)
    eventually(lambda: read_health(yard.stack, "dashboard").metrics["workers"] == 4)
    found = read_health(yard.stack, "dashboard")
    assert (found.health, found.rung, found.metrics["server"], found.metrics["version"]) == (
        "healthy", 0, "gunicorn", __version__,
    )  # fmt: skip
    assert found.rss_bytes is not None
    assert found.metrics["rss_bytes"] > found.rss_bytes > 0
    stop(yard)


SICK: dict[str, tuple[int, bytes]] = {**STRANGERS, "not found": (404, b"")}


@pytest.mark.parametrize("answer", SICK)
def test_one_whose_check_fails_and_that_answers_http_is_degraded(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    own = identify(os.getpid())
    assert own is not None
    found = Running(own, "127.0.0.1", yard.ports[0], "gunicorn", {})
    monkeypatch.setattr(health, "find_dashboard", lambda host: found)
    with web(yard.ports[0], lambda path: SICK[answer]):
        told = read_health(yard.stack, "dashboard")
    assert (told.state, told.health, told.rung) == ("running", "degraded", 1)
    assert f"answers ({SICK[answer][0]}), but what answers" in told.reason


def test_one_whose_port_a_stranger_answers_on_is_unhealthy(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = identify(os.getppid())
    assert other is not None
    found = Running(other, "127.0.0.1", yard.ports[0], "gunicorn", {})
    monkeypatch.setattr(health, "find_dashboard", lambda host: found)
    with web(yard.ports[0], lambda path: STRANGERS["json"]):
        told = read_health(yard.stack, "dashboard")
    assert (told.state, told.health, told.rung) == ("running", "unhealthy", 2)


def test_one_that_is_there_and_silent_is_unhealthy(yard: Yard) -> None:
    ensure(yard)
    master = running(yard).identity
    os.kill(master.pid, signal.SIGSTOP)  # it first: it may still be starting workers
    everyone = find_ours(yard.stack.state.owner, NAME)
    for each in everyone:
        os.kill(each.pid, signal.SIGSTOP)
    told = read_health(yard.stack, "dashboard")
    for each in everyone:
        os.kill(each.pid, signal.SIGCONT)
    assert (told.state, told.health, told.rung, told.pid) == ("running", "unhealthy", 2, master.pid)
    assert "did not answer within" in told.reason
    stop(yard)


def test_a_stranger_on_the_port_is_named_lives_on_and_another_port_is_found(yard: Yard) -> None:
    with web(yard.ports[0], lambda path: STRANGERS["json"]):
        with pytest.raises(Failure) as caught:
            ensure(yard)
        assert (caught.value.code, f"(pid {os.getpid()})" in caught.value.message) == ("port_in_use", True)
        judged = ensure(yard, server="any")
        assert judged.probe.reason.startswith(f"Dashboard running on http://localhost:{yard.ports[1]}")
        reason = read_health(yard.stack, "dashboard").reason
        said = f"it runs on port {yard.ports[1]}, not {yard.ports[0]}, and port {yard.ports[0]} is held by "
        assert reason.startswith(said)
        stop(yard)


def test_when_every_port_is_held_each_holder_is_named(yard: Yard) -> None:
    with ExitStack() as all_:
        for port in yard.ports:
            all_.enter_context(held(port))
        with pytest.raises(Failure) as caught:
            ensure(yard, server="any")
    assert caught.value.code == "port_in_use"
    for port in yard.ports:
        assert f"{port} by " in caught.value.message


def test_an_ipv6_address_works_too(yard: Yard) -> None:
    yard.environ["CC_DASHBOARD_HOST"] = "::1"
    assert ensure(yard).status.value == "changed"
    assert running(yard).answers(yard.stack.state.owner) is None
    stop(yard)


def test_an_address_that_this_machine_does_not_have_is_bad_configuration(yard: Yard) -> None:
    yard.environ["CC_DASHBOARD_HOST"] = "192.0.2.7"
    with pytest.raises(Failure, match="no address of this machine") as caught:
        ensure(yard)
    assert caught.value.code == "bad_config"


def test_one_that_dies_at_its_start_leaves_nothing_and_shows_its_last_words(yard: Yard) -> None:
    yard.environ["GUNICORN_CMD_ARGS"] = "--user nobody-of-that-name"
    with pytest.raises(Failure) as caught:
        ensure(yard)
    assert (caught.value.code, "it ended at once" in caught.value.message) == ("unhealthy", True)
    assert any("nobody-of-that-name" in line for line in caught.value.evidence)
    assert find_ours(yard.stack.state.owner) == ()


def test_another_projects_dashboard_is_left_alone(yard: Yard) -> None:
    ensure(yard)
    mine = running(yard).identity
    yard.environ["CC_PROJECT"] = "q"
    first, yard._stack = yard.stack, None
    assert find_dashboard(yard.stack.host()) is None
    stop(yard)
    yard._stack = first
    assert running(yard).identity == mine
    stop(yard)
    with suppress(ProcessLookupError):
        os.kill(mine.pid, 0)
