"""Proof that nothing of ours is left: no process that carries our mark, no container and no network of the project.

The verb `leftovers`. What is left is ended here (LADDERS.md, L5 rung 2: terminate, 5 s, kill), and what then still is
there is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cc.engine.spec import VerbSpec
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure
from cc.resources.containers_gone import PORTS, elsewhere, gone, held_ports, port_numbers
from cc.resources.docker import Docker
from cc.resources.host import Host, Verb
from cc.resources.process_stop import find_ours, ours, stop_group
from cc.resources.process_table import environment

GRACE_S = 5.0
SEAM = b"CC_SEAM="


def end_commands_of(owner: str, context: Context) -> int:
    """End the commands that a killed run of ours left at work; returns how many there were.

    Known by two marks: ours, and the seam's, which what is meant to stay (a dashboard) does not carry.
    """
    ended = 0
    for identity in find_ours(owner):
        if any(line.startswith(SEAM) for line in environment(identity.pid)):
            stop_group(identity, grace=GRACE_S, context=context)
            ended += 1
    return ended


class Leftovers:
    """Nothing of ours is left."""

    probed = True
    name = "leftovers"

    def __init__(self, host: Host, args: Mapping[str, Any]) -> None:
        self._host = host
        self._docker = Docker(host)
        self._ports = port_numbers(args)

    def probe(self, context: Context) -> Probe:
        left = [f"{fact.program} (pid {fact.identity.pid})" for fact in ours(self._host.owner)]
        unknown = ""
        try:
            containers = gone(self._docker, self._host.project)
        except Failure as failure:
            # No daemon, no containers, unless somebody holds their ports. One that is silent may still run some: the
            # step of the containers says so.
            if failure.code == "daemon_down" and (held := held_ports(self._ports)):
                left.append(elsewhere(held, failure).message)
            unknown = f"containers not looked at: {failure.message}"
        else:
            left += [] if containers.satisfied else [containers.reason]
        if left:
            return Probe(False, "left: " + "; ".join(left), tuple(left))
        return Probe(True, unknown or "nothing of ours is left", ())

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        for identity in find_ours(self._host.owner):
            stop_group(identity, grace=GRACE_S, context=context)
        return Acted("what was left of ours was ended")


VERB = Verb(VerbSpec("leftovers", (PORTS,), "proof that nothing of ours is left"), Leftovers)
