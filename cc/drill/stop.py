"""L5 services stop."""

from __future__ import annotations

import signal

from cc.drill.exercise import DOCKER, Drill, expect
from cc.drill.stage import NO_COMPOSE, Stage, kill, ok

NO_STOP = f"{NO_COMPOSE};docker stop=fail:1:refused;docker kill=fail:1:refused;docker rm=fail:1:refused"


def by_supervisor(stage: Stage) -> str:
    ok(stage.up())
    down = ok(stage.type("down"))
    expect(down.step("supervisor")["status"] == "changed", "the supervisor to end last", down.said[-300:])
    stage.nothing_left()
    return str(down.step("leftovers")["reason"])


def directly(stage: Stage) -> str:
    ok(stage.up())
    kill(stage.supervisor())
    down = ok(stage.type("down"))
    expect("supervisor" not in [step["name"] for step in down.document["steps"]], "no supervisor", down.said[-300:])
    stage.nothing_left()
    return "stopped by this process"


def by_mark(stage: Stage) -> str:
    ok(stage.up())
    left = stage.start("sleep", "600", CC_OWNER=stage.state.owner)
    down = ok(stage.type("down"))
    expect(not left.alive(), "what carried our mark to be ended", f"pid {left.pid} lives")
    told = down.step("leftovers")
    expect(told["status"] == "changed", "leftovers ended", told)
    stage.nothing_left()
    return str(told["reason"])


def by_script(stage: Stage) -> str:
    ok(stage.up("docker"))
    down = ok(stage.type("down", CC_FAULTS=NO_STOP))
    told = down.step("services stop")
    expect(told["rung"] == 3, "rung 3, the script", told)
    stage.nothing_left()
    return str(told["reason"])


def by_hand(stage: Stage) -> str:
    ok(stage.up("docker"))
    down = stage.type("down", CC_FAULTS=f"{NO_STOP};sh=fail:1:refused")
    told, lines = down.step("services stop"), down.document["by_hand"]
    expect((down.code, told["rung"]) == (1, 4), "failed, with the lines to type", told)
    expect(stage.shell(*lines) == 0, "the lines to work when pasted", lines)
    stage.nothing_left()
    return str(lines[0])


def stopped_by_a_signal(stage: Stage) -> str:
    """What is stopped by SIGSTOP and ignores TERM ends all the same."""
    ok(stage.up())
    kill(int(stage.service("dashboard")["pid"]), signal.SIGSTOP)
    ok(stage.type("down"))
    stage.nothing_left()
    return "ended although it was stopped"


DRILLS = (
    Drill(
        "L5",
        0,
        "nothing",
        "stopped, the supervisor last",
        "nothing left",
        by_supervisor,
    ),
    Drill(
        "L5",
        1,
        "the supervisor is killed",
        "stopped by the command itself",
        "nothing left",
        directly,
    ),
    Drill(
        "L5",
        1,
        "the dashboard is stopped by SIGSTOP",
        "stopped",
        "nothing left",
        stopped_by_a_signal,
    ),
    Drill(
        "L5",
        2,
        "a process of ours that no service knows",
        "what was left was ended",
        "nothing left",
        by_mark,
    ),
    Drill(
        "L5",
        3,
        "compose is missing; docker stop, kill and rm fail",
        "stopped by scripts/stop-context-cleaner.sh",
        "nothing left",
        by_script,
        DOCKER,
    ),
    Drill(
        "L5",
        4,
        "and the script fails too",
        "left: <what>; the lines to type",
        "pasted, they work",
        by_hand,
        DOCKER,
    ),
)
