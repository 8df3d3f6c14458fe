"""`status`: the document and the table of the services' health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cc.report.printable import one_line
from cc.report.table import table


def status_document(
    supervisor: dict[str, Any],
    services: Sequence[dict[str, Any]],
    alerts: Sequence[dict[str, Any]],
    breakers: Sequence[dict[str, Any]],
    docker: Mapping[str, str | None],
) -> dict[str, Any]:
    """The document of `status`. What is not healthy, or is less than its first choice, is listed as degraded; not what
    the user left out, of which an older supervisor tells nothing.

    `breakers` are those that are not closed. `docker` is where Docker is: `here`, for who asks, and for the
    `supervisor` that told this (None: it was looked at from here).
    """
    return {
        "supervisor": supervisor,
        "services": list(services),
        "degraded": [
            {"what": each["name"], "rung": each["rung"], "reason": each["reason"]}
            for each in services
            if (each["health"] != "healthy" or each["reason"]) and not each.get("left_out")
        ],
        "alerts": list(alerts),
        "breakers": list(breakers),
        "docker": dict(docker),
    }


def another_docker(docker: Mapping[str, str | None], said: str) -> list[str]:
    """The line that is due where the caller and the supervisor do not mean the same Docker."""
    here, there = docker["here"], docker["supervisor"]
    if not here or not there or here == there:
        return []
    shell = f"that of this shell (DOCKER_HOST, context) at {here}"
    return [one_line(f"{said}: the supervisor's Docker is at {there}, {shell}")]


def status_text(document: dict[str, Any]) -> str:
    """The same for people."""
    rows = [
        (each["name"], each["state"], each["health"], age(each["uptime_s"]), each["url"] or "-", each["pid"] or "-")
        for each in document["services"]
    ]
    lines = [table(("service", "state", "health", "up", "where", "pid"), rows, right=(3, 5))]
    alerts = [one_line(f"alert: {each['service']} was given up: {each['reason']}") for each in document["alerts"]]
    supervisor = document["supervisor"]
    if supervisor["state"] != "running" and rows and all(each["state"] == "stopped" for each in document["services"]):
        held = [one_line(f"{each['name']}: {each['obstacle']}") for each in document["services"] if each["obstacle"]]
        return "\n".join([*lines, *alerts, *held, "the stack is down: `up` starts it"])
    lines += another_docker(document["docker"], "told by the supervisor")
    lines += [
        one_line(f"degraded: {each['what']}: {each['reason']}") for each in document["degraded"] if each["reason"]
    ]
    lines += [f"left out: {each['name']}: {each['left_out']}" for each in document["services"] if each.get("left_out")]
    lines += alerts
    lines += [
        one_line(f"left alone for a while: {each['what']}: {each['reason']}; a command that you type tries it at once")
        for each in document["breakers"]
    ]
    if supervisor["state"] == "unknown":
        lines.append("the supervisor does not answer: nobody restarts what crashes, `up` puts another in its place")
    elif supervisor["state"] != "running":
        lines.append("no supervisor runs: nobody restarts what crashes")
    return "\n".join(lines)


def age(seconds: float | None) -> str:
    """How long something has been so: `2.5 h`."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
