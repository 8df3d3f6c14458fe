"""L1 control path, L2 supervisor start, L9 IPC connection."""

from __future__ import annotations

import os
import shutil
import signal
import sys

from cc.drill.exercise import Drill, expect
from cc.drill.stage import Stage, kill, ok
from cc.services.stack import stack_root

PYTHON = os.path.basename(sys.executable)
TREE = ("cc", "playbooks", "scripts", "config", "docker-compose.yml", "tasks.py")


def _without_playbooks(stage: Stage) -> None:
    """The commands are run from a copy of this program that has none."""
    tree = os.path.join(stage.dir, "tree")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shutil.copytree(package, os.path.join(tree, "cc"), ignore=shutil.ignore_patterns("__pycache__", "playbooks"))
    if os.path.exists(os.path.join(stack_root(), "tasks.py")):
        for name in TREE[2:]:
            source = os.path.join(stack_root(), name)
            copy = shutil.copytree if os.path.isdir(source) else shutil.copy
            copy(source, os.path.join(tree, name))
    stage.environ["PYTHONPATH"] = tree


def by_supervisor(stage: Stage) -> str:
    up = ok(stage.up())
    expect(not up.fallbacks("control path"), "no fallback", up.fallbacks("control path"))
    stage.supervisor()
    return str(up.step("supervisor")["reason"])


def hung_supervisor(stage: Stage) -> str:
    ok(stage.up())
    kill(stage.supervisor(), signal.SIGSTOP)
    down = ok(stage.type("down"))
    why = down.fallbacks("control path").get(1, "")
    expect("managing services directly" in why, "'managing services directly'", down.said[-300:])
    stage.nothing_left()
    return why


def no_playbook(stage: Stage) -> str:
    _without_playbooks(stage)
    up = ok(stage.up())
    why = up.fallbacks("control path").get(2, "")
    expect("each service by its own commands" in why, "each service by its own commands", up.said[-300:])
    expect(stage.service("dashboard")["health"] == "healthy", "a healthy dashboard", stage.service("dashboard"))
    ok(stage.type("down"))
    stage.nothing_left()
    return why


def nothing_starts(stage: Stage) -> str:
    _without_playbooks(stage)
    broken = f"{PYTHON} -m gunicorn=fail:1:broken;{PYTHON} -m cc.dashboard=fail:1:broken"
    up = stage.up("--no-supervisor", CC_FAULTS=broken)
    lines = up.document.get("by_hand", [])
    expect(up.code == 1 and lines, "exit code 1 and the lines to type", f"{up.code}, {lines}")
    return f"to type: {lines[0][:60]}..."


def fresh(stage: Stage) -> str:
    step = ok(stage.up()).step("supervisor")
    expect((step["status"], step["rung"]) == ("changed", 0), "a fresh supervisor", step)
    return str(step["reason"])


def connected(stage: Stage) -> str:
    ok(stage.up())
    before = stage.supervisor()
    step = ok(stage.up()).step("supervisor")
    expect((step["status"], step["rung"]) == ("ok", 1), "the one that runs", step)
    expect(stage.supervisor() == before, f"still pid {before}", stage.supervisor())
    return str(step["reason"])


def stale_socket(stage: Stage) -> str:
    ok(stage.up())
    before = stage.service("dashboard")["pid"]
    kill(stage.supervisor())
    up = ok(stage.up())
    why = up.fallbacks("supervisor").get(2, "")
    expect("stale socket" in why, "the stale socket removed", up.fallbacks("supervisor"))
    expect(stage.service("dashboard")["pid"] == before, "the dashboard adopted", stage.service("dashboard"))
    stage.supervisor()
    return why


def no_supervisor(stage: Stage) -> str:
    up = ok(stage.up(CC_FAULTS=f"{PYTHON} -m cc.supervisor=fail:1:broken"))
    step = up.step("supervisor")
    expect(step["rung"] == 3 and up.document["degraded"], "degraded, without a supervisor", step)
    said = stage.read("status")
    expect("nobody restarts what crashes" in said, "status says that nobody restarts", said)
    return str(step["reason"])


