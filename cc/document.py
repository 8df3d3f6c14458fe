"""YAML text as plain data that remembers where each value stood. A leaf, and the one module that imports yaml.

    bytes -> size -> UTF-8 -> characters -> parser events -> Document -> Node -> dict[str, Node] | list[Node] | scalar

Built from the parser's events with a stack of our own: yaml's composer recurses (libyaml's one ends the whole process
with a segmentation fault on 100,000 brackets), keeps the last of two equal keys, and expands aliases without a bound.

Scalars as YAML 1.2 has them: true, false, null, decimal and 0x/0o integers, floats. All else is text: `yes`, `on`,
`010`, `1:30`, `1_000` and dates stay what was written. `Node.text` keeps the characters even of a number, so that
`1.10` can still become the word "1.10".

Whatever the input, it ends soon and either in a Document or in a ConfigError with file, line and column, both from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from cc.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000  # with every alias counted as what it stands for; a thousand steps of fifty values each
MAX_DEPTH = 64
MAX_TAG_DIRECTIVES = 16  # libyaml compares each with each: 60,000 of them take it 4 s

UNWELCOME = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
SURROGATE = re.compile("[\ud800-\udfff]")
NUMBER = re.compile(
    r"(?P<int>[-+]?(?:0|[1-9][0-9]{0,29})|0x[0-9a-fA-F]{1,25}|0o[0-7]{1,30})"
    r"|[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
WORDS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
}  # fmt: skip
TAG = "tag:yaml.org,2002:"

ADVICE = (  # what the parser says, in either of its two forms -> what to do; the first that fits
    ("mapping values are not allowed", "a value with ': ' in it needs quotes; or does this line stand too far in?"),
    ("could not find expected ':'", "is a ':' missing after the key?"),
    ("did not find expected key", "does this line stand as far in as its neighbours?"),
    ("did not find expected '-'", "does this line stand as far in as its neighbours?"),
    ("expected <block end>", "does this line stand as far in as its neighbours?"),
    ("cannot start any token", "a value that begins with a special character needs quotes"),
    ("unknown escape character", r"write \\ for a backslash, or use single quotes"),
    ("unexpected end of stream", "the closing quote is missing"),
)


class Node:
    """A value and its place. `value` is dict[str, Node], list[Node], or a str, int, float, bool or None.

    `text` is a scalar as it was written, without its quotes. `quoted` says that it had some (or was a block), so that
    an empty one is empty text rather than nothing. `keys` are the places of a mapping's keys.
    """

    __slots__ = ("column", "keys", "line", "quoted", "text", "value")

    def __init__(self, value: Any, text: str, line: int, column: int, *, quoted: bool = False) -> None:
        self.value = value
        self.text = text
        self.line = line
        self.column = column
        self.quoted = quoted
        self.keys: dict[str, Node] = {}

    def plain(self) -> Any:
        """The value without its places."""
        value = self.value
        if type(value) is dict:
            return {key: node.plain() for key, node in value.items()}
        if type(value) is list:
            return [node.plain() for node in value]
        return value

    def described(self) -> str:
        """What it is, for a message: "a list", "nothing", "'abc'", "8110"."""
        value = self.value
        if type(value) is dict:
            return "a mapping" if value else "an empty mapping"
        if type(value) is list:
            return "a list" if value else "an empty list"
        if value is None:
            return "nothing"
        return repr(shortened(self.text)) if type(value) is str else shortened(self.text)


def shortened(text: str) -> str:
    """A text that fits in a message."""
    return text if len(text) <= 60 else text[:57] + "..."


class Document:
    """A file that was read: its root, and its name for the messages."""

    __slots__ = ("file", "root")

    def __init__(self, root: Node, file: str) -> None:
        self.root = root
        self.file = file

    def plain(self) -> Any:
        """The whole as plain data; None for an empty file."""
        return self.root.plain()

    def top_level(self) -> dict[str, tuple[Any, int]]:
        """Each key of the outermost mapping with its plain value and its line. {} for an empty file.

        Raises ConfigError if the file holds something other than a mapping.
        """
        root = self.root
        if root.value is None:
            return {}
        if type(root.value) is not dict:
            raise self.error(f"expected 'key: value' lines, found {root.described()}", root)
        return {key: (node.plain(), root.keys[key].line) for key, node in root.value.items()}

    def error(self, message: str, at: Node, *, field: str | None = None, hint: str | None = None) -> ConfigError:
        """A ConfigError that points at a value or a key, for the caller to raise."""
        return ConfigError(message, file=self.file, line=at.line, column=at.column, field=field, hint=hint)


def load(text: str | bytes, *, file: str, pure: bool = False) -> Document:
    """Read YAML. `file` is its name in messages. Raises ConfigError, and nothing else.

    `pure`: by the parser in Python even where there is libyaml (ten times slower; a test holds both to one answer).
    """
    text = _decoded(text, file)
    if found := UNWELCOME.search(text):
        _refuse_character(text, found.start(), file)
    if text.count("%TAG") > MAX_TAG_DIRECTIVES:
        raise ConfigError("too many %TAG directives", file=file, line=1, column=1)
    import yaml

    loader: Any = yaml.SafeLoader if pure else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # The parser in Python hands escapes past U+10FFFF to chr(); with the other, a ValueError would be a bug of ours.
    raised = (yaml.YAMLError, ValueError, OverflowError) if loader is yaml.SafeLoader else (yaml.YAMLError,)
    builder = _Builder(file)
    try:
        builder.build(loader(text).get_event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except raised as error:
        raise ConfigError(f"not valid YAML: {error}", file=file, line=1, column=1) from None
    return Document(builder.root or Node(None, "", 1, 1), file)


def _decoded(text: str | bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        what = f"too big: more than {MAX_BYTES:,} bytes"
        raise ConfigError(what, file=file, line=1, column=1)
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        good = text[: error.start].decode("utf-8").removeprefix("\ufeff")
        line, column = _place(good, len(good))
        what = f"not UTF-8 text: byte 0x{text[error.start]:02x}"
        raise ConfigError(what, file=file, line=line, column=column, hint="save it as UTF-8, if it is text") from None


def _place(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character, both from 1."""
    return text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1


