"""Which processes are ours, and their end: a process with its group, its descendants and all that carries its mark.

    CC_OWNER=<project>:<id>           all that this project's runs start (DESIGN.md, "ours")
    CC_PROCESS=<project>:<id>/<name>  what one process step started, and what that started in turn

Refused are other users' processes, ourselves and our parents. Tried: psutil's tree alone (misses double forks), the
group alone (misses setsid), the mark alone (misses `env -i`, and every process where environments can't be read).
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cc.engine.waiting import wait_for
from cc.errors import ConfigError, Failure, Interrupted
from cc.resources.process_table import (
    Identity,
    ProcessFact,
    command_line,
    describe,
    environment,
    own_line,
    same_user,
    send,
    table,
)  # fmt: skip
from cc.shell import identity as shell_identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cc.engine.step import Context
    from cc.shell.identity import Stat

OWNER = "CC_OWNER"
PROCESS = "CC_PROCESS"
KILL_S = 5.0
HURRIED_S = 1.0  # grace that is left to a process when the run was cancelled or is out of time


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop ended: how many processes, and whether KILL was needed."""

    count: int
    killed: bool


def is_alive(identity: Identity) -> bool:
    """Whether that very process lives. A zombie is dead, a stranger with the same pid is not it."""
    return shell_identity.is_alive(identity.pid, identity.start_time)


def mark(owner: str, name: str | None = None) -> str:
    """The line in the environment of what `owner` started, or of what its process step `name` did."""
    return f"{OWNER}={owner}" if name is None else f"{PROCESS}={owner}/{name}"


def find_ours(owner: str, name: str | None = None) -> tuple[Identity, ...]:
    """The living processes with our mark, oldest first; with `name` only those of that process step.

    Same user, same mark; never ourselves nor a parent of ours.
    """
    return tuple(_identity(stat) for stat in _marked(mark(owner, name), table()))


def ours(owner: str) -> tuple[ProcessFact, ...]:
    """`find_ours`, described."""
    return tuple(fact for found in find_ours(owner) if (fact := describe(found.pid)) and fact.identity == found)


def matching(pattern: str) -> tuple[Identity, ...]:
    """This user's processes whose command line the regular expression finds, ours or not.

    Not ourselves, never init (whoever ends it ends the machine), nor what has no command line: kernel threads, zombies.
    """
    wanted, skipped = re.compile(pattern), own_line()
    found = [stat for stat in table() if stat.pid > 1 and stat.pid not in skipped and same_user(stat.pid)]
    return tuple(
        _identity(stat) for stat in _oldest_first(found) if (line := command_line(stat.pid)) and wanted.search(line)
    )


def stop_group(
    identity: Identity,
    *,
    grace: float,
    context: Context,
    stop_signal: str = "TERM",
    marked: str | None = None,
    kin: bool = True,
) -> Stopped:
    """End the process, its group, its descendants and all that carries its CC_PROCESS mark.

    The signal, `grace` seconds, a new look, KILL until none is left. What is gone already is no failure.

    `marked` ("CC_PROCESS=...") finds what a leader that died already left behind; by itself it is read off the leader.
    Without `kin` only the process and its group end, and neither its children as such (a supervisor's may be a Docker
    daemon that it started for the user) nor who else has its mark.
    Raises Failure not_ours (another user's, ourselves, a parent of ours), permission_denied, not_satisfied (it outlived
    KILL). A run that was cancelled or is out of time shortens the grace to a second and stops all the same: half a stop
    helps nobody.
    """
    family = _Kin(identity, marked, whole=kin)
    members = family.alive()
    if not members:
        return Stopped(0, killed=False)
    family.signal(signal_number(stop_signal), members)
    family.signal(signal.SIGCONT, [stat for stat in members if stat.state in "Tt"])  # or it would not hear the other
    if _ended(family, members[0], context, grace):
        return Stopped(len(family.seen), killed=False)
    end = context.clock.now() + KILL_S
    while members := family.alive():
        family.signal(signal.SIGKILL, members)
        if context.clock.now() >= end:
            left = ", ".join(f"{stat.name} (pid {stat.pid}, state {stat.state})" for stat in members)
            raise Failure(f"still alive after KILL: {left}", code="not_satisfied", hint=f"ps -fp {members[0].pid}")
        context.clock.wait(0.01)
    return Stopped(len(family.seen), killed=True)


