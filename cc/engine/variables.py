"""How a written value becomes what its field means: variables put in (Variables), then read by its kind (Reader).

`${VAR}` is as compose has it, the values come in:

    ${VAR}                    its value; an error where it is not set
    ${VAR:-word} ${VAR-word}  word, where VAR is not set (with `:` also where it is empty)
    ${VAR:+word} ${VAR+word}  word, where VAR is set (with `:` and not empty), else nothing
    ${VAR:?word} ${VAR?word}  an error that says word
    $$                        a dollar sign

`word` may hold variables of its own. What a variable brings in is not looked at again. A `$` before anything else is a
dollar sign, also in `$VAR`: commands are full of them, and one spelling is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cc.document import Document, Node, shortened
from cc.engine.spec import SCALARS, Field, VerbSpec
from cc.errors import FAILURE_CODES, ConfigError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(r"\$\$|\$\{")
TOKEN_IN_WORD = re.compile(r"\$\$|\$\{|\}")
OPERATOR = re.compile(r":?[-+?]|\}")
MAX_DEPTH = 16
MAX_KNOWN = 40
MAX_COMPARED = 200
MAX_CHARACTERS = (
    8 * 1024 * 1024
)  # brought in by variables, in one file: ten lines of ${A}${A}... could double it for ever


class Variables:
    """Names and values. `used` gathers every name that a text asked for, also in words that were not needed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.used: set[str] = set()
        self._characters = 0

    def substitute(self, text: str) -> str:
        """The text with its variables put in. Raises a ConfigError without a place: the reader of the file knows it."""
        if "$" not in text:
            return text
        return self._expand(text, 0, 0, live=True)[0]

    def _expand(self, text: str, at: int, depth: int, *, live: bool) -> tuple[str, int]:
        """From `at` to the end, or inside a word to its '}'. What is not `live` is read and not needed."""
        parts: list[str] = []
        token = TOKEN_IN_WORD if depth else TOKEN
        while (found := token.search(text, at)) is not None:
            parts.append(text[at : found.start()])
            at = found.end()
            if found[0] == "}":
                return "".join(parts), at
            if found[0] == "$$":
                parts.append("$")
            else:
                value, at = self._variable(text, at, depth + 1, live=live)
                parts.append(value)
        if depth:
            raise ConfigError("'${' has no '}'", hint="write $$ for a dollar sign")
        parts.append(text[at:])
        return "".join(parts), len(text)

    def _variable(self, text: str, at: int, depth: int, *, live: bool) -> tuple[str, int]:
        """What stands for `${...}`, from behind its '{', and where it ends."""
        if depth > MAX_DEPTH:
            raise ConfigError(f"variables nested more than {MAX_DEPTH} deep")
        found = NAME.match(text, at)
        if found is None:
            raise ConfigError("expected a name after '${'", hint="write $$ for a dollar sign")
        name = found[0]
        operator = OPERATOR.match(text, found.end())
        if operator is None:
            expected = "'}', or one of :- - :+ + :? ?"
            raise ConfigError(f"expected {expected} after '${{{shortened(name)}'", hint="write $$ for a dollar sign")
        self.used.add(name)
        value = self.values.get(name)
        if operator[0] == "}":
            if value is None and live:
                raise self._unset(name)
            return self._counted(value or ""), operator.end()
        there = value is not None and (value != "" or operator[0][0] != ":")
        sign = operator[0][-1]
        word, end = self._expand(text, operator.end(), depth, live=live and there == (sign == "+"))
        if sign == "+":
            return word if there else "", end
        if there:
            return self._counted(value or ""), end
        if sign == "?" and live:
            raise ConfigError(f"{shortened(name)} is not set" + (f": {word}" if word else ""), hint=_how_to_set(name))
        return word, end

    def _counted(self, value: str) -> str:
        self._characters += len(value)
        if self._characters > MAX_CHARACTERS:
            raise ConfigError(f"variables bring in more than {MAX_CHARACTERS:,} characters")
        return value

    def _unset(self, name: str) -> ConfigError:
        meant = (nearest(name, self.values) or "").replace("'", "")
        hint = f"{meant} {_how_to_set(name)}".strip()
        return ConfigError(f"variable {shortened(name)} is not set", hint=hint)


