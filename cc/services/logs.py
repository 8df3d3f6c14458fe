"""What a service wrote, one way for all: a container's log by its engine, a process's from the state directory.

    clickhouse, collector    stdout and stderr of the container, also of one that has ended
    dashboard, supervisor    logs/NAME.log, and NAME.log.1 where that is too short

`follow` outlives what it follows: a file that is rotated, and a container that the watchdog starts again; the second
within AGAIN_S, since one that was stopped on purpose comes back when somebody wants it to. ClickHouse's password is
masked. May import what services may.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cc.clock import wall_time
from cc.errors import Failure, Interrupted
from cc.resources.docker import Container, Docker
from cc.resources.docker_logs import ContainerLog, Tell
from cc.resources.journal import JournalReader
from cc.resources.log_file import LogFile
from cc.services.health import stranger
from cc.services.stack import BY_NAME, Stack
from cc.services.vitals import clickhouse_password
from cc.shell.mask import Mask
from cc.shell.output import Output

LOGGED = (*BY_NAME, "supervisor")
POLL_S = 0.2
AGAIN_S = 90.0
"""How long a container that ended is waited for: the watchdog's longest pause is 15 s, ClickHouse's start 60 s."""
KEPT_LINES = 10

Say = Callable[[str], None]
"""Called with a sentence about the log that is no line of it."""


def tell_log(stack: Stack, name: str, lines: int, tell: Tell, say: Say, *, follow: bool) -> None:
    """Tell the last so many lines of this service, and with `follow` those to come.

    `tell` gets stdout, stderr, or `log` for a process, which writes both into one file. Raises Failure if there is no
    log, Interrupted, and what `tell` raises.
    """
    service = BY_NAME.get(name)
    container = None if service is None else stack.container_name(service)
    if container is None:
        _tell_process(stack, name, lines, tell, say, follow=follow)
    else:
        _Followed(stack, name, container, tell, say).tell(lines, follow=follow)


def _tell_process(stack: Stack, name: str, lines: int, tell: Tell, say: Say, *, follow: bool) -> None:
    path = os.path.join(stack.state.logs, f"{name}.log")
    file, output = LogFile(path), Output(Mask(_secrets(stack)), 1, partial(tell, "log"))
    try:
        for piece in file.last(lines):
            output.feed(piece)
        if not file.there and not follow and not output.total:
            raise Failure(
                f"the {name} has no log: there is no {path}", code="not_satisfied",
                hint="`up` starts it; one that runs in the foreground writes to its terminal",
            )  # fmt: skip
        if not file.there and follow:
            say(f"there is no {path} yet: waiting for it")
        elif not output.total and lines and not follow:
            say(f"{path} is empty")
        while follow and stack.clock.wait(POLL_S, stack.cancel):
            for piece in file.more():
                output.feed(piece)
        if follow:
            raise Interrupted(f"cancelled ({stack.cancel.requested})")
        output.close()
    finally:
        file.close()


def _secrets(stack: Stack, container: Container | None = None) -> tuple[str, ...]:
    """ClickHouse's password: ours, and the one that this container was given, should they differ."""
    given = "" if container is None else container.environ.get("CLICKHOUSE_PASSWORD", "")
    return tuple(filter(None, {clickhouse_password(stack), given}))


class _Followed:
    """One container's log, past the ends of the container."""

    def __init__(self, stack: Stack, name: str, container: str, tell: Tell, say: Say) -> None:
        self._stack, self._name, self._container, self._say = stack, name, container, say
        self._tell = tell

    def tell(self, lines: int, *, follow: bool) -> None:
        found = self._there()
        host = self._stack.host()
        log = ContainerLog(
            host, self._container, self._tell, secrets=_secrets(self._stack, found), cancel=self._stack.cancel
        )
        if lines == 0:
            log.after = int(wall_time() * 10**9)  # where to go on, should the container end before it has said anything
        told: Container | None = None
        while True:
            same = told is not None and told.id == found.id
            try:
                log.read(lines if told is None else None, follow=follow, again=same)
            except Interrupted:
                raise
            except Failure as failure:
                if not follow:
                    raise
                self._say(f"the log broke off: {failure.message}")
            if not follow:
                return
            told = found
            if (again := self._again(told)) is None:
                return
            found = again

    def _there(self) -> Container:
        """The container. Raises Failure, with the last lines that were kept of it, if there is none."""
        try:
            found = self._look()
        except Interrupted:
            raise
        except Failure as failure:
            kept, since = _kept(self._stack, self._name)
            said = f"; below is what the journal kept of {self._name} at {since}" if kept else ""
            raise Failure(failure.message + said, code=failure.code, hint=failure.hint, evidence=kept) from failure
        if found is None:
            kept, since = _kept(self._stack, self._name)
            said = f"; below are the last lines that the journal kept of it, at {since}" if kept else ""
            raise Failure(
                f"{self._name} has no log: there is no container {self._container}{said}", code="not_satisfied",
                hint=f"`up` starts it; `events --service {self._name}` says what became of it", evidence=kept,
            )  # fmt: skip
        if (whose := stranger(self._stack, found)) is not None:
            raise Failure(f"the container {self._container} belongs to {whose}", code="not_ours")
        return found

    def _look(self) -> Container | None:
        """With nothing remembered of an earlier look: an engine may have come back."""
        return Docker(replace(self._stack, memo={}).host()).container(self._container)

    def _again(self, told: Container) -> Container | None:
        """The container once it runs again, or runs on (the stream alone had ended); None if it does not in time."""
        end, said = self._stack.clock.now() + AGAIN_S, ""
        while True:
            self._pause()  # first of all: the engine takes a moment to notice an end
            try:
                found = self._look()
                now = f"{self._container} is gone" if found is None else found.describe()
            except Interrupted:
                raise
            except Failure as failure:
                found, now = None, failure.message
            if found is not None and found.running and stranger(self._stack, found) is None:
                if (found.id, found.started_at) != (told.id, told.started_at):
                    self._say(f"{self._name} was started again; its log goes on")
                return found
            if now != said:
                said = now
                self._say(f"{now}; waiting for it to be started again")
            if self._stack.clock.now() >= end:
                self._say(f"{self._name} was not started again within {AGAIN_S:g} s")
                return None

    def _pause(self) -> None:
        if not self._stack.clock.wait(POLL_S, self._stack.cancel):
            raise Interrupted(f"cancelled ({self._stack.cancel.requested})")


def _kept(stack: Stack, name: str) -> tuple[tuple[str, ...], str]:
    """The evidence of the last time that this service's step failed, and when that was."""
    try:
        for entry in JournalReader(stack.state.journal).newest():
            evidence = entry.told.get("evidence")
            if entry.told.get("step") == name and isinstance(evidence, list) and evidence:
                mask = Mask(_secrets(stack))
                return tuple(mask.text(str(line)) for line in evidence[-KEPT_LINES:]), str(entry.told.get("time"))
    except Failure:
        pass  # a journal that cannot be read has kept nothing for us
    return (), ""
