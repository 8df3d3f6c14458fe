"""What compose says of a service, in words of `docker run`. Pure.

The service comes as `docker compose config --format json` gives it. What has no word here is refused by name
(`refuse_unknown`), so that nothing is left out in silence.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from cc.errors import Failure
from cc.resources.go_duration import seconds

Service = Mapping[str, Any]

SINGLE = {
    "cgroup": "--cgroupns", "cgroup_parent": "--cgroup-parent", "cpu_shares": "--cpu-shares", "cpus": "--cpus",
    "cpuset": "--cpuset-cpus", "domainname": "--domainname", "hostname": "--hostname", "ipc": "--ipc",
    "mac_address": "--mac-address", "mem_limit": "--memory", "mem_reservation": "--memory-reservation",
    "mem_swappiness": "--memory-swappiness", "memswap_limit": "--memory-swap", "oom_score_adj": "--oom-score-adj",
    "pid": "--pid", "pids_limit": "--pids-limit", "platform": "--platform", "restart": "--restart",
    "runtime": "--runtime", "shm_size": "--shm-size", "stop_signal": "--stop-signal", "user": "--user",
    "userns_mode": "--userns", "uts": "--uts", "working_dir": "--workdir",
}  # fmt: skip
SWITCHES = {
    "init": "--init", "oom_kill_disable": "--oom-kill-disable", "privileged": "--privileged",
    "read_only": "--read-only", "stdin_open": "--interactive", "tty": "--tty",
}  # fmt: skip
SEVERAL = {
    "cap_add": "--cap-add", "cap_drop": "--cap-drop", "device_cgroup_rules": "--device-cgroup-rule", "dns": "--dns",
    "dns_opt": "--dns-option", "dns_search": "--dns-search", "expose": "--expose", "group_add": "--group-add",
    "security_opt": "--security-opt", "tmpfs": "--tmpfs",
}  # fmt: skip
PAIRS = {"annotations": "--annotation", "labels": "--label", "storage_opt": "--storage-opt", "sysctls": "--sysctl"}
ELSEWHERE = frozenset(
    {
        "command", "deploy", "devices", "entrypoint", "environment", "extra_hosts", "healthcheck", "image", "logging",
        "network_mode", "networks", "ports", "stop_grace_period", "ulimits", "volumes",
    }
)  # fmt: skip
"""Said below, each in its own way."""
NOT_OF_THE_CONTAINER = frozenset(
    {"attach", "build", "container_name", "depends_on", "develop", "env_file", "profiles", "pull_policy", "scale"}
)


def refuse_unknown(name: str, service: Service) -> None:
    """Raise Failure bad_config, naming the key, for what `docker run` cannot do or is not known here."""
    known = {*SINGLE, *SWITCHES, *SEVERAL, *PAIRS, *ELSEWHERE, *NOT_OF_THE_CONTAINER}
    for key, value in service.items():
        if key not in known and not key.startswith("x-") and value not in (None, [], {}, ""):
            raise _refused(name, key)
    if not service.get("image"):
        raise _refused(name, "build", "it has no image, and only compose builds one")
    if service.get("scale") not in (None, 1):
        raise _refused(name, "scale")
    for key in _deploy(service, name) or ():
        raise _refused(name, f"deploy.{key}")
    for mount in service.get("volumes") or ():
        bind = mount.get("bind") or {}
        if mount.get("type") not in ("bind", "volume", "tmpfs"):
            raise _refused(name, f"volumes.{mount.get('type')}")
        if bind.get("selinux") and not bind.get("create_host_path"):
            raise _refused(name, "volumes.bind.selinux")
    for key, attached in (service.get("networks") or {}).items():
        for strange in ("link_local_ips", "mac_address"):
            if (attached or {}).get(strange):
                raise _refused(name, f"networks.{key}.{strange}")


def _refused(name: str, key: str, why: str = "docker run is not told of it") -> Failure:
    return Failure(
        f"service {name} cannot be run without compose: {key}: {why}", code="bad_config",
        hint="install Docker Compose: https://docs.docker.com/compose/install/",
    )  # fmt: skip


def _deploy(service: Service, name: str) -> list[str]:
    """What `deploy` asks for besides limits of one container."""
    deploy = dict(service.get("deploy") or {})
    limits = dict((deploy.pop("resources", None) or {}).get("limits") or {})
    strange = [f"resources.limits.{key}" for key in limits if key not in ("cpus", "memory", "pids")]
    if deploy.pop("replicas", 1) != 1:
        strange.append("replicas")
    return strange + [key for key, value in deploy.items() if value and key not in ("placement", "labels", "mode")]


def words(
    service: Service, *, environment: Mapping[str, str], labels: Mapping[str, str], by_name: frozenset[str]
) -> list[str]:
    """The flags, the image and the command, without name and networks.

    `environment` is the container's; of those in `by_name` only the name is said, as docker then takes the value from
    its own environment: a secret must not stand in `ps`.
    """
    said = [f"{flag}={service[key]}" for key, flag in SINGLE.items() if service.get(key) not in (None, "")]
    said += [flag for key, flag in SWITCHES.items() if service.get(key)]
    for key, flag in SEVERAL.items():
        said += [f"{flag}={each}" for each in service.get(key) or ()]
    for key, flag in PAIRS.items():
        pairs = {**(service.get(key) or {}), **(labels if key == "labels" else {})}
        said += [f"{flag}={name}={value}" for name, value in pairs.items()]
    for name, value in environment.items():
        said += ["-e", name if name in by_name else f"{name}={value}"]
    for each in (_limits, _ports, _mounts, _health, _rest):
        said += each(service)
    entry = list(service.get("entrypoint") or ())
    if entry:
        said += ["--entrypoint", entry[0]]
    return [*said, service["image"], *entry[1:], *(service.get("command") or ())]


def _limits(service: Service) -> Iterator[str]:
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    for key, of_service in (("cpus", "cpus"), ("memory", "mem_limit"), ("pids", "pids_limit")):
        if key in limits and service.get(of_service) in (None, ""):
            yield f"{SINGLE[of_service]}={limits[key]}"
    for name, value in (service.get("ulimits") or {}).items():
        both = value if isinstance(value, dict) else {"soft": value, "hard": value}
        yield f"--ulimit={name}={both['soft']}:{both['hard']}"


def _ports(service: Service) -> Iterator[str]:
    for port in service.get("ports") or ():
        address = port.get("host_ip") or ""
        address = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
        outside = f"{address}{port.get('published') or ''}:" if address or port.get("published") else ""
        yield f"--publish={outside}{port['target']}/{port.get('protocol') or 'tcp'}"


def _mounts(service: Service) -> Iterator[str]:
    """As compose does it: a bind that is made if need be is Docker's short form, all else is a mount."""
    for mount in service.get("volumes") or ():
        kind, source, target = mount["type"], mount.get("source"), mount["target"]
        bind = mount.get("bind") or {}
        if kind == "bind" and bind.get("create_host_path"):
            options = ["ro"] if mount.get("read_only") else []
            options += [bind[key] for key in ("selinux", "propagation") if bind.get(key)]
            yield f"--volume={source}:{target}" + (":" + ",".join(options) if options else "")
            continue
        fields = [f"type={kind}", *([f"source={source}"] if source else []), f"target={target}"]
        fields += ["readonly"] if mount.get("read_only") else []
        fields += ["volume-nocopy"] if (mount.get("volume") or {}).get("nocopy") else []
        fields += [f"bind-propagation={bind['propagation']}"] if bind.get("propagation") else []
        tmpfs = mount.get("tmpfs") or {}
        fields += [f"tmpfs-{key}={tmpfs[key]}" for key in ("size", "mode") if tmpfs.get(key)]
        yield "--mount=" + ",".join(f'"{field}"' if '"' in field or "," in field else field for field in fields)


