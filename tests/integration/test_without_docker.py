"""The stack where Docker is missing, dead or silent: the dashboard stands all the same, and nobody is lied to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.box import ROOT, Box, eventually, held, path_without

MESSAGE = "Docker unavailable, using file-based analytics"
SESSION = {
    "type": "assistant", "timestamp": "2026-11-20T10:00:00.000Z", "sessionId": "s1", "requestId": "req_1",
    "message": {"id": "msg_1", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 1000, "output_tokens": 234}},
}  # fmt: skip


@pytest.fixture
def bare(box: Box) -> Box:
    """A machine without docker on PATH, whose engine's socket is not there either, with one session file."""
    project = Path(box.env["CLAUDE_CONFIG_DIR"]) / "projects" / "-home-me-thing"
    project.mkdir(parents=True)
    (project / "s1.jsonl").write_text(json.dumps(SESSION) + "\n")
    box.env["PATH"] = path_without(box.dir, "docker", "docker-compose", "dockerd")
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/no.sock"
    return box


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        return answer.status, answer.read().decode()


def test_scenario_1_without_docker_the_dashboard_serves_the_files_and_the_run_is_degraded(bare: Box) -> None:
    up = bare.ask("up")
    assert (up.code, up.json["status"], up.json["degraded"]) == (0, "changed", True)
    clickhouse = up.step("clickhouse")
    assert (clickhouse["status"], clickhouse["rung_name"]) == ("skipped", "without")
    assert clickhouse["reason"].startswith(MESSAGE)
    assert "docker is not installed" in clickhouse["reason"]
    assert clickhouse["tried"][0]["error"] == "tool_missing"
    assert [fallback["what"] for fallback in up.json["fallbacks"]] == ["clickhouse"]
    assert up.step("collector")["status"] == "skipped"

    dashboard = bare.service("dashboard")
    assert dashboard["health"] == "healthy"
    status, page = get(dashboard["url"])
    assert (status, "1,234" in page or "1,000" in page) == (200, True)
    total = json.loads(get(dashboard["url"] + "/api/usage")[1])["total"]
    assert (total["input_tokens"], total["output_tokens"]) == (1000, 234)

    again = bare.ask("up")
    assert (again.code, again.json["status"], again.json["degraded"]) == (0, "ok", True)
    assert again.json["counts"]["changed"] == 0
    assert bare.ask("up", "--strict").code == 3

    down = bare.ask("down")
    assert (down.code, down.json["status"]) == (0, "changed")
    assert bare.processes() == []
    assert bare.ask("down").json["counts"]["changed"] == 0


def test_a_dead_daemon_is_named_and_the_run_is_degraded(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/no.sock"
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, True)
    assert up.step("clickhouse")["tried"][0]["error"] == "daemon_down"
    assert "not running" in up.step("clickhouse")["reason"]
    down = box.ask("down")
    containers = down.step("containers")
    assert (down.code, containers["status"], containers["degraded"]) == (0, "ok", False)
    assert containers["reason"].startswith("Containers not running")