def over_unix(stage: Stage) -> str:
    ok(stage.up())
    told = stage.type("status").document["supervisor"]
    expect(told["via"] == "unix", "an answer over the Unix socket", told)
    return "answered over unix"


def over_tcp(stage: Stage) -> str:
    stage.environ["CC_IPC_TCP"] = f"127.0.0.1:{stage.ports[8]}"
    ok(stage.up())
    path = os.path.join(stage.state.run, "supervisor.sock")
    os.unlink(path)
    with open(path, "w", encoding="utf-8"):
        pass  # a stranger's file, which the supervisor leaves alone
    told = stage.type("status").document["supervisor"]
    expect(told["via"] == "tcp", "an answer over TCP", told)
    down = ok(stage.type("down"))
    why = down.fallbacks("IPC connection").get(1, "")
    expect(why, "rung 1 of L9 in the recap", down.document["fallbacks"])
    return f"answered over tcp ({why})"


def again(stage: Stage) -> str:
    ok(stage.up())
    pid = stage.supervisor()
    kill(pid, signal.SIGSTOP)  # so that it can't make the socket anew before it has been missed
    os.unlink(os.path.join(stage.state.run, "supervisor.sock"))
    stage.start("sh", "-c", f"sleep 1.5; kill -CONT {pid}")
    down = ok(stage.type("down"))
    why = down.fallbacks("IPC connection").get(2, "")
    expect(why, "rung 2 of L9 in the recap", down.document["fallbacks"])
    expect(not down.fallbacks("control path"), "no descent of L1", down.fallbacks("control path"))
    stage.nothing_left()
    return why


def directly(stage: Stage) -> str:
    ok(stage.up("--no-supervisor"))
    told = stage.type("status").document["supervisor"]
    expect(told["via"] == "direct", "looked at directly", told)
    ok(stage.type("down"))
    stage.nothing_left()
    return "no supervisor: looked at and managed directly, without a wait"


DRILLS = (
    Drill(
        "L1",
        0,
        "nothing",
        "the supervisor carries it out",
        "one supervisor",
        by_supervisor,
    ),
    Drill(
        "L1",
        1,
        "the supervisor is stopped by SIGSTOP",
        "supervisor unavailable: <why>; managing services directly",
        "all down, nothing left",
        hung_supervisor,
    ),
    Drill(
        "L1",
        2,
        "the program's own playbooks are gone",
        "each service by its own commands",
        "dashboard healthy, then all down",
        no_playbook,
    ),
    Drill(
        "L1",
        3,
        "and neither server of the dashboard starts",
        "the lines to type",
        "exit code 1",
        nothing_starts,
    ),
    Drill(
        "L2",
        0,
        "nothing",
        "supervisor started",
        "one supervisor",
        fresh,
    ),
    Drill(
        "L2",
        1,
        "nothing",
        "supervisor running",
        "the same one",
        connected,
    ),
    Drill(
        "L2",
        2,
        "the supervisor is killed by SIGKILL",
        "stale socket removed",
        "another one, which adopted the dashboard",
        stale_socket,
    ),
    Drill(
        "L2",
        3,
        "the supervisor's program fails",
        "running without a supervisor: <why>",
        "services up, degraded",
        no_supervisor,
    ),
    Drill(
        "L9",
        0,
        "nothing",
        "an answer over the Unix socket",
        "",
        over_unix,
    ),
    Drill(
        "L9",
        1,
        "a stranger's file is in the socket's place, TCP is configured",
        "an answer all the same",
        "",
        over_tcp,
    ),
    Drill(
        "L9",
        2,
        "the Unix socket is deleted, and back after two seconds",
        "reached again once the supervisor has made it anew",
        "all down",
        again,
    ),
    Drill(
        "L9",
        3,
        "no supervisor",
        "managed directly, at once",
        "all down",
        directly,
    ),
)
