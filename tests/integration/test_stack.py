"""The main job on a real Docker engine: up, down and everything that can go wrong between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.box import Box, eventually, held, masters, new_box

pytestmark = pytest.mark.docker


def send_event(box: Box, request: str, tokens: int) -> None:
    """One event as Claude Code's own exporter sends it, by OTLP over HTTP."""

    def attribute(key: str, value: str) -> dict[str, Any]:
        return {"key": key, "value": {"stringValue": value}}

    attributes = {
        "event.name": "api_request", "model": "claude-sonnet-4-5", "cost_usd": "0.0123", "input_tokens": str(tokens),
        "output_tokens": "12", "cache_read_tokens": "7", "cache_creation_tokens": "5", "request_id": request,
        "session.id": "s1",
    }  # fmt: skip
    record = {
        "timeUnixNano": str(time.time_ns()),
        "body": {"stringValue": "claude_code.api_request"},
        "attributes": [attribute(key, value) for key, value in attributes.items()],
    }
    resource = {"attributes": [attribute("service.name", "claude-code")]}
    body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{box.env['CC_OTLP_HTTP_PORT']}/v1/logs",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - our own
        assert answer.status == 200


def usage(box: Box) -> Any:
    return box.ask("usage").json


def test_the_main_job_from_nothing_to_nothing(box: Box) -> None:
    up = box.ask("up")
    assert (up.code, up.json["status"], up.json["degraded"]) == (0, "changed", False), up.err
    again = box.ask("up")
    assert (again.code, again.json["status"], again.json["counts"]["changed"]) == (0, "ok", 0)
    services = {each["name"]: each for each in box.ask("status").json["services"]}
    assert {name: each["health"] for name, each in services.items()} == dict.fromkeys(services, "healthy")
    assert box.ask("status").json["degraded"] == []

    send_event(box, "req_1", 321)
    eventually(lambda: usage(box)["total"]["input_tokens"] == 321, what="the event in usage")
    seen = usage(box)
    assert (seen["source"], seen["total"]["cost_usd"]) == ("clickhouse", 0.0123)

    supervisor = box.ask("status").json["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGSTOP)  # its watchdog might be there before us
    subprocess.run(
        ["docker", "kill", "-s", "KILL", services["clickhouse"]["container"]], check=True, capture_output=True
    )
    assert box.service("clickhouse")["health"] == "unhealthy"
    cached = usage(box)
    os.kill(supervisor, signal.SIGCONT)
    assert (cached["source"], cached["stale"], cached["total"]["input_tokens"]) == ("cache", True, 321)
    mended = box.ask("up")
    assert (mended.code, mended.step("clickhouse")["status"] in ("changed", "ok")) == (
        0,
        True,
    )  # ok: the watchdog was first
    assert (usage(box)["source"], usage(box)["total"]["input_tokens"]) == ("clickhouse", 321)

    down = box.ask("down")
    assert (down.code, down.json["status"]) == (0, "changed")
    assert (box.containers(), box.processes()) == ([], [])
    twice = box.ask("down")
    assert (twice.code, twice.json["status"], twice.json["counts"]["changed"]) == (0, "ok", 0)

    assert box.ask("up").code == 0
    assert usage(box)["total"]["input_tokens"] == 321  # the volume kept it
    assert box.ask("down", "--volumes").code == 0
    assert usage(box)["source"] == "cache"


def test_the_password_is_private_never_shown_and_read_back_from_the_container_when_it_is_lost(box: Box) -> None:
    up = box.run("up", "--json", "--verbose", "--events", "events.jsonl", "--service", "clickhouse")
    file = box.state / "clickhouse.password"
    password = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    journal = (box.state / "journal.jsonl").read_text()
    for text in (up.out, up.err, journal, (box.dir / "events.jsonl").read_text()):
        assert password not in text
    file.unlink()
    again = box.ask("up", "--service", "clickhouse")
    assert file.read_text().strip() == password
    assert again.step("clickhouse")["status"] == "ok"
    assert any("read back" in fallback["reason"] for fallback in again.json["fallbacks"])
    assert again.json["degraded"] is False
    file.chmod(0o644)
    assert box.ask("up", "--service", "clickhouse").step("clickhouse password")["status"] == "changed"
    assert (file.read_text().strip(), file.stat().st_mode & 0o777) == (password, 0o600)


def test_a_port_that_a_stranger_holds_costs_that_service_and_names_the_stranger(box: Box) -> None:
    with held(int(box.env["CC_CLICKHOUSE_PORT"])) as stranger:
        up = box.ask("up")
        assert (up.code, up.json["degraded"]) == (0, True)
        reason = up.step("clickhouse")["reason"]
        assert reason.startswith("clickhouse unavailable: ")
        assert f"(pid {os.getpid()})" in reason
        assert up.step("collector")["status"] == "skipped"
        assert up.step("dashboard")["status"] == "changed"
        assert box.containers() == []
        stranger.getsockname()
    healed = box.ask("up")
    assert (healed.json["degraded"], healed.step("clickhouse")["status"]) == (False, "changed")


def test_an_image_that_is_missing_and_cannot_be_pulled_is_named(box: Box) -> None:
    box.env["CC_CLICKHOUSE_IMAGE"] = "localhost:1/no/such-image:1"
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, True)
    step = up.step("clickhouse")
    assert (step["status"], step["tried"][0]["error"]) == ("skipped", "image_missing")
    assert "localhost:1/no/such-image:1" in step["reason"]
    assert box.containers() == []


