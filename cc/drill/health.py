"""L10 health of one service."""

from __future__ import annotations

import signal

from cc.drill.exercise import DOCKER, Drill, expect
from cc.drill.stage import Stage, kill, ok
from cc.resources.process_stop import find_ours


def _health(stage: Stage, name: str, health: str, rung: int, **environ: str) -> str:
    typed = stage.type("health", "--service", name, **environ)
    told = next(each for each in typed.document["services"] if each["name"] == name)
    expect((told["health"], told["rung"]) == (health, rung), f"{health} by rung {rung}", told)
    metrics = ", ".join(f"{key} {value}" for key, value in (told["metrics"] or {}).items())
    return str(told["reason"] or metrics)[:150]


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
)
