"""Processes to start and to stop, for the tests of both."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from cc.engine.outcome import Status
from cc.engine.step import Context, Judged, run_action
from cc.resources import process
from cc.resources.process_table import Identity, environment, table

if TYPE_CHECKING:
    from cc.resources.host import Host

SLEEPS = ("sleep", "1000")
STRANGE = f"sleep {1_000_000 + uuid.uuid4().int % 10**9}"  # a command line that no other run of these tests has
STUBBORN = ("sh", "-c", 'trap "" TERM INT HUP; while :; do sleep 0.1; done')
RETURNED = 20.0  # seconds: tells a stop that came back from one that hung


def ensure(here: Host, context: Context, **args: Any) -> Judged:
    return run_action(process.VERB.make(here, args), context)


def start(here: Host, context: Context, *argv: str, name: str = "web") -> Identity:
    assert ensure(here, context, pidfile=name, start=argv).status is Status.CHANGED
    found = process.read_pidfile(f"{here.run_dir}/{name}.pid")
    assert found is not None
    return found


def stop(here: Host, context: Context, name: str = "web", grace: float = 10.0) -> Judged:
    return ensure(here, context, pidfile=name, state="stopped", grace=grace)


def family(leader: Identity) -> set[Identity]:
    """Everybody below it or with its mark, by the test's own means."""
    rows = table()
    found = {leader.pid}
    marked = next(line for line in environment(leader.pid) if line.startswith(b"CC_PROCESS="))
    for _ in range(5):
        found |= {row.pid for row in rows if row.parent in found or marked in environment(row.pid)}
    return {Identity(row.pid, row.start_time) for row in rows if row.pid in found}