@contextmanager
def silent_engine(path: Path) -> Iterator[list[socket.socket]]:
    """A socket that takes connections and never says a word: who has connected."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(64)
    kept: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                kept.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
        for one in kept:
            one.close()


def test_a_silent_daemon_costs_its_deadline_and_down_does_not_call_that_stopped(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/silent.sock"
    with silent_engine(box.dir / "silent.sock"):
        up = box.ask("up", "--timeout", "60")
        assert (up.code, up.json["degraded"]) == (0, True)
        assert up.step("clickhouse")["tried"][0]["error"] == "daemon_hung"
        down = box.ask("down")
        assert down.code == 1
        containers = down.step("containers")
        assert (containers["status"], containers["error"]) == ("failed", "daemon_hung")
        assert down.step("dashboard")["status"] == "changed"
    assert box.processes() == []


def test_a_docker_program_that_hangs_and_ignores_term_is_ended_with_all_it_started(box: Box) -> None:
    hanging = box.dir / "bin"
    hanging.mkdir()
    (hanging / "docker").write_text("#!/bin/sh\ntrap '' TERM\nsleep 600 & sleep 600\n")
    (hanging / "docker").chmod(0o755)
    box.env["PATH"] = f"{hanging}:{box.env['PATH']}"
    box.env["DOCKER_HOST"] = "tcp://127.0.0.1:1"  # no local socket: everything goes through the program
    up = box.ask("up", "--timeout", "60")
    assert (up.code, up.json["degraded"]) == (0, True)
    assert up.step("clickhouse")["tried"][0]["error"] == "daemon_hung"

    def hanging_still() -> list[str]:
        return [words for _, words in box.processes() if "sleep" in words or "docker" in words]

    eventually(lambda: not hanging_still(), within=40, what="the last look of the supervisor's to be ended")


def test_a_silent_daemon_is_not_even_asked_where_the_user_wants_no_docker(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/silent.sock"
    with silent_engine(box.dir / "silent.sock") as asked:
        up = box.ask("up", "--no-docker", "--no-supervisor")
        assert (up.code, up.json["degraded"], up.step("dashboard")["status"]) == (0, False, "changed")
    assert asked == []


@pytest.mark.parametrize("words", [("plan", "--of", "restart"), ("restart",), ("up",), ("down",)], ids=" ".join)
def test_a_silent_daemon_is_not_asked_by_what_is_the_dashboards_alone(box: Box, words: tuple[str, ...]) -> None:
    assert box.ask("up", "--no-docker", "--no-supervisor").code == 0
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/silent.sock"
    faults = {"CC_FAULTS": f"{os.path.basename(sys.executable)} -m cc.supervisor=fail:1:it would look at Docker"}
    with silent_engine(box.dir / "silent.sock") as asked:
        done = box.ask(*words, "--service", "dashboard", env=faults)
        assert (done.code, done.step("dashboard")["status"]) == (0, "ok" if words == ("up",) else "changed")
    assert asked == []


def test_the_users_own_no_docker_is_skipped_and_not_degraded(box: Box) -> None:
    up = box.ask("up", "--no-docker", "--strict")
    assert (up.code, up.json["degraded"]) == (0, False)
    assert up.step("clickhouse")["reason"] == "switched off by --no-docker"


@pytest.mark.parametrize("more", [(), ("--no-supervisor",)])
def test_what_the_user_left_out_is_called_that_until_he_asks_for_it(bare: Box, more: tuple[str, ...]) -> None:
    assert bare.ask("up", "--no-docker", *more).code == 0
    status, health = bare.ask("status", "--strict"), bare.ask("health", "--strict")
    assert (status.code, status.json["degraded"]) == (0, [])
    assert [each["left_out"] for each in status.json["services"]] == ["switched off by --no-docker"] * 2 + [""]
    assert (health.code, health.json["healthy"]) == (0, True)
    assert "left out: collector: switched off by --no-docker" in bare.run("status").out
    assert bare.ask("health", "--service", "collector").code == 1
    bare.ask("up", "--service", "dashboard", *more)
    assert bare.ask("status").json["degraded"] == []
    assert bare.ask("up", *more).json["degraded"]
    assert [each["what"] for each in bare.ask("status").json["degraded"]] == ["clickhouse", "collector"]
    assert bare.ask("health").code == 1
    bare.ask("up", "--no-docker", *more)
    assert bare.ask("down").code == 0
    assert len(bare.ask("status").json["degraded"]) == 3


@pytest.mark.docker
def test_what_stood_before_it_was_left_out_of_a_run_is_missed_once_it_is_gone(box: Box) -> None:
    assert box.ask("up", "--service", "clickhouse", "--no-supervisor").code == 0
    assert box.ask("up", "--no-docker", "--no-supervisor").code == 0
    subprocess.run(["docker", "kill", f"{box.project}-clickhouse-otel"], check=True, capture_output=True)
    assert [each["what"] for each in box.ask("status").json["degraded"]] == ["clickhouse"]


def test_scenario_3_taken_ports_move_the_dashboard_name_their_holders_and_leave_them_alone(bare: Box) -> None:
    first, second, third, _ = bare.dashboard_ports
    with held(first), held(second):
        up = bare.ask("up", "--no-docker")
        step = up.step("dashboard")
        assert (up.code, step["status"], step["degraded"], step["rung"]) == (0, "changed", True, 2)
        assert f"Dashboard running on http://localhost:{third}" in step["reason"]
        assert f"port {first} is held by" in step["reason"]
        assert f"(pid {os.getpid()})" in step["reason"]
        again = bare.ask("up", "--no-docker")
        assert (again.json["status"], again.step("dashboard")["degraded"]) == ("ok", True)
        assert bare.service("dashboard")["port"] == third
        socket.create_connection(("127.0.0.1", first), timeout=5).close()
    stays = bare.ask("up", "--no-docker").step("dashboard")
    assert (stays["status"], stays["degraded"]) == ("ok", True)
    assert bare.service("dashboard")["port"] == third
    assert bare.ask("restart", "--service", "dashboard").step("dashboard")["degraded"] is False
    assert bare.service("dashboard")["port"] == first


def test_with_every_port_taken_the_stack_goes_without_a_dashboard(bare: Box) -> None:
    with held(bare.dashboard_ports[0]), held(bare.dashboard_ports[1]):
        bare.env["CC_DASHBOARD_PORTS"] = f"{bare.dashboard_ports[0]}-{bare.dashboard_ports[1]}"
        up = bare.ask("up", "--no-docker")
    step = up.step("dashboard")
    assert (up.code, step["status"], step["degraded"]) == (0, "skipped", True)
    assert step["reason"].startswith("Dashboard unavailable: ")
    assert str(os.getpid()) in step["reason"]


def test_without_gunicorn_flasks_own_server_answers_and_the_run_is_degraded(bare: Box) -> None:
    import sys

    faults = {"CC_FAULTS": f"{os.path.basename(sys.executable)} -m gunicorn=missing"}
    up = bare.ask("up", "--no-docker", env=faults)
    step = up.step("dashboard")
    assert (up.code, step["status"], step["degraded"], step["rung"]) == (0, "changed", True, 1)
    said = json.loads(get(bare.service("dashboard")["url"] + "/healthz")[1])
    assert said["server"] == "flask"
    assert bare.ask("up", "--no-docker", env=faults).json["counts"]["changed"] == 0
    back = bare.ask("up", "--no-docker").step("dashboard")
    assert (back["status"], back["degraded"], back["rung"]) == ("changed", False, 0), back["tried"]


def test_a_dashboard_that_was_killed_is_started_again_on_its_port(bare: Box) -> None:
    alone = ("up", "--no-docker", "--no-supervisor")  # whose watchdog would be the first
    bare.ask(*alone)
    before = bare.service("dashboard")
    os.kill(before["pid"], 9)
    assert bare.ask(*alone).step("dashboard")["status"] == "changed"
    after = bare.service("dashboard")
    assert (after["port"], after["health"]) == (before["port"], "healthy")
    assert after["pid"] != before["pid"]


def test_other_settings_replace_the_dashboard_and_a_lost_state_directory_does_not_lose_it(bare: Box) -> None:
    bare.ask("up", "--no-docker")
    before = bare.service("dashboard")["pid"]
    import shutil

    shutil.rmtree(bare.state)
    assert bare.ask("up", "--no-docker").step("dashboard")["status"] == "ok"
    assert bare.service("dashboard")["pid"] == before
    bare.env["CLAUDE_CONFIG_DIR"] = str(bare.dir / "other")
    assert bare.ask("up", "--no-docker").step("dashboard")["status"] == "changed"
    assert bare.service("dashboard")["pid"] != before


@pytest.mark.parametrize(
    ("why", "code", "out"),
    [
        ("docker is not installed", 0, "no process of project {} is left\n"),
        ("docker does not answer", 1, ""),
        ("docker does not answer any more", 1, ""),
    ],
)
def test_the_shell_script_says_when_docker_could_not_be_asked(bare: Box, why: str, code: int, out: str) -> None:
    if code:
        first = "exit 0" if why.endswith("more") else "exit 1"
        (bare.dir / "path" / "docker").write_text(
            f"#!/bin/sh\nif mkdir {bare.dir}/asked 2>/dev/null; then {first}; fi\nexit 1\n"
        )
        (bare.dir / "path" / "docker").chmod(0o755)
    script = ROOT / "scripts" / "stop-context-cleaner.sh"
    done = subprocess.run(["sh", script], env=bare.env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, out.format(bare.project))
    said = f"Docker could not be asked ({why}): containers of project {bare.project} may still run\n"
    assert done.stderr == said