def _refuse_character(text: str, index: int, file: str) -> NoReturn:
    line, column = _place(text, index)
    letter = text[index]
    names = {"\0": "a NUL character", "\ufeff": "a byte order mark in the middle of the text"}
    what = names.get(letter, f"a character that cannot be printed, U+{ord(letter):04X}")
    raise ConfigError(f"not YAML text: {what}", file=file, line=line, column=column)


def _syntax_error(error: Any, text: str, file: str) -> ConfigError:
    """The parser's complaint, at the place where somebody would look, and what to do about it where that is known."""
    mark, opened, problem = error.problem_mark or error.context_mark, error.context_mark, error.problem or error.context
    hint = next((advice for said, advice in ADVICE if said in problem), None)
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    context = error.context or ""
    if not rest and opened is not None and mark.line >= len(lines) - 1:
        mark = opened  # nothing is wrong at the end of the file: what was never closed began here
        hint = hint or "is its end missing?"
    place = {"file": file, "line": mark.line + 1, "column": mark.column + 1}
    if rest.startswith("\t"):
        return ConfigError("a tab where YAML wants spaces", **place, hint="indent with spaces")
    if opened is not None and opened.line < mark.line:
        context += f" that began in line {opened.line + 1}"
    if "flow" in context and rest.startswith("{"):
        hint = "inside [ ] and { }, text with ${...} in it needs quotes"
    return ConfigError(f"not valid YAML: {problem} {context}".rstrip(), **place, hint=hint)


class _Open:
    """A mapping or a list whose end has not been seen."""

    __slots__ = ("anchor", "before", "key", "merged", "merging", "node")

    def __init__(self, node: Node, anchor: str | None, before: int) -> None:
        self.node = node
        self.anchor = anchor
        self.before = before
        self.key: Node | None = None
        self.merging = False  # the key is `<<`
        self.merged: list[Node] | None = None


