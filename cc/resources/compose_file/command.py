"""A command line as words, the way compose splits one: quotes and backslashes, and an end at ; & | < >."""

from __future__ import annotations

import re

from cc.resources.compose_file.kinds import sequence, text
from cc.resources.compose_file.tree import Item

PIECE = re.compile(
    r"(?P<blank>[ \t\r\n]+)|\\(?P<escaped>.)|'(?P<single>[^']*)'|\"(?P<double>(?:\\.|[^\"\\])*)\""
    r"|(?P<end>[;&|<>])|(?P<shell>[`()])|(?P<plain>[^ \t\r\n\\'\";&|<>`()]+)",
    re.DOTALL,
)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def command(item: Item) -> list[str] | None:
    """The words of `command` or `entrypoint`; None for null, [] for one that is empty. Raises ConfigError."""
    if item.value is None:
        return None
    if isinstance(item.value, str):
        return _split(item)
    if not isinstance(item.value, list):
        item.refuse(f"must be text or a list, found {item.said()}")
    return [text(each) or "" for each in sequence(item)]


def _split(item: Item) -> list[str]:
    """A text as words. Raises ConfigError for a quote or a backslash without its end."""
    line: str = item.value
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(line):
        piece = PIECE.match(line, at)
        if piece is None:
            item.refuse("a quote or a backslash without its end in a command line")
        at = piece.end()
        kind, said = piece.lastgroup, piece[piece.lastgroup or 0]
        if kind == "shell":
            # Compose's splitter half knows them, and no container sees a shell here.
            item.refuse(f"{said} outside of quotes in a command line", hint="quote it, or give a list of words")
        if kind == "end":
            word = None if said == ">" and (word or "")[:1].isdigit() else word  # `2>` is no word
            break
        if kind != "blank":
            word = (word or "") + (ESCAPED.sub(r"\1", said) if kind == "double" else said)
        elif word is not None:
            words.append(word)
            word = None
    return words if word is None else [*words, word]
