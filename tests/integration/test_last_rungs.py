"""The lower rungs of the control path and of the stop (LADDERS.md, L1 and L5), each with the one above taken away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cc.resources.port import accepts
from tests.integration.box import ROOT, Box, eventually, kill, supervisors

NO_COMPOSE = "docker compose=missing;docker-compose=missing"
NO_STOP = f"{NO_COMPOSE};docker stop=fail:1:no;docker kill=fail:1:no;docker rm=fail:1:no"
TREE = ("cc", "playbooks", "scripts", "config", "docker-compose.yml", "tasks.py")


def a_tree_of_its_own(box: Box) -> Path:
    """The program's own files, copied, so that a test may spoil some; the box's commands are run from there."""
    tree = box.dir / "tree"
    tree.mkdir()
    for name in TREE:
        whole = ROOT / name
        if whole.is_dir():
            shutil.copytree(whole, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(whole, tree / name)
    box.env["PYTHONPATH"] = str(tree)
    return tree


def control(done: Any) -> list[tuple[int, str]]:
    return [(told["rung"], told["reason"]) for told in done.json["fallbacks"] if told["what"] == "control path"]


def statuses(done: Any) -> dict[str, str]:
    return {step["name"]: step["status"] for step in done.json["steps"]}


def pasted(lines: list[str], box: Box) -> subprocess.CompletedProcess[str]:
    """What a person does with them, in a plain shell."""
    environ = {"PATH": os.environ["PATH"], "HOME": box.env["HOME"]}
    environ |= {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
    typed = "\n".join(lines)
    return subprocess.run(["sh"], input=typed, env=environ, cwd="/", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("playbook", ["version: 1\nsteps: [", None])
def test_a_playbook_of_no_use_is_done_without_one_service_at_a_time(
    box: Box, playbook: str | None, supervised: bool
) -> None:
    tree = a_tree_of_its_own(box)
    for name in ("up.yml", "down.yml", "restart.yml"):
        if playbook is None:
            (tree / "playbooks" / name).unlink()
        else:
            (tree / "playbooks" / name).write_text(playbook)
    flags = () if supervised else ("--no-supervisor",)
    up = box.ask("up", "--no-docker", *flags)
    ((rung, why),) = control(up)
    assert (up.code, up.json["degraded"], rung) == (0, False, 2)
    assert str(tree / "playbooks" / "up.yml") in why
    assert statuses(up)["dashboard"] == "changed"
    again = box.ask("up", "--no-docker", *flags)
    assert (again.json["counts"]["changed"], statuses(again)["dashboard"]) == (0, "ok")
    before = box.service("dashboard")["pid"]
    assert box.ask("restart", "--service", "dashboard").code == 0
    after = box.service("dashboard")["pid"]
    assert after != before
    if supervised:  # its watchdog starts it again by the same means
        os.kill(after, signal.SIGKILL)
        eventually(lambda: box.service("dashboard")["pid"] not in (None, after), what="the dashboard to be back")
        eventually(lambda: box.service("dashboard")["health"] == "healthy", what="the dashboard to answer")
    down = box.ask("down")
    assert (down.code, box.processes()) == (0, [])
    assert [rung for rung, _ in control(down)] == [2]


@pytest.mark.docker
def test_without_playbooks_the_containers_come_and_go_by_their_own_commands(box: Box) -> None:
    tree = a_tree_of_its_own(box)
    shutil.rmtree(tree / "playbooks")
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, False), up.err
    assert {name: status for name, status in statuses(up).items() if name != "supervisor"} == {
        "clickhouse password": "changed", "clickhouse": "changed", "collector": "changed", "dashboard": "changed",
    }  # fmt: skip
    subprocess.run(["docker", "stop", "-t", "5", *box.containers()], check=True, capture_output=True)
    box.env["CC_FAULTS"] = NO_COMPOSE
    started = box.ask("up")
    step = started.step("clickhouse")
    assert (started.code, step["rung_name"], step["degraded"]) == (0, "docker start", False), started.err
    only = box.ask("down", "--service", "clickhouse")
    assert (only.code, len(box.containers())) == (0, 1)
    down = box.ask("down", "--volumes")
    assert (down.code, box.containers(), box.processes()) == (0, [], [])


def test_where_nothing_can_start_a_service_what_to_type_is_said_and_works(box: Box) -> None:
    tree = a_tree_of_its_own(box)
    shutil.rmtree(tree / "playbooks")
    python = os.path.basename(sys.executable)
    broken = {"CC_FAULTS": f"{python} -m gunicorn=fail:1:broken;{python} -m cc.dashboard=fail:1:broken"}
    up = box.ask("up", "--no-docker", "--no-supervisor", env=broken)
    assert (up.code, [rung for rung, _ in control(up)]) == (1, [2, 3])
    (line,) = up.json["by_hand"]
    assert line in box.run("up", "--no-docker", "--no-supervisor", env=broken).out
    environ = {"PATH": os.environ["PATH"], "HOME": box.env["HOME"]}
    typed = subprocess.Popen(["sh", "-c", f"{line}"], env=environ, cwd="/", start_new_session=True)
    try:
        eventually(lambda: accepts("127.0.0.1", box.dashboard_ports[0], 1.0), what="the dashboard")
    finally:
        os.killpg(typed.pid, signal.SIGTERM)
        typed.wait(20)


@pytest.mark.docker
def test_what_docker_will_not_stop_for_us_the_script_stops(box: Box) -> None:
    assert box.ask("up").code == 0
    down = box.ask("down", env={"CC_FAULTS": NO_STOP})
    step = down.step("services stop")
    assert (down.code, down.json["status"], step["rung"]) == (0, "changed", 3), down.err
    assert {each["name"] for each in step["tried"]} == {"containers", "leftovers"}
    assert [told["rung"] for told in down.json["fallbacks"] if told["what"] == "services stop"] == [3]
    assert (box.containers(), box.processes(), down.json["by_hand"]) == ([], [], [])


@pytest.mark.docker
@pytest.mark.parametrize("script", ["gone", "failing"])
def test_where_the_script_cannot_either_what_to_type_is_said_and_works_when_pasted(box: Box, script: str) -> None:
    tree = a_tree_of_its_own(box)
    assert box.ask("up").code == 0
    faults = NO_STOP
    if script == "gone":
        (tree / "scripts" / "stop-context-cleaner.sh").unlink()
    else:
        faults += ";sh=fail:1:no"
    down = box.ask("down", env={"CC_FAULTS": faults})
    step = down.step("services stop")
    assert (down.code, step["status"], step["rung"]) == (1, "failed", 4)
    for name in box.containers():
        assert name in step["reason"]
    told = box.run("down", env={"CC_FAULTS": faults})
    assert told.code == 1
    for line in down.json["by_hand"]:
        assert f"\n    {line}\n" in told.out
    done = pasted(down.json["by_hand"], box)
    assert (done.returncode, done.stderr) == (0, "")
    assert (box.containers(), box.processes()) == ([], [])
    after = box.ask("down")
    assert (after.code, after.json["counts"]["changed"]) == (0, 0)


@pytest.mark.docker
def test_volumes_that_were_to_go_and_stayed_are_named_with_what_removes_them(box: Box) -> None:
    assert box.ask("up", "--service", "clickhouse").code == 0
    down = box.ask("down", "--volumes", env={"CC_FAULTS": f"{NO_COMPOSE};docker volume=fail:1:no"})
    step = down.step("services stop")
    assert (down.code, step["rung"], box.containers()) == (1, 4, [])
    assert "volume" in step["reason"]
    assert pasted(down.json["by_hand"], box).returncode == 0
    assert box.ask("down", "--volumes").json["counts"]["changed"] == 0


def test_down_goes_on_without_a_lock_where_the_state_directory_can_hold_none(box: Box) -> None:
    assert box.ask("up", "--no-docker").code == 0
    lock = box.state / "run" / "operation.lock"
    lock.unlink()
    lock.mkdir()
    (lock / "full").touch()
    for pid in supervisors(box):
        kill(pid)
    down = box.ask("down")
    assert (down.code, box.processes()) == (0, []), down.err
    assert [told["rung"] for told in down.json["fallbacks"] if told["what"] == "operation lock"] == [1]
    shutil.rmtree(lock)


@pytest.mark.parametrize("flags", [(), ("--no-supervisor",)])
def test_the_journal_knows_how_a_run_ended_once_whoever_carried_it_out(box: Box, flags: tuple[str, ...]) -> None:
    box.ask("up", "--no-docker", *flags)
    lines = [json.loads(line) for line in (box.state / "journal.jsonl").read_text().splitlines()]
    ends = [line for line in lines if line["event"] == "run_finished" and line["command"] == "up"]
    assert [end["status"] for end in ends] == ["changed"]
