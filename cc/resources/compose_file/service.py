"""Each key of a service, and what its value becomes. A key that is in neither table is refused by name.

`read` needs nothing but the service and its surroundings (Around); what fits together between services is model.py's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cc.resources.compose_file import env_file
from cc.resources.compose_file.command import command
from cc.resources.compose_file.kinds import (
    INSTALL,
    Kind,
    absent,
    counted,
    either,
    exposed,
    flag,
    last_texts,
    latest,
    mapping,
    maybe_pairs,
    named,
    needed_text,
    number,
    numbers_or_texts,
    on,
    one_of,
    only_keys,
    options,
    pairs,
    sequence,
    shaped,
    text,
    text_or_texts,
    texts,
    whole,
)
from cc.resources.compose_file.mount import located, mounts
from cc.resources.compose_file.port import ports
from cc.resources.compose_file.quantity import duration, size, text_size
from cc.resources.compose_file.tree import Item, as_text

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
STARTED = CONDITIONS[0]
NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")
TESTS = ("CMD", "CMD-SHELL", "NONE")
ONLY_COMPOSE = (
    "blkio_config", "configs", "credential_spec", "develop", "external_links", "gpus", "isolation", "label_file",
    "links", "models", "post_start", "pre_stop", "provider", "secrets", "use_api_socket", "volumes_from",
)  # fmt: skip
BUILD_ONLY_COMPOSE = (
    "secrets",
    "ssh",
    "ulimits",
    "additional_contexts",
    "extra_hosts",
    "entitlements",
    "provenance",
    "sbom",
)


@dataclass(frozen=True, slots=True)
class Around:
    """What a service is read in: the environment with `.env` in it."""

    environ: Mapping[str, str]

    @property
    def home(self) -> str | None:
        return self.environ.get("HOME")


def _one(item: Item) -> int:
    count = whole(item)
    if count != 1:
        item.refuse("more than one container of a service, or none, needs docker compose itself", hint=INSTALL)
    return count


def _test(item: Item) -> list[str] | None:
    if isinstance(item.value, str):
        return ["CMD-SHELL", item.value]
    words = [text(each) or "" for each in sequence(item)]
    if words and words[0] not in TESTS:
        item.refuse(f"must begin with one of {', '.join(TESTS)}, found {words[0]!r}")
    return words or None


def _ulimit(_: str, item: Item) -> int | dict[str, int]:
    if not isinstance(item.value, dict):
        return whole(item)
    both = shaped(item, {"soft": whole, "hard": whole})
    for key in ("soft", "hard"):
        if key not in both:
            absent(item, key)
    return both


def _dependency(_: str, item: Item) -> dict[str, Any]:
    told = shaped(item, {"condition": one_of(*CONDITIONS), "restart": on(either), "required": flag})
    if "condition" not in told:
        absent(item, "condition")
    return {"required": True, **told}


def _depends_on(item: Item) -> dict[str, Any] | None:
    if isinstance(item.value, list):
        return {name: {"condition": STARTED, "required": True} for name in texts(item) or ()} or None
    found: dict[str, Any] | None = named(_dependency)(item)
    return found


ATTACHMENT: dict[str, Kind] = {
    "aliases": last_texts, "driver_opts": options, "ipv4_address": text, "ipv6_address": text,
    "link_local_ips": last_texts, "mac_address": text, "priority": counted,
}  # fmt: skip


def _attachments(item: Item) -> dict[str, Any] | None:
    if isinstance(item.value, list):
        return dict.fromkeys(texts(item) or ()) or None
    return {name: None if each.value is None else shaped(each, ATTACHMENT) for name, each in mapping(item).entries()}


def _hosts(item: Item) -> list[str] | None:
    told: list[tuple[Item, str, str]] = []
    if isinstance(item.value, list):
        for line in texts(item) or ():
            sign = "=" if "=" in line else ":"
            host, found, address = line.partition(sign)
            if not found:
                item.refuse(f"{line!r} has no address", hint="HOST=ADDRESS")
            told.append((item, host, address))
    else:
        for host, each in mapping(item).value.items():
            several = each.value if isinstance(each.value, list) else [each]
            told += [(one, host, as_text(one.value)) for one in several]
    for at, host, _ in told:
        if not host or set(host) & set(":="):
            at.refuse(f"{host!r} is no name of a host")
    bare = [
        (host, address[1:-1] if len(address) > 2 and address[0] + address[-1] == "[]" else address)
        for _, host, address in told
    ]
    return sorted(f"{host}={address}" for host, address in bare) or None


def _devices(item: Item) -> list[dict[str, str]] | None:
    found: dict[str, dict[str, str]] = {}
    for each in sequence(item):
        if isinstance(each.value, dict):
            device = shaped(each, {"source": text, "target": text, "permissions": text})
            for key in ("source", "target"):
                if key not in device:
                    absent(each, key)
        else:
            parts = needed_text(each).split(":")
            if len(parts) > 3:
                each.refuse(f"has too many colons: {each.said()}", hint="source[:target[:permissions]]")
            source, target = parts[0], parts[1] if len(parts) > 1 else parts[0]
            device = {"source": source, "target": target, "permissions": parts[2] if len(parts) > 2 else "rwm"}
        found[device["target"]] = device
    return list(found.values()) or None


LIMITS: dict[str, Kind] = {"cpus": number, "memory": text_size, "pids": counted}
RESOURCES: dict[str, Kind] = {"limits": lambda item: shaped(item, LIMITS)}
DEPLOY: dict[str, Kind] = {
    "replicas": _one, "labels": pairs, "mode": one_of("replicated"),
    "resources": lambda item: shaped(item, RESOURCES, later=("reservations",)),
}  # fmt: skip
DEPLOY_ONLY_COMPOSE = ("endpoint_mode", "placement", "restart_policy", "rollback_config", "update_config")


def _deploy(item: Item) -> dict[str, Any] | None:
    if item.value is None:
        return None
    return {"resources": {}, "placement": {}, **shaped(item, DEPLOY, later=DEPLOY_ONLY_COMPOSE)}


HEALTH: dict[str, Kind] = {
    "test": _test, "interval": duration, "timeout": duration, "start_period": duration, "start_interval": duration,
    "retries": whole, "disable": on(either),
}  # fmt: skip
LOGGING: dict[str, Kind] = {"driver": text, "options": options}


def _policy(item: Item) -> str:
    word: str = one_of("always", "never", "if_not_present", "build", "missing")(item)
    return "missing" if word == "if_not_present" else word


KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("cgroup_parent", "container_name", "cpuset", "domainname", "hostname", "image", "ipc", "mac_address",
         "network_mode", "platform", "restart", "runtime", "stop_signal", "user", "userns_mode", "uts", "working_dir"),
        text,
    ),
    **dict.fromkeys(("mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "shm_size"), size),
    **dict.fromkeys(
        ("cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "oom_score_adj",
         "pids_limit"),
        counted,
    ),
    **dict.fromkeys(("oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"), on(either)),
    **dict.fromkeys(("annotations", "labels", "sysctls"), pairs),
    **dict.fromkeys(("cap_add", "cap_drop", "dns_opt", "profiles"), last_texts),
    **dict.fromkeys(("dns", "dns_search", "tmpfs"), text_or_texts),
    **dict.fromkeys(("device_cgroup_rules", "security_opt"), texts),
    "attach": either, "cgroup": one_of("host", "private"), "cpu_percent": number, "cpus": number, "deploy": _deploy,
    "depends_on": _depends_on, "devices": _devices, "expose": exposed, "extra_hosts": _hosts,
    "group_add": numbers_or_texts,
    "healthcheck": lambda item: shaped(item, HEALTH), "init": either, "logging": lambda item: shaped(item, LOGGING),
    "networks": _attachments, "pid": lambda item: None if item.value is None else text(item), "ports": ports,
    "pull_policy": _policy, "scale": _one, "stop_grace_period": duration, "storage_opt": options,
    "ulimits": named(_ulimit),
}  # fmt: skip
OWN_WAY = ("build", "command", "entrypoint", "env_file", "environment", "volumes")


def read(item: Item, around: Around) -> dict[str, Any]:
    """A service as compose prints it. Raises ConfigError at the first key that can't be read."""
    only_keys(mapping(item), (*KINDS, *OWN_WAY), later=ONLY_COMPOSE)
    found: dict[str, Any] = {"command": None, "entrypoint": None}
    for key, each in item.entries():
        if key in ("command", "entrypoint"):
            found[key] = command(each)
        elif key in KINDS:
            found[key] = KINDS[key](each)
    if "volumes" in item.value:
        found["volumes"] = mounts(item.value["volumes"], around.home)
    if "build" in item.value:
        found["build"] = _build(item.value["build"], around)
    found["environment"] = _environment(item, around)
    if "network_mode" not in item.value:
        found["networks"] = found.get("networks") or {"default": None}
    _depend_on_namespaces(found)
    return {key: value for key, value in found.items() if value is not None or key in ("command", "entrypoint")}


