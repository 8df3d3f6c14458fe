"""Who a process is: its pid and its start time. A pid alone is reused.

The start time is field 22 of /proc/PID/stat on Linux (clock ticks since boot: plain sh can read it too) and elsewhere
seconds since 1970 as `ps` tells them. Only ever compared with another one of the same machine. Imports nothing of cc.
"""

from __future__ import annotations

import calendar
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of the process table."""

    pid: int
    name: str
    state: str  # one letter; Z is dead already and only waits for its parent
    parent: int
    group: int
    session: int
    start_time: int

    @property
    def dead(self) -> bool:
        return self.state in "ZX"


def read_stat(pid: int) -> Stat | None:
    """A process as Linux tells it, or None if there is none of that pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read().decode(errors="replace")
    except (OSError, ValueError):
        return None
    name, _, rest = line.partition("(")[2].rpartition(")")  # a name may hold spaces and brackets
    fields = rest.split()
    if len(fields) < 20:
        return None
    parent, group, session = int(fields[1]), int(fields[2]), int(fields[3])
    return Stat(pid, name, fields[0], parent, group, session, int(fields[19]))


def start_time(pid: int) -> int | None:
    """When the process started, as a number to compare; None if no process of that pid lives (a zombie doesn't)."""
    if sys.platform != "linux":
        return _start_time_by_ps(pid)
    stat = read_stat(pid)
    return None if stat is None or stat.dead else stat.start_time


def read_start_time(pid: int) -> int | None:
    """The same of a child of ours that may be a zombie by now."""
    if sys.platform != "linux":
        return _start_time_by_ps(pid)
    stat = read_stat(pid)
    return None if stat is None else stat.start_time


def is_alive(pid: int, started: int) -> bool:
    """Whether that very process lives. A stranger with the same pid is not it."""
    return start_time(pid) == started


def _start_time_by_ps(pid: int) -> int | None:
    import subprocess  # not through the seam: the seam itself asks

    try:
        answer = subprocess.run(
            ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            env={"LC_ALL": "C", "TZ": "UTC"},
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    state, _, started = answer.stdout.decode(errors="replace").strip().partition(" ")
    if not started or state.startswith("Z"):
        return None
    try:
        return calendar.timegm(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y"))
    except ValueError:
        return None
