"""Scenarios 1 to 4 of LADDERS.md, end to end."""

from __future__ import annotations

import json
import os
import urllib.request

from cc.drill import containers
from cc.drill.analytics import stored
from cc.drill.exercise import DOCKER, Drill, expect
from cc.drill.stage import Stage, kill, ok


def docker_not_installed(stage: Stage) -> str:
    reason = containers.without_docker(stage)
    expect(stage.up("docker", "--strict").code == 3, "exit code 3 with --strict", "another")
    expect(stage.service("dashboard")["health"] == "healthy", "the dashboard healthy", stage.service("dashboard"))
    return reason


def stale_socket_and_down(stage: Stage) -> str:
    ok(stage.up())
    kill(stage.supervisor())
    down = ok(stage.type("down"))
    why = down.fallbacks("supervisor").get(2, "")
    expect("stale socket removed" in why, "the socket removed", down.said[-300:])
    stage.nothing_left()
    return why


def ports_taken(stage: Stage) -> str:
    first = stage.ports[4]
    with stage.stranger_on(first, first + 1):
        told = ok(stage.up()).step("dashboard")
        said = f"Dashboard running on http://localhost:{first + 2}"
        expect(said in told["reason"], said, told["reason"])
        expect(f"(pid {os.getpid()})" in told["reason"], "who holds the others", told["reason"])
    return str(told["reason"])


def clickhouse_killed_in_use(stage: Stage) -> str:
    stored(stage)
    url = f"{stage.service('dashboard')['url']}/api/usage"
    before = stage.service("clickhouse")["pid"]
    stage.docker("kill", stage.container("clickhouse"))
    sources: list[str] = []

    def fresh_again() -> bool:
        asked = f"{url}?project=p{len(sources)}"  # each time another question: an answer is shared for a moment
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - the drill's own dashboard
            expect(answer.status == 200, "every request answered", answer.status)
            sources.append(json.loads(answer.read())["source"])
        return len(sources) > 1 and sources[-1] == "clickhouse" and stage.service("clickhouse")["pid"] != before

    stage.until("fresh data again", fresh_again, 60.0)
    expect(sources[0] == "cache", "the last answer, with its age, meanwhile", sources)
    expect(ok(stage.up("docker")).document["counts"]["changed"] == 0, "an up that changes nothing", "changes")
    return " -> ".join(dict.fromkeys(sources))


DRILLS = (
    Drill(
        "scenario",
        1,
        "Docker is not installed",
        "Docker unavailable, using file-based analytics",
        "exit code 0, with --strict 3",
        docker_not_installed,
    ),
    Drill(
        "scenario",
        2,
        "the supervisor's socket is stale",
        "socket removed, services stopped",
        "exit code 0, nothing left",
        stale_socket_and_down,
    ),
    Drill(
        "scenario",
        3,
        "the first two ports are taken",
        "Dashboard running on the third",
        "the strangers live on",
        ports_taken,
    ),
    Drill(
        "scenario",
        4,
        "ClickHouse is killed while the dashboard is in use",
        "every request answered",
        "fresh data again by itself",
        clickhouse_killed_in_use,
        DOCKER,
    ),
)
