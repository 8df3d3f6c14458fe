"""A TCP port of this machine: free or held, by whom, answering or not; and the verb that waits for one or the other.

Whether it is free is asked by binding it, as whoever wants it will: only that knows of wildcard addresses, of
dual-stack sockets and of sockets that are bound and don't listen yet. Who holds it is the process table's answer.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.engine.waiting import wait_for
from cc.errors import Failure
from cc.resources.host import Host, Verb
from cc.resources.process_table import LINUX, ContainerOf, Owner, listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PROBE_S = 5.0
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class PortFact(NamedTuple):
    """A port on an address. `owners`: who listens on it there; empty when it is free, or held by what can't be seen."""

    host: str
    port: int
    free: bool
    owners: tuple[Owner, ...] = ()

    def held_by(self, *, commands: bool = False) -> str:
        """Who holds it, in words; with their command lines if wanted."""
        shown = dict.fromkeys(owner.shown(command=commands) for owner in self.owners)
        return ", ".join(shown) or "a process that cannot be seen from here"


def read_port(host: str, port: int, container_of: ContainerOf | None = None) -> PortFact:
    """Is it free on this address, and who holds it if not."""
    if is_free(host, port):
        return PortFact(host, port, free=True)
    found = listeners(port, container_of)
    return PortFact(host, port, free=False, owners=tuple(owner for owner in found if _meets(host, owner)) or found)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. Raises Failure bad_config for an address that is not this machine's.

    Connections that a former server left in TIME_WAIT don't count (SO_REUSEADDR, as servers set it). A name stands for
    all of its addresses: `localhost` is free when 127.0.0.1 and ::1 both are.
    """
    return all(_address_is_free(family, address) for family, address in _addresses(host, port))


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    try:
        name = host.encode() if host.isascii() else host  # of a text Python would import a codec for names
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise Failure(f"{host!r} is no address of this machine: {error}", code="bad_config") from None
    return [(family, address) for family, _, _, _, address in found]


def _address_is_free(family: socket.AddressFamily, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # dual-stack, as most servers do: `::` is not free while somebody has 0.0.0.0
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        if error.errno == errno.EAFNOSUPPORT or (error.errno == errno.EADDRNOTAVAIL and address[0] == "::1"):
            return True  # no IPv6 here: nobody can hold it there
        if error.errno == errno.EACCES:  # a port below 1024: only whether somebody answers can be known
            return not accepts(address[0], address[1], 1.0)
        raise Failure(f"{address[0]} is no address of this machine: {error.strerror}", code="bad_config") from error
    # BSD lets 127.0.0.1 be bound beside somebody's 0.0.0.0, and gives it the connections
    return LINUX or not accepts(address[0], address[1], 1.0)


def accepts(host: str, port: int, timeout: float = PROBE_S) -> bool:
    """Whether somebody takes a connection there within `timeout` seconds."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a key
    try:
        socket.create_connection((name, port), timeout=max(timeout, 0.01)).close()
    except OSError:
        return False
    return True


def _meets(host: str, owner: Owner) -> bool:
    """Whether a listener on that address stands in the way of this one."""
    return host in (*WILDCARDS, "localhost", owner.address) or owner.address in WILDCARDS


def refuse_if_held(host: str, port: int, container_of: ContainerOf | None = None) -> None:
    """Raise Failure port_in_use, naming the holder, unless the port is free."""
    fact = read_port(host, port, container_of)
    if not fact.free:
        raise in_use(fact)


def in_use(fact: PortFact) -> Failure:
    """The failure that a held port is, naming who holds it and how to look closer."""
    pids = [owner.pid for owner in fact.owners if owner.pid is not None]
    hint = f"stop it (`ps -fp {pids[0]}` shows what it is), or take another port" if pids else "take another port"
    evidence = tuple(f"{owner.shown()}: {owner.command}" for owner in fact.owners if owner.command)
    return Failure(f"port {fact.port} is held by {fact.held_by()}", code="port_in_use", hint=hint, evidence=evidence)


def first_free(host: str, ports: Iterable[int], taken: Callable[[PortFact], None] | None = None) -> int | None:
    """The first port that is free, None if there is none. `taken` is told of each that is not."""
    for port in ports:
        if is_free(host, port):
            return port
        if taken is not None:
            taken(read_port(host, port))
    return None


class PortAction:
    """A port is free, or somebody listens on it; waits for it, and changes nothing."""

    probed = True

    def __init__(
        self,
        port: int,
        *,
        state: str,
        host: str = "127.0.0.1",
        within: float = 0.0,
        container_of: ContainerOf | None = None,
    ) -> None:
        self.name = f"port {port} {state}"
        self._port = port
        self._state = state
        self._host = host
        self._within = within
        self._container_of = container_of

    def probe(self, context: Context) -> Probe:
        if self._so(context):
            return Probe(True, f"port {self._port} is {self._state}", "waited for")
        if self._state == "listening":
            return Probe(False, f"nobody listens on {self._host}:{self._port}", "waited for")
        failure = in_use(read_port(self._host, self._port, self._container_of))
        return Probe(False, failure.message, "waited for", evidence=failure.evidence, hint=failure.hint)

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        what = f"port {self._port} to be {self._state}"
        if wait_for(context, what, lambda: self._so(context) or None, within=self._within):
            return Acted(f"port {self._port} is {self._state}")
        late = f" (waited {self._within:g} s)" if self._within else ""
        if self._state == "free":
            failure = in_use(read_port(self._host, self._port, self._container_of))
            raise Failure(failure.message + late, code=failure.code, hint=failure.hint, evidence=failure.evidence)
        raise Failure(f"nobody listens on {self._host}:{self._port}{late}", code="connection_refused")

    def _so(self, context: Context) -> bool:
        if self._state == "free":
            return is_free(self._host, self._port)
        return accepts(self._host, self._port, context.left(PROBE_S))


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    return PortAction(
        args["port"],
        state=args.get("state") or "listening",
        host=args.get("host") or "127.0.0.1",
        within=args.get("within") or 0.0,
    )


VERB = Verb(
    VerbSpec(
        "port",
        (
            Field("port", "port", required=True, doc="a TCP port"),
            Field("state", "string", choices=("free", "listening"), default="listening", doc="what to wait for"),
            Field("within", "duration", default=0.0, doc="how long to wait for it"),
            Field("host", "string", default="127.0.0.1", doc="the address on which it must be free, or must answer"),
        ),
        "a port that is free, or on which somebody listens",
        positional="port",
    ),
    _make,
)