class _Builder:
    """Takes events, one after the other, and leaves `root`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int] | None] = {}
        self.nodes = 0

    def build(self, next_event: Callable[[], Any]) -> None:
        takes = {
            "ScalarEvent": self._scalar,
            "MappingStartEvent": self._open,
            "SequenceStartEvent": self._open,
            "MappingEndEvent": self._close,
            "SequenceEndEvent": self._close,
            "AliasEvent": self._alias,
            "DocumentStartEvent": self._document,
        }
        while (event := next_event()) is not None:
            name = type(event).__name__
            take = takes.get(name)
            if take is not None:
                take(event)
            elif name == "StreamEndEvent":
                return

    def _refuse(self, message: str, mark: Any, hint: str | None = None) -> NoReturn:
        """`mark` is yaml's own, counting from 0, or a Node."""
        line, column = (mark.line, mark.column) if isinstance(mark, Node) else (mark.line + 1, mark.column + 1)
        raise ConfigError(message, file=self.file, line=line, column=column, hint=hint)

    def _document(self, event: Any) -> None:
        if self.root is not None:
            self._refuse("a second document begins here; a file holds one", event.start_mark, "remove the '---' line")

    def _scalar(self, event: Any) -> None:
        text, mark, tag = event.value, event.start_mark, event.tag
        plain = event.implicit[0] and tag is None
        node = Node(text, text, mark.line + 1, mark.column + 1, quoted=not plain)
        if tag not in (None, "!"):
            self._tagged(node, tag, mark)
        elif plain:
            if text in WORDS:
                node.value = WORDS[text]
            elif text[0] in "0123456789-+.":
                node.value = _number(text)
        else:
            if "\0" in text:
                self._refuse(r"a NUL character (\0) in a text", mark)
            if SURROGATE.search(text):  # libyaml refuses it by itself
                self._refuse("half of a surrogate pair in a text", mark)
        self._count(1, mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, 1)
        self._attach(node, is_merge=plain and text == "<<")

    def _tagged(self, node: Node, tag: str, mark: Any) -> None:
        """`!!str 010` and the like. What else a tag could name (Python objects, dates, sets) has no place here."""
        name = tag.removeprefix(TAG)
        text = node.text
        if tag.startswith(TAG) and name == "str":
            node.quoted = True
            return
        value = WORDS[text] if text in WORDS else _number(text)
        kind = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(name)
        if not tag.startswith(TAG) or kind is None:
            self._refuse_tag(tag, mark)
        node.value = float(value) if kind is float and type(value) is int else value
        if type(node.value) is not kind:
            self._refuse(f"!!{name} does not fit {node.described()}", mark)

    def _refuse_tag(self, tag: str, mark: Any) -> NoReturn:
        name = "!!" + tag.removeprefix(TAG) if tag.startswith(TAG) else tag
        self._refuse(f"unknown tag {name[:80]}", mark, "remove it: plain values are all that is read")

    def _open(self, event: Any) -> None:
        mark = event.start_mark
        is_mapping = type(event).__name__ == "MappingStartEvent"
        if event.tag not in (None, "!", TAG + ("map" if is_mapping else "seq")):
            self._refuse_tag(event.tag, mark)
        if self.stack:
            parent = self.stack[-1]
            if type(parent.node.value) is dict and parent.key is None:
                what = "a mapping" if is_mapping else "a list"
                hint = "a value that begins with '{' or '[' as text needs quotes"
                self._refuse(f"a key must be a word, not {what}", mark, hint)
            if len(self.stack) >= MAX_DEPTH:
                self._refuse(f"nested more than {MAX_DEPTH} deep", mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = Node({} if is_mapping else [], "", mark.line + 1, mark.column + 1)
        self.stack.append(_Open(node, event.anchor, self.nodes))
        self._count(1, mark)

    def _close(self, event: Any) -> None:
        closed = self.stack.pop()
        if closed.merged is not None:
            _merge(closed.node, closed.merged)
        if closed.anchor is not None:
            self.anchors[closed.anchor] = (closed.node, self.nodes - closed.before)
        self._attach(closed.node)

    def _alias(self, event: Any) -> None:
        mark, name = event.start_mark, shortened(event.anchor)
        known = self.anchors.get(event.anchor)
        if known is None:
            inside = event.anchor in self.anchors
            self._refuse(
                f"*{name} stands inside what it names" if inside else f"*{name} names no &anchor above",
                mark,
                None if inside else "a text that begins with '*' needs quotes",
            )
        node, size = known
        self._count(size, mark)
        if len(self.stack) + _height(node) > MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} deep, with *{name}", mark)
        if self.stack and type(self.stack[-1].node.value) is dict and self.stack[-1].key is None:
            self._refuse("a key must be a word, not an alias", mark)
        self._attach(node)

    def _count(self, more: int, mark: Any) -> None:
        self.nodes += more
        if self.nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES:,} values, aliases counted as what they stand for", mark)

    def _attach(self, node: Node, *, is_merge: bool = False) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        into = parent.node
        if type(into.value) is list:
            into.value.append(node)
        elif parent.key is None:
            self._take_key(parent, node, is_merge)
        elif parent.merging:
            parent.merged, parent.merging, parent.key = self._mergeable(node), False, None
        else:
            into.value[parent.key.text], parent.key = node, None

    def _take_key(self, parent: _Open, node: Node, is_merge: bool) -> None:
        name, keys = node.text, parent.node.keys
        if not name:
            self._refuse("a key is missing before ':'", node)
        if name in keys:
            self._refuse(f"{shortened(name)!r} stands here a second time, first in line {keys[name].line}", node)
        keys[name] = parent.key = node
        parent.merging = is_merge

    def _mergeable(self, node: Node) -> list[Node]:
        sources = node.value if type(node.value) is list else [node]
        for source in sources:
            if type(source.value) is not dict:
                self._refuse(f"'<<' takes a mapping or a list of them, found {source.described()}", source)
        return list(sources)


def _merge(into: Node, sources: list[Node]) -> None:
    """What `<<` brings in: own keys win, then the earlier source."""
    own = into.value
    into.keys = {name: into.keys[name] for name in own}
    for source in sources:
        for name, value in source.value.items():
            if name not in own:
                own[name] = value
                into.keys[name] = source.keys[name]


def _height(node: Node) -> int:
    """How deep it goes: 0 for a scalar. Itself never deeper than MAX_DEPTH, so the recursion is bounded."""
    value = node.value
    if type(value) is dict:
        return 1 + max(map(_height, value.values()), default=0)
    if type(value) is list:
        return 1 + max(map(_height, value), default=0)
    return 0


def _number(text: str) -> int | float | str:
    found = NUMBER.fullmatch(text)
    if not found:
        return text
    if found["int"] is not None:
        return int(text, 0)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if len(text) <= 400 else text