def _depend_on_namespaces(found: dict[str, Any]) -> None:
    """Who lives in another service's namespace starts after it, and again with it."""
    for key in NAMESPACES:
        kind, _, name = (found.get(key) or "").partition(":")
        if kind == "service" and name:
            others = found["depends_on"] = dict(found.get("depends_on") or {})
            others.setdefault(name, {"condition": STARTED, "restart": True, "required": True})


def _build(item: Item, around: Around) -> dict[str, Any]:
    """Kept for whoever reads the model: without compose nothing is built."""
    if isinstance(item.value, str):
        return {"context": _context(item, around), "dockerfile": "Dockerfile"}
    only_keys(mapping(item), item.value, later=BUILD_ONLY_COMPOSE)
    told: dict[str, Any] = {key: each.plain() for key, each in item.entries() if key not in ("args", "labels")}
    context = item.value.get("context")
    told["context"] = os.path.dirname(os.path.abspath(item.file)) if context is None else _context(context, around)
    if "dockerfile_inline" not in told:
        told.setdefault("dockerfile", "Dockerfile")
    if args := maybe_pairs(item.value["args"]) if "args" in item.value else None:
        known = {key: around.environ.get(key) if value is None else value for key, value in args.items()}
        told["args"] = {key: value for key, value in known.items() if value is not None}
    if labels := pairs(item.value["labels"]) if "labels" in item.value else None:
        told["labels"] = labels
    return told


