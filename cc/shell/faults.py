"""Faults on purpose: a drill or a test makes a named command missing, slow, hanging ..., without touching PATH.

They are applied inside the seam and do not pretend: a missing program is one that exec does not find, a hanging one is
a process that ignores TERM and holds on until it is killed. So the typed error and its evidence are the real ones.

    CC_FAULTS = entry ; entry ...        entry = WHO = KIND [: ARGUMENT ...]
    WHO         docker | docker compose up     a program's name, and words that occur among its arguments in this order
    missing     not on PATH
    denied      exists and may not be executed
    slow:2.5    takes so many seconds longer
    hang        never ends, whatever it is asked
    fail:3:text exits with the code, the text on standard error (both may be left out)
    junk:text   exits with 0 and writes this instead of an answer; \\x00, \\n ... as in Python

The first entry that fits counts. Pure; imports cc.errors only.
"""

from __future__ import annotations

import math
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from cc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cc.shell.command import Command

VARIABLE = "CC_FAULTS"
JUNK = b"\x00\xff\xfe{not an answer\n"
_FILES = {
    "missing": "",  # to execute "" is ENOENT on every system
    "denied": os.devnull,  # exists, and nobody may execute it, not even root
}
_SCRIPTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hang": ("trap '' TERM INT HUP QUIT; while :; do sleep 1; done", ()),
    "fail": ('test -z "$1" || printf "%s\\n" "$1" >&2; exit "$2"', ("text", "code")),
    "junk": ('printf "$1"', ("data",)),
}


class StandIn(NamedTuple):
    """What is executed instead: other words, or another file under the same words."""

    argv: tuple[str, ...] | None = None
    program: str | None = None


class Fault(NamedTuple):
    """One way to be broken; made by the functions below."""

    kind: str
    seconds: float = 0.0
    code: int = 1
    text: str = ""
    data: bytes = b""

    def stand_in(self, command: Command) -> StandIn:
        """What to execute in place of the command."""
        if self.kind in _FILES:
            return StandIn(program=_FILES[self.kind])
        if self.kind == "slow":
            path = (command.env or {}).get("PATH", os.environ.get("PATH"))
            if not shutil.which(command.argv[0], path=path):
                return StandIn()  # slow to be missing: missing is what it is
            return StandIn(argv=("/bin/sh", "-c", 'sleep "$0"; exec "$@"', f"{self.seconds:f}", *command.argv))
        octal = "".join(f"\\{byte:03o}" for byte in self.data)
        script, words = _SCRIPTS[self.kind]
        known = {"text": self.text, "code": str(self.code), "data": octal}
        return StandIn(argv=("/bin/sh", "-c", script, "sh", *(known[word] for word in words)))


def missing() -> Fault:
    """Not on PATH."""
    return Fault("missing")


def denied() -> Fault:
    """Exists and may not be executed."""
    return Fault("denied")


def slow(seconds: float) -> Fault:
    """Takes so many seconds longer."""
    return Fault("slow", seconds=seconds)


def hang() -> Fault:
    """Never ends by itself, and ignores TERM."""
    return Fault("hang")


def fail(code: int = 1, stderr: str = "") -> Fault:
    """Exits with `code`, 1 to 255, and writes `stderr`."""
    return Fault("fail", code=code, text=stderr)


def junk(stdout: bytes = JUNK) -> Fault:
    """Exits with 0 and answers with these bytes."""
    return Fault("junk", data=stdout)


def _occur(words: list[str], arguments: tuple[str, ...]) -> bool:
    """Whether all are among the arguments, in this order: `compose up` in `compose -f x.yml up -d`."""
    left = iter(arguments)
    return all(word in left for word in words)


class Faults:
    """Which command is broken how. Keys are a program's name, or the name and words of its arguments."""

    def __init__(self, rules: Mapping[str, Fault] | None = None) -> None:
        self._rules = dict(rules or {})

    def __bool__(self) -> bool:
        return bool(self._rules)

    def find(self, command: Command) -> tuple[str, Fault] | None:
        """The first rule that fits, as (whom it names, fault)."""
        program = os.path.basename(command.argv[0])
        for who, fault in self._rules.items():
            name, *words = who.split()
            if name == program and _occur(words, command.argv[1:]):
                return who, fault
        return None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Faults:
        """Out of CC_FAULTS. Raises ConfigError that names the entry."""
        return cls.parse(environment.get(VARIABLE, ""))

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Out of the notation above. Raises ConfigError that names the entry."""
        rules: dict[str, Fault] = {}
        for entry in filter(None, (part.strip() for part in text.split(";"))):
            who, equals, what = entry.partition("=")
            who = " ".join(who.split())
            if not equals or not who:
                raise _bad(entry, "expected PROGRAM=KIND")
            rules.setdefault(who, _fault(entry, what.strip()))
        return cls(rules)


def _fault(entry: str, what: str) -> Fault:
    kind, *arguments = what.split(":", 2 if what.startswith("fail") else 1)
    if kind in ("missing", "denied", "hang"):
        if arguments:
            raise _bad(entry, f"{kind} takes no argument")
        return Fault(kind)
    if kind == "slow":
        return slow(_seconds(entry, arguments[0] if arguments else ""))
    if kind == "fail":
        code = arguments[0] if arguments else "1"
        if not code.isdecimal() or not 1 <= int(code) <= 255:
            raise _bad(entry, f"an exit code is a number from 1 to 255, not {code!r}")
        return fail(int(code), arguments[1] if len(arguments) > 1 else "")
    if kind == "junk":
        try:
            return junk(arguments[0].encode().decode("unicode_escape").encode("latin-1") if arguments else JUNK)
        except UnicodeError as error:
            raise _bad(entry, f"not a text with escapes: {error}") from None
    raise _bad(entry, f"unknown kind {kind!r}; known: missing, denied, slow, hang, fail, junk")


def _seconds(entry: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise _bad(entry, f"slow takes a number of seconds, not {text!r}")
    return seconds


def _bad(entry: str, why: str) -> ConfigError:
    return ConfigError(f"{entry!r}: {why}", field=VARIABLE, hint=f"{VARIABLE}='docker=missing;wget=slow:2'")