def _health(service: Service) -> Iterator[str]:
    check = service.get("healthcheck") or {}
    test = check.get("test") or []
    if check.get("disable") or test[:1] == ["NONE"]:
        yield "--no-healthcheck"
        return
    if test:  # docker run has one form of it only: a line for the container's shell
        yield f"--health-cmd={test[1] if test[0] == 'CMD-SHELL' else shlex.join(test[1:])}"
    for key in ("interval", "timeout", "start_period", "start_interval"):
        if check.get(key):
            yield f"--health-{key.replace('_', '-')}={check[key]}"
    if check.get("retries"):
        yield f"--health-retries={check['retries']}"


def _rest(service: Service) -> Iterator[str]:
    logging = service.get("logging") or {}
    if logging.get("driver"):
        yield f"--log-driver={logging['driver']}"
    yield from (f"--log-opt={key}={value}" for key, value in (logging.get("options") or {}).items())
    for device in service.get("devices") or ():
        yield f"--device={device['source']}:{device['target']}:{device.get('permissions') or 'rwm'}"
    for entry in service.get("extra_hosts") or ():
        name, _, address = entry.replace("=", ":", 1).partition(":")
        yield f"--add-host={name}:{address}"
    if service.get("stop_grace_period"):
        yield f"--stop-timeout={round(seconds(service['stop_grace_period']))}"


def network_words(name: str, attachment: Mapping[str, Any] | None, aliases: tuple[str, ...]) -> list[str]:
    """How a container is attached to a network: as flags of `docker network connect`, the name last."""
    attachment = attachment or {}
    said = [word for alias in (*aliases, *(attachment.get("aliases") or ())) for word in ("--alias", alias)]
    for key, flag in (("ipv4_address", "--ip"), ("ipv6_address", "--ip6")):
        if attachment.get(key):
            said += [flag, attachment[key]]
    for key, value in (attachment.get("driver_opts") or {}).items():
        said += ["--driver-opt", f"{key}={value}"]
    return [*said, name]
