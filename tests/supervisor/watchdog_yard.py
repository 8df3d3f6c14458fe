"""What the watchdog watches in its tests, and what it says."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cc.engine.events import Event
from cc.shell.identity import start_time
from cc.supervisor.states import Change, Observation, RestartResult, Seen, State

HANG = 20.0  # seconds: whoever takes so long hangs
SLEEP = ("sleep", "1000")


class Yard:
    """Processes by name, each started by its argv; what they answer is asked of themselves where they are `cat`."""

    def __init__(self, **argv: tuple[str, ...]) -> None:
        self.argv = argv
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.looks: list[str] = []
        for name in argv:
            self.start(name)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        self.running[name] = subprocess.Popen(self.argv[name], stdin=pipe, stdout=pipe, start_new_session=True)
        return self.running[name]

    def observe(self, name: str) -> Observation:
        self.looks.append(name)
        process = self.running[name]
        if start_time(process.pid) is None:
            return Observation(Seen.GONE, "it does not run")
        if self.argv[name] == ("cat",):
            assert process.stdin is not None
            assert process.stdout is not None
            os.write(process.stdin.fileno(), b"ping\n")
            if not select.select([process.stdout], [], [], 0.3)[0]:
                return Observation(Seen.UNHEALTHY, "no answer within 0.3 s", process.pid)
            os.read(process.stdout.fileno(), 100)
        return Observation(Seen.WELL, pid=process.pid)

    def restart(self, name: str) -> RestartResult:
        """As the ladder does: end what is left, start it, and see whether it stays."""
        self.end(name)
        process = self.start(name)
        if self.argv[name][0] != "sh":
            return RestartResult(ready=True)
        process.wait(HANG)  # these end at once
        return RestartResult(ready=False, reason="it ended at once", code="unhealthy")

    def end(self, name: str) -> None:
        process = self.running[name]
        process.kill()
        process.wait(HANG)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass
class Log:
    """What the watchdog said, and when on its clock."""

    now: Callable[[], float]
    changes: list[Change] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    states: list[tuple[str, float]] = field(default_factory=list)
    told: threading.Condition = field(default_factory=threading.Condition)

    def change(self, change: Change) -> None:
        with self.told:
            self.changes.append(change)
            self.states.append((change.watched.state.value, self.now()))
            self.told.notify_all()

    def wait_for(self, state: State, times: int = 1) -> float:
        """Until it was in that state so many times; returns when the last of them began."""
        with self.told:
            assert self.told.wait_for(lambda: len(self.when(state)) >= times, HANG), self.states
            return self.when(state)[times - 1]

    def when(self, state: State) -> list[float]:
        return [when for told, when in self.states if told == state.value]
