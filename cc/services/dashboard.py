"""The dashboard as a process of ours: where it runs, starting and stopping it. The verb `dashboard`, the rungs of L4.

What runs is asked of the process itself: its mark says that it is ours, its environment where it listens and with
which settings it was started, its /healthz that it is really this dashboard that answers there and not any 200.
May import what services may; must not know the package `dashboard`, whose modules it only names on a command line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from cc import __version__
from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.engine.waiting import wait_for
from cc.errors import CommandFailure, Failure, Interrupted, ToolMissing
from cc.resources import http, port
from cc.resources.docker import Docker
from cc.resources.host import Host, Verb
from cc.resources.process import read_pidfile, write_pidfile
from cc.resources.process_stop import OWNER, PROCESS, find_ours, is_alive, mark, stop_group
from cc.resources.process_table import Identity, environment
from cc.shell import Command

NAME = "dashboard"
SERVICE = "context-cleaner-dashboard"
START_S = 15.0
STOP_S = 10.0
ANSWER_S = 2.0
ASK_S = 10.0
SETTINGS = (
    "CC_HOME", "CC_PROJECT", "CC_CLICKHOUSE_URL", "CC_CLICKHOUSE_USER", "CC_CLICKHOUSE_PORT", "CLAUDE_CONFIG_DIR",
    "CC_VERSION",
)  # fmt: skip
"""A dashboard that was started with others of these is another dashboard, and is replaced."""


class Running(NamedTuple):
    """A dashboard of ours that lives. `host`, `port` and `server` as it was started with."""

    identity: Identity
    host: str
    port: int
    server: str
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where a person finds it."""
        local = self.host in ("127.0.0.1", "0.0.0.0", "::1", "::")  # noqa: S104
        return f"http://{'localhost' if local else self.host}:{self.port}"

    def said(self, owner: str) -> Mapping[str, Any]:
        """What its /healthz tells. Raises Failure: bad_answer if that is somebody else's, or as http.get does."""
        try:
            told = json.loads(http.get(f"{self.base}/healthz", timeout=ANSWER_S).body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or told.get("service") != SERVICE or told.get("owner") != owner:
            raise Failure(f"what answers at {self.url} is not this dashboard", code="bad_answer")
        return told

    @property
    def base(self) -> str:
        """Where it is asked from this machine."""
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{address}]' if ':' in address else address}:{self.port}"

    def answers(self, owner: str) -> str | None:
        """None if it answers and says that it is the one; else why not."""
        try:
            self.said(owner)
        except Failure as failure:
            return failure.message
        return None


def find_dashboard(host: Host) -> Running | None:
    """The dashboard of this project that runs, None if none does. Known by its mark: no file needs to be there.

    The leader of its session is the server itself. Its workers outlive its death by a while, and answer: they are not
    a dashboard that runs, only what is left of one.
    """
    noted = read_pidfile(_pidfile(host))  # asked first: to look at every process takes 5 ms
    mine = (
        noted is not None
        and is_alive(noted)
        and _leads(noted.pid)
        and mark(host.owner, NAME).encode() in environment(noted.pid)
    )
    for identity in (noted,) if noted is not None and mine else find_ours(host.owner, NAME):
        if not _leads(identity.pid):
            continue
        told = _environment_of(identity)
        if (bound := _bound(told)) is not None:
            server = told.get("CC_DASHBOARD_SERVER", "")
            return Running(identity, *bound, server, {key: told.get(key, "") for key in SETTINGS})
    return None