def _ended(kin: _Kin, leader: Stat, context: Context, grace: float) -> bool:
    """Wait until none is left, `grace` seconds at most."""
    started = context.clock.now()
    try:
        if wait_for(context, f"{leader.name} (pid {leader.pid}) to end", lambda: not kin.alive() or None, within=grace):
            return True
    except Interrupted:
        pass
    end = started + min(grace, HURRIED_S)
    while context.clock.now() < end:
        if not kin.alive():
            return True
        context.clock.wait(0.02)
    return False


class _Kin:
    """The processes of one stop. Known members stay known: a child whose parent just died is still found."""

    def __init__(self, leader: Identity, marked: str | None, *, whole: bool = True) -> None:
        self._leader = leader
        self._whole = whole
        self._skipped = own_line()
        # The kernel gives no pid away while a group of that number lives, so whose leader is seen alive, his is the
        # group. With the leader gone only the mark tells its group from a stranger's.
        self._there = is_alive(leader)
        self._mark = marked
        self.seen: set[tuple[int, int]] = set()
        if self._there:
            self._refuse_strangers()
            start = f"{PROCESS}=".encode()
            found = (line.decode(errors="replace") for line in environment(leader.pid) if line.startswith(start))
            self._mark = marked or next(found, None)

    def _refuse_strangers(self) -> None:
        pid = self._leader.pid
        if pid in self._skipped or pid <= 1:
            raise Failure(f"pid {pid} is this program itself or one that it runs under", code="not_ours")
        if not same_user(pid):
            raise Failure(f"pid {pid} belongs to another user and is left alone", code="not_ours")

    def alive(self) -> list[Stat]:
        """Who lives of them now, the leader first."""
        rows = [stat for stat in table() if stat.pid not in self._skipped]
        members = {stat.pid: stat for stat in rows if self._belongs(stat)}
        if self._mark is not None and self._whole:
            members.update((stat.pid, stat) for stat in _marked(self._mark, rows))
        children: dict[int, list[Stat]] = {}
        for stat in rows if self._whole else ():
            children.setdefault(stat.parent, []).append(stat)
        waiting = list(members)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child.pid not in members and not self._is_anothers(child):
                    members[child.pid] = child
                    waiting.append(child.pid)
        self.seen.update((stat.pid, stat.start_time) for stat in members.values())
        return sorted(members.values(), key=lambda stat: (stat.pid != self._leader.pid, stat.pid))

    def _is_anothers(self, child: Stat) -> bool:
        """Whether another process step started it: the services of a supervisor outlive the supervisor."""
        start = f"{PROCESS}=".encode()
        own = None if self._mark is None else self._mark.encode()
        return any(line.startswith(start) and line != own for line in environment(child.pid))

    def _belongs(self, stat: Stat) -> bool:
        known = _identity(stat) == self._leader or (stat.pid, stat.start_time) in self.seen
        return known or (self._there and stat.group == self._leader.pid)

    def signal(self, number: int, members: list[Stat]) -> None:
        """Once to each: by group where it is the leader's own, one by one where it is not."""
        group = self._leader.pid
        in_group = [stat for stat in members if self._there and stat.group == group]
        if in_group:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                in_group = []  # one by one tells who it was
        refused: Failure | None = None
        for stat in members:
            if stat not in in_group:
                try:
                    send(stat, number)
                except Failure as failure:
                    refused = failure  # the others get theirs first
        if refused is not None:
            raise refused


def signal_number(name: str) -> int:
    """15 for TERM or SIGTERM. Raises ConfigError."""
    try:
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    except KeyError:
        raise ConfigError(f"{name!r} is no signal: expected TERM, INT, QUIT, HUP ...", field="stop_signal") from None


def _identity(stat: Stat) -> Identity:
    return Identity(stat.pid, stat.start_time)


def _marked(line: str, rows: Iterable[Stat]) -> list[Stat]:
    """Those of this user with that line in their environment, oldest first; not ourselves."""
    wanted, skipped = line.encode(), own_line()
    return _oldest_first(
        stat for stat in rows if stat.pid not in skipped and same_user(stat.pid) and wanted in environment(stat.pid)
    )


def _oldest_first(rows: Iterable[Stat]) -> list[Stat]:
    return sorted(rows, key=lambda stat: (stat.start_time, stat.pid))
