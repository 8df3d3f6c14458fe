"""What a playbook is made of, as data: which fields there are (Field, VerbSpec) and what was written (Playbook).

    Playbook -> StepSpec -> RungSpec          what a file said, checked, every variable put in
    VerbSpec -> Field                         what a file may say

One definition: the parser, the JSON Schema and the messages all read the Fields. The engine knows `without` only; every
other verb is a VerbSpec that somebody brings. Values as `RungSpec.args` holds them, by the kind of the field:

    string, path, text      str (text is left as it is written: no variables in it)
    int, port               int              number               float
    bool                    bool             duration             float, seconds ("1s", "500ms", "2m", "1h", 1.5)
    words                   tuple[str, ...]  from [argv], or from "words", split before the variables are put in
    strings                 tuple[str, ...]  from a list or a single one
    codes                   frozenset[str]   failure codes
    mapping                 dict[str, str]   scalars as they are written
    range                   tuple[int, int]  "8110-8120", or one port for both ends
    regex                   str              compiles
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cc.engine.retry import RetryPolicy

Kind = Literal[
    "string", "text", "path", "int", "number", "bool", "port", "duration", "words", "strings", "codes", "mapping",
    "range", "regex",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One key. `choices` narrows a string to a few words; `minimum` bounds an int, a number or a duration (seconds)."""

    name: str
    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    doc: str = ""
    minimum: float | None = None


@dataclass(frozen=True, slots=True)
class VerbSpec:
    """A verb and its fields.

    `positional` is the field that a bare scalar or list fills (`command: "make test"`). Of each group in `exactly_one`
    exactly one field is given. `probed` is False for a verb that cannot tell whether it is so already.
    """

    name: str
    fields: tuple[Field, ...]
    doc: str = ""
    positional: str | None = None
    exactly_one: tuple[tuple[str, ...], ...] = ()
    probed: bool = True


@dataclass(frozen=True, slots=True)
class RungSpec:
    """One way as it was written. `args` has every field of the verb, absent ones with their default.

    `name` is None where none was written. `again`: a repair (`then: again`). `degraded`: whether what this rung reaches
    is less than rung 0 gives; None where the playbook doesn't say. A `without` rung has args {"message": ...}.
    """

    verb: str
    args: Mapping[str, Any]
    name: str | None = None
    when_failed: frozenset[str] = frozenset()
    again: bool = False
    degraded: bool | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class ChangedWhen:
    """What of an unprobed step's end means `changed`; where both are given, both must hold."""

    stdout_matches: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class StepSpec:
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


@dataclass(frozen=True, slots=True)
class Playbook:
    """A whole file. `vars` are its own variables with what `--set` made of them: what a script gets as environment."""

    file: str
    steps: tuple[StepSpec, ...]
    vars: Mapping[str, str] = field(default_factory=dict)


WITHOUT = VerbSpec(
    "without",
    (Field("message", "string", required=True, doc="what the user reads"),),
    doc="Give the goal up: the step is skipped and the run degraded. Only as the last rung of a ladder.",
    positional="message",
)
