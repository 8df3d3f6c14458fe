"""How the stack stands: what its supervisor tells, which answers at once, or else what is seen from here.

Either says which Docker it looked into: the caller's may be another than the one that the supervisor means. May import
what a supervisor may, and imports what it needs when it is called, so that `status` is quick.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from cc.errors import Failure
from cc.resources.docker_socket import endpoint
from cc.services.stack import Stack
from cc.supervisor.client import Answer, Client, could_come_back

STATUS_S = 15.0


class Standing(NamedTuple):
    """What `status` tells (CLI.md, "JSON"). `docker` is where Docker is: `here`, for who asks, and for the `supervisor`
    that told this (None: it was looked at from here).
    """

    supervisor: dict[str, Any]
    services: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    breakers: list[dict[str, Any]]
    docker: dict[str, str | None]


def ask(stack: Stack, method: str, *, typed: bool = True) -> Answer | None:
    """What the supervisor answers, None if it does not. One that lives and is silent costs 2 s, once for background
    callers (LADDERS.md, L12).
    """

    def counts(failure: Failure) -> bool:
        """Where no supervisor runs, none is out of reach."""
        return failure.code == "deadline" or (failure.code == "connection_refused" and could_come_back(stack.state.run))

    try:
        with (
            stack.breakers.guarding("supervisor", typed=typed, counts=counts),
            Client.connect(stack.state.run, stack.settings.ipc_tcp, again=()) as client,
        ):
            return client.call(method, deadline=STATUS_S)
    except Failure:
        return None


def docker_of(stack: Stack, answer: Answer | None) -> dict[str, str | None]:
    """Where Docker is for who asks, and for the supervisor that answered a `ping`."""
    return {"here": endpoint(stack.base_environ), "supervisor": answer and answer.result.get("docker")}


def standing(stack: Stack, *, typed: bool = True) -> Standing:
    """How it stands now. `typed`: somebody waits for this look, rather than for one of many."""
    answer = ask(stack, "status", typed=typed)
    return _looked_at(stack) if answer is None else _told(stack, answer)


def _told(stack: Stack, answer: Answer) -> Standing:
    told = answer.result
    breakers = [each for each in told.get("breakers", ()) if each["what"] != "supervisor"]  # which has just answered
    supervisor = {**told["supervisor"], "via": answer.via}
    return Standing(supervisor, list(told["services"]), list(told["alerts"]), breakers, docker_of(stack, answer))


def _looked_at(stack: Stack) -> Standing:
    from cc.services.health import read_all

    health = read_all(replace(stack, memo={}))  # nothing remembered of an earlier look
    for each in health:
        if each.health in ("healthy", "degraded"):
            stack.breakers.mended(each.name)
    state = "unknown" if could_come_back(stack.state.run) else "stopped"  # one that hangs has not stopped
    supervisor = {"state": state, "pid": None, "via": "direct"}
    services = [each.as_dict() for each in health]
    return Standing(supervisor, services, [], list(stack.breakers.troubled()), docker_of(stack, None))
