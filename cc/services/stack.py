"""The stack: its services as data, and one project of it on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cc.clock import Cancel, Clock, SystemClock
from cc.errors import UsageError
from cc.resources.breakers import Breakers
from cc.resources.host import Host
from cc.resources.state import StateDir
from cc.settings import Settings
from cc.shell import Faults, Shell, SystemShell


class Service(NamedTuple):
    """One service. `container` is its container's name without the project's prefix, None for a process of ours.

    `port` and `ready_port` name the settings of the published port and of the one whose `ready` path answers 200,
    `more` those of the other ports that it needs.
    """

    name: str
    kind: str
    ready: str
    port: str
    ready_port: str
    container: str | None = None
    more: tuple[str, ...] = ()


SERVICES: tuple[Service, ...] = (
    Service("clickhouse", "container", "/ping", "clickhouse_port", "clickhouse_port", "clickhouse-otel"),
    Service("collector", "container", "/", "otlp_http_port", "otel_health_port", "otel-collector", ("otlp_grpc_port",)),
    Service("dashboard", "process", "/healthz", "dashboard_ports", "dashboard_ports"),
)
BY_NAME: Mapping[str, Service] = {service.name: service for service in SERVICES}


def chosen(words: str | None, known: Iterable[str] = tuple(BY_NAME)) -> tuple[str, ...]:
    """The services that `--service A,B` names, all of them for None. Raises UsageError for an unknown one."""
    known = tuple(known)
    if words is None:
        return known
    names = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    for name in names or ("",):
        refuse_unknown(name, known, "--service")
    return names


def refuse_unknown(name: str, known: Iterable[str], field: str) -> None:
    """Raise UsageError, with the nearest that there is, unless the service is one of these."""
    known = tuple(known)
    if name in known:
        return
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    there = "services are " + ", ".join(known)
    raise UsageError(
        f"there is no service {name!r}", field=field, hint=f"did you mean {near[0]!r}? {there}" if near else there
    )


def stack_root() -> str:
    """Where docker-compose.yml, playbooks/ and config/ lie: the clone, or the package's own copy once installed."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    clone = os.path.dirname(package)
    return clone if os.path.exists(os.path.join(clone, "tasks.py")) else os.path.join(package, "_stack")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stack:
    """One project of the stack, on this machine, in this environment. `memo` is what was read once, for one run.

    `breakers` and `typed`: as in Host.
    """

    settings: Settings
    shell: Shell
    base_environ: Mapping[str, str]
    root: str = field(default_factory=stack_root)
    clock: Clock = field(default_factory=SystemClock)
    cancel: Cancel = field(default_factory=Cancel)
    memo: dict[Any, Any] = field(default_factory=dict)
    breakers: Breakers = field(default_factory=Breakers)
    typed: bool = True

    @property
    def state(self) -> StateDir:
        return StateDir(self.settings.home, self.settings.project)

    def environ(self) -> dict[str, str]:
        """The environment of every command and of every playbook of the stack: the user's, and ours made explicit."""
        settings, state = self.settings, self.state
        ours: dict[str, str] = {
            "CC_HOME": settings.home,
            "CC_PROJECT": settings.project,
            "CC_OWNER": state.owner,
            "CC_STATE": state.path,
            "CC_CONTAINER_PREFIX": settings.container_prefix,
            "CC_CLICKHOUSE_USER": settings.clickhouse_user,
            "CC_CLICKHOUSE_PORT": str(settings.clickhouse_port),
            "CC_OTLP_GRPC_PORT": str(settings.otlp_grpc_port),
            "CC_OTLP_HTTP_PORT": str(settings.otlp_http_port),
            "CC_OTEL_HEALTH_PORT": str(settings.otel_health_port),
            "CC_DASHBOARD_HOST": settings.dashboard_host,
            "CC_DASHBOARD_PORT": str(settings.dashboard_ports[0]),
            "CC_DASHBOARD_PORTS": "{}-{}".format(*settings.dashboard_ports),
        }
        if settings.clickhouse_image:
            ours["CC_CLICKHOUSE_IMAGE"] = settings.clickhouse_image
        if settings.collector_image:
            ours["CC_COLLECTOR_IMAGE"] = settings.collector_image
        if settings.clickhouse_urls:
            ours["CC_CLICKHOUSE_URL"] = ",".join(settings.clickhouse_urls)
        if settings.claude_config_dir:
            ours["CLAUDE_CONFIG_DIR"] = settings.claude_config_dir
        inherited = {key: value for key, value in self.base_environ.items() if key != "CC_CLICKHOUSE_PASSWORD"}
        return {**inherited, **ours}

    def host(self, base: str | None = None, variables: Mapping[str, str] | None = None, *, wait: bool = True) -> Host:
        """The host that this project's playbooks are bound to."""
        password = self.settings.clickhouse_password
        return Host(
            shell=self.shell,
            base=base or self.root,
            environ=self.environ(),
            project=self.settings.project,
            owner=self.state.owner,
            run_dir=self.state.run,
            log_dir=self.state.logs,
            variables=variables or {},
            secrets=(password,) if password else (),
            wait=wait,
            memo=self.memo,
            breakers=self.breakers,
            typed=self.typed,
        )

    def container_name(self, service: Service) -> str | None:
        return None if service.container is None else self.settings.container_prefix + service.container

    def ports_of(self, service: Service) -> tuple[int, ...]:
        """Every port that it needs, its own first; of a range the first."""
        said = [getattr(self.settings, name) for name in (service.port, service.ready_port, *service.more)]
        return tuple(dict.fromkeys(port[0] if isinstance(port, tuple) else port for port in said))

    def published_ports(self) -> tuple[int, ...]:
        """Those that the containers publish."""
        return tuple(port for service in SERVICES if service.container for port in self.ports_of(service))

    def containers_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Of these services, those that run in containers."""
        return tuple(name for name in names if BY_NAME[name].container is not None)


def stack_for(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    clock: Clock,
    cancel: Cancel,
    breakers: Breakers | None = None,
    typed: bool = True,
) -> Stack:
    """The stack of these settings with the real seam behind it: our mark on what it starts, faults as CC_FAULTS says.

    `breakers`: those that this process has already. `typed` is false for what nobody waits for (LADDERS.md, L12).
    Raises ConfigError for faults that make no sense.
    """
    state = StateDir(settings.home, settings.project)
    shell = SystemShell(
        cancel=cancel, clock=clock, faults=Faults.from_environment(environ), marker=("CC_OWNER", state.owner)
    )
    shared = breakers or Breakers(state.path, clock=clock)
    return Stack(settings, shell, environ, clock=clock, cancel=cancel, breakers=shared, typed=typed)
