"""Networks and volumes at the top level of a compose file, as compose prints them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cc.resources.compose_file.kinds import (
    Kind,
    either,
    mapping,
    named,
    on,
    options,
    pairs,
    sequence,
    shaped,
    text,
)
from cc.resources.compose_file.mount import located
from cc.resources.compose_file.tree import Item

DEFAULT = "default"
POOL: dict[str, Kind] = {
    "subnet": text, "gateway": text, "ip_range": text, "aux_addresses": named(lambda _, item: text(item)),
}  # fmt: skip
IPAM: dict[str, Kind] = {
    "driver": text,
    "config": lambda item: [shaped(each, POOL) for each in sequence(item)] or None,
    "options": lambda item: options(item) and None,  # compose takes them and tells nobody
}


def _external(item: Item) -> bool | str | None:
    """Whether it is, or its name, which is how it was said once."""
    if isinstance(item.value, dict):
        told: str | bool = shaped(item, {"name": text}).get("name", True)
        return told
    return either(item) or None


COMMON: dict[str, Kind] = {
    "name": text, "driver": text, "driver_opts": options, "external": _external, "labels": pairs,
}  # fmt: skip
NETWORK: dict[str, Kind] = {
    **COMMON, "ipam": lambda item: shaped(item, IPAM), "internal": on(either), "attachable": on(either),
    "enable_ipv4": either,
    "enable_ipv6": either,
}  # fmt: skip


def networks(item: Item | None, used: Iterable[str], project: str) -> dict[str, Any]:
    """Those that are used, and the default one where it is. Raises ConfigError; what is not there is left out."""
    found: dict[str, Any] = {}
    told = mapping(item).value if item is not None else {}
    for name in used:
        if name in told:
            found[name] = {"ipam": {}, **_shaped(told[name], NETWORK, name, project)}
        elif name == DEFAULT:
            found[name] = {"name": f"{project}_{DEFAULT}", "ipam": {}}
    return found


def volumes(item: Item | None, used: Iterable[str], project: str, home: str | None) -> dict[str, Any]:
    """Those that are used. Raises ConfigError; what is not there is left out."""
    told = mapping(item).value if item is not None else {}
    return {name: _volume(told[name], name, project, home) for name in used if name in told}


def _volume(item: Item, name: str, project: str, home: str | None) -> dict[str, Any]:
    found = _shaped(item, COMMON, name, project)
    strange = set(found) - {"name", "external"}
    if found.get("external") and strange:
        key = min(strange)
        item.refuse_key(key, f"an external volume has no {key}")
    given = found.get("driver_opts") or {}
    if found.get("driver") == "local" and given.get("o") == "bind" and "device" in given:
        given["device"] = located(item.value["driver_opts"].value["device"], given["device"], home)
    return found


def _shaped(item: Item, kinds: dict[str, Kind], name: str, project: str) -> dict[str, Any]:
    found = shaped(item, kinds) if item.value is not None else {}
    external = found.get("external")
    if isinstance(external, str):
        if found.get("name", external) != external:
            item.refuse_key("external", "name and external.name differ", hint="use name")
        found |= {"external": True, "name": external}
    found.setdefault("name", name if external else f"{project}_{name}")
    return found
