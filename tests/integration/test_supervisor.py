"""The supervisor for real: started by `up`, killed, stopped, replaced, raced for; and what it does for the services."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.integration.box import Box, eventually, masters, session, supervisors
from tests.integration.test_stack import send_event


def supervisor(box: Box) -> Any:
    return box.ask("status").json["supervisor"]


def healthy(box: Box, name: str, *, other_than: int | None = None, within: float = 30.0) -> Any:
    def look() -> Any:
        found = box.service(name)
        return found if found["health"] == "healthy" and found["pid"] not in (None, other_than) else None

    return eventually(look, within=within, what=f"{name} healthy")


def test_up_starts_one_the_next_connects_and_down_ends_it(box: Box) -> None:
    up = box.ask("up", "--no-docker")
    assert (up.code, up.step("supervisor")["status"]) == (0, "changed")
    told = supervisor(box)
    assert (told["state"], told["via"], [told["pid"]]) == ("running", "unix", supervisors(box))
    again = box.ask("up", "--no-docker")
    assert (again.json["status"], again.json["degraded"], again.step("supervisor")["rung"]) == ("ok", False, 1)
    down = box.ask("down")
    assert (down.code, down.step("supervisor")["status"]) == (0, "changed")
    assert box.processes() == []
    assert supervisor(box) == {"state": "stopped", "pid": None, "via": "direct"}


def test_its_socket_is_private_and_it_holds_no_lock_of_the_command_that_started_it(box: Box) -> None:
    box.ask("up", "--no-docker")
    run = box.state / "run"
    sockets = [path for path in run.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
    assert [path.stat().st_mode & 0o777 for path in sockets] == [0o600]
    assert run.stat().st_mode & 0o777 == 0o700
    held = []
    for link in Path(f"/proc/{supervisors(box)[0]}/fd").iterdir():
        with suppress(FileNotFoundError):  # it closes some all the time
            held.append(os.readlink(link))
    assert held
    assert not [path for path in held if path.endswith("operation.lock")]


def test_killed_it_leaves_the_services_alone_and_the_next_one_adopts_them(box: Box) -> None:
    box.ask("up", "--no-docker")
    dashboard = box.service("dashboard")["pid"]
    os.kill(supervisors(box)[0], signal.SIGKILL)
    eventually(lambda: not supervisors(box), what="the supervisor to be gone")
    assert box.service("dashboard")["health"] == "healthy"
    up = box.ask("up", "--no-docker")
    assert (up.code, up.step("dashboard")["status"]) == (0, "ok")
    assert any("stale socket" in fallback["reason"] for fallback in up.json["fallbacks"])
    assert (box.service("dashboard")["pid"], len(supervisors(box))) == (dashboard, 1)


def test_scenario_2_a_stale_socket_is_removed_and_down_stops_everything(box: Box) -> None:
    box.ask("up", "--no-docker")
    os.kill(supervisors(box)[0], signal.SIGKILL)
    eventually(lambda: not supervisors(box), what="the supervisor to be gone")
    down = box.ask("down")
    assert (down.code, box.processes()) == (0, [])
    assert not [path for path in (box.state / "run").iterdir() if stat.S_ISSOCK(path.stat().st_mode)]


def test_one_that_is_stopped_by_a_signal_is_ended_by_identity_and_down_goes_on_directly(box: Box) -> None:
    box.ask("up", "--no-docker")
    os.kill(supervisors(box)[0], signal.SIGSTOP)
    assert supervisor(box) == {"state": "unknown", "pid": None, "via": "direct"}
    down = box.ask("down")
    assert (down.code, box.processes()) == (0, [])
    assert any("managing services directly" in fallback["reason"] for fallback in down.json["fallbacks"])


def test_one_that_is_stopped_by_a_signal_is_replaced_by_up_and_its_dashboard_adopted(box: Box) -> None:
    box.ask("up", "--no-docker")
    dashboard, before = box.service("dashboard")["pid"], supervisors(box)
    os.kill(before[0], signal.SIGSTOP)
    up = box.ask("up", "--no-docker")
    assert (up.code, up.step("dashboard")["status"]) == (0, "ok"), up.err
    assert box.service("dashboard")["pid"] == dashboard
    assert len(supervisors(box)) == 1
    assert supervisors(box) != before


def test_one_with_other_settings_is_replaced_and_its_services_adopted(box: Box) -> None:
    box.ask("up", "--no-docker")
    dashboard, before = box.service("dashboard")["pid"], supervisors(box)
    box.env["CC_OTLP_GRPC_PORT"] = str(int(box.env["CC_OTLP_GRPC_PORT"]) + 7)
    up = box.ask("up", "--no-docker")
    assert (up.code, up.step("dashboard")["status"]) == (0, "ok")
    assert any("replaced" in fallback["reason"] for fallback in up.json["fallbacks"])
    assert box.service("dashboard")["pid"] == dashboard
    assert len(supervisors(box)) == 1
    assert supervisors(box) != before


def test_one_that_cannot_start_costs_the_watch_and_not_the_stack(box: Box) -> None:
    faults = {"CC_FAULTS": f"{os.path.basename(sys.executable)} -m cc.supervisor=fail:1:no such thing"}
    up = box.ask("up", "--no-docker", env=faults)
    step = up.step("supervisor")
    assert (up.code, up.json["degraded"], step["status"], step["rung"]) == (0, True, "skipped", 3)
    assert step["reason"].startswith("running without a supervisor: ")
    assert any("no such thing" in line for line in step["evidence"])
    assert up.step("dashboard")["status"] == "changed"
    assert "nobody restarts what crashes" in box.run("status").out
    healed = box.ask("up", "--no-docker")
    assert (healed.json["degraded"], healed.step("dashboard")["status"]) == (False, "ok")


def test_the_user_may_do_without_one(box: Box) -> None:
    up = box.ask("up", "--no-docker", "--no-supervisor")
    assert (up.code, up.json["degraded"], supervisors(box)) == (0, False, [])
    assert box.ask("down").code == 0
    assert box.processes() == []


def test_a_dashboard_whose_master_is_killed_is_back_on_its_port_without_an_orphan(box: Box) -> None:
    box.ask("up", "--no-docker")
    before = box.service("dashboard")
    os.kill(before["pid"], signal.SIGKILL)
    after = healthy(box, "dashboard", other_than=before["pid"])
    assert (after["port"], masters(box)) == (before["port"], [after["pid"]])
    workers = [pid for pid, words in box.processes() if "gunicorn" in words]
    assert {session(pid) for pid in workers} - {None} == {after["pid"]}
    eventually(lambda: box.service("dashboard")["restarts"] == 1, what="the restart to be counted")
    journal = (box.state / "journal.jsonl").read_text()
    assert '"service_restarted"' in journal


def test_what_was_stopped_on_purpose_stays_stopped(box: Box) -> None:
    box.ask("up", "--no-docker")
    supervised = supervisors(box)
    assert box.ask("down", "--service", "dashboard").code == 0
    assert supervisors(box) == supervised
    box.wait_for_a_look()
    assert box.service("dashboard")["state"] == "stopped"
    assert box.ask("up", "--no-docker").step("dashboard")["status"] == "changed"


def test_an_interrupted_up_ends_with_its_code_and_the_supervisor_stays(box: Box) -> None:
    faults = {"CC_FAULTS": f"{os.path.basename(sys.executable)} -m gunicorn --version=hang"}
    process = box.start("up", "--no-docker", "--json", "--events", "events.jsonl", env=faults)
    events = box.dir / "events.jsonl"
    begun = '"step_started", "step": "dashboard"'
    eventually(lambda: events.exists() and begun in events.read_text(), what="the dashboard's step")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["stopped"] == "SIGINT"
    assert len(supervisors(box)) == 1
    assert masters(box) == []
    assert box.ask("up", "--no-docker").code == 0


def test_hundreds_of_questions_leave_its_descriptors_and_threads_as_they_were(box: Box) -> None:
    box.ask("up", "--no-docker")
    pid = supervisors(box)[0]

    def held() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    code = (
        "import sys; from cc.supervisor.client import Client\n"
        "for _ in range(300):\n"
        "    with Client.connect(sys.argv[1], again=()) as client: client.call('ping')\n"
    )
    ask = [sys.executable, "-c", code, str(box.state / "run")]
    subprocess.run(ask, env=box.env, check=True, timeout=60)
    before = eventually(held, what="its descriptors")
    subprocess.run(ask, env=box.env, check=True, timeout=60)
    eventually(lambda: held() <= before, what="as many as before")


@pytest.mark.docker
def test_scenario_4_clickhouse_is_killed_every_request_is_answered_and_it_comes_back_by_itself(box: Box) -> None:
    assert box.ask("up").code == 0
    url = box.service("dashboard")["url"]
    before = box.service("clickhouse")
    number = count()

    def ask() -> Any:
        """Each time another question: an answer is shared for a moment."""
        asked = f"{url}/api/usage?project=p{next(number)}"
        with urllib.request.urlopen(asked, timeout=15) as answer:  # noqa: S310 - our own
            assert answer.status == 200
            return json.loads(answer.read())

    send_event(box, "req_1", 321)
    eventually(lambda: ask()["source"] == "clickhouse", what="the event in the dashboard")
    os.kill(supervisors(box)[0], signal.SIGSTOP)  # its watchdog might be quicker than the breaker
    subprocess.run(["docker", "kill", "-s", "KILL", before["container"]], check=True, capture_output=True)
    seen: list[Any] = []

    def opened() -> bool:
        seen.append(ask())
        return "breaker_open" in {tried["error"] for tried in seen[-1]["tried"]}

    eventually(opened, what="the breaker to open")
    os.kill(supervisors(box)[0], signal.SIGCONT)

    def back() -> bool:
        seen.extend(ask() for _ in range(4))
        found = box.service("clickhouse")
        return bool(found["health"] == "healthy" and found["pid"] != before["pid"])

    eventually(back, within=60, what="clickhouse healthy again")
    assert {each["source"] for each in seen} <= {"clickhouse", "cache"}
    eventually(lambda: ask()["source"] == "clickhouse", within=5, what="fresh data again")
    assert box.ask("up").json["counts"]["changed"] == 0
    assert len(box.containers()) == 2


@pytest.mark.docker
def test_a_container_that_is_stopped_by_somebody_else_comes_back(box: Box) -> None:
    assert box.ask("up", "--service", "clickhouse").code == 0
    before = box.service("clickhouse")
    subprocess.run(["docker", "rm", "-fv", before["container"]], check=True, capture_output=True)
    healthy(box, "clickhouse", other_than=before["pid"], within=60)


def test_an_up_that_waited_for_a_down_brings_the_stack_up_and_the_down_leaves_it_alone(box: Box) -> None:
    box.ask("up", "--no-docker")
    for _ in range(3):
        down = box.start("down", "--json")
        eventually(lambda: (box.state / "run" / "operation.lock").stat().st_size > 0, what="the down to have the lock")
        up = box.ask("up", "--no-docker", "--lock-timeout", "30")
        out, err = down.communicate(timeout=60)
        assert (up.code, down.returncode) == (0, 0), (up.err, err)
        assert "services stop" not in [step["name"] for step in json.loads(out)["steps"]]
        assert (box.service("dashboard")["health"], len(supervisors(box))) == ("healthy", 1)
    assert box.ask("down").code == 0


def test_a_restart_that_waited_for_another_restarts_all_the_same(box: Box) -> None:
    box.ask("up", "--no-docker")
    first = box.start("restart", "--service", "dashboard")
    eventually(lambda: (box.state / "run" / "operation.lock").stat().st_size > 0, what="the first to have the lock")
    second = box.ask("restart", "--service", "dashboard", "--lock-timeout", "30")
    assert first.wait(60) == 0
    assert (second.code, second.step("dashboard")["status"]) == (0, "changed")
