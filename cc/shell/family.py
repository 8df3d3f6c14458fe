"""All that a command started: found by session, by the mark in the environment and by parent; signalled; seen dead.

A double fork leaves the group, the session and the parent, and keeps the environment; `env -i` loses the mark and
keeps the session or the parent. Known members stay known, so that a child whose parent just died is still found.
Tried: psutil's tree (1.3 ms and 29 ms of import; misses double forks); a subreaper (misses nothing, can't tell commands
that run at the same time apart, and takes orphans from whoever else expects them). On macOS environments are
unreadable: group and parents are all there is, and a double fork into another session is not found. Imports the
standard library and cc.shell.identity only.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from cc.shell.identity import LINUX, Stat, pids, read_stat, table

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = 200  # numbers that are quicker asked one by one than by listing /proc


class Family:
    """The processes of one call. `leader` is the command itself: leader of its own session and group."""

    def __init__(self, leader: int, mark: str) -> None:
        self._leader = leader
        self._mark = mark.encode()
        self._known: set[tuple[int, int]] = set()
        self._beyond: set[int] = set()  # they run as somebody else (sudo): no use waiting for

    def session(self) -> list[Stat]:
        """Who lives in the command's own session. Cheap, as every command that ends well pays for it: one system call
        for each process that is younger than the command, and no file but the number of the youngest."""
        if not LINUX:
            return self._group()
        found: list[Stat] = []
        for pid in _since(self._leader):
            try:
                if os.getsid(pid) != self._leader:
                    continue
            except OSError:
                continue
            stat = read_stat(pid)
            if stat is not None and not stat.dead:
                found.append(stat)
        return found

    def everyone(self) -> list[Stat]:
        """Who lives of all that the command started, whichever session it fled to."""
        everybody = {stat.pid: stat for stat in table()}
        members = {pid for pid, stat in everybody.items() if self._is_member(stat)}
        children: dict[int, list[int]] = {}
        for stat in everybody.values():
            children.setdefault(stat.parent, []).append(stat.pid)
        waiting = [self._leader, *members]
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in members:
                    members.add(child)
                    waiting.append(child)
        alive = [everybody[pid] for pid in sorted(members) if not everybody[pid].dead and pid != os.getpid()]
        self._known.update((stat.pid, stat.start_time) for stat in alive)
        return alive

    def signal(self, number: int, members: list[Stat]) -> None:
        """Once to each: by group where it is the command's group, one by one where it is not."""
        if any(stat.group == self._leader for stat in members):
            try:
                os.killpg(self._leader, number)
            except (ProcessLookupError, PermissionError):
                pass
        for stat in members:  # the group's own are asked only whether they could be signalled
            self._signal_one(stat, 0 if stat.group == self._leader else number)

    def within_reach(self, members: list[Stat]) -> bool:
        """Whether any of them may die of our signals."""
        return any(stat.pid not in self._beyond for stat in members)

    def _signal_one(self, stat: Stat, number: int) -> None:
        try:
            if sys.platform == "linux" and hasattr(os, "pidfd_open"):
                handle = os.pidfd_open(stat.pid)
                try:
                    now = read_stat(stat.pid)  # after the handle is open: what it names can't change any more
                    if now is not None and now.start_time == stat.start_time:
                        signal.pidfd_send_signal(handle, number)
                finally:
                    os.close(handle)
            else:
                os.kill(stat.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            self._beyond.add(stat.pid)

    def _is_member(self, stat: Stat) -> bool:
        if self._leader in (stat.session, stat.group):
            return True
        if (stat.pid, stat.start_time) in self._known:
            return True
        try:
            with open(f"/proc/{stat.pid}/environ", "rb") as file:
                return self._mark in file.read()
        except OSError:
            return False

    def _group(self) -> list[Stat]:
        try:
            os.killpg(self._leader, 0)
        except ProcessLookupError:
            return []
        except PermissionError:
            pass  # macOS says so of a group of zombies, too
        return [stat for stat in table() if stat.group == self._leader and not stat.dead]


def _since(leader: int) -> Sequence[int]:
    """Whoever may have been started after the leader: most commands start nobody, and there is nothing to look at."""
    try:
        with open("/proc/sys/kernel/ns_last_pid", "rb") as file:
            youngest = int(file.read())
    except (OSError, ValueError):  # a kernel without checkpoints
        return pids()
    if leader <= youngest <= leader + FEW:
        return range(leader + 1, youngest + 1)
    return pids()  # numbers have gone round, or it ran beside a busy machine