def _how_to_set(name: str) -> str:
    name = shortened(name)
    ways = f"set it under vars, in the environment or with --set {name}=VALUE; or give a default, ${{{name}:-VALUE}}"
    return f"{ways}; write $${{{name}}} for a shell's own"


class Reader:
    """Reads the values of one document: puts the variables in, then makes each what its field says.

    Every method raises ConfigError with the place and the path of the field.
    """

    def __init__(self, doc: Document, variables: Variables) -> None:
        self._doc = doc
        self._variables = variables

    def error(self, message: str, at: Node, path: str, hint: str | None = None) -> ConfigError:
        """For the caller to raise. `at` is a value or a key."""
        return self._doc.error(message, at, field=path or None, hint=hint)

    def unknown(self, name: str, key: Node, path: str, known: Iterable[str]) -> ConfigError:
        """A key that has no meaning in the mapping at `path`. For the caller to raise."""
        short = shortened(name)
        return self.error(f"unknown key {short!r}", key, f"{path}.{short}" if path else short, near(name, known))

    def mapping(self, node: Node, path: str, expected: str) -> dict[str, Node]:
        """Its keys and values."""
        if type(node.value) is not dict:
            raise self.error(f"expected {expected}, found {node.described()}", node, path)
        return node.value

    def text(self, node: Node, path: str, expected: str = "a text") -> str:
        """A single value as it was written, with its variables put in."""
        self._single(node, path, expected)
        return self._substituted(node.text, node, path)

    def fields(self, spec: VerbSpec, node: Node, path: str, key: Node) -> dict[str, Any]:
        """Everything that a verb takes, absent fields with their default. `key` is where the verb's name stands."""
        given = self._given(spec, node, path)
        known = {field.name: field for field in spec.fields}
        values: dict[str, Any] = {field.name: field.default for field in spec.fields}
        for name, child in given.items():
            if name not in known:
                raise self.unknown(name, node.keys[name], path, known)
            values[name] = self.value(known[name], child, path if child is node else f"{path}.{name}")
        for field in spec.fields:
            if field.required and field.name not in given:
                raise self.error(f"{field.name!r} is missing", key, f"{path}.{field.name}", field.doc or None)
        for group in spec.exactly_one:
            found = [name for name in group if name in given]
            if len(found) != 1:
                said = " and ".join(found) or "none of them"
                raise self.error(f"expected exactly one of {', '.join(group)}, found {said}", key, path)
        return values

    def value(self, field: Field, node: Node, path: str) -> Any:
        """One field's value, of its kind."""
        if field.kind == "words":
            return self._words(node, path)
        if field.kind == "strings":
            return self._strings(node, path)
        if field.kind == "codes":
            return self._codes(node, path)
        if field.kind == "mapping":
            found = self.mapping(node, path, "a mapping of names to values")
            return {
                name: self.text(child, f"{path}.{shortened(name)}", "a single value") for name, child in found.items()
            }
        return self._scalar(field, node, path)

    def _given(self, spec: VerbSpec, node: Node, path: str) -> dict[str, Node]:
        value = node.value
        if type(value) is dict:
            return value
        if value is None and not node.quoted:
            return {}
        kind = next((field.kind for field in spec.fields if field.name == spec.positional), None)
        if spec.positional is None or (type(value) is list and kind not in ("words", "strings", "codes")):
            names = ", ".join(field.name for field in spec.fields)
            expected = f"a mapping with {names}" if names else "{}"
            raise self.error(f"expected {expected}, found {node.described()}", node, path)
        return {spec.positional: node}

    def _single(self, node: Node, path: str, expected: str) -> None:
        if type(node.value) in (dict, list):
            raise self.error(f"expected {expected}, found {node.described()}", node, path)
        if node.value is None and not node.quoted:
            raise self.error(f"expected {expected}, found nothing", node, path, 'write "" for an empty text')

    def _substituted(self, text: str, node: Node, path: str) -> str:
        try:
            return self._variables.substitute(text)
        except ConfigError as error:
            raise self.error(error.message, node, path, error.hint) from None

    def _scalar(self, field: Field, node: Node, path: str) -> Any:
        scalar = SCALARS[field.kind]
        expected = "one of " + ", ".join(field.choices) if field.choices else scalar.expected
        self._single(node, path, expected)
        text = node.text if field.kind == "text" else self._substituted(node.text, node, path)
        found = repr(shortened(text)) + (f" from {shortened(node.text)}" if text != node.text else "")
        try:
            value = scalar.read(text)
        except ValueError as error:
            why = f" ({error})" if str(error) else ""
            raise self.error(f"expected {expected}, found {found}{why}", node, path) from None
        if field.choices and value not in field.choices:
            raise self.error(f"expected {expected}, found {found}", node, path, nearest(text, field.choices))
        if field.minimum is not None and value < field.minimum:
            raise self.error(f"expected at least {field.minimum:g}, found {found}", node, path)
        if field.maximum is not None and value > field.maximum:
            raise self.error(f"expected at most {field.maximum:g}, found {found}", node, path)
        return value

    def _words(self, node: Node, path: str) -> tuple[str, ...]:
        """Split first, so that a value with spaces in it stays one word."""
        if type(node.value) is list:
            words = tuple(self.text(item, f"{path}[{at}]", "a word") for at, item in enumerate(node.value))
        else:
            self._single(node, path, "a command")
            try:
                words = tuple(self._variables.substitute(word) for word in _split(node.text))
            except ConfigError as error:
                hint = "words are split before variables are put in: one with spaces in its ${...} needs quotes"
                raise self.error(error.message, node, path, hint if "no '}'" in error.message else error.hint) from None
            except ValueError as error:
                raise self.error(f"cannot be split into words: {error}", node, path) from None
        if not words or not words[0]:
            raise self.error("expected a command, found no word", node, path)
        return words

    def _strings(self, node: Node, path: str) -> tuple[str, ...]:
        if type(node.value) is list:
            return tuple(self.text(item, f"{path}[{at}]") for at, item in enumerate(node.value))
        return (self.text(node, path, "a text or a list of them"),)

    def _codes(self, node: Node, path: str) -> frozenset[str]:
        items = node.value if type(node.value) is list else [node]
        for at, item in enumerate(items):
            item_path = path if item is node else f"{path}[{at}]"
            code = self.text(item, item_path, "a failure code")
            if code not in FAILURE_CODES:
                hint = near(code, FAILURE_CODES)
                raise self.error(f"unknown failure code {shortened(code)!r}", item, item_path, hint)
        if not items:
            raise self.error("expected failure codes, found an empty list", node, path)
        return frozenset(self.text(item, path) for item in items)


def near(word: str, known: Iterable[str]) -> str:
    """The hint for a word that nobody knows: the nearest known one, or all of them."""
    words = sorted(known)
    some = ", ".join(map(shortened, words[:MAX_KNOWN])) + (", ..." if len(words) > MAX_KNOWN else "")
    return nearest(word, words) or (f"known: {some}" if words else "none is known here")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The hint for a word whose alternatives are named already: the nearest of them, if one is near."""
    import difflib

    # difflib takes half a millisecond for a pair of long words, and a file may hold ten thousand of them.
    alike = sorted(known, key=lambda other: abs(len(other) - len(word)))[:MAX_COMPARED]
    found = difflib.get_close_matches(
        word[:60], [other for other in alike if len(other) <= 60], 1, 0.5 if len(word) < 4 else 0.6
    )
    return f"did you mean {found[0]!r}?" if found else None


def _split(text: str) -> list[str]:
    if not any(letter in text for letter in "'\"\\"):
        return text.split()
    import shlex

    return shlex.split(text)
