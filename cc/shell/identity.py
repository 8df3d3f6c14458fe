"""Who a process is: its pid and its start time. A pid alone is reused; and of which start of the machine.

The start time is field 22 of /proc/PID/stat on Linux (clock ticks since boot: plain sh can read it too) and elsewhere
seconds since 1970 as `ps` tells them. Only ever compared with another one of the same machine. Imports nothing of cc.
"""

from __future__ import annotations

import calendar
import os
import sys
import time
from typing import NamedTuple

LINUX: bool = sys.platform == "linux"


class Stat(NamedTuple):
    """One line of the process table."""

    pid: int
    name: str
    state: str  # one letter, of its main thread; Z has ended and only waits for the others, or for its parent
    parent: int
    group: int
    session: int
    start_time: int
    threads: int = 1

    @property
    def dead(self) -> bool:
        """A main thread that has ended is a zombie, too: until the last thread is gone, ports and files are held."""
        return self.state in "ZX" and self.threads <= 1


def read_stat(pid: int) -> Stat | None:
    """A process as the system tells it, or None if there is none of that pid."""
    if not LINUX:
        return next(iter(_ask_ps("-p", str(pid))), None)
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
    return Stat(pid, name, fields[0], parent, group, session, int(fields[19]), int(fields[17]))


def table() -> list[Stat]:
    """Every process that we may see."""
    if not LINUX:
        return _ask_ps("-A")
    return [stat for stat in map(read_stat, pids()) if stat is not None]


def pids() -> list[int]:
    """The numbers of all processes; Linux only."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def start_time(pid: int) -> int | None:
    """When the process started, as a number to compare; None if no process of that pid lives (a zombie doesn't)."""
    stat = read_stat(pid)
    return None if stat is None or stat.dead else stat.start_time


def is_alive(pid: int, started: int) -> bool:
    """Whether that very process lives. A stranger with the same pid is not it."""
    return start_time(pid) == started


def read_boot_id() -> str:
    """A text that is new after each start of the machine; "" where it can't be had."""
    if LINUX:
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return ""
    import subprocess  # not through the seam, as below

    asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _ask_ps(*which: str) -> list[Stat]:
    """Where there is no /proc. It has no portable word for sessions: the group stands for it."""
    import subprocess  # not through the seam: the seam itself asks

    try:
        answer = subprocess.run(
            ["/bin/ps", *which, "-o", "pid=,ppid=,pgid=,stat=,lstart=,comm="],
            capture_output=True,
            env={"LC_ALL": "C", "TZ": "UTC"},
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = (line.split(None, 9) for line in answer.stdout.decode(errors="replace").splitlines())
    return [_from_ps(row) for row in rows if len(row) == 10]


def _from_ps(row: list[str]) -> Stat:
    pid, parent, group = map(int, row[:3])
    started = calendar.timegm(time.strptime(" ".join(row[4:9]), "%a %b %d %H:%M:%S %Y"))
    return Stat(pid, row[9].rpartition("/")[2], row[3][0], parent, group, group, started)
