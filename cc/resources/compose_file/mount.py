"""Mounts of a service, short and long form, as compose's long form.

    /inside   name:/inside   ./beside:/inside:ro,z   ~/home:/inside   {type: tmpfs, target: /t, tmpfs: {size: 10m}}

A path is relative to the directory of the file that it stands in.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import Any

from cc.resources.compose_file.kinds import (
    INSTALL,
    Kind,
    counted,
    either,
    needed_text,
    on,
    one_of,
    sequence,
    shaped,
    text,
)
from cc.resources.compose_file.quantity import size
from cc.resources.compose_file.tree import Item

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
DRIVE = re.compile(r"(?:^|:)[A-Za-z]:")
TYPES = ("bind", "volume", "tmpfs")


def located(item: Item, said: str, home: str | None) -> str:
    """A path as an absolute one. Raises ConfigError for ~ without a home."""
    if said.startswith("~"):
        if not home:
            item.refuse("there is no HOME to put in for '~'")
        said = os.path.normpath(home + "/" + said[1:])
    if os.path.isabs(said):
        return said
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(item.file)), said))


def mounts(item: Item, home: str | None) -> list[dict[str, Any]] | None:
    """All of them; of those with one target the last. Raises ConfigError."""
    found: dict[str, dict[str, Any]] = {}
    for each in sequence(item):
        mount = _long(each, home) if isinstance(each.value, dict) else _short(each, home)
        found[mount["target"]] = mount
    return list(found.values()) or None


def _type(item: Item) -> str:
    if item.value not in TYPES:
        item.refuse(f"must be one of {', '.join(TYPES)} without docker compose, found {item.said()}", hint=INSTALL)
    kind: str = item.value
    return kind


BIND: dict[str, Kind] = {"propagation": text, "create_host_path": on(either), "selinux": one_of("z", "Z")}
VOLUME: dict[str, Kind] = {"nocopy": on(either)}
TMPFS: dict[str, Kind] = {"size": size, "mode": counted}
LONG: dict[str, Kind] = {
    "type": _type, "source": text, "target": needed_text, "read_only": on(either), "consistency": text,
    "bind": lambda item: shaped(item, BIND, later=("recursive",)),
    "volume": lambda item: shaped(item, VOLUME, later=("subpath",)),
    "tmpfs": lambda item: shaped(item, TMPFS),
}  # fmt: skip


def _long(item: Item, home: str | None) -> dict[str, Any]:
    mount = shaped(item, LONG, later=("image",))
    for key in ("type", "target"):
        if key not in mount:
            item.refuse(f"a mount needs a {key}")
    if mount["type"] == "bind":
        if "source" not in mount:
            item.refuse("a mount of type bind needs a source")
        mount["source"] = located(item.value["source"], mount["source"], home)
    mount["target"] = _clean(mount["target"])
    return mount


def _short(item: Item, home: str | None) -> dict[str, Any]:
    said = needed_text(item)
    if len(said) <= 2:
        return {"type": "volume", "target": _clean(said)}
    parts = said.split(":")
    if DRIVE.search(said):
        item.refuse(f"{said!r} has what compose takes for a Windows drive", hint="use the long form, type: volume")
    if not all(parts):
        item.refuse(f"a part between the colons of {said!r} is empty")
    if len(parts) > 3:
        item.refuse(f"{said!r} has too many colons", hint="[source:]target[:options]")
    if len(parts) == 1:
        return {"type": "volume", "target": _clean(said), "volume": {}}
    mount: dict[str, Any] = {"type": "volume", "source": parts[0], "target": _clean(parts[1])}
    for option in parts[2].split(",") if len(parts) > 2 else ():
        _apply(mount, option)
    if parts[0][0] in "./~" or parts[0].startswith("\\\\"):
        mount["type"] = "bind"
        mount["source"] = located(item, parts[0], home)
        mount.setdefault("bind", {})["create_host_path"] = True
    else:
        mount.setdefault("volume", {})
    return mount


def _apply(mount: dict[str, Any], option: str) -> None:
    """One option of the short form. Others are passed over, as compose does (cached, delegated)."""
    if option == "ro":
        mount["read_only"] = True
    elif option == "rw":
        mount.pop("read_only", None)
    elif option == "nocopy":
        mount["volume"] = {"nocopy": True}
    elif option in PROPAGATIONS:
        mount.setdefault("bind", {})["propagation"] = option
    elif option in ("z", "Z"):
        mount.setdefault("bind", {})["selinux"] = option


def _clean(target: str) -> str:
    cleaned = posixpath.normpath(target)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned
