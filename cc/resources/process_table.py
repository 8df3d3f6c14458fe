"""The system's table of processes and of listening sockets, as rows: /proc on Linux, psutil elsewhere.

The one module that imports psutil, and only in functions: what /proc tells is read there (19 ms less), and psutil does
what it alone does right everywhere: signalling with a check that the pid was not reused.
Whose a process is, and whether it may be ended, is for process_stop.py to say.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cc.clock import wall_time
from cc.errors import Failure
from cc.shell.identity import Stat, read_stat, start_time

LINUX: bool = sys.platform.startswith("linux")
SHOWN = 100  # characters of a command line
SECRETS = (  # of a stranger's command line, which may come to stand in somebody's log
    (r"(?i)((?:pass|pwd|secret|token|key|auth|credential)[a-z_-]*(?:=|\s+))\S+", r"\1***"),
    (r"://[^/@\s]*@", "://***@"),
)

ContainerOf = Callable[[int], "str | None"]
"""Tells the name of the container that publishes a port, None if none does."""


class Identity(NamedTuple):
    """One process and no other. `start_time` as cc.shell.identity reads it."""

    pid: int
    start_time: int


class ProcessFact(NamedTuple):
    """What is known of a living process. `command` is its command line, shortened."""

    identity: Identity
    program: str
    command: str
    user: str
    uptime_s: float
    rss_bytes: int


class Owner(NamedTuple):
    """Who listens on a port. `pid` is None, and `program` empty, where only the user can be seen."""

    pid: int | None
    program: str
    command: str
    user: str | None
    address: str
    container: str | None = None

    def shown(self, *, command: bool = False) -> str:
        """In words: `postgres (pid 123)`, or `postgres (pid 123: postgres -D /data)`."""
        if self.container is not None:
            return f"container {self.container}"
        if self.pid is None:
            return f"a process of user {self.user}" if self.user else "a process that cannot be seen from here"
        return f"{self.program} (pid {self.pid}{f': {self._masked()}' if command and self.command else ''})"

    def _masked(self) -> str:
        text = self.command
        for pattern, put in SECRETS:
            text = re.sub(pattern, put, text)
        return text


def identify(pid: int) -> Identity | None:
    """The living process of that pid, None if there is none. A zombie is dead."""
    started = start_time(pid)
    return None if started is None else Identity(pid, started)


def describe(pid: int) -> ProcessFact | None:
    """A living process, None if there is none. Where another user's process hides something, that is "?" or 0."""
    identity = identify(pid)
    if identity is None:
        return None
    if LINUX:
        return _described_in_proc(identity)
    import psutil

    try:
        told = psutil.Process(pid).as_dict(["name", "cmdline", "username", "create_time", "memory_info"], ad_value=None)
    except psutil.NoSuchProcess:
        return None
    program, started, memory = told["name"] or "?", told["create_time"], told["memory_info"]
    return ProcessFact(
        identity,
        program=program,
        command=_shortened(" ".join(told["cmdline"] or [program])),
        user=told["username"] or "?",
        uptime_s=max(0.0, wall_time() - started) if started else 0.0,
        rss_bytes=memory.rss if memory else 0,
    )


def _described_in_proc(identity: Identity) -> ProcessFact | None:
    pid = identity.pid
    stat, pages = read_stat(pid), _file_of(pid, "statm").split()
    try:
        user = _user(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return None
    if stat is None or stat.start_time != identity.start_time:
        return None  # ended meanwhile, and perhaps another one has its number
    started = stat.start_time / os.sysconf("SC_CLK_TCK")
    return ProcessFact(
        identity,
        program=stat.name,
        command=_shortened(command_line(pid) or stat.name),
        user=user,
        uptime_s=max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started),
        rss_bytes=int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0,
    )


def table() -> list[Stat]:
    """All living processes; zombies are left out."""
    if LINUX:
        found = (read_stat(int(name)) for name in os.listdir("/proc") if name.isdecimal())
        return [stat for stat in found if stat is not None and not stat.dead]
    import psutil

    rows = []
    for process in psutil.process_iter(["name", "status", "ppid", "create_time"]):
        told: dict[str, Any] = process.info
        try:
            group, session = os.getpgid(process.pid), os.getsid(process.pid)
        except OSError:
            continue
        if told["create_time"] and told["status"] != psutil.STATUS_ZOMBIE:
            state = "T" if told["status"] == psutil.STATUS_STOPPED else "S"
            started = int(told["create_time"])  # in seconds, as `ps` tells them to cc.shell.identity
            rows.append(Stat(process.pid, told["name"] or "?", state, told["ppid"] or 0, group, session, started))
    return rows


def children(pid: int) -> tuple[int, ...] | None:
    """The pids of its children, without their own; None where the system does not tell."""
    if LINUX:
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # its first thread's: who forks
                return tuple(map(int, file.read().split()))
        except OSError:
            return None
    import psutil

    try:
        return tuple(child.pid for child in psutil.Process(pid).children())
    except psutil.Error:
        return None


