"""A process of ours: known by pid and start time, found by the mark that it carries, stopped with all that it started.

    NAME.pid    "PID START_TIME", 0600, written whole; plain sh reads it

A pid alone is reused, so a pid file whose start time differs is stale and its pid never signalled. A lost pid file
costs a look at all environments, never a process that nobody finds again. Marks, finding and ending: process_stop.py;
the rows of the process table, and who listens on a port: process_table.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.engine.waiting import wait_for
from cc.errors import ConfigError, Failure, Interrupted
from cc.files import os_failure, write_whole
from cc.resources.host import Host, Verb
from cc.resources.process_stop import (
    OWNER,
    PROCESS,
    find_ours,
    is_alive,
    mark,
    matching,
    signal_number,
    stop_group,
)
from cc.resources.process_table import Identity, command_line
from cc.shell import Command
from cc.shell.failures import signal_name

GRACE_S = 10.0
READY_S = 15.0
SETTLE_S = 0.2  # a program that cannot start says so by ending within this
LOG_LINES = 10

Ready = Callable[[Context], "str | None"]
"""Why it is not ready yet, None once it is."""


def read_pidfile(path: str) -> Identity | None:
    """The process that a pid file names, alive or not; None where there is no file or it holds something else."""
    try:
        with open(path, "rb") as file:
            pid, started = (int(word) for word in file.read(64).split())
    except (OSError, ValueError):
        return None
    return Identity(pid, started) if pid > 1 and started > 0 else None


def write_pidfile(path: str, identity: Identity) -> None:
    """Write "PID START_TIME", whole, 0600. Raises Failure disk_full or permission_denied."""
    write_whole(path, f"{identity.pid} {identity.start_time}\n".encode(), mode=0o600, durable=False)


class ProcessAction:
    """A process step: it runs (and is ready), or nothing of it is left.

    `name` is the step's own, in its pid file and its mark. Found by pid file, then by mark; a `pattern` finds what was
    started otherwise, and that counts as running but is never stopped.
    """

    probed = True

    def __init__(
        self,
        host: Host,
        name: str,
        *,
        state: str = "running",
        pidfile: str | None = None,
        pattern: str | None = None,
        start: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        log: str | None = None,
        stop_signal: str = "TERM",
        grace: float = GRACE_S,
        ready: Ready | None = None,
        within: float = READY_S,
    ) -> None:
        self.name = f"process {name}"
        self._host = host
        self._called = name
        self._state = state
        self._pidfile = pidfile or os.path.join(host.run_dir, f"{name}.pid")
        self._pattern = pattern
        self._start = start
        self._env = env or {}
        self._cwd = cwd
        self._log = log or os.path.join(host.log_dir, f"{name}.log")
        self._signal = stop_signal
        self._grace = grace
        self._ready = ready if host.wait else None
        self._within = within

    def probe(self, context: Context) -> Probe:
        own, strangers = self.find()
        answer = tuple((one.pid, one.start_time) for one in (*own, *strangers))
        if self._state == "stopped":
            pids = ", ".join(str(one.pid) for one in (*own, *strangers))
            return Probe(
                not answer, f"{self._called} runs (pid {pids})" if answer else f"{self._called} is not running", answer
            )
        if not answer:
            return Probe(False, f"{self._called} is not running", answer)
        pid = answer[0][0]
        reason = self._ready(context) if self._ready else None
        if reason is not None:
            return Probe(False, f"{self._called} runs (pid {pid}) and is not ready: {reason}", (*answer, "not ready"))
        whose = "" if own else ", not started by us"
        return Probe(True, f"{self._called} runs (pid {pid}{whose})", answer)

    def find(self) -> tuple[tuple[Identity, ...], tuple[Identity, ...]]:
        """Ours that live, the leader first; and strangers that the pattern matches."""
        written = read_pidfile(self._pidfile)
        if written is not None and is_alive(written) and self._state == "running":
            return (written,), ()
        own = list(find_ours(self._host.owner, self._called))
        if written is not None and is_alive(written) and written not in own:
            own.insert(0, written)
        if self._pattern is None:
            return tuple(own), ()
        found = [one for one in matching(self._pattern) if one not in own]
        all_ours = set(find_ours(self._host.owner))
        strangers = tuple(one for one in found if one not in all_ours)
        return (*own, *(one for one in found if one in all_ours)), strangers

    def check(self, context: Context, before: Probe) -> None:
        own, strangers = self.find()
        if self._state == "stopped" and strangers:
            shown = ", ".join(f"pid {one.pid} ({command_line(one.pid)[:60]})" for one in strangers)
            mortal = next((one.pid for one in strangers if one.pid > 2), None)  # 2 is the kernel's, or near to init
            raise Failure(
                f"{shown} matches and was not started by us: it is left alone", code="not_ours",
                hint=None if mortal is None else f"kill {mortal}   # if it may go",
            )  # fmt: skip
        if self._state == "running" and not own and not strangers and not self._start:
            raise Failure(f"{self._called} is not running, and `start` does not say how to start it", code="bad_config")

    def act(self, context: Context, before: Probe) -> Acted:
        own, strangers = self.find()
        if self._state == "stopped":
            return self._stop(own, context)
        if own or strangers:  # there, and not ready
            self._await(context, (own or strangers)[0], self._within)
            return Acted(f"{self._called} is ready")
        return self._launch(context)

    def _stop(self, own: tuple[Identity, ...], context: Context) -> Acted:
        count, killed = 0, False
        for one in own:
            done = stop_group(
                one,
                grace=self._grace,
                context=context,
                stop_signal=self._signal,
                marked=mark(self._host.owner, self._called),
            )
            count, killed = count + done.count, killed or done.killed
        try:
            os.unlink(self._pidfile)
        except OSError:
            pass  # a stale one does no harm
        return Acted(f"stopped {count} process{'' if count == 1 else 'es'}{' by KILL' if killed else ''}")

    def _launch(self, context: Context) -> Acted:
        own_env = {OWNER: self._host.owner, PROCESS: f"{self._host.owner}/{self._called}"}
        command = Command(
            self._start, env={**self._host.environ, **self._env, **own_env}, cwd=self._cwd or self._host.base or None,
            secrets=self._host.secrets,
        )  # fmt: skip
        try:
            os.makedirs(os.path.dirname(self._log), exist_ok=True)
            said_before = os.path.getsize(self._log) if os.path.exists(self._log) else 0
        except OSError as error:
            raise os_failure(error, f"cannot write the log {self._log}") from error
        child = self._host.shell.spawn(command, log=self._log)
        identity = Identity(child.pid, child.start_time)
        try:
            write_pidfile(self._pidfile, identity)
            self._await(context, identity, self._within if self._ready else SETTLE_S, child.poll, said_before)
        except Failure:
            # What did not become ready is not left half standing.
            stop_group(identity, grace=2.0, context=context, marked=mark(self._host.owner, self._called))
            child.poll()
            raise
        return Acted(f"started {self._called} (pid {identity.pid})")

    def _await(
        self, context: Context, identity: Identity, within: float,
        exit_code: Callable[[], int | None] | None = None, said_before: int = 0,
    ) -> None:  # fmt: skip
        """Wait until it is ready, or (without `ready`) has not ended for a moment. Raises Failure unhealthy."""
        last = ""

        def look() -> str | None:
            nonlocal last
            if not is_alive(identity):
                return "ended"
            last = (self._ready(context) or "") if self._ready else "settling"
            return None if last else "ready"

        found = wait_for(context, f"{self._called} to be ready", look, within=within)
        if found == "ready" or (found is None and self._ready is None):
            return
        from cc.resources.http import log_tail

        if found == "ended":
            # The seam may just be reaping it: then its code is known in a moment. Not our child: never.
            code = None if exit_code is None else wait_for(context, "its exit code", exit_code, within=1.0)
            how = "" if code is None else f" (exit code {code})" if code >= 0 else f" ({signal_name(-code)})"
            why = f"{self._called} ended {'before it was ready' if self._ready else 'right after its start'}{how}"
        else:
            why = f"{self._called} did not become ready within {within:g} s: {last}"
        raise Failure(
            why, code="unhealthy", hint=f"less {self._log}", evidence=log_tail(self._log, LOG_LINES, start=said_before)
        )


def readiness(given: str) -> Ready:
    """What `ready` means: a URL that answers 200, or [HOST:]PORT that takes connections. Raises ConfigError."""
    if "://" in given:
        from cc.resources import http

        http.Url.parse(given)

        def answers(context: Context) -> str | None:
            try:
                answer = http.get(given, timeout=context.left(http.PROBE_S), cancel=context.cancel)
            except Interrupted:
                raise
            except Failure as failure:
                return failure.message
            return None if answer.status == 200 else f"it answers {answer.shown()}"

        return answers
    host, _, number = given.rpartition(":")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise ConfigError(f"{given!r} is neither a URL nor [HOST:]PORT", field="ready")

    def accepts(context: Context) -> str | None:
        from cc.resources import port

        ok = port.accepts(host or "127.0.0.1", int(number), context.left(port.PROBE_S))
        return None if ok else f"nobody listens on port {number}"

    return accepts


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    pidfile, pattern = args.get("pidfile"), args.get("pattern")
    start = tuple(args.get("start") or ())
    stop_signal = args.get("stop_signal") or "TERM"
    signal_number(stop_signal)
    path = None
    if pattern is not None and re.search(pattern, "") is not None:
        raise ConfigError(f"{pattern!r} finds every process: it matches the empty text", field="pattern")
    if pidfile is None:
        name = _name_in(start[0] if start else pattern or "")
    elif "/" in pidfile:
        path, name = host.path(pidfile), _name_in(pidfile)
    else:
        name = _name_in(pidfile)
    ready = args.get("ready")
    log = args.get("log")
    return ProcessAction(
        host,
        name,
        state=args.get("state") or "running",
        pidfile=path,
        pattern=pattern,
        start=start,
        env=args.get("env"),
        cwd=None if args.get("cwd") is None else host.path(args["cwd"]),
        log=None if log is None else host.path(log),
        stop_signal=stop_signal,
        grace=GRACE_S if args.get("grace") is None else float(args["grace"]),
        ready=None if ready is None else readiness(ready),
        within=READY_S if args.get("within") is None else float(args["within"]),
    )


def _name_in(given: str) -> str:
    """A name for pid file, log and mark: of `run/web.pid`, `/usr/bin/web` or a pattern."""
    name = os.path.basename(given.rstrip("/")).removesuffix(".pid")
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.") or "process"


VERB = Verb(
    VerbSpec(
        "process",
        (
            Field("pidfile", "string", doc="NAME or NAME.pid in the run directory, or a path"),
            Field("pattern", "regex", doc="finds it by its command line; one that we did not start is never stopped"),
            Field("state", "string", choices=("running", "stopped"), default="running", doc="what to ensure"),
            Field("start", "words", doc="the command that starts it, in the foreground: it is detached here"),
            Field("stop_signal", "string", default="TERM", doc="what asks it to end"),
            Field("grace", "duration", default=GRACE_S, doc="how long it may take to end before KILL"),
            Field("env", "mapping", doc="environment, added to the run's"),
            Field("cwd", "path", doc="working directory"),
            Field("log", "path", doc="where its output goes; NAME.log in the log directory where it is left out"),
            Field("ready", "string", doc="a URL that must answer 200, or [HOST:]PORT that must take connections"),
            Field("within", "duration", default=READY_S, doc="how long it may take to be ready"),
        ),
        "a process that runs, or of which nothing is left",
        exactly_one=(("pidfile", "pattern"),),
    ),
    _make,
)
