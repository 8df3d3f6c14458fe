"""What a playbook is made of, as data: which fields there are (Field, VerbSpec) and what was written (Playbook).

    Playbook -> StepSpec -> RungSpec          what a file said, checked, every variable put in
    VerbSpec -> Field -> Scalar               what a file may say

One definition: the parser, the JSON Schema and the messages all read these tables. The engine knows `without` only;
every other verb is a VerbSpec that somebody brings. Values as `RungSpec.args` holds them, by the kind of the field:

    string, path, text      str (text is left as it is written: no variables in it)
    int, port               int              number               float
    bool                    bool             duration             float, seconds ("1s", "500ms", "2m", "1m30s", 1.5)
    words                   tuple[str, ...]  from [argv], or from "words", split before the variables are put in
    strings                 tuple[str, ...]  from a list or a single one
    codes                   frozenset[str]   failure codes
    mapping                 dict[str, str]   scalars as they are written
    range                   tuple[int, int]  ports, "8110-8120", or one for both ends
    regex                   str              compiles
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from cc.engine.retry import RetryPolicy

Kind = Literal[
    "string", "text", "path", "int", "number", "bool", "port", "duration", "words", "strings", "codes", "mapping",
    "range", "regex",
]  # fmt: skip


class Field(NamedTuple):
    """One key.

    `choices` narrows a string to a few words; `minimum` and `maximum` bound an int, a number or a duration (seconds).
    """

    name: str
    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    doc: str = ""
    minimum: float | None = None
    maximum: float | None = None


class VerbSpec(NamedTuple):
    """A verb, or another word that takes fields, and which they are.

    `positional` is the field that a bare scalar or list fills (`command: "make test"`). Of each group in `exactly_one`
    exactly one field is given. `probed` is False for a verb that cannot tell whether it is so already.
    """

    name: str
    fields: tuple[Field, ...]
    doc: str = ""
    positional: str | None = None
    exactly_one: tuple[tuple[str, ...], ...] = ()
    probed: bool = True


class RungSpec(NamedTuple):
    """One way as it was written. `args` has every field of the verb, absent ones with their default.

    `name` is None where none was written. `again`: a repair (`then: again`). `degraded`: whether what this rung reaches
    is less than rung 0 gives; None where the playbook doesn't say. A `without` rung has args {"text": ...}.
    """

    verb: str
    args: Mapping[str, Any]
    name: str | None = None
    when_failed: frozenset[str] = frozenset()
    again: bool = False
    degraded: bool | None = None
    line: int = 0


class ChangedWhen(NamedTuple):
    """What of an unprobed step's end means `changed`; where both are given, both must hold."""

    stdout_matches: str | None = None
    exit_code: int | None = None


class StepSpec(NamedTuple):
    """A step as it was written. Without a `ladder` it has one rung. `timeout` in seconds.

    `reads`: the ladder only reads, so that any failure leads on. `when` and `unless` are as written; what they come to
    with this run's variables is `left_out`: the reason why the step takes no part, None where it does.
    """

    name: str
    rungs: tuple[RungSpec, ...]
    ladder: bool = False
    reads: bool = False
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    when: str | None = None
    unless: str | None = None
    left_out: str | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None
    changed_when: ChangedWhen | None = None
    always: bool = False
    tags: frozenset[str] = frozenset()
    line: int = 0


class Playbook(NamedTuple):
    """A whole file. `vars` are its own variables with what `--set` made of them: what a script gets as environment."""

    file: str
    steps: tuple[StepSpec, ...]
    vars: Mapping[str, str] = {}


class Scalar(NamedTuple):
    """How one kind of single value is read. `expected` is its name in messages.

    `read` takes the text with its variables put in and raises ValueError where it does not fit. `json` is what a schema
    says of it, `pattern` how it looks as a text, where any text will not do.
    """

    expected: str
    read: Callable[[str], Any]
    json: Mapping[str, Any]
    pattern: str | None = None


WHOLE = r"[-+]?[0-9]{1,18}"
DECIMAL = r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
PART = r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
DURATION = rf"{PART}|(?:{PART}(?:ms|s|m|h))+"
PORTS = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
PARTS = rf"({PART})(ms|s|m|h|$)"


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError
    return text


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[_matching("true|false", text.lower())]


def _port(text: str) -> int:
    port = int(_matching("[0-9]{1,5}", text))
    if not 1 <= port <= 65535:
        raise ValueError
    return port


