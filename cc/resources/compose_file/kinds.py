"""The kinds of values a compose file has: each reads an Item into what compose prints, or refuses it at its place.

None means that the key is left out, as compose leaves out what is empty.
"""

from __future__ import annotations

import difflib
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cc.resources.compose_file.tree import Item, as_text, join

Kind = Callable[[Item], Any]

TRUE, FALSE = ("true", "y", "yes", "on"), ("false", "n", "no", "off")
EXPOSED = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:/(?:tcp|udp|sctp))?")
WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
INSTALL = "install Docker Compose: https://docs.docker.com/compose/install/"


def only_keys(item: Item, known: Iterable[str], later: Iterable[str] = ()) -> None:
    """Raise ConfigError for a key that compose does not know, and for one that is not done without it (`later`)."""
    names = set(known)
    for key, _ in item.entries():
        if key in later:
            item.refuse_key(key, f"{key} needs docker compose itself", hint=INSTALL)
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(names))}"
            item.refuse_key(key, f"{key} is not allowed here", hint=hint)


def mapping(item: Item) -> Item:
    """The item, which has to be a mapping."""
    if not isinstance(item.value, dict):
        item.refuse(f"must be a mapping, found {item.said()}")
    return item


def sequence(item: Item) -> list[Item]:
    """Its entries; it has to be a list."""
    if not isinstance(item.value, list):
        item.refuse(f"must be a list, found {item.said()}")
    found: list[Item] = item.value
    return found


def shaped(item: Item, kinds: Mapping[str, Kind], later: Iterable[str] = ()) -> dict[str, Any]:
    """A mapping with keys of these kinds and no others; without what is empty."""
    only_keys(mapping(item), kinds, later)
    read = {key: kinds[key](each) for key, each in item.entries()}
    return {key: value for key, value in read.items() if value is not None}


def text(item: Item) -> str | None:
    """Text; numbers and the like need quotes, as compose says too."""
    if not isinstance(item.value, str):
        hint = "put it in quotes" if isinstance(item.value, (bool, int, float)) else None
        item.refuse(f"must be text, found {item.said()}", hint=hint)
    return item.value or None


def needed_text(item: Item) -> str:
    """Text that is not empty."""
    found = text(item)
    if found is None:
        item.refuse("must not be empty")
    return found


def scalar_text(item: Item) -> str:
    """Text, a number, a truth value or nothing, as text."""
    if isinstance(item.value, (dict, list)):
        item.refuse(f"must be text or a number, found {item.said()}")
    return as_text(item.value)


def one_of(*words: str) -> Kind:
    """One of these words."""

    def read(item: Item) -> str:
        if item.value not in words:
            item.refuse(f"must be one of {', '.join(words)}, found {item.said()}")
        found: str = item.value
        return found

    return read


def flag(item: Item) -> bool:
    """true or false, where compose takes no words for it."""
    if not isinstance(item.value, bool):
        item.refuse(f"must be true or false, found {item.said()}")
    return item.value


def either(item: Item) -> bool:
    """true or false, also as a word: a variable brings in a text."""
    if isinstance(item.value, str) and item.value.lower() in (*TRUE, *FALSE):
        return item.value.lower() in TRUE
    return flag(item)


def on(kind: Kind) -> Kind:
    """Of such a flag, only that it is set."""
    return lambda item: kind(item) or None


def whole(item: Item) -> int:
    """A whole number, also as text."""
    value = item.value
    if isinstance(value, str) and WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        item.refuse(f"must be a whole number, found {item.said()}")
    return value


def counted(item: Item) -> int | None:
    """A whole number; 0 says nothing."""
    return whole(item) or None


def number(item: Item) -> float | None:
    """A number of 32 bits; 0 says nothing."""
    value = item.value
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        item.refuse(f"must be a number, found {item.said()}")
    return _short(float(value)) or None


def _short(value: float) -> float:
    """The shortest decimal that is the same in 32 bits: what Go prints of it."""
    narrow = struct.pack("f", value)
    (value,) = struct.unpack("f", narrow)
    return next(short for digits in range(1, 18) if struct.pack("f", short := float(f"{value:.{digits}g}")) == narrow)


def key_of(entry: str) -> str:
    """What makes an entry one of its kind: the part before '='."""
    return entry.partition("=")[0]


def latest(items: Iterable[Item], key: Callable[[Item], str]) -> list[Item]:
    """One for each key: the last, at the place of the first."""
    found: dict[str, Item] = {}
    for item in items:
        found[key(item)] = item
    return list(found.values())


def texts(item: Item) -> list[str] | None:
    """A list of texts, each once."""
    found = [needed_text(each) for each in sequence(item)]
    for i, each in enumerate(found):
        if each in found[:i]:
            item.value[i].refuse(f"{each!r} stands here a second time")
    return found or None


def last_texts(item: Item) -> list[str] | None:
    """A list of texts, of equal ones the last."""
    found = latest(sequence(item), lambda each: key_of(needed_text(each)))
    return [each.value for each in found] or None


def text_or_texts(item: Item) -> list[str] | None:
    """One text or a list of them."""
    return [needed_text(item)] if isinstance(item.value, str) else last_texts(item)


def numbers_or_texts(item: Item) -> list[str] | None:
    """A list of texts and whole numbers."""
    found: list[str] = []
    for each in sequence(item):
        if not isinstance(each.value, (str, int)) or isinstance(each.value, bool):
            each.refuse(f"must be text or a whole number, found {each.said()}")
        said = as_text(each.value)
        if said in found:
            each.refuse(f"{said!r} stands here a second time")
        found.append(said)
    return found or None


def exposed(item: Item) -> list[str] | None:
    """Ports without a host's side: texts and numbers, of equal ones one."""
    for each in sequence(item):
        if not isinstance(each.value, (str, int)) or isinstance(each.value, bool):
            each.refuse(f"must be text or a whole number, found {each.said()}")
        if not EXPOSED.fullmatch(as_text(each.value)):
            each.refuse(f"is no port or range of ports: {each.said()}")
    return list(dict.fromkeys(as_text(each.value) for each in sequence(item))) or None


def maybe_pairs(item: Item) -> dict[str, str | None] | None:
    """KEY: value, or a list of KEY=value; None for a KEY without one."""
    found: dict[str, str | None] = {}
    if isinstance(item.value, list):
        for each in item.value:
            key, sign, value = (text(each) or "").partition("=")
            if not key:
                each.refuse("a name is missing")
            found[key] = value if sign else None
    else:
        for key, each in mapping(item).value.items():
            said = scalar_text(each)
            found[key] = None if each.value is None else said
    return found or None


def pairs(item: Item) -> dict[str, str] | None:
    """The same, with empty text for a KEY without a value."""
    return {key: value or "" for key, value in (maybe_pairs(item) or {}).items()} or None


def options(item: Item) -> dict[str, str] | None:
    """A mapping to texts and numbers."""
    for key, each in mapping(item).value.items():
        if isinstance(each.value, (bool, dict, list)):
            item.refuse_key(key, f"must be text or a number, found {each.said()}")
    return {key: as_text(each.value) for key, each in item.value.items()} or None


def named(kind: Callable[[str, Item], Any]) -> Kind:
    """A mapping of names to one kind, which is told the name."""
    return lambda item: {name: kind(name, each) for name, each in mapping(item).entries()} or None


def absent(item: Item, key: str) -> None:
    """Raise ConfigError at a mapping that lacks a key."""
    item.refuse(f"{join(item.path.rpartition('.')[2], key)} is required")
