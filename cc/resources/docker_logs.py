"""What a container wrote, from its engine: the last lines, and those to come for as long as it runs.

From the engine's own socket where it is a local one: a stream without a process, in the order in which the lines were
written. Everywhere else `docker logs`, across the seam, which ends it with us. Each line comes with its time, which is
not told: it is where to go on once the container runs again, or the stream broke.

    frame    1 stdout, 2 stderr   000000   length:4 bytes   "2026-11-24T14:02:53.658123456Z a line\\n"
             (without frames where the container has a terminal)
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from urllib.parse import quote, urlencode

from cc.clock import Cancel
from cc.errors import CommandFailure, Failure
from cc.resources.docker import EVENTS_S, READ_S
from cc.resources.docker_said import classified
from cc.resources.docker_socket import local_socket, request
from cc.resources.host import Host
from cc.shell import Command
from cc.shell.mask import Mask
from cc.shell.output import Output

ALL_S = 60.0  # for the whole of a log, by the program
LARGEST_FRAME = 16 * 1024 * 1024
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")

Tell = Callable[[str, str], None]
"""Called with `stdout` or `stderr` and a line, masked."""


class ContainerLog:
    """The log of one container by its name. `after` is the time of the last line, in nanoseconds since 1970."""

    def __init__(self, host: Host, name: str, tell: Tell, *, secrets: tuple[str, ...], cancel: Cancel) -> None:
        self._host = host
        self._name = name
        self._tell = tell
        self._secrets = secrets
        self._cancel = cancel
        self._socket = local_socket(host.environ)
        self.after = 0

    def read(self, lines: int | None, *, follow: bool, again: bool = False) -> None:
        """Tell its last lines, None for all; with `follow` also what comes until the container ends. `again`: of the
        same container, what came after the last line that was told.

        Raises Failure as the engine does, Interrupted, and what `tell` raises.
        """
        since = self.after if again else 0
        (self._by_program if self._socket is None else self._by_socket)(lines, follow, since)

    def _by_socket(self, lines: int | None, follow: bool, since: int) -> None:
        assert self._socket is not None  # noqa: S101 - narrowed by the caller
        asked = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "all" if lines is None else str(lines)}
        asked |= {"follow": "1"} if follow else {}
        asked |= {"since": _as_since(since)} if since else {}
        path = f"/containers/{quote(self._name, safe='')}/logs?{urlencode(asked)}"
        mask = Mask((*self._host.secrets, *self._secrets))
        outputs = {stream: Output(mask, 1, partial(self._tell, stream)) for stream in ("stdout", "stderr")}
        skipping = False
        silence = EVENTS_S if follow else READ_S
        with request(self._socket, "GET", path, silence, cancel=self._cancel) as (status, pieces):
            if status != 200:
                said = b"".join(pieces).decode(errors="replace").strip()
                raise Failure(f"the Docker engine does not give the log of {self._name}: {said}", code="bad_answer")
            for stream, data in _frames(pieces):
                when, told = _without_time(data)
                if when is not None:  # the rest of a long line has none
                    skipping = when <= since
                    self.after = max(self.after, when)
                if not skipping:
                    outputs[stream].feed(told)
        for output in outputs.values():
            output.close()

    def _by_program(self, lines: int | None, follow: bool, since: int) -> None:
        argv = ["docker", "logs", "--timestamps", "--tail", "all" if lines is None else str(lines)]
        argv += ["--follow"] if follow else []
        argv += ["--since", _as_since(since)] if since else []
        held: list[tuple[int, str, str]] = []

        def hear(stream: str, line: str) -> None:
            found = TIME.match(line)
            when = None if found is None else _nanoseconds(found)
            if when is not None and found is not None:
                line = line[found.end() :]
                self.after = max(self.after, when)
            if when is not None and when <= since:
                return
            if follow:
                self._tell(stream, line)
            else:
                held.append((when or self.after, stream, line))

        command = Command(
            (*argv, self._name), env=self._host.environ, on_line=hear, keep=8192,
            secrets=(*self._host.secrets, *self._secrets), deadline=EVENTS_S if follow else ALL_S,
        )  # fmt: skip
        try:
            self._host.shell.run(command)
        except CommandFailure as failure:
            raise classified(failure) from failure
        for _, stream, line in sorted(held, key=lambda each: each[0]):  # two pipes have lost which came first
            self._tell(stream, line)


def _frames(pieces: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """The stream taken apart. Raises Failure bad_answer for a frame that is none."""
    buffer, framed = b"", None
    for piece in pieces:
        buffer += piece
        if framed is None and len(buffer) >= 4:
            framed = buffer[0] < 4 and buffer[1:4] == b"\0\0\0"
        if framed is False:
            yield "stdout", buffer
            buffer = b""
        while framed and len(buffer) >= 8:
            size = int.from_bytes(buffer[4:8], "big")
            if size > LARGEST_FRAME or buffer[1:4] != b"\0\0\0":
                raise Failure("the Docker engine answered with a log that cannot be read", code="bad_answer")
            if len(buffer) < 8 + size:
                break
            yield "stdout" if buffer[0] < 2 else "stderr", buffer[8 : 8 + size]
            buffer = buffer[8 + size :]
    if buffer and not framed:
        yield "stdout", buffer


def _without_time(data: bytes) -> tuple[int | None, bytes]:
    found = TIME.match(data[:40].decode("latin-1"))
    return (None, data) if found is None else (_nanoseconds(found), data[found.end() :])


def _nanoseconds(found: re.Match[str]) -> int | None:
    try:
        seconds = calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    if found[3] != "Z":  # Podman tells its local time
        away = 3600 * int(found[3][1:3]) + 60 * int(found[3][4:6])
        seconds -= -away if found[3].startswith("-") else away
    return seconds * 10**9 + int((found[2] or "").ljust(9, "0"))


def _as_since(when: int) -> str:
    return f"{when // 10**9}.{when % 10**9:09d}"
