r"""Files of environment variables (`.env`, `env_file`), as compose reads them.

KEY=value            up to the end of the line or ` #`, variables put in
KEY: value           the same
export KEY=value     the same
KEY='value'          as it stands, over several lines too; \' is a quote
KEY="value"          \n \t \" \\ \$ ... and variables put in
KEY                  the value that the environment has, if it has one
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cc.errors import ConfigError
from cc.resources.compose_file.variables import substituted

Lookup = Callable[[str], str | None]

SPACE = "\t\v\f\r \x85\xa0"
EXPORT = re.compile(r"export[\s]+")
ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-9]{0,3})')
ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
MAX_BYTES = 1024 * 1024


def load(path: str, lookup: Lookup) -> dict[str, str]:
    """The variables of a file. Raises ConfigError with file and line; OSError where it can't be read."""
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"too big: more than {MAX_BYTES:,} bytes", file=path, line=1)
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", file=path, line=line) from None
    return parsed(text, lookup, file=path)


def parsed(text: str, lookup: Lookup, *, file: str) -> dict[str, str]:
    """The variables of a text. `lookup` is asked first, then what stands above. Raises ConfigError with its line."""
    return _Reader(text, lookup, file).read()


class _Reader:
    def __init__(self, text: str, lookup: Lookup, file: str) -> None:
        self._text = text
        self._lookup = lookup
        self._file = file
        self._found: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        at = self._statement(0)
        while at < len(self._text):
            at = self._statement(self._assignment(at))
        return self._found

    def _error(self, message: str, at: int) -> ConfigError:
        return ConfigError(message, file=self._file, line=self._text.count("\n", 0, at) + 1)

    def _statement(self, at: int) -> int:
        """Where the next one begins, past blanks and comments."""
        text = self._text
        while at < len(text):
            if text[at].isspace():
                at += 1
            elif text[at] == "#":
                end = text.find("\n", at)
                at = len(text) if end < 0 else end
            else:
                break
        return at

    def _assignment(self, start: int) -> int:
        text = self._text
        exported = EXPORT.match(text, start)
        begin = exported.end() if exported else start
        at = begin
        while at < len(text) and text[at] not in "=:\n":
            if not (text[at] in SPACE or text[at] in "_.-[]" or text[at].isalnum()):
                raise self._error(f"unexpected character {text[at]!r} in the name of a variable", at)
            at += 1
        key = text[begin:at].rstrip()
        if " " in key or not key:
            raise self._error("the name of a variable cannot have a space" if key else "a name is missing", begin)
        if at == len(text):
            raise self._error(f"the last line says {key} and nothing of it", begin)
        if text[at] == "\n":
            if (value := self._lookup(key)) is not None:
                self._found[key] = value
            return at
        at += 1
        while at < len(text) and text[at] in SPACE:
            at += 1
        self._found[key], at = self._value(at)
        return at

    def _value(self, at: int) -> tuple[str, int]:
        text = self._text
        if text[at : at + 1] in ("'", '"') and at < len(text):
            return self._quoted(at)
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        return self._expanded(text[at:end].split(" #", 1)[0].rstrip(), at), end

    def _quoted(self, start: int) -> tuple[str, int]:
        text, quote = self._text, self._text[start]
        letters: list[str] = []
        at = start + 1
        while at < len(text):
            if text[at] == quote:
                value = "".join(letters)
                if quote == '"':
                    value = self._expanded(ESCAPE.sub(_unescaped, value), start)
                return value, at + 1
            if text[at] == "\\" and at + 1 < len(text):
                at += 1
                letters.append(text[at] if text[at] == quote else "\\" + text[at])
            else:
                letters.append(text[at])
            at += 1
        raise self._error("a quote is opened and not closed", start)

    def _expanded(self, value: str, at: int) -> str:
        try:
            return substituted(value, self._known)
        except ConfigError as error:
            raise self._error(error.message, at) from None

    def _known(self, name: str) -> str | None:
        value = self._lookup(name)
        return self._found.get(name) if value is None else value


def _unescaped(found: re.Match[str]) -> str:
    said = found[0][1:]
    if said == "$":
        return "$$"  # the variables come after, and read that as a dollar sign
    if said[0] != "0":
        return ESCAPED.get(said, found[0])
    octal = said[1:]
    if len(octal) == 3 and re.fullmatch("[0-3][0-7]{2}", octal):
        return chr(int(octal, 8))
    return "\\" + octal
