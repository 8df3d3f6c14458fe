"""Published ports, short and long form, as compose's long form.

"80"  81  "8000-8002:9000-9002"  "8000-8010:80"  "127.0.0.1:53:53/udp"  "127.0.0.1::80"  "[::1]:80:80"
{target: 80, published: "8080", host_ip: 127.0.0.1, protocol: udp, mode: host, name: web, app_protocol: http}
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from cc.resources.compose_file.kinds import needed_text, sequence, shaped, text, whole
from cc.resources.compose_file.tree import Item

PROTOCOLS = ("tcp", "udp", "sctp")
RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
SHORT = re.compile(r"(?:(?:(\[[^\]]*\]|[^:\[\]]*):)?([^:]*):)?([^:/]*)(?:/([^:/]*))?")
HIGHEST = 65535


def ports(item: Item) -> list[dict[str, Any]] | None:
    """All of them, each once. Raises ConfigError."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for each in sequence(item):
        for port in _long(each) if isinstance(each.value, dict) else _short(each):
            found[tuple(port.get(key) for key in ("host_ip", "published", "target", "protocol"))] = port
    return list(found.values()) or None


def _published(item: Item) -> str | None:
    if isinstance(item.value, int) and not isinstance(item.value, bool):
        return str(item.value)
    said = text(item)
    if said is not None:
        _range(item, said)
    return said


def _protocol(item: Item) -> str:
    said = needed_text(item).lower()
    if said not in PROTOCOLS:
        item.refuse(f"must be one of {', '.join(PROTOCOLS)}, found {item.said()}")
    return said


def _target(item: Item) -> int:
    port = whole(item)
    if not 0 < port <= HIGHEST:
        item.refuse(f"is no port: {item.said()}")
    return port


def _host(item: Item) -> str | None:
    said = text(item)
    if said:
        _address(item, said)
    return said


LONG = {
    "name": text, "mode": text, "host_ip": _host, "target": _target, "published": _published, "protocol": _protocol,
    "app_protocol": text,
}  # fmt: skip


def _long(item: Item) -> list[dict[str, Any]]:
    port = shaped(item, LONG)
    if "target" not in port:
        item.refuse("a port needs a target")
    return [{"mode": "ingress", "protocol": "tcp", **port}]


def _short(item: Item) -> list[dict[str, Any]]:
    if isinstance(item.value, bool) or not isinstance(item.value, (int, str)):
        item.refuse(f"must be a port, found {item.said()}")
    said = str(item.value)
    parts = SHORT.fullmatch(said)
    if parts is None:
        item.refuse(f"is no port: {item.said()}", hint="[address:][outside:]inside[/protocol]; IPv6 in [ ]")
    host, outside, inside, protocol = parts.groups()
    host = (host or "").removeprefix("[").removesuffix("]")
    if host:
        _address(item, host)
    protocol = (protocol if protocol is not None else "tcp").lower() or "tcp"
    if protocol not in PROTOCOLS:
        item.refuse(f"must end in one of {', '.join(PROTOCOLS)}, found {item.said()}")
    first, last = _range(item, inside)
    if first == 0:
        item.refuse("is no port: 0")
    begin, end = _range(item, outside) if outside else (0, 0)
    if outside and last != first and last - first != end - begin:
        item.refuse(f"the ranges {outside} and {inside} differ in length")
    found = []
    for target in range(first, last + 1):
        port: dict[str, Any] = {"mode": "ingress", "protocol": protocol, "target": target}
        if host:
            port["host_ip"] = host
        if outside:
            several = first == last and begin != end
            port["published"] = f"{begin}-{end}" if several else str(begin + target - first)
        found.append(port)
    return sorted(found, key=lambda port: str(port["target"]) + "/")  # compose sorts them as words


def _range(item: Item, said: str) -> tuple[int, int]:
    found = RANGE.fullmatch(said)
    if found is None:
        item.refuse(f"is no port or range of ports: {said!r}")
    first, last = int(found[1]), int(found[2] or found[1])
    if last > HIGHEST or last < first:
        item.refuse(f"is no port or range of ports: {said!r}")
    return first, last


def _address(item: Item, said: str) -> None:
    try:
        ipaddress.ip_address(said)
    except ValueError:
        item.refuse(f"is no IP address: {said!r}")
    if "%" in said:
        item.refuse(f"is no IP address without its zone: {said!r}")
