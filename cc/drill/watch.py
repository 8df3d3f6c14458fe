"""L10 health, L11 watchdog, L12 circuit breaker."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

from cc.drill.exercise import DOCKER, Drill, expect
from cc.drill.stage import Stage, kill, ok
from cc.resources.process_stop import find_ours

CROWD = 5  # failures in a row that open a breaker


def _health(stage: Stage, name: str, health: str, rung: int, **environ: str) -> str:
    typed = stage.type("health", "--service", name, **environ)
    told = next(each for each in typed.document["services"] if each["name"] == name)
    expect((told["health"], told["rung"]) == (health, rung), f"{health} by rung {rung}", told)
    return str(told["reason"] or told["metrics"])[:150]


def well(stage: Stage) -> str:
    ok(stage.up())
    return _health(stage, "dashboard", "healthy", 0)


def wrong_password(stage: Stage) -> str:
    ok(stage.up("docker", "--service", "clickhouse"))
    return _health(stage, "clickhouse", "degraded", 1, CC_CLICKHOUSE_PASSWORD="another-password")  # noqa: S106


def silent(stage: Stage) -> str:
    ok(stage.up("--no-supervisor"))
    for identity in find_ours(stage.state.owner, "dashboard"):
        kill(identity.pid, signal.SIGSTOP)
    return _health(stage, "dashboard", "unhealthy", 2)


def unknown(stage: Stage) -> str:
    stage.environ["DOCKER_HOST"] = f"unix://{stage.dir}/none.sock"
    expect(stage.type("health", "--service", "clickhouse").code == 1, "exit code 1", "another")
    return _health(stage, "clickhouse", "unknown", 3)


def restarted(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")
    kill(int(before["pid"]))
    after = stage.healthy("dashboard", before["pid"])
    expect(after["port"] == before["port"], f"port {before['port']}", after["port"])
    expect(ok(stage.up()).document["counts"]["changed"] == 0, "an up that changes nothing", "changes")
    return f"pid {before['pid']} killed, pid {after['pid']} healthy"


def stays_stopped(stage: Stage) -> str:
    ok(stage.up())
    ok(stage.type("down", "--service", "dashboard"))
    looked = lambda: stage.type("status").document["supervisor"].get("uptime_s", 0) > 7  # noqa: E731
    stage.until("the watchdog to have looked", looked)
    expect(stage.service("dashboard")["state"] == "stopped", "stopped", stage.service("dashboard"))
    return "stopped on purpose stays stopped"


def given_up(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")
    with stage.stranger_on(*stage.ports[5:8]), ExitStack() as held:
        os.killpg(int(before["pid"]), signal.SIGKILL)
        held.enter_context(stage.until("its port", lambda: _seized(int(before["port"]))))
        alerts = stage.until("an alert", lambda: stage.type("status").document["alerts"], 60.0)
    expect(stage.service("dashboard")["state"] == "fatal", "fatal", stage.service("dashboard"))
    ok(stage.up())
    left = stage.type("status").document["alerts"]
    expect(not left, "an `up` to arm it again", left)
    return str(alerts[0]["reason"])[:150]


def _seized(port: int) -> socket.socket | None:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def opened(stage: Stage) -> str:
    ok(stage.up("--no-supervisor"))
    url = f"http://127.0.0.1:{stage.ports[9]}"
    for _ in range(CROWD):
        stage.type("usage", CC_CLICKHOUSE_URL=url)
    told = stage.type("status").document["breakers"]
    expect([each["state"] for each in told] == ["open"], "one open breaker", told)
    typed = stage.type("usage", CC_CLICKHOUSE_URL=url).document["reason"]
    expect("connection refused" in typed, "a typed command to try all the same", typed)
    return str(told[0]["reason"])


DRILLS = (
    Drill(
        "L10",
        0,
        "nothing",
        "healthy, with metrics",
        "",
        well,
    ),
    Drill(
        "L10",
        1,
        "ClickHouse is asked with a wrong password",
        "degraded: ping answers, but <why>",
        "no restart",
        wrong_password,
        DOCKER,
    ),
    Drill(
        "L10",
        2,
        "every process of the dashboard is stopped by SIGSTOP",
        "unhealthy: no answer",
        "",
        silent,
    ),
    Drill(
        "L10",
        3,
        "Docker is out of reach",
        "unknown",
        "exit code 1",
        unknown,
    ),
    Drill(
        "L11",
        0,
        "the dashboard's master is killed",
        "back by itself on its port",
        "a second up changes nothing",
        restarted,
    ),
    Drill(
        "L11",
        0,
        "strangers take every port the moment the dashboard is killed",
        "an alert: 3 restarts did not bring it up",
        "fatal, until an `up` arms it again",
        given_up,
    ),
    Drill(
        "L11",
        0,
        "the dashboard is stopped on purpose",
        "stopped",
        "it stays so",
        stays_stopped,
    ),
    Drill(
        "L12",
        0,
        "a store that refuses connections is asked five times",
        "an open breaker in status",
        "typed commands try at once",
        opened,
    ),
)
