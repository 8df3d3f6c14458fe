"""`extends`: a service on top of another one, of the same file or of another.

    text, number    what the service says itself wins
    mapping         key by key
    list            the other's first, then its own; of equal ones the last (that is the kinds' work)
    command, entrypoint, healthcheck.test, a ulimit      its own whole
    environment, labels and what else is said as mapping or list     both as lists, its own last
    logging         its own whole, where the drivers differ

Paths need no care here: each is relative to the file that it stands in, and an Item knows its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cc.resources.compose_file.kinds import only_keys
from cc.resources.compose_file.tree import Item, as_text, made

Services = Mapping[str, Item]
LoadServices = Callable[[Item], Services]
"""The services of the file that an `extends.file` names; raises ConfigError at it."""

SEQUENCES = frozenset(
    {
        "annotations", "deploy.labels", "dns", "dns_opt", "dns_search", "env_file", "environment", "extra_hosts",
        "labels", "sysctls", "tmpfs", "build.args", "build.labels",
    }
)  # fmt: skip
REPLACED = frozenset({"command", "entrypoint", "healthcheck.test"})
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Extending:
    """Services of one file, each on top of what it extends."""

    services: Services
    load: LoadServices

    def service(self, name: str, above: tuple[tuple[str, str], ...] = ()) -> Item:
        """One of them. Raises ConfigError for a circle, and for a file or a service that is not there."""
        own = self.services[name]
        extends = own.value.get("extends") if isinstance(own.value, dict) else None
        if extends is None:
            return own
        here = (own.file, name)
        if here in above or len(above) >= MAX_DEPTH:
            circle = " -> ".join(each for _, each in (*above, here))
            extends.refuse(f"services extend each other in a circle: {circle}")
        ref, file = _named(extends)
        other = self if file is None else Extending(self.load(file), self.load)
        if ref.value not in other.services:
            where = f" in {file.value}" if file is not None else ""
            ref.refuse(f"service {name!r} extends {ref.value!r}, which is not there{where}")
        base = other.service(ref.value, (*above, here))
        rest = made({key: value for key, value in own.value.items() if key != "extends"}, own)
        return rest if base.value is None else merged(base, rest)


def _named(extends: Item) -> tuple[Item, Item | None]:
    if isinstance(extends.value, str):
        return extends, None
    if not isinstance(extends.value, dict):
        extends.refuse(f"must be text or a mapping, found {extends.said()}")
    only_keys(extends, ("service", "file"))
    for each in extends.value.values():
        if not isinstance(each.value, str):
            each.refuse(f"must be text, found {each.said()}")
    if "service" not in extends.value:
        extends.refuse("extends.service is required")
    return extends.value["service"], extends.value.get("file")


def merged(base: Item, own: Item, path: str = "") -> Item:
    """`own` on top of `base`; `path` is within the service. Raises ConfigError where their kinds don't fit."""
    if path in REPLACED or path.startswith("ulimits."):
        return own
    if path in SEQUENCES:
        first = _as_list(base)
        hosts = {each.value for each in first} if path == "extra_hosts" else frozenset()  # of these, equal ones once
        return made([*first, *(each for each in _as_list(own) if each.value not in hosts)], own)
    if path in ("depends_on", "networks", "build"):
        base, own = _as_mapping(base, path), _as_mapping(own, path)
    if own.value is None:
        return base
    if isinstance(base.value, dict):
        if not isinstance(own.value, dict):
            own.refuse(f"cannot go on top of a mapping: {own.said()}")
        return _mappings(base, own, path)
    if isinstance(base.value, list):
        if not isinstance(own.value, list):
            own.refuse(f"cannot go on top of a list: {own.said()}")
        return made([*base.value, *own.value], own)
    return own


def _mappings(base: Item, own: Item, path: str) -> Item:
    if path == "logging" and _differ(base.value.get("driver"), own.value.get("driver")):
        return own
    both: dict[str, Any] = dict(base.value)
    for key, value in own.value.items():
        inner = f"{path}.{key}" if path else key
        both[key] = merged(base.value[key], value, inner) if key in base.value else value
    result = made(both, own)
    result.keys = {**base.keys, **own.keys}
    return result


def _differ(base: Item | None, own: Item | None) -> bool:
    return base is not None and own is not None and base.value != own.value


def _as_list(item: Item) -> list[Item]:
    """A mapping as KEY=value lines, in the order of their words; a single text as one."""
    if isinstance(item.value, list):
        return item.value
    if isinstance(item.value, dict):
        lines: list[Item] = []
        for key, each in item.value.items():
            for one in each.value if isinstance(each.value, list) else [each]:  # a host may have several addresses
                if isinstance(one.value, (dict, list)):
                    one.refuse(f"must be text or a number, found {one.said()}")
                lines.append(made(key if one.value is None else f"{key}={as_text(one.value)}", one))
        return sorted(lines, key=lambda line: str(line.value))
    if not isinstance(item.value, str):
        item.refuse(f"must be a mapping or a list, found {item.said()}")
    return [item]


def _as_mapping(item: Item, path: str) -> Item:
    if path == "build" and isinstance(item.value, str):
        return made({"context": item}, item)
    if path == "build" or not isinstance(item.value, list):
        return item
    names: dict[str, Item] = {}
    for each in item.value:
        if not isinstance(each.value, str):
            each.refuse(f"must be text, found {each.said()}")
        condition = {"condition": made("service_started", each), "required": made(True, each)}
        names[each.value] = made(condition if path == "depends_on" else None, each)
    return made(names, item)
