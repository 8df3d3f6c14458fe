"""L3 containers start, L6 containers stop."""

from __future__ import annotations

import os
import socket
import sys

from cc.drill.exercise import COMPOSE, DOCKER, SOCKET, Drill, expect
from cc.drill.stage import NO_COMPOSE, Stage, Typed, kill, ok
from cc.resources.process_stop import find_ours

FORWARD = """
import os, socket, sys, threading
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(64)
def carry(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end in (one, other):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
while True:
    client = server.accept()[0]
    engine = socket.socket(socket.AF_UNIX)
    engine.connect(sys.argv[2])
    for pair in ((client, engine), (engine, client)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""
"""An engine behind another socket, which is there once somebody starts it."""
ALONE = "--service", "clickhouse"
ENGINE = "engine"  # what it is called in its mark


def _rung(typed: Typed, *rungs: int, step: str = "clickhouse") -> str:
    told = ok(typed).step(step)
    expect(told["rung"] in rungs, f"rung {rungs[0]}", f"rung {told['rung']}: {told['reason']}")
    return str(told["reason"])


def engine_behind(stage: Stage) -> str:
    """The user's engine, out of reach until somebody types `colima start`, and again once `cut`. Its socket."""
    path = f"{stage.dir}/engine.sock"
    script = stage.script("forward.py", FORWARD)
    marks = f"CC_OWNER={stage.state.owner} CC_PROCESS={stage.state.owner}/{ENGINE}"
    start = f"env {marks} setsid {sys.executable} {script} {path} {stage.engine()} </dev/null >/dev/null 2>&1 &"
    stage.script("colima", f"#!/bin/sh\n{start}\n")
    stage.environ["DOCKER_HOST"] = f"unix://{path}"
    return path


def cut(stage: Stage, path: str) -> None:
    """The engine is out of reach again; the containers run on."""
    os.unlink(path)
    for identity in find_ours(stage.state.owner, ENGINE):
        kill(identity.pid)


def by_compose(stage: Stage) -> str:
    up = stage.up("docker")
    reason = _rung(up, 0)
    expect(not up.document["degraded"], "not degraded", up.said[-300:])
    expect(ok(stage.up("docker")).document["counts"]["changed"] == 0, "a second up that changes nothing", "changes")
    return reason


def by_docker_run(stage: Stage) -> str:
    reason = _rung(stage.up("docker", CC_FAULTS=NO_COMPOSE), 1)
    for name in ("clickhouse", "collector"):
        expect(stage.service(name)["health"] == "healthy", f"{name} healthy", stage.service(name))
    return f"docker run: {reason}"


def compose_takes_over(stage: Stage) -> str:
    _rung(stage.up("docker", *ALONE, CC_FAULTS=NO_COMPOSE), 1)
    back = stage.up("docker", *ALONE)
    reason = _rung(back, 0)
    expect(not back.document["degraded"], "compose to take over", back.said[-300:])
    expect(ok(stage.up("docker", *ALONE)).document["counts"]["changed"] == 0, "an up that changes nothing", "changes")
    return reason


def engine_started(stage: Stage) -> str:
    engine_behind(stage)
    up = stage.up("docker", *ALONE)
    _rung(up, 0, 1)  # 1 on a machine without compose: the descent went on from there
    why = up.fallbacks("clickhouse").get(2, "")
    expect("colima start" in why, "the daemon started", up.fallbacks("clickhouse"))
    expect(stage.service("clickhouse")["health"] == "healthy", "clickhouse healthy", stage.service("clickhouse"))
    ok(stage.type("down"))
    return why


def without_docker(stage: Stage) -> str:
    stage.environ["PATH"] = stage.path_without("docker", "docker-compose")
    up = ok(stage.up("docker"))
    told = up.step("clickhouse")
    said = "Docker unavailable, using file-based analytics"
    expect(told["rung_name"] == "without" and said in told["reason"], said, told["reason"])
    expect(up.document["degraded"], "degraded", "not")
    expect(stage.service("dashboard")["health"] == "healthy", "the dashboard healthy", stage.service("dashboard"))
    return str(told["reason"])


def _costs_one(stage: Stage, up: Typed, *named: str) -> str:
    """ClickHouse alone is lost, with its cause; the rest is up."""
    told = ok(up).step("clickhouse")
    expect(told["reason"].startswith("clickhouse unavailable"), "clickhouse unavailable", told["reason"])
    for name in named:
        expect(name in told["reason"], f"{name} to be named", told["reason"])
    expect(stage.service("dashboard")["health"] == "healthy", "the dashboard healthy", stage.service("dashboard"))
    return str(told["reason"])


