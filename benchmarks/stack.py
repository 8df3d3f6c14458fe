"""What the stack's own commands cost.

status            `invoke status --json` against an empty Invoke task, with the dashboard up and the containers left out
status-standing   the same with the whole stack up (Docker)
up-standing       `invoke up` on a standing stack, which changes nothing, against an empty Invoke task plus
                  `docker compose up -d` on it, each a whole process, their medians added (Docker)
up-cold           `invoke up` from nothing against `docker compose up -d --wait` from nothing, of the same stack; the
                  first also starts the dashboard and waits until the collector answers too. Taking it down again is
                  not measured (Docker)
down              `invoke down` of the whole stack, against `docker compose down` of the same one with the same grace,
                  after a cold start by each in turns. The first also ends the dashboard and the supervisor (Docker)

`docker compose` gets the environment that `invoke up` gives it, or else it would make other containers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.box import ROOT, Box, boxed
from benchmarks.measure import Figure, in_turns, ms, seconds
from cc.services.stack import Stack
from cc.settings import load
from cc.shell import ScriptedShell

STATUS = 1.5
STATUS_MORE_S = 0.1
STANDING = 2.0
COLD = 1.15
DOWN = 1.2
DOWN_MORE_S = 0.3
GRACE = "10"  # seconds, as in playbooks/down.yml
STOOD_S = 2.0  # before it goes down: what has just come up ends faster


def status(runs: int = 15) -> Iterator[Figure]:
    with boxed() as box:
        box.invoke("up", "--no-docker")
        yield _status(box, "status", runs)


def status_standing(runs: int = 15) -> Iterator[Figure]:
    with boxed() as box:
        box.use_docker()
        box.invoke("up")
        yield _status(box, "status-standing", runs)


def _status(box: Box, name: str, runs: int) -> Figure:
    took = in_turns({"status": lambda: box.invoke("status", "--json"), "empty": box.empty_task}, runs)
    limit = STATUS * took["empty"] + STATUS_MORE_S
    said = f"{ms(took['status'])}, empty task {ms(took['empty'])}: {took['status'] / took['empty']:.2f} x"
    target = f"<= {STATUS} x + {STATUS_MORE_S:g} s = {ms(limit)}"
    data = {f"{side}_s": value for side, value in took.items()}
    return Figure(name, took["status"], "s", said, limit, target, runs, data)


def up_standing(runs: int = 9) -> Iterator[Figure]:
    with boxed() as box:
        box.use_docker()
        box.invoke("up")
        before = _containers(box)
        environ = _compose_environment(box)
        took = in_turns(
            {
                "up": lambda: box.invoke("up"),
                "compose": lambda: box.run("docker", "compose", "up", "-d", env=environ),
                "empty": box.empty_task,
            },
            runs,
        )
        if _containers(box) != before:
            raise SystemExit("the stack did not stand: its containers are others now")
    base = took["empty"] + took["compose"]
    ratio = took["up"] / base
    said = f"{ms(took['up'])}, empty task {ms(took['empty'])} + compose {ms(took['compose'])}: {ratio:.2f} x"
    data = {f"{side}_s": value for side, value in took.items()}
    yield Figure("up-standing", ratio, "x", said, STANDING, f"<= {STANDING:g} x", runs, data)


def up_cold(runs: int = 3) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"up": [], "compose": []}
    with boxed() as box:
        box.use_docker()
        for _ in range(runs):
            took["up"].append(seconds(lambda: box.invoke("up")))
            environ = _compose_environment(box)
            box.invoke("down", "--volumes")
            cold = partial(box.run, "docker", "compose", "up", "-d", "--wait", env=environ)
            took["compose"].append(seconds(cold))
            box.run("docker", "compose", "down", "--volumes", env=environ)
            time.sleep(0.5)  # the engine is still taking down networks
    up, compose = (median(each) for each in took.values())
    said = f"{up:.2f} s, compose up -d --wait {compose:.2f} s: {up / compose:.2f} x"
    data = {"up_s": up, "compose_s": compose}
    yield Figure("up-cold", up / compose, "x", said, COLD, f"<= {COLD:g} x", runs, data)


def down(runs: int = 5) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"down": [], "compose": []}
    parts: list[dict[str, float]] = []
    events = "events.jsonl"
    with boxed() as box:
        box.use_docker()
        for number in range(runs + 1):
            box.invoke("up")
            environ = _compose_environment(box)
            path = box.dir / f"{number}-{events}"
            time.sleep(STOOD_S)
            ours = seconds(partial(box.invoke, "down", "--events", str(path)))
            box.run("docker", "compose", "up", "-d", "--wait", env=environ)
            time.sleep(STOOD_S)
            theirs = seconds(partial(box.run, "docker", "compose", "down", "--timeout", GRACE, env=environ))
            if number:  # the first counts for nothing: caches
                took["down"].append(ours)
                took["compose"].append(theirs)
                parts.append(_parts(path, ours))
    own, compose = (median(each) for each in took.values())
    where = {name: median(each[name] for each in parts) for name in parts[0]}
    limit = DOWN * compose + DOWN_MORE_S
    said = f"{own:.2f} s ({', '.join(f'{name} {value:.2f}' for name, value in where.items())}), compose {compose:.2f} s"
    target = f"<= {DOWN} x + {DOWN_MORE_S:g} s = {limit:.2f} s"
    data = {"down_s": own, "compose_s": compose, "parts_s": where}
    yield Figure("down", own, "s", f"{said}: {own / compose:.2f} x", limit, target, runs, data)


def _parts(events: Path, whole: float) -> dict[str, float]:
    """Seconds of each step, by its own word, and of all that is outside of the run: Invoke, the supervisor's end."""
    told = [json.loads(line) for line in events.read_text().splitlines()]
    parts: dict[str, float] = {each["step"]: each["duration_s"] for each in told if each["event"] == "step_finished"}
    parts.pop("supervisor", None)
    return parts | {"else": whole - next(each["duration_s"] for each in told if each["event"] == "run_finished")}


def _compose_environment(box: Box) -> dict[str, str]:
    """What `invoke up` runs compose with: its environment, and the password that it made."""
    stack = Stack(load(box.env, str(ROOT)), ScriptedShell(), box.env)
    password = (Path(stack.state.path) / "clickhouse.password").read_text().strip()
    return {**stack.environ(), "CC_CLICKHOUSE_PASSWORD": password}


def _containers(box: Box) -> list[str]:
    label = f"label=com.docker.compose.project={box.env['CC_PROJECT']}"
    told = box.run("docker", "ps", "--no-trunc", "--filter", label, "--format", "json")
    found = sorted(json.loads(line)["ID"] for line in told.splitlines())
    if len(found) != 2:
        raise SystemExit(f"{len(found)} containers stand, not 2")
    return found
