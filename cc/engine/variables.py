"""`${VAR}` in a playbook's values, as compose has it. Pure: the values come in.

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
from collections.abc import Mapping

from cc.errors import ConfigError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOKEN = re.compile(r"\$\$|\$\{")
TOKEN_IN_WORD = re.compile(r"\$\$|\$\{|\}")
OPERATOR = re.compile(r":?[-+?]|\}")
MAX_DEPTH = 16
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
            raise ConfigError(f"expected {expected} after '${{{name[:60]}'", hint="write $$ for a dollar sign")
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
            raise ConfigError(f"{name} is not set" + (f": {word}" if word else ""), hint=_how_to_set(name))
        return word, end

    def _counted(self, value: str) -> str:
        self._characters += len(value)
        if self._characters > MAX_CHARACTERS:
            raise ConfigError(f"variables bring in more than {MAX_CHARACTERS:,} characters")
        return value

    def _unset(self, name: str) -> ConfigError:
        import difflib

        near = difflib.get_close_matches(name, self.values, 1)
        meant = f"did you mean ${{{near[0]}}}? " if near else ""
        return ConfigError(f"variable {name} is not set", hint=f"{meant}{_how_to_set(name)}")


def _how_to_set(name: str) -> str:
    return f"set it with --set {name}=VALUE, under vars, or in the environment; ${{{name}:-VALUE}} gives a default"