def port_taken(stage: Stage) -> str:
    with stage.stranger_on(stage.ports[0]):
        return _costs_one(stage, stage.up("docker"), f"port {stage.ports[0]}", f"(pid {os.getpid()})")


def no_image(stage: Stage) -> str:
    image = f"127.0.0.1:{stage.ports[9]}/nobody/has:this"
    return _costs_one(stage, stage.up("docker", CC_CLICKHOUSE_IMAGE=image), image)


def down_by_compose(stage: Stage) -> str:
    ok(stage.up("docker"))
    reason = _rung(stage.type("down"), 0, step="containers")
    stage.nothing_left()
    return reason


def down_by_stop(stage: Stage) -> str:
    ok(stage.up("docker"))
    reason = _rung(stage.type("down", CC_FAULTS=NO_COMPOSE), 1, step="containers")
    stage.nothing_left()
    return reason


def down_by_kill(stage: Stage) -> str:
    ok(stage.up("docker"))
    reason = _rung(stage.type("down", CC_FAULTS=f"{NO_COMPOSE};docker stop=fail:1:refused"), 2, step="containers")
    stage.nothing_left()
    return reason


def down_accepts(stage: Stage) -> str:
    ok(stage.up())
    stage.environ["DOCKER_HOST"] = f"unix://{stage.dir}/none.sock"
    down = ok(stage.type("down"))
    reason = str(down.step("containers")["reason"])
    expect("Containers not running" in reason, "Containers not running", reason)
    return reason


def down_of_a_hung_daemon(stage: Stage) -> str:
    ok(stage.up("--no-supervisor"))
    path = os.path.join(stage.dir, "silent.sock")
    stage.environ["DOCKER_HOST"] = f"unix://{path}"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen(64)
        down = stage.type("down")
    told = down.step("containers")
    expect((down.code, told["status"]) == (1, "failed"), "failed: what is silent proves nothing", told)
    expect(down.document["by_hand"], "the lines to type", down.said[-200:])
    return str(told["reason"])


def restart_by_docker_run(stage: Stage) -> str:
    ok(stage.up("docker", CC_FAULTS=NO_COMPOSE))
    before = stage.service("clickhouse")["pid"]
    restart = ok(stage.type("restart", "--service", "clickhouse", CC_FAULTS=NO_COMPOSE))
    reason = _rung(restart, 1)
    expect(stage.healthy("clickhouse")["pid"] != before, "another process", before)
    return reason


DRILLS = (
    Drill(
        "L3",
        0,
        "nothing",
        "running and ready",
        "healthy; a second up changes nothing",
        by_compose,
        COMPOSE,
    ),
    Drill(
        "L3",
        0,
        "compose is back after a `docker run`",
        "running and ready, degraded no more",
        "a second up changes nothing",
        compose_takes_over,
        COMPOSE,
    ),
    Drill(
        "L3",
        1,
        "no compose, neither plugin nor legacy",
        "docker run, degraded",
        "healthy",
        by_docker_run,
        DOCKER,
    ),
    Drill(
        "L3",
        2,
        "the daemon's socket is not there",
        "the daemon started, then rung 0",
        "healthy",
        engine_started,
        SOCKET,
    ),
    Drill(
        "L3",
        3,
        "no docker on PATH",
        "Docker unavailable, using file-based analytics",
        "dashboard up, degraded, exit code 0",
        without_docker,
    ),
    Drill(
        "L3",
        3,
        "a stranger has ClickHouse's port",
        "clickhouse unavailable, and who holds it",
        "the rest up",
        port_taken,
        DOCKER,
    ),
    Drill(
        "L3",
        3,
        "an image that nobody has",
        "clickhouse unavailable, naming the image",
        "the rest is up",
        no_image,
        DOCKER,
    ),
    Drill(
        "L6",
        0,
        "nothing",
        "stopped by docker compose",
        "nothing left",
        down_by_compose,
        COMPOSE,
    ),
    Drill(
        "L6",
        1,
        "no compose",
        "stopped and removed by docker",
        "nothing left",
        down_by_stop,
        DOCKER,
    ),
    Drill(
        "L6",
        2,
        "no compose, and docker stop fails",
        "killed and removed by docker",
        "nothing left",
        down_by_kill,
        DOCKER,
    ),
    Drill(
        "L6",
        3,
        "no daemon",
        "Containers not running",
        "exit code 0",
        down_accepts,
    ),
    Drill(
        "L6",
        3,
        "a daemon that is silent",
        "failed: it proves nothing; the lines to type",
        "exit code 1",
        down_of_a_hung_daemon,
    ),
    Drill(
        "L3",
        1,
        "no compose, and restart is typed",
        "docker run, degraded",
        "healthy",
        restart_by_docker_run,
        DOCKER,
    ),
)