def test_a_service_that_never_answers_fails_with_its_last_words_and_is_removed_again(box: Box) -> None:
    box.env["CC_CLICKHOUSE_IMAGE"] = box.env["CC_COLLECTOR_IMAGE"]  # runs, and is no ClickHouse: it ends at once
    up = box.ask("up")
    step = up.step("clickhouse")
    assert (up.code, step["status"], step["error"]) == (1, "failed", "unhealthy")
    assert step["evidence"]
    assert up.step("dashboard")["status"] == "changed"  # less is better than nothing
    assert box.containers() == []


def test_a_project_whose_containers_belong_to_another_home_is_refused_with_both_paths(box: Box) -> None:
    box.ask("up", "--service", "clickhouse")
    with new_box() as other:
        other.env["CC_PROJECT"] = box.project
        for command in ("up", "down"):
            refused = other.run(command, "--json")
            message = refused.json["error"]["message"]
            assert refused.code == 2
            assert box.env["CC_HOME"] in message
            assert other.env["CC_HOME"] in message
        other.env["CC_PROJECT"] = other.project
    assert box.service("clickhouse")["health"] == "healthy"


def test_a_strangers_container_of_our_name_is_not_touched(box: Box) -> None:
    name = f"{box.project}-clickhouse-otel"
    made = ["docker", "create", "--name", name, box.env["CC_CLICKHOUSE_IMAGE"]]
    stranger = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
    try:
        up = box.ask("up")
        step = up.step("clickhouse")
        assert (up.code, step["error"]) == (1, "not_ours")
        assert name in step["reason"]
        assert box.ask("down").code == 0
        found = subprocess.run(["docker", "inspect", "-f", "{{.Id}}", name], check=True, capture_output=True, text=True)
        assert found.stdout.strip() == stranger
    finally:
        subprocess.run(["docker", "rm", "-fv", stranger], check=True, capture_output=True)


def test_only_the_named_service_is_stopped_and_restarted(box: Box) -> None:
    box.ask("up")
    before = {each["name"]: each["pid"] for each in box.ask("status").json["services"]}
    restarted = box.ask("restart", "--service", "collector")
    assert (restarted.code, restarted.step("collector")["status"]) == (0, "changed"), restarted.err
    after = {each["name"]: each["pid"] for each in box.ask("status").json["services"]}
    assert after["dashboard"] == before["dashboard"]
    assert after["collector"] != before["collector"]
    assert box.ask("down", "--service", "collector").code == 0
    states = {each["name"]: each["state"] for each in box.ask("status").json["services"]}
    assert states == {"clickhouse": "running", "collector": "stopped", "dashboard": "running"}


def test_what_docker_compose_down_typed_by_hand_took_away_comes_back(box: Box) -> None:
    box.ask("up", "--no-supervisor", "--service", "clickhouse")  # its watchdog might be quicker than what follows
    root = Path(__file__).resolve().parents[2]
    by_hand = ["docker", "compose", "-p", box.project, "down"]
    subprocess.run(
        by_hand, cwd=root, env={"PATH": os.environ["PATH"], "HOME": str(box.dir)}, check=True, capture_output=True
    )
    assert box.containers() == []
    again = box.ask("up", "--no-supervisor", "--service", "clickhouse")
    assert again.step("clickhouse")["status"] == "changed"


def test_down_works_without_compose_and_without_the_docker_program_it_says_what_still_runs(box: Box) -> None:
    box.ask("up", "--service", "clickhouse,dashboard")
    hidden = box.ask("down", env={"CC_FAULTS": "docker=missing;docker-compose=missing;sh=missing"})
    assert (hidden.code, hidden.step("containers")["status"]) == (1, "failed")
    assert f"{box.project}-clickhouse-otel" in hidden.err
    faults = {"CC_FAULTS": "docker compose=fail:1:docker: 'compose' is not a docker command.;docker-compose=missing"}
    down = box.ask("down", env=faults)
    step = down.step("containers")
    assert (down.code, step["status"], step["rung"], step["degraded"]) == (0, "changed", 1, False), down.err
    assert (box.containers(), box.processes()) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["clickhouse", "collector"])
def test_an_interrupted_up_removes_what_it_made_and_the_next_one_converges(box: Box, number: int, moment: str) -> None:
    process = box.start("up", "--events", "events.jsonl", "--json")
    events = box.dir / "events.jsonl"
    begun = f'"step_started", "step": "{moment}"'
    eventually(lambda: events.exists() and begun in events.read_text(), what=f"{moment} to start")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert json.loads(out)["exit_code"] == 128 + number
    assert box.containers() == []
    assert masters(box) == []
    box.wait_for_a_look()
    assert (box.containers(), masters(box)) == ([], []), "nobody brings back what was removed"
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, False), up.err
    assert len(box.containers()) == 2