def _context(item: Item, around: Around) -> str:
    said = text(item) or "."
    return said if "://" in said or said.startswith(("git@", "github.com/")) else located(item, said, around.home)


def _environment(item: Item, around: Around) -> dict[str, str | None] | None:
    """Files first, then what the service says; a KEY without a value from the environment, None where it has none."""
    found: dict[str, str | None] = {}
    if "env_file" in item.value:
        for path, each, required in _env_files(item.value["env_file"], around):
            found |= _env_file(path, each, required, {**around.environ, **found})
    if "environment" in item.value:
        told = maybe_pairs(item.value["environment"]) or {}
        found |= {key: around.environ.get(key) if value is None else value for key, value in told.items()}
    return found or None


def _env_files(item: Item, around: Around) -> list[tuple[str, Item, bool]]:
    entries = [item] if isinstance(item.value, str) else sequence(item)
    found: list[tuple[str, Item, bool]] = []
    for each in latest(entries, _env_path):
        at, required = each, True
        if isinstance(each.value, dict):
            at, required = (
                each.value["path"],
                shaped(each, {"path": text, "required": either}, later=("format",)).get("required", True),
            )
        found.append((located(at, needed_text(at), around.home), at, required))
    return found


def _env_path(item: Item) -> str:
    if isinstance(item.value, dict):
        if "path" not in item.value:
            absent(item, "path")
        return needed_text(item.value["path"])
    return needed_text(item)


def _env_file(path: str, at: Item, required: bool, environ: Mapping[str, str | None]) -> dict[str, str]:
    try:
        return env_file.load(path, environ.get)
    except FileNotFoundError:
        if required:
            at.refuse(f"the file {path} does not exist", hint="create it, or say required: false")
        return {}
    except OSError as error:
        at.refuse(f"cannot read {path}: {error.strerror}")
