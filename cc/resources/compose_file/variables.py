"""Variables in a text, as compose puts them in.

    $VAR ${VAR}               its value; nothing where it is not set
    ${VAR:-word} ${VAR-word}  word, where VAR is not set (with `:` also where it is empty)
    ${VAR:+word} ${VAR+word}  word, where VAR is set (with `:` and not empty), else nothing
    ${VAR:?word} ${VAR?word}  an error that says word
    $$                        a dollar sign

cc.engine.variables is a neighbour, not a copy: a playbook refuses what is not set and leaves `$VAR` to the shell.
Also taken from compose: a word is looked at even where it is not needed (an error in it is one), it ends with the line,
and a `{` in it swallows the next character when braces are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cc.errors import ConfigError

Lookup = Callable[[str], str | None]

TOKEN = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[_a-zA-Z][_a-zA-Z0-9]*)"
    r"|\{(?:(?P<braced>[_a-zA-Z][_a-zA-Z0-9]*(?::?[-+?].*)?)\}|(?P<invalid>)))"
)
BRACED = re.compile(r"([_a-zA-Z][_a-zA-Z0-9]*)(:?[-+?])?(.*)")
MAX_DEPTH = 32
MAX_CHARACTERS = 8 * 1024 * 1024  # what one text may grow to: ${A}${A}... of a long A


def substituted(text: str, lookup: Lookup, depth: int = 0) -> str:
    """The text with its variables put in. Raises a ConfigError without a place: the caller knows it."""
    if "$" not in text:
        return text
    if depth > MAX_DEPTH:
        raise ConfigError(f"variables nested more than {MAX_DEPTH} deep")
    parts: list[str] = []
    at = length = 0
    while (found := TOKEN.search(text, at)) is not None:
        part, end = _value(text, found, lookup, depth)
        parts += [text[at : found.start()], part]
        length += len(part)
        if length > MAX_CHARACTERS:
            raise ConfigError(f"variables bring in more than {MAX_CHARACTERS:,} characters")
        at = end
    return "".join([*parts, text[at:]])


def _value(text: str, found: re.Match[str], lookup: Lookup, depth: int) -> tuple[str, int]:
    """What stands for a token, and where the token ends."""
    if found["escaped"]:
        return "$", found.end()
    if found["named"]:
        return lookup(found["named"]) or "", found.end()
    if found["braced"] is None:
        raise ConfigError(f"not a variable: {text[found.start() :][:60]!r}", hint="write $$ for a dollar sign")
    word, end = found["braced"], found.end()
    closing = _closing(found[0])
    if closing is not None:
        word, end = found[0][2:closing], found.start() + closing + 1
    return _braced(word, lookup, depth), end


def _closing(token: str) -> int | None:
    """Where the first brace closes."""
    opened = at = 0
    while at < len(token):
        if token[at] == "}":
            opened -= 1
            if opened == 0:
                return at
        elif token[at] == "{":
            opened += 1
            at += 1
        at += 1
    return None


def _braced(inside: str, lookup: Lookup, depth: int) -> str:
    parts = BRACED.fullmatch(inside)
    if parts is None:
        raise ConfigError(f"not a variable: {inside[:60]!r}", hint="write $$ for a dollar sign")
    name, operator, word = parts.groups()
    value = lookup(name)
    if operator is None:
        return value or ""
    word = substituted(word, lookup, depth + 1)
    there = value is not None and (value != "" or operator[0] != ":")
    sign = operator[-1]
    if sign == "+":
        return word if there else value or ""
    if there:
        return value or ""
    if sign == "?":
        raise ConfigError(
            f"required variable {name} is missing a value" + (f": {word}" if word else ""), hint=f"export {name}=..."
        )
    return word
