"""Which steps of the stack's own playbooks a flag leaves out, and with what reason. Pure.

--service A,B   the steps of other services; `up` keeps what a chosen one requires, as compose does; `restart` restarts
                what is named and nothing else
--no-docker     the steps of containers
"""

from __future__ import annotations

from collections.abc import Collection

from cc.services.stack import BY_NAME

PASSWORD_STEP = "clickhouse password"  # noqa: S105 - the name of a step
BY_FLAG = "left out by --service"
NO_DOCKER = "switched off by --no-docker"


def wanted(command: str, services: Collection[str]) -> frozenset[str]:
    """The services that take part when these were chosen."""
    needed = set(services)
    if command == "up" and "collector" in needed:
        needed.add("clickhouse")
    return frozenset(needed)


def left_out(command: str, step: str, services: Collection[str], *, docker: bool) -> str | None:
    """The reason why this step of up.yml, down.yml or restart.yml takes no part, None if it does."""
    needed = wanted(command, services)
    service = BY_NAME.get(step)
    if service is not None:
        if service.container is not None and not docker:
            return NO_DOCKER
        return None if step in needed else BY_FLAG
    if step == "containers":
        return None if any(BY_NAME[name].container for name in needed) else BY_FLAG
    if step == PASSWORD_STEP:
        return None if docker and needed & {"clickhouse", "collector"} else "not needed without containers"
    if step == "leftovers":
        return None if needed == set(BY_NAME) else BY_FLAG
    return None