def _bound(environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Address and port that a dashboard with this environment was started on."""
    address, colon, number = environ.get("CC_DASHBOARD_BOUND", "").rpartition(":")
    return (address, int(number)) if colon and number.isdecimal() else None


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def _environment_of(identity: Identity) -> dict[str, str]:
    lines = (line.decode(errors="replace") for line in environment(identity.pid))
    return dict(line.split("=", 1) for line in lines if "=" in line)


class Dashboard:
    """It runs, by this server, on the first free of these ports, and answers.

    A dashboard that already answers on another of the allowed ports stays where it is: people have it open.
    """

    probed = True

    def __init__(self, host: Host, args: Mapping[str, Any], *, again: bool = False) -> None:
        self._host = host
        self._address = host.environ.get("CC_DASHBOARD_HOST", "127.0.0.1")
        self._server: str = args["server"]
        first, last = args["ports"]
        self._ports = range(first, last + 1)
        self._within: float = args.get("within") or START_S
        self._chosen = self._server
        self._again = again
        self._replace: Running | None = None
        self._looked = False
        self._wanted = {key: host.environ.get(key, "") for key in SETTINGS} | {"CC_VERSION": __version__}
        self.name = {"gunicorn": "gunicorn", "flask": "flask's own server", "any": "another port"}[self._server]

    def probe(self, context: Context) -> Probe:
        found = find_dashboard(self._host)
        if self._again and not self._looked:  # at its first probe, when the lock is had: another run may have been here
            self._replace = found
        self._looked = True
        if found is None:
            return Probe(False, "it does not run")
        if self._replace is not None and found.identity == self._replace.identity:
            return Probe(False, "it is to be restarted")
        if found.settings != self._wanted:
            return Probe(False, "it runs with other settings, or is of another version")
        if self._server not in ("any", found.server):
            return Probe(False, f"it runs on {found.server}")
        if (trouble := found.answers(self._host.owner)) is not None:
            return Probe(False, trouble)
        return self._elsewhere(found)

    def _elsewhere(self, found: Running) -> Probe:
        """It answers; is it where this rung wants it?"""
        said = f"Dashboard running on {found.url}"
        if found.port in self._ports:
            return Probe(True, said)
        port.refuse_if_held(
            self._address, self._ports[0], Docker(self._host).publisher
        )  # the rung that looks elsewhere says who holds it
        return Probe(
            True,
            said,
            less=(f"{said}; port {self._ports[0]} is free again: `context-cleaner restart` moves it",),
        )

    def check(self, context: Context, before: Probe) -> None:
        missing = None if self._server == "flask" else _no_gunicorn(self._host)
        if missing is not None and self._server == "gunicorn":
            raise missing
        self._chosen = "flask" if self._server == "flask" or missing is not None else "gunicorn"
        # Also of workers that a killed server left: the act ends them first, and then their port is free.
        ours = (_bound(_environment_of(identity)) for identity in find_ours(self._host.owner, NAME))
        self._choose_port(frozenset(bound[1] for bound in ours if bound is not None))

    def _choose_port(self, own: frozenset[int] = frozenset()) -> int:
        """The first port that is free or our own. Raises Failure port_in_use that names who holds them."""
        held: list[port.PortFact] = []
        for number in self._ports:
            fact = port.read_port(self._address, number, Docker(self._host).publisher)
            if fact.free or number in own:
                return number
            held.append(fact)
        if len(held) == 1:
            raise port.in_use(held[0])
        holders = "; ".join(f"{fact.port} by {fact.held_by()}" for fact in held)
        raise Failure(f"ports {self._ports[0]} to {self._ports[-1]} are all held: {holders}", code="port_in_use")

    def act(self, context: Context, before: Probe) -> Acted:
        _stop_all(self._host, context)
        number, server = self._choose_port(), self._chosen
        bound = f"{self._address}:{number}"
        log = os.path.join(self._host.log_dir, "dashboard.log")
        command = Command(
            _argv(server, self._address, number), env=self._environment(server, bound), cwd=self._host.base
        )
        child = self._host.shell.spawn(command, log=log)
        identity = Identity(child.pid, child.start_time)
        try:
            self._note_pid(context, identity)
            self._await_answer(context, child, Running(identity, self._address, number, server, {}), log)
        except Failure:
            child.poll()  # if it ended, it is ours to bury
            stop_group(identity, grace=1.0, context=context, marked=mark(self._host.owner, NAME))
            raise
        return Acted()

    def _note_pid(self, context: Context, identity: Identity) -> None:
        """For scripts without Python. Nothing here depends on it: a full disk must not cost the dashboard."""
        try:
            write_pidfile(_pidfile(self._host), identity)
        except Failure as failure:
            context.note(f"{failure.message}; the dashboard is known by its mark all the same")

    def _environment(self, server: str, bound: str) -> dict[str, str]:
        return {
            **self._host.environ,
            OWNER: self._host.owner,
            PROCESS: f"{self._host.owner}/{NAME}",
            "CC_DASHBOARD_BOUND": bound,
            "CC_DASHBOARD_SERVER": server,
            "CC_VERSION": __version__,
        }

    def _await_answer(self, context: Context, child: Any, expected: Running, log: str) -> None:
        last: str | None = None

        def look() -> str | None:
            nonlocal last
            if not child.alive():
                return "died"
            last = expected.answers(self._host.owner)
            return None if last else "answers"

        found = wait_for(context, f"the dashboard to answer at {expected.url}", look, within=self._within)
        if found == "answers":
            return
        evidence = _tail(log)
        if any("ddress already in use" in line for line in evidence):
            raise Failure(f"port {expected.port} was taken while it started", code="port_in_use", evidence=evidence)
        why = "it ended at once" if found == "died" else f"no answer within {self._within:g} s: {last}"
        raise Failure(f"the dashboard did not start: {why}", code="unhealthy", evidence=evidence, hint=f"cat {log}")


class NoDashboard:
    """None of ours runs."""

    probed = True
    name = "stop the dashboard"

    def __init__(self, host: Host) -> None:
        self._host = host

    def probe(self, context: Context) -> Probe:
        found = find_ours(self._host.owner, NAME)
        if not found:
            return Probe(True, "Dashboard not running")
        return Probe(False, "it runs, pid " + ", ".join(str(identity.pid) for identity in found))

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        _stop_all(self._host, context)
        return Acted("stopped")


def _stop_all(host: Host, context: Context) -> None:
    """End every dashboard of this project, its workers too, and forget its pid file."""
    for identity in find_ours(host.owner, NAME):
        stop_group(identity, grace=STOP_S, context=context, marked=mark(host.owner, NAME))
    try:
        os.unlink(_pidfile(host))
    except OSError:
        pass  # not there, or not ours to remove: it names a dead process, which every reader checks


def _pidfile(host: Host) -> str:
    return os.path.join(host.run_dir, f"{NAME}.pid")


def _no_gunicorn(host: Host) -> Failure | None:
    """None if gunicorn runs here; else what keeps it. Asked of gunicorn itself: an installation may be broken."""
    try:
        host.shell.run(Command((sys.executable, "-m", "gunicorn", "--version"), env=host.environ, deadline=ASK_S))
    except Interrupted:
        raise
    except CommandFailure as failure:
        hint = f"{sys.executable} -m pip install gunicorn"
        return ToolMissing("gunicorn is not installed", hint=hint, evidence=failure.evidence)
    return None


def _argv(server: str, address: str, number: int) -> tuple[str, ...]:
    if server == "gunicorn":
        bind = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
        conf = "python:cc.dashboard.gunicorn_conf"
        return (sys.executable, "-m", "gunicorn", "-c", conf, "-b", bind, "cc.dashboard.app:from_environment()")
    return (sys.executable, "-m", "cc.dashboard", "--host", address, "--port", str(number))


def _tail(log: str) -> tuple[str, ...]:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            return tuple(file.read().decode(errors="replace").splitlines()[-10:])
    except OSError:
        return ()


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    if args["state"] == "stopped":
        return NoDashboard(host)
    return Dashboard(host, args, again=args["state"] == "restarted")


VERB = Verb(
    VerbSpec(
        "dashboard",
        (
            Field("state", "string", required=True, choices=("running", "stopped", "restarted"), doc="what to ensure"),
            Field("server", "string", choices=("gunicorn", "flask", "any"), default="any", doc="what serves it"),
            Field("ports", "range", default=(8110, 8120), doc="where it may listen; the first that is free"),
            Field("within", "duration", default=START_S, doc="how long it may take to answer"),
        ),
        "this stack's dashboard",
    ),
    _make,
)
