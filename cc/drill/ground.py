"""What a stack needs of the machine to stand beside others: ports that nobody has, a PATH that lacks things.

Ports are claimed before they are bound: between finding them free and a container's taking them lie seconds, in which
whoever else searches would find them free too. A claim is a lock of the kernel's on one byte for each port, of a file
that all of this user's processes share: it goes with its process, however that ends, and a child does not inherit it.

The tests and the benchmarks take theirs from here as well.
"""

from __future__ import annotations

import fcntl
import os
import threading

from cc.errors import Failure
from cc.resources.port import is_free

# Not the directory for temporary files: who has set one of his own has the same ports as all others.
CLAIMS = f"/tmp/cc-ports-{os.getuid()}"  # noqa: S108 - it holds nothing, and is opened as ours or not at all
FIRST, LAST = 20000, 32000  # below those that the system hands out by itself


class _Claims:
    """This process's. The kernel tells processes apart, and not the threads of one: those keep to `_taken`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._file: int | None = None  # never closed: closing it anywhere in the process would give up every claim
        self._next = FIRST + os.getpid() * 97 % (LAST - FIRST)

    def take(self, count: int) -> list[int]:
        """So many neighbours. Searches on from where it last found some, so that what was just given back can rest."""
        with self._lock:
            for tried in range(LAST - FIRST):
                first = FIRST + (self._next - FIRST + tried) % (LAST - FIRST - count)
                ports = range(first, first + count)
                if self._taken.isdisjoint(ports) and self._claimed(first, count):
                    self._taken.update(ports)
                    self._next = first + count
                    return list(ports)
        raise Failure(f"no {count} free ports next to each other", code="port_in_use")

    def give_back(self, ports: list[int]) -> None:
        with self._lock:
            for port in ports:
                if port in self._taken:
                    self._taken.discard(port)
                    fcntl.lockf(self._opened(), fcntl.LOCK_UN, 1, port)

    def _claimed(self, first: int, count: int) -> bool:
        try:
            fcntl.lockf(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
        except (BlockingIOError, PermissionError):  # POSIX allows either word for somebody else's lock
            return False
        if all(is_free("127.0.0.1", port) for port in range(first, first + count)):
            return True
        fcntl.lockf(self._opened(), fcntl.LOCK_UN, count, first)
        return False

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = os.open(CLAIMS, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise Failure(
                    f"cannot claim ports in {CLAIMS}: {error.strerror}", code="permission_denied",
                    hint=f"remove {CLAIMS}",
                ) from error  # fmt: skip
        return self._file


_CLAIMS = _Claims()


def claim_ports(count: int) -> list[int]:
    """So many free ports next to each other, which nobody else who asks here gets while this process lives.

    Raises the Failure `port_in_use` if there are none.
    """
    return _CLAIMS.take(count)


def give_back_ports(ports: list[int]) -> None:
    """Others may have them. Idempotent."""
    _CLAIMS.give_back(ports)


def path_without(directory: str, *programs: str, path: str | None = None) -> str:
    """A PATH with everything of the user's (or of `path`) but these programs: one folder of links in `directory`."""
    farm = os.path.join(directory, "path")
    os.makedirs(farm, exist_ok=True)
    given = path if path is not None else os.environ.get("PATH", os.defpath)
    for folder in dict.fromkeys(given.split(os.pathsep)):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            link = os.path.join(farm, name)
            if name not in programs and not os.path.lexists(link):
                os.symlink(os.path.join(folder, name), link)
    return farm
