"""The values of a compose file with their places, as compose's own YAML reader types them, variables put in.

cc.document reads YAML 1.2. Compose reads a little more as a number: 010 is 8, 1_000 is 1000, 0b11 is 3; and an unquoted
date becomes something that nobody meant, so that one is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NoReturn

from cc.document import Node
from cc.errors import ConfigError

Substitute = Callable[[str], str]

INTEGER = re.compile(r"([-+]?)(?:(0[xX][0-9a-fA-F]+)|(0[bB][01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?")
DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?")
NUMERIC = frozenset("0123456789+-.")
DIGITS_MAX = 18  # beyond 64 bits compose has other types


class Item(Node):
    """A value, and where it stands: `file`, line and column, and `path`, as in "services.web.ports.0"."""

    __slots__ = ("file", "path")

    def __init__(self, value: Any, at: Node, file: str, path: str) -> None:
        super().__init__(value, at.text, at.line, at.column, quoted=at.quoted)
        self.file = file
        self.path = path
        self.keys = at.keys

    def refuse(self, message: str, *, hint: str | None = None) -> NoReturn:
        """Raise ConfigError at this value."""
        raise ConfigError(
            message, file=self.file, line=self.line, column=self.column, field=self.path or None, hint=hint
        )

    def refuse_key(self, key: str, message: str, *, hint: str | None = None) -> NoReturn:
        """Raise ConfigError at one of a mapping's keys."""
        at = self.keys.get(key, self)
        raise ConfigError(
            message, file=self.file, line=at.line, column=at.column, field=join(self.path, key), hint=hint
        )

    def entries(self) -> Iterator[tuple[str, Item]]:
        """Of a mapping, without x- extensions."""
        yield from ((key, item) for key, item in self.value.items() if not key.startswith("x-"))

    def said(self) -> str:
        """What it is, for a message; with a variable in it, what it came to."""
        return repr(self.value[:60]) if isinstance(self.value, str) else self.described()


def join(path: str, key: str) -> str:
    """A path one step deeper."""
    return f"{path}.{key}" if path else key


def made(value: Any, like: Item) -> Item:
    """An item that stands where another one does, for what was written in another form."""
    return Item(value, like, like.file, like.path)


def grown(node: Node, file: str, substitute: Substitute, path: str = "") -> Item:
    """The tree of a document. Raises ConfigError for a key that is no text, and for what `substitute` refuses."""
    value = node.value
    if isinstance(value, dict):
        for key in value:
            _require_text(node.keys[key], file, join(path, key))
        inside = {key: grown(each, file, substitute, join(path, key)) for key, each in value.items()}
        return Item(inside, node, file, path)
    if isinstance(value, list):
        within = [grown(each, file, substitute, join(path, str(i))) for i, each in enumerate(value)]
        return Item(within, node, file, path)
    item = Item(_typed(node, file, path), node, file, path)
    if isinstance(item.value, str):
        try:
            item.value = substitute(item.value)
        except ConfigError as error:
            item.refuse(error.message, hint=error.hint)
    return item


def _require_text(key: Node, file: str, path: str) -> None:
    if not isinstance(_typed(key, file, path), str):
        Item(None, key, file, path).refuse("a key must be text", hint="put it in quotes")


def _typed(node: Node, file: str, path: str) -> Any:
    text = node.text
    if isinstance(node.value, float) and not math.isfinite(node.value):
        Item(None, node, file, path).refuse("YAML reads this as a number that is none", hint="put it in quotes")
    if node.quoted or not isinstance(node.value, str) or text[:1] not in NUMERIC:
        return node.value
    if DATE.fullmatch(text):
        Item(None, node, file, path).refuse("YAML reads this as a date", hint="put it in quotes")
    digits = text.replace("_", "")
    found = INTEGER.fullmatch(digits)
    if found and len(digits) <= DIGITS_MAX:
        sign, hexadecimal, binary, octal, decimal = found.groups()
        number = int(hexadecimal or binary or decimal, 0) if octal is None else int(octal, 8)
        return -number if sign == "-" else number
    return float(digits) if FLOAT.fullmatch(digits) else text


def as_text(value: Any) -> str:
    """A scalar as Go prints it: true, 8, 1.1, 1e+06; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _float_text(value) if isinstance(value, float) else str(value)


def _float_text(value: float) -> str:
    sign, digits, _ = Decimal(repr(value)).as_tuple()
    written = "".join(map(str, digits)).strip("0") or "0"
    exponent = Decimal(repr(value)).adjusted() if value else 0
    if -4 <= exponent < 6:  # where Go's %v changes to an exponent
        plain = format(Decimal(repr(value)), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa = written[0] + ("." + written[1:] if written[1:] else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
