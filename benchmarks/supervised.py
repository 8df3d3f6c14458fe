"""What the supervisor costs while all is well, and how fast it brings back what died; with the whole stack up (Docker).

supervisor          its resident memory, once it has settled, and the processor that it takes while nothing happens: its
                    own time, and that of its children that have ended, over a minute (Linux)
recovery-dashboard  `kill -9` of the dashboard's first process: from there until it is ready again, against 0.3 s to
                    notice + the back-off of 1 s + its own start
recovery-clickhouse the same of `docker kill`

A service's own start is what its step of `up --service X` after a `down --service X` takes, in turns with the kills.
When it was noticed and when it was ready is what the supervisor's journal says, on the same clock as the kill; that it
answers is asked for once more from here. An `up` begins every count anew, so that each kill meets the first back-off.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.box import Box, boxed
from benchmarks.measure import Figure, NotMeasured, ms, processor_s, resident_mb
from cc.supervisor.states import DELAYS_S

SETTLE_S = 20.0  # longer than anything is looked at closely after it came up
IDLE_S = 60.0
RESIDENT_MB = 40
IDLE_PERCENT = 0.1
NOTICED_S = 0.3
STEADY_S = 2.0  # from an `up` to the kill
LONGEST_S = 60.0
LOOK_S = 0.05


def supervisor(runs: int = 1) -> Iterator[Figure]:
    """`runs` says nothing here: it is watched for a minute."""
    with boxed() as box:
        box.use_docker()
        box.invoke("up")
        pid = int(_status(box)["supervisor"]["pid"])
        time.sleep(SETTLE_S)
        before, children, began = processor_s(pid), _children_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        passed = time.monotonic() - began
        own, children = processor_s(pid) - before, _children_s(pid) - children
        memory = resident_mb(pid)
    percent = 100 * (own + children) / passed
    said = f"{memory:.1f} MB resident"
    yield Figure("supervisor-memory", memory, "MB", said, RESIDENT_MB, f"<= {RESIDENT_MB} MB", 1)
    said = f"{percent:.3f} % of a processor ({ms(own)} of its own, {ms(children)} of children, in {passed:.0f} s)"
    data = {"own_s": own, "children_s": children, "passed_s": passed}
    yield Figure("supervisor-idle", percent, "%", said, IDLE_PERCENT, f"<= {IDLE_PERCENT} %", 1, data)


def recovery(runs: int = 5) -> Iterator[Figure]:
    kills: dict[str, Callable[[Box, dict[str, Any]], object]] = {
        "dashboard": lambda _, service: os.kill(int(service["pid"]), signal.SIGKILL),
        "clickhouse": lambda box, service: box.run("docker", "kill", service["container"]),
    }
    with boxed() as box:
        box.use_docker()
        box.invoke("up")
        for name, kill in kills.items():
            starts: list[float] = []
            died: list[dict[str, float]] = []
            for _ in range(runs):
                starts.append(_own_start(box, name))
                time.sleep(STEADY_S)
                died.append(_recovered(box, name, kill))
            yield _recovery(name, median(starts), died)


def _recovery(name: str, start: float, died: list[dict[str, float]]) -> Figure:
    took = {key: median(each[key] for each in died) for key in died[0]}
    limit = NOTICED_S + DELAYS_S[0] + start
    ratio = took["ready"] / limit
    said = (
        f"{took['ready']:.2f} s (noticed after {ms(took['noticed'])}, waited {took['waited']:.2f} s, restarted in "
        f"{took['restarted']:.2f} s), own start {start:.2f} s: {ratio:.2f} x"
    )
    target = f"<= {NOTICED_S:g} s + {DELAYS_S[0]:g} s + start"
    data = {f"{key}_s": value for key, value in took.items()} | {"start_s": start}
    return Figure(f"recovery-{name}", ratio, "x", said, 1.0, target, len(died), data)


def _own_start(box: Box, name: str) -> float:
    box.invoke("down", "--service", name)
    told = json.loads(box.invoke("up", "--service", name, "--json"))
    took = {step["name"]: step["duration_s"] for step in told["steps"]}
    return float(took[name])


def _recovered(box: Box, name: str, kill: Callable[[Box, dict[str, Any]], object]) -> dict[str, float]:
    """Kill it and wait until it is back. Seconds from the kill until each was so, by the supervisor's journal."""
    before = _service(box, name)
    journal = Path(box.env["CC_HOME"]) / box.env["CC_PROJECT"] / "journal.jsonl"
    at = journal.stat().st_size
    began = time.time()
    kill(box, before)
    told = _changes(journal, at, name)
    after = _service(box, name)
    if after["health"] != "healthy" or after["pid"] == before["pid"]:
        raise SystemExit(f"{name} is not another one that is healthy: {after}")
    noticed, starting, ready = (told[state] - began for state in ("backoff", "starting", "running"))
    return {"noticed": noticed, "waited": starting - noticed, "restarted": ready - starting, "ready": ready}


def _changes(journal: Path, at: int, name: str) -> dict[str, float]:
    """When the service came into each state, from this place of the journal on until it runs."""
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        told = [json.loads(line) for line in journal.read_bytes()[at:].splitlines(keepends=True) if line[-1:] == b"\n"]
        changes = [event for event in told if event["event"] == "service_changed" and event["service"] == name]
        when = {event["after"]: datetime.fromisoformat(event["time"][:-1] + "+00:00").timestamp() for event in changes}
        if "backoff" in when and "starting" in when and changes[-1]["after"] == "running":
            return when
        time.sleep(LOOK_S)
    raise SystemExit(f"{name} did not come back within {LONGEST_S:g} s")


def _status(box: Box) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(box.invoke("status", "--json"))
    return told


def _service(box: Box, name: str) -> dict[str, Any]:
    return next(each for each in _status(box)["services"] if each["name"] == name)


def _children_s(pid: int) -> float:
    """Processor time of its children that have ended. Raises NotMeasured where there is no /proc."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise NotMeasured(f"no /proc/PID/stat: {error.strerror}") from error
    return (int(words[13]) + int(words[14])) / os.sysconf("SC_CLK_TCK")
