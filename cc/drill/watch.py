"""L11 watchdog."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack
from typing import Any

from cc.drill.containers import ALONE, cut, engine_behind
from cc.drill.exercise import SOCKET, Drill, expect
from cc.drill.stage import Stage, kill, ok
from cc.resources.kept import Kept
from cc.resources.process_stop import find_ours

CROWD, AGO_S = 10, 300.0  # so many restarts in so long are too many, and long before the ten minutes are over
SLOW_S = 60.0
STARTED = "Docker started by `colima start`"


def _noted(stage: Stage, service: str) -> dict[str, Any]:
    """What the watchdog has written down of it."""
    kept = dict(Kept(stage.state.path).read("service", service))
    return dict(json.loads(kept.get(service, "{}")))


def _told(stage: Stage, words: str) -> int:
    """How often the journal has it: some of what happens is over before anybody can look."""
    with open(stage.state.journal, encoding="utf-8") as file:
        return file.read().count(words)


def died(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")
    kill(int(before["pid"]))
    after = stage.healthy("dashboard", before["pid"])
    expect(after["port"] == before["port"], f"port {before['port']}", after["port"])
    expect(ok(stage.up()).document["counts"]["changed"] == 0, "an up that changes nothing", "changes")
    return f"pid {before['pid']} killed, pid {after['pid']} healthy"


def hangs(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")
    for identity in find_ours(stage.state.owner, "dashboard"):
        kill(identity.pid, signal.SIGSTOP)
    after = stage.healthy("dashboard", before["pid"], SLOW_S)
    said = "unhealthy 2 times in a row"
    expect(_told(stage, said), f"'{said}' in the journal", "nothing of it")
    return f"{said}, then pid {after['pid']} healthy"


def given_up(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")
    with stage.stranger_on(*stage.ports[5:8]), ExitStack() as held:
        os.killpg(int(before["pid"]), signal.SIGKILL)
        held.enter_context(stage.until("its port", lambda: _seized(int(before["port"]))))
        alerts = stage.until("an alert", lambda: stage.type("status").document["alerts"], SLOW_S)
    expect(stage.service("dashboard")["state"] == "fatal", "fatal", stage.service("dashboard"))
    ok(stage.up())
    left = stage.type("status").document["alerts"]
    expect(not left, "an `up` to arm it again", left)
    before = stage.service("dashboard")
    kill(int(before["pid"]))
    stage.healthy("dashboard", before["pid"])
    return str(alerts[0]["reason"])[:150]


def _seized(port: int) -> socket.socket | None:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def too_often(stage: Stage) -> str:
    """Ten restarts take minutes: the last ten are written down as a supervisor of five minutes ago would have."""
    ok(stage.up())
    kill(stage.supervisor())
    kept = Kept(stage.state.path)
    restarts = [stage.clock.now() - AGO_S + number for number in range(CROWD)]
    kept.write({("service", "dashboard"): json.dumps(_noted(stage, "dashboard") | {"restarted_at": restarts})})
    stage.start(sys.executable, "-m", "cc.supervisor")  # as init does; an `up` would arm the dashboard
    stage.until("a supervisor", lambda: stage.type("status").document["supervisor"]["state"] == "running")
    kill(int(stage.healthy("dashboard")["pid"]))
    alerts = stage.until("an alert", lambda: stage.type("status").document["alerts"])
    expect(stage.service("dashboard")["state"] == "fatal", "fatal", stage.service("dashboard"))
    return str(alerts[0]["reason"])[:150]


def well_again(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")
    kill(int(before["pid"]))
    stage.healthy("dashboard", before["pid"])
    expect(_noted(stage, "dashboard")["tries"] == 1, "one try counted", _noted(stage, "dashboard"))
    stage.until("the count to begin anew", lambda: _noted(stage, "dashboard")["tries"] == 0)
    return "one try counted, none after 10 s"


def stays_stopped(stage: Stage) -> str:
    ok(stage.up())
    ok(stage.type("down", "--service", "dashboard"))
    looked = lambda: stage.type("status").document["supervisor"].get("uptime_s", 0) > 7  # noqa: E731
    stage.until("the watchdog to have looked", looked)
    expect(stage.service("dashboard")["state"] == "stopped", "stopped", stage.service("dashboard"))
    return "stopped on purpose stays stopped"


def engine_away(stage: Stage) -> str:
    path = engine_behind(stage)
    ok(stage.up("docker", *ALONE))
    before = stage.service("clickhouse")
    told = _told(stage, STARTED)
    cut(stage, path)

    def repaired() -> bool:
        stage.type("status")  # whoever looks opens Docker's breaker, which must not keep the repair away
        return _told(stage, STARTED) > told

    stage.until("the repair", repaired, SLOW_S)
    after = stage.healthy("clickhouse", within=SLOW_S)
    expect(after["pid"] == before["pid"], "the container to have run on", f"pid {after['pid']}, was {before['pid']}")
    stage.until("it to be seen running", lambda: _noted(stage, "clickhouse")["state"] == "running")
    expect(_noted(stage, "clickhouse")["tries"] == 0, "nothing counted", _noted(stage, "clickhouse"))
    expect(stage.service("clickhouse")["restarts"] == 0, "no restart of it", stage.service("clickhouse"))
    return f"{STARTED}, nothing counted"


DRILLS = (
    Drill(
        "L11",
        0,
        "the dashboard's master is killed",
        "back by itself on its port",
        "a second up changes nothing",
        died,
    ),
    Drill(
        "L11",
        1,
        "every process of the dashboard is stopped by SIGSTOP",
        "unhealthy 2 times in a row",
        "healthy in other processes",
        hangs,
    ),
    Drill(
        "L11",
        2,
        "strangers take every port the moment the dashboard is killed",
        "an alert: 3 restarts did not bring it up",
        "fatal, until an `up` arms it again",
        given_up,
    ),
    Drill(
        "L11",
        3,
        "the dashboard is killed after ten restarts in ten minutes",
        "an alert: 10 restarts did not keep it up",
        "fatal",
        too_often,
    ),
    Drill(
        "L11",
        4,
        "the dashboard is killed once",
        "one try is counted",
        "none once it is well for 10 s",
        well_again,
    ),
    Drill(
        "L11",
        5,
        "the dashboard is stopped on purpose",
        "stopped",
        "it stays so",
        stays_stopped,
    ),
    Drill(
        "L11",
        6,
        "the engine's socket goes away under a running container",
        "the daemon started by the watchdog",
        "the same container, nothing counted",
        engine_away,
        SOCKET,
    ),
)
