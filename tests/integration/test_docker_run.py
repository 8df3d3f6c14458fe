"""L3's rungs on the whole stack: `docker run` where there is no compose, and a Docker daemon that has to be started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cc.drill.containers import FORWARD
from cc.resources.docker_socket import DEFAULT_SOCKET
from tests.integration.box import Box, eventually
from tests.integration.test_stack import send_event, usage

pytestmark = pytest.mark.docker

NO_COMPOSE = "docker compose=missing;docker-compose=missing"


def test_without_compose_the_stack_runs_by_docker_run_and_compose_takes_over_with_its_data(box: Box) -> None:
    box.env["CC_FAULTS"] = NO_COMPOSE
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, True), up.err
    for name in ("clickhouse", "collector"):
        step = up.step(name)
        assert (step["status"], step["rung"], step["rung_name"]) == ("changed", 1, "docker run")
        assert box.service(name)["health"] == "healthy"
    send_event(box, "req_1", 321)
    eventually(lambda: usage(box)["total"]["input_tokens"] == 321, what="the event in usage")
    again = box.ask("up")
    assert (again.json["counts"]["changed"], again.json["degraded"]) == (0, True)
    subprocess.run(["docker", "kill", box.service("collector")["container"]], check=True, capture_output=True)
    eventually(lambda: box.service("collector")["health"] == "healthy", within=40, what="the watchdog by the same way")

    del box.env["CC_FAULTS"]
    back = box.ask("up")
    assert (back.code, back.json["degraded"], back.step("clickhouse")["rung"]) == (0, False, 0), back.err
    assert usage(box)["total"]["input_tokens"] == 321
    assert box.ask("up").json["counts"]["changed"] == 0

    box.env["CC_FAULTS"] = NO_COMPOSE
    left_alone = box.ask("up")
    assert {left_alone.step(name)["status"] for name in ("clickhouse", "collector")} == {"ok"}
    assert box.ask("restart", "--service", "collector").step("collector")["status"] == "changed"
    down = box.ask("down", "--volumes")
    assert (down.code, box.containers(), box.processes()) == (0, [], [])


def test_by_docker_run_no_password_stands_in_the_words_of_a_command(box: Box) -> None:
    box.env["CC_FAULTS"] = NO_COMPOSE + ";docker run=slow:3"
    process = box.start("up", "--no-supervisor", "--service", "clickhouse")
    password = box.state / "clickhouse.password"
    seen: list[str] = []

    def running() -> bool:
        seen.extend(words for _, words in box.processes() if "CLICKHOUSE_PASSWORD" in words)
        return bool(seen)

    eventually(running, what="docker run")
    assert password.read_text().strip() not in " ".join(seen)
    assert process.wait(90) == 0


@contextmanager
def engine_that_colima_starts(box: Box) -> Iterator[None]:
    """A machine whose engine is behind a socket that is not there until somebody types `colima start`."""
    bin_, path = box.dir / "bin", box.dir / "d.sock"
    bin_.mkdir()
    (box.dir / "forward.py").write_text(FORWARD)
    pid = box.dir / "forward.pid"
    (bin_ / "colima").write_text(
        f"#!/bin/sh\nsetsid sh -c 'echo $$ > {pid}; exec {sys.executable} {box.dir}/forward.py {path} {DEFAULT_SOCKET}'"
        " </dev/null >/dev/null 2>&1 &\n"
    )
    (bin_ / "colima").chmod(0o755)
    box.env |= {"PATH": f"{bin_}:{box.env['PATH']}", "DOCKER_HOST": f"unix://{path}"}
    try:
        yield
    finally:
        box.ask("down", "--volumes")
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_daemon_that_does_not_run_is_started_and_the_first_choice_taken_again(box: Box) -> None:
    with engine_that_colima_starts(box):
        plan = box.ask("plan")
        assert plan.step("clickhouse")["status"] == "changed"
        up = box.ask("up", "--service", "clickhouse")
        step = up.step("clickhouse")
        assert (up.code, step["status"], step["rung"], step["degraded"]) == (0, "changed", 0, False), up.err
        repaired = [told for told in up.json["fallbacks"] if told["what"] == "clickhouse"]
        assert [(told["rung"], "colima start" in told["reason"]) for told in repaired] == [(2, True)]
        assert box.ask("up", "--service", "clickhouse").json["counts"]["changed"] == 0
        assert box.service("clickhouse")["health"] == "healthy"
        assert json.loads(box.ask("down").out)["status"] == "changed"


def test_a_daemon_that_cannot_be_started_costs_the_containers_and_says_so(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    up = box.ask("up")
    step = up.step("clickhouse")
    assert (up.code, step["status"], step["rung"], step["degraded"]) == (0, "skipped", 3, True)
    assert [tried["rung"] for tried in step["tried"]] == [0, 2]
    assert "nothing here can start it" in step["tried"][1]["reason"]
