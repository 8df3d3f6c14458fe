"""What `plan` foretells is what `up` then does, whatever a probe can see of what is wrong."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.box import Box, Done, eventually, held, path_without

NO_COMPOSE = "docker compose=missing;docker-compose=missing"
PYTHON = os.path.basename(sys.executable)
Fault = Callable[[Box, ExitStack], None]


def told(done: Done) -> dict[str, Any]:
    """Of each step what both know."""
    keys = ("status", "degraded", "rung", "rung_name")
    return {
        step["name"]: {**{key: step[key] for key in keys}, "left": [tried["error"] for tried in step["tried"]]}
        for step in done.json["steps"]
    }


def agrees(box: Box) -> None:
    """Plan, up, and plan again: the first two say the same, and then nothing is pending that `up` could have done."""
    foretold = told(box.ask("plan"))
    up = box.ask("up")
    assert told(up) == foretold, up.err
    assert box.ask("plan").json["counts"]["changed"] == 0
    assert box.run("plan", "--detailed-exitcode").code == 0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def nothing(box: Box, stack: ExitStack) -> None:
    pass


def no_docker(box: Box, stack: ExitStack) -> None:
    box.env["PATH"] = path_without(box.dir, "docker", "docker-compose")


def daemon_down(box: Box, stack: ExitStack) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"


def first_port(box: Box, stack: ExitStack) -> None:
    daemon_down(box, stack)
    stack.enter_context(held(box.dashboard_ports[0]))


def every_port(box: Box, stack: ExitStack) -> None:
    daemon_down(box, stack)
    for port in box.dashboard_ports:
        stack.enter_context(held(port))


def no_gunicorn(box: Box, stack: ExitStack) -> None:
    daemon_down(box, stack)
    box.env["CC_FAULTS"] = f"{PYTHON} -m gunicorn=missing"


@pytest.mark.parametrize("fault", [no_docker, daemon_down, first_port, every_port, no_gunicorn])
def test_without_containers(box: Box, stack: ExitStack, fault: Fault) -> None:
    fault(box, stack)
    agrees(box)


def no_compose(box: Box, stack: ExitStack) -> None:
    box.env["CC_FAULTS"] = NO_COMPOSE


def taken(box: Box, stack: ExitStack) -> None:
    stack.enter_context(held(int(box.env["CC_CLICKHOUSE_PORT"])))


def taken_of_the_collector(box: Box, stack: ExitStack) -> None:
    stack.enter_context(held(int(box.env["CC_OTLP_GRPC_PORT"])))


@pytest.mark.docker
@pytest.mark.parametrize("fault", [nothing, no_compose, taken, taken_of_the_collector])
def test_from_nothing(box: Box, stack: ExitStack, fault: Fault) -> None:
    fault(box, stack)
    agrees(box)


def killed(box: Box) -> None:
    subprocess.run(["docker", "kill", f"{box.project}-clickhouse-otel"], check=True, capture_output=True)


def removed(box: Box) -> None:
    subprocess.run(["docker", "rm", "-f", f"{box.project}-otel-collector"], check=True, capture_output=True)


def readable(box: Box) -> None:
    (box.state / "clickhouse.password").chmod(0o644)


def other_port(box: Box) -> None:
    box.env["CC_OTLP_GRPC_PORT"] = str(int(box.env["CC_OTLP_GRPC_PORT"]) + 5)


def compose_gone(box: Box) -> None:
    box.env["CC_FAULTS"] = NO_COMPOSE


def standing(box: Box) -> None:
    pass


@pytest.mark.docker
def test_from_a_stack_that_stands_and_was_disturbed(box: Box) -> None:
    assert box.ask("up", "--no-supervisor").code == 0
    for disturb in (standing, killed, removed, readable, other_port, compose_gone):
        disturb(box)
        foretold = told(box.ask("plan", "--no-supervisor"))
        up = box.ask("up", "--no-supervisor")
        assert told(up) == foretold, disturb.__name__


@pytest.mark.docker
def test_what_only_trying_can_tell_is_said_to_be_known_by_trying(box: Box) -> None:
    box.env["CC_CLICKHOUSE_IMAGE"] = "127.0.0.1:1/nobody/has:this"
    plan = box.ask("plan")
    step = plan.step("clickhouse")
    assert (step["status"], step["rung"]) == ("changed", 0)
    assert "known by trying: whether image 127.0.0.1:1/nobody/has:this can be pulled" in step["reason"]
    assert "known by trying" in box.run("plan").out


def supervisor_of(box: Box) -> int:
    return int(box.ask("status").json["supervisor"]["pid"])


def killed_supervisor(box: Box, stack: ExitStack) -> None:
    os.kill(supervisor_of(box), signal.SIGKILL)
    eventually(lambda: box.ask("status").json["supervisor"]["via"] == "direct", what="its end")


def silent_supervisor(box: Box, stack: ExitStack) -> None:
    os.kill(supervisor_of(box), signal.SIGSTOP)


def other_settings(box: Box, stack: ExitStack) -> None:
    box.env["CC_OTLP_GRPC_PORT"] = str(int(box.env["CC_OTLP_GRPC_PORT"]) + 5)


def its_own_end(box: Box, stack: ExitStack) -> None:
    pass


@pytest.mark.parametrize("of", ["up", "restart", "down"])
@pytest.mark.parametrize("fault", [its_own_end, killed_supervisor, silent_supervisor, other_settings])
def test_what_becomes_of_the_supervisor_is_foretold(box: Box, stack: ExitStack, of: str, fault: Fault) -> None:
    daemon_down(box, stack)
    assert box.ask("up").code == 0
    fault(box, stack)
    plan = box.ask("plan", "--of", of)
    done = box.ask(of)
    foretold, found = ([each for each in said.json["steps"] if each["name"] == "supervisor"] for said in (plan, done))
    keys = ("status", "rung", "rung_name", "degraded")
    assert [[each[key] for key in keys] for each in foretold] == [[each[key] for key in keys] for each in found]
    assert [step for step in found if step["status"] == "changed"] or fault in (its_own_end, killed_supervisor)
    repaired = [
        [told["rung"] for told in said.json["fallbacks"] if told["what"] == "supervisor"] for said in (plan, done)
    ]
    assert set(repaired[0]) <= set(repaired[1])
    assert (2 in repaired[0]) == (fault is killed_supervisor and of != "down")


def test_a_plan_before_the_first_up_says_that_a_supervisor_would_be_started_and_writes_nothing(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    plan = box.ask("plan", "--detailed-exitcode")
    assert (plan.code, plan.step("supervisor")["reason"]) == (5, "would change: no supervisor runs")
    assert not box.state.exists()
    assert all(step["name"] != "supervisor" for step in box.ask("plan", "--of", "down").json["steps"])


@pytest.mark.parametrize("why", ["silent", "refused"])
def test_a_restart_that_could_not_ask_docker_has_failed(box: Box, stack: ExitStack, why: str) -> None:
    """What was to be restarted may still run; the dashboard is restarted all the same."""
    daemon_down(box, stack)
    assert box.ask("up").code == 0
    before = box.service("dashboard")["pid"]
    path = os.path.join(box.dir, "silent.sock")
    silent = stack.enter_context(socket.socket(socket.AF_UNIX))
    silent.bind(path)
    if why == "silent":
        silent.listen(8)
        box.env["DOCKER_HOST"] = f"unix://{path}"
    restart = box.ask("restart")
    expected = (1, "failed") if why == "silent" else (0, "skipped")  # nobody listens: no daemon, and nothing runs
    assert (restart.code, restart.step("clickhouse")["status"]) == expected, restart.err
    assert restart.step("dashboard")["status"] == "changed"
    assert box.service("dashboard")["pid"] != before


def test_a_restart_where_no_supervisor_runs_starts_one(box: Box) -> None:
    """What runs at its end is watched, as after an `up`."""
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    assert box.ask("up", "--no-supervisor").code == 0
    restart = box.ask("restart", "--strict", "--service", "dashboard")
    assert (restart.code, restart.step("supervisor")["status"]) == (0, "changed"), restart.err
    assert box.ask("status").json["supervisor"]["state"] == "running"


def test_a_command_whose_program_is_not_there_is_foretold_as_missing(box: Box) -> None:
    playbook = box.dir / "own.yml"
    playbook.write_text(
        "version: 1\nsteps:\n  - name: db\n    ladder:\n      - command: {run: nosuchtool --x}\n"
        "      - command: {run: sh -c true}\n        when_failed: [tool_missing]\n"
    )
    foretold = told(box.ask("plan", "--of", str(playbook)))
    assert (foretold["db"]["rung"], foretold["db"]["left"]) == (1, ["tool_missing"])
    assert told(box.ask("play", str(playbook))) == foretold


@pytest.mark.docker
def test_a_down_by_another_way_is_foretold(box: Box) -> None:
    assert box.ask("up", "--service", "clickhouse").code == 0
    box.env["CC_FAULTS"] = NO_COMPOSE
    foretold = told(box.ask("plan", "--of", "down"))["containers"]
    assert (foretold["status"], foretold["rung"]) == ("changed", 1)
    assert told(box.ask("down"))["containers"] == foretold


@pytest.mark.docker
def test_a_down_means_the_docker_of_whoever_types_it(box: Box) -> None:
    """Not that of the shell from which the supervisor was started."""
    assert box.ask("up", "--service", "clickhouse").code == 0
    assert box.ask("up", "--service", "dashboard", env={"DOCKER_HOST": f"unix://{box.dir}/none.sock"}).code == 0
    down = box.ask("down")
    assert (down.code, down.step("containers")["rung"]) == (0, 0), down.err
    assert not box.containers()
    assert not [told for told in down.json["fallbacks"] if told["what"] == "services stop"]


@pytest.mark.parametrize("what", ["a file", "a stranger", "a stranger's lock"])
def test_what_is_in_the_supervisors_place_is_foretold(box: Box, stack: ExitStack, what: str) -> None:
    daemon_down(box, stack)
    assert box.ask("up", "--no-supervisor").code == 0
    path = box.state / "run" / "supervisor.sock"
    if what == "a file":
        path.write_text("a file of somebody else")
    else:
        stranger = stack.enter_context(socket.socket(socket.AF_UNIX))
        stranger.bind(str(path))
        if what == "a stranger":
            stranger.listen(8)
        else:
            lock = stack.enter_context(path.with_name("supervisor.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
    plan, up = box.ask("plan"), box.ask("up")
    keys = ("status", "rung", "rung_name", "degraded")
    assert [plan.step("supervisor")[key] for key in keys] == [up.step("supervisor")[key] for key in keys]
    assert up.step("supervisor")["rung"] == 3
    if what == "a stranger's lock":
        for said in (plan, up):
            assert str(path.with_name("supervisor.lock")) in said.step("supervisor")["reason"]
