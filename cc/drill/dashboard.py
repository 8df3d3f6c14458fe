"""L4 dashboard start."""

from __future__ import annotations

import os
import sys

from cc.drill.exercise import Drill, expect
from cc.drill.stage import Stage, ok

PYTHON = os.path.basename(sys.executable)


def by_gunicorn(stage: Stage) -> str:
    told = ok(stage.up()).step("dashboard")
    expect((told["rung"], told["degraded"]) == (0, False), "rung 0", told)
    return str(told["reason"])


def by_flask(stage: Stage) -> str:
    up = ok(stage.up(CC_FAULTS=f"{PYTHON} -m gunicorn=missing"))
    told = up.step("dashboard")
    expect((told["rung"], told["degraded"]) == (1, True), "Flask's own server, degraded", told)
    expect(stage.service("dashboard")["health"] == "healthy", "healthy", stage.service("dashboard"))
    return str(told["reason"])


def on_another_port(stage: Stage) -> str:
    first = stage.ports[4]
    with stage.stranger_on(first):
        told = ok(stage.up()).step("dashboard")
        said = f"Dashboard running on http://localhost:{first + 1}"
        expect(told["rung"] == 2 and said in told["reason"], said, told["reason"])
        expect(f"(pid {os.getpid()})" in told["reason"], "who holds the port", told["reason"])
    return str(told["reason"])


def nowhere(stage: Stage) -> str:
    with stage.stranger_on(*stage.ports[4:8]):
        up = ok(stage.up())
    told = up.step("dashboard")
    expect(told["rung"] == 3 and told["reason"].startswith("Dashboard unavailable"), "Dashboard unavailable", told)
    return "Dashboard unavailable"


DRILLS = (
    Drill(
        "L4",
        0,
        "nothing",
        "Dashboard running",
        "by gunicorn on the first port",
        by_gunicorn,
    ),
    Drill(
        "L4",
        1,
        "gunicorn is missing",
        "Dashboard running, degraded",
        "healthy by Flask's own server",
        by_flask,
    ),
    Drill(
        "L4",
        2,
        "a stranger has the first port",
        "Dashboard running on the next, and who holds the first",
        "the stranger lives on",
        on_another_port,
    ),
    Drill(
        "L4",
        3,
        "strangers have every port",
        "Dashboard unavailable",
        "the rest is up, exit code 0",
        nowhere,
    ),
)