def send(stat: Stat, number: int) -> None:
    """Signal that very process; nothing happens if it is gone. Raises Failure permission_denied."""
    import psutil

    try:
        process = psutil.Process(stat.pid)  # remembers when it started, and refuses to signal a successor
        if start_time(stat.pid) == stat.start_time:
            process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise Failure(f"no right to stop {stat.name} (pid {stat.pid})", code="permission_denied") from None


def command_line(pid: int) -> str:
    """The whole command line, empty if it can't be read."""
    if LINUX:
        return _file_of(pid, "cmdline").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return " ".join(_ask(pid, "cmdline") or ())


def environment(pid: int) -> list[bytes]:
    """Its lines, NAME=VALUE; none where they can't be read."""
    if LINUX:
        return _file_of(pid, "environ").split(b"\0")
    told: dict[str, str] = _ask(pid, "environ") or {}
    return [os.fsencode(f"{name}={value}") for name, value in told.items()]


def same_user(pid: int) -> bool:
    """Whether it runs as we do."""
    if LINUX:
        try:
            return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
        except OSError:
            return False
    uids = _ask(pid, "uids")
    return uids is not None and uids.effective == os.geteuid()


def own_line() -> frozenset[int]:
    """Ourselves and our parents, up to the first process: nobody ends what he stands on."""
    line = {os.getpid()}
    pid = os.getppid()
    while pid > 0 and pid not in line:
        line.add(pid)
        pid = _parent(pid)
    return frozenset(line)


def _parent(pid: int) -> int:
    if LINUX:
        stat = read_stat(pid)
        return stat.parent if stat is not None else 0
    return _ask(pid, "ppid") or 0


def listeners(port: int, container_of: ContainerOf | None = None) -> tuple[Owner, ...]:
    """Who listens on a TCP port, on whichever address; () if nobody that can be seen.

    `container_of` is asked where docker-proxy listens, or somebody who can't be seen.
    """
    found = _listeners_in_proc(port) if LINUX else _listeners_by_psutil(port)
    if container_of is None or not any(owner.pid is None or owner.program == "docker-proxy" for owner in found):
        return found
    name = container_of(port)
    return tuple(
        Owner(owner.pid, owner.program, owner.command, owner.user, owner.address, name)
        if owner.pid is None or owner.program == "docker-proxy"
        else owner
        for owner in found
    )


def _listeners_in_proc(port: int) -> tuple[Owner, ...]:
    sockets: dict[str, tuple[str, int]] = {}  # "socket:[inode]" -> address, uid
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{name}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue  # no IPv6
        for row in rows:
            address, _, number = row[1].partition(":")
            if row[3] == "0A" and int(number, 16) == port:
                sockets[f"socket:[{row[9]}]"] = (_address(address), int(row[7]))
    if not sockets:
        return ()
    holders = _holders(frozenset(sockets))
    owners: dict[tuple[int | None, str], Owner] = {}
    for link, (address, uid) in sockets.items():
        pid = _first(holders.get(link, ()))
        owners[pid, address] = _owner(pid, address, _user(uid))
    return tuple(owners.values())


def _address(text: str) -> str:
    """The kernel's: 32-bit words in the machine's byte order, in hexadecimal."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def _holders(links: frozenset[str]) -> dict[str, list[int]]:
    """Which processes have these sockets open."""
    found: dict[str, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with os.scandir(f"/proc/{name}/fd") as descriptors:
                for descriptor in descriptors:
                    try:
                        link = os.readlink(descriptor.path)
                    except OSError:
                        continue  # closed meanwhile
                    if link in links:
                        found.setdefault(link, []).append(int(name))
        except OSError:
            continue  # ended, or another user's
    return found


def _first(pids: Iterable[int]) -> int | None:
    """Of a server and its workers, which share the socket, the server."""
    holders = sorted(set(pids))
    parents = {pid: stat.parent for pid in holders if (stat := read_stat(pid)) is not None}
    return next((pid for pid in holders if parents.get(pid) not in holders), None)


def _listeners_by_psutil(port: int) -> tuple[Owner, ...]:
    import psutil

    owners: dict[tuple[int, str], Owner] = {}
    # psutil 6 renamed it; None where it belongs to another user
    attribute = "net_connections" if hasattr(psutil.Process, "net_connections") else "connections"
    for process in psutil.process_iter([attribute, "username"]):
        for one in process.info[attribute] or ():
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
                address = one.laddr.ip
                owners[process.pid, address] = _owner(process.pid, address, process.info["username"])
    return tuple(owners.values())


def _owner(pid: int | None, address: str, user: str | None) -> Owner:
    if pid is None:
        return Owner(None, "", "", user, address)
    command = command_line(pid)
    stat = read_stat(pid) if LINUX else None
    program = stat.name if stat is not None else os.path.basename(command.partition(" ")[0])
    return Owner(pid, program or "?", _shortened(command), user, address)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _file_of(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _ask(pid: int, what: str) -> Any:
    import psutil

    try:
        return psutil.Process(pid).as_dict([what], ad_value=None)[what]
    except psutil.Error:
        return None


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