def _range(text: str) -> tuple[int, int]:
    first, _, last = _matching(PORTS, text).partition("-")
    ports = (_port(first), _port(last or first))
    if ports[0] > ports[1]:
        raise ValueError
    return ports


def _duration(text: str) -> float:
    parts = re.findall(PARTS, _matching(DURATION, text))
    return float(sum(float(number) * UNITS.get(unit, 1.0) for number, unit in parts))


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _regex(text: str) -> str:
    if len(text) > 1000:
        raise ValueError("longer than 1000 characters")  # a megabyte of it takes seconds to compile
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return text


ANY: Mapping[str, Any] = {"type": ["string", "number", "boolean"]}
NUMBER: Mapping[str, Any] = {"type": "number"}
WHOLE_NUMBER: Mapping[str, Any] = {"type": "integer"}
PORT: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": 65535}
SCALARS: Mapping[str, Scalar] = {
    "string": Scalar("a text", str, ANY),
    "text": Scalar("a text", str, ANY),
    "path": Scalar("a path", _path, {**ANY, "minLength": 1}),
    "regex": Scalar("a regular expression", _regex, ANY),
    "int": Scalar("a whole number", lambda text: int(_matching(WHOLE, text)), WHOLE_NUMBER, WHOLE),
    "number": Scalar("a number", lambda text: float(_matching(DECIMAL, text)), NUMBER, DECIMAL),
    "bool": Scalar("true or false", _bool, {"type": "boolean"}, "true|false"),
    "port": Scalar("a port from 1 to 65535", _port, PORT, "[0-9]{1,5}"),
    "duration": Scalar("a duration such as 500ms, 10s or 2m", _duration, {**NUMBER, "minimum": 0}, DURATION),
    "range": Scalar("a range of ports such as 8110-8120", _range, PORT, PORTS),
}
"""How each kind of single value is read. The other kinds (words, strings, codes, mapping) are made of texts."""


WITHOUT = VerbSpec(
    "without",
    (Field("text", "string", required=True, doc="what the user reads"),),
    doc="Give the goal up: the step is skipped and the run degraded. Nothing but another `without` may follow it.",
    positional="text",
)
RETRY = VerbSpec(
    "retry",
    (
        Field("attempts", "int", default=3, minimum=1, maximum=1000, doc="how many, the first one counted"),
        Field("wait", "duration", default=1.0, doc="before the second attempt; doubled from there"),
        Field("max_wait", "duration", doc="no wait is longer (15s, or `wait` if that is more)"),
        Field("within", "duration", default=60.0, minimum=0.001, doc="all attempts together"),
        Field("on", "codes", doc="the failures worth another attempt; those that may pass by themselves if left out"),
        Field("jitter", "number", default=0.25, minimum=0, maximum=1, doc="the part of a wait left to chance"),
    ),
    doc="Another attempt after failures that may pass by themselves.",
    positional="attempts",
)
CHANGED_WHEN = VerbSpec(
    "changed_when",
    (
        Field("stdout_matches", "regex", doc="found somewhere in what it printed, lines taken one by one"),
        Field("exit_code", "int", minimum=0, maximum=255, doc="the code it ended with"),
    ),
    doc="When a command, which cannot be probed, counts as `changed`.",
)
RUNG = VerbSpec(
    "rung",
    (
        Field("name", "string", doc="what it is called in reports"),
        Field("when_failed", "codes", doc="the failures above it that lead here"),
        Field("then", "string", choices=("again",), doc="a repair: afterwards rung 0 once more"),
        Field("degraded", "bool", doc="whether what it reaches is less than rung 0 gives; true if left out"),
    ),
    doc="One way to reach the goal: a verb, and which failures lead to it.",
)
STEP = VerbSpec(
    "step",
    (
        Field("name", "string", required=True, doc="what it is called, by people and by other steps"),
        Field("reads", "bool", default=False, doc="the ladder only reads: any failure leads to the next rung"),
        Field("needs", "strings", default=(), doc="steps that come first"),
        Field("requires", "strings", default=(), doc="steps that come first, and without which this one is skipped"),
        Field("when", "string", doc="take part only if this is neither empty nor false, no, off or 0"),
        Field("unless", "string", doc="take no part if this is neither empty nor false, no, off or 0"),
        Field("timeout", "duration", minimum=0.001, doc="of the whole step with all its attempts and rungs"),
        Field("always", "bool", default=False, doc="run also when an earlier step failed"),
        Field("tags", "strings", default=(), doc="words to choose steps by (--tags)"),
    ),
    doc="A named goal: one verb, or a ladder of them.",
)
