"""What an interrupted `up` made is removed again; what stood before it began stays (LADDERS.md, L3)."""

from __future__ import annotations

from dataclasses import dataclass

from cc.engine.outcome import Recap
from cc.engine.step import Context
from cc.errors import Failure
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Docker
from cc.resources.host import Host
from cc.resources.process_stop import stop_group
from cc.resources.process_table import Identity
from cc.services.dashboard import find_dashboard

REMOVE_S = 30.0
GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What stood when a run began: ids of containers (None where nobody could say), and the dashboard's process."""

    containers: frozenset[str] | None
    dashboard: Identity | None


def standing(host: Host, *, docker: bool = True) -> Standing:
    """What stands now; without `docker` only what is a process."""
    found = find_dashboard(host)
    if not docker:
        return Standing(None, found.identity if found else None)
    try:
        ids = frozenset(container.id for container in Docker(host).containers({PROJECT_LABEL: host.project}))
    except Failure:
        return Standing(None, found.identity if found else None)
    return Standing(ids, found.identity if found else None)


def is_undone(recap: Recap) -> bool:
    """Whether what this `up` made is removed again. Out of time, less is better than nothing."""
    return recap.stopped not in (None, "deadline")


def undo(host: Host, before: Standing, context: Context) -> tuple[str, ...]:
    """Remove what stands now and did not before. Returns what was done, or could not be, in sentences.

    Goes on although the run is cancelled: each act is bounded by its own deadline.
    """
    told = []
    try:
        if removed := [*_containers(host, before), *_dashboard(host, before, context)]:
            told.append(f"removed again, because the run was interrupted: {', '.join(removed)}")
    except Failure as failure:
        told.append(f"what this interrupted run made could not all be removed: {failure.message}")
    return tuple(told)


def _containers(host: Host, before: Standing) -> list[str]:
    if before.containers is None:
        return []
    docker = Docker(host, despite_cancel=True)
    labels = {PROJECT_LABEL: host.project}
    made = [each for each in docker.containers(labels) if each.id not in before.containers]
    if made:
        docker.cli("rm", "-fv", *[each.id for each in made], deadline=REMOVE_S)
    if not before.containers:
        for network in docker.names("network", labels):
            docker.cli("network", "rm", network, deadline=REMOVE_S)
    return [each.name for each in made]


def _dashboard(host: Host, before: Standing, context: Context) -> list[str]:
    found = find_dashboard(host)
    if found is None or found.identity == before.dashboard:
        return []
    stop_group(found.identity, grace=GRACE_S, context=context)
    return ["the dashboard"]