@pytest.mark.parametrize("step", ["clickhouse password", "clickhouse", "collector", "dashboard"])
@pytest.mark.parametrize("when", ["step_started", "step_finished"])
def test_after_kill_9_of_up_at_any_step_the_next_one_converges_with_one_of_each(box: Box, step: str, when: str) -> None:
    process = box.start("up", "--events", "events.jsonl")
    events = box.dir / "events.jsonl"
    eventually(lambda: events.exists() and f'"{when}", "step": "{step}"' in events.read_text(), what=f"{when} {step}")
    process.kill()
    process.communicate()
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, False), up.err
    assert sorted(box.containers()) == [f"{box.project}-clickhouse-otel", f"{box.project}-otel-collector"]
    assert len(masters(box)) == 1
    assert box.ask("up").json["counts"]["changed"] == 0
    assert box.ask("down").code == 0
    assert (box.containers(), box.processes()) == ([], [])


def test_two_ups_at_once_make_one_stack(box: Box) -> None:
    both = [box.start("up", "--json") for _ in range(2)]
    for process in both:
        process.communicate(timeout=90)
    assert sorted(process.returncode for process in both) in ([0, 4], [0, 0])
    assert len(box.containers()) == 2
    patient = [box.start("up", "--json", "--lock-timeout", "60") for _ in range(2)]
    for process in patient:
        process.communicate(timeout=90)
    assert [process.returncode for process in patient] == [0, 0]
    assert len(box.containers()) == 2


def test_the_engine_is_started_by_a_playbook_only_if_it_does_not_answer(box: Box) -> None:
    (box.dir / "engine.yml").write_text("version: 1\nsteps:\n  - {name: engine, docker_engine: {state: running}}\n")
    done = box.ask("play", "engine.yml")
    assert (done.code, done.json["status"]) == (0, "ok")


def test_a_container_by_itself_runs_stops_and_goes(box: Box) -> None:
    port = box.env["CC_OTLP_GRPC_PORT"]
    (box.dir / "one.yml").write_text(
        "version: 1\nvars: {STATE: running}\nsteps:\n"
        f"  - name: web\n    container: {{name: {box.project}-web, image: '{box.env['CC_CLICKHOUSE_IMAGE']}', "
        f"ports: ['127.0.0.1:{port}:8123'], env: {{CLICKHOUSE_PASSWORD: x}}, ready: 'http://127.0.0.1:{port}/ping', "
        "state: '${STATE}'}\n"
    )
    counts = [
        box.ask("play", "one.yml", "--set", f"STATE={state}").json["counts"]["changed"]
        for state in ("running", "running", "stopped", "stopped", "running", "absent", "absent")
    ]
    assert counts == [1, 0, 1, 0, 1, 1, 0]


def test_the_shell_script_stops_everything_of_ours_without_python_and_nobody_else(box: Box) -> None:
    box.ask("up")
    with new_box() as other:
        other.ask("up", "--no-docker")
        script = Path(__file__).resolve().parents[2] / "scripts" / "stop-context-cleaner.sh"
        done = subprocess.run(["sh", str(script)], env=box.env, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (box.containers(), box.processes()) == ([], [])
        assert other.service("dashboard")["health"] == "healthy"
        again = subprocess.run(
            ["sh", str(script)], env=box.env, capture_output=True, text=True, timeout=90, check=False
        )
        assert (again.returncode, again.stdout) == (0, f"nothing of project {box.project} is left\n")


def test_a_port_that_another_container_publishes_names_that_container(box: Box) -> None:
    name = f"{box.project}-squatter"
    publish = f"127.0.0.1:{box.env['CC_CLICKHOUSE_PORT']}:8123"
    made = ["docker", "run", "-d", "--name", name, "-p", publish, box.env["CC_CLICKHOUSE_IMAGE"]]
    subprocess.run(made, check=True, capture_output=True)
    try:
        assert f"is held by container {name}" in box.service("clickhouse")["reason"]
        reason = box.ask("up", "--service", "clickhouse").step("clickhouse")["reason"]
        assert reason.endswith(f"port {box.env['CC_CLICKHOUSE_PORT']} is held by container {name}")
    finally:
        subprocess.run(["docker", "rm", "-fv", name], check=True, capture_output=True)


def test_an_interrupted_up_leaves_alone_what_stood_before_it(box: Box) -> None:
    assert box.ask("up", "--service", "clickhouse").code == 0
    before = box.service("clickhouse")["pid"]
    process = box.start("up", "--events", "events.jsonl", "--json")
    events = box.dir / "events.jsonl"
    eventually(
        lambda: events.exists() and '"step_started", "step": "collector"' in events.read_text(), what="collector"
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert box.containers() == [f"{box.project}-clickhouse-otel"]
    assert box.service("clickhouse")["pid"] == before
