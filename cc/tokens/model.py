"""What is asked and what is answered: frozen data, and its JSON. Imports errors, families, pieces,
and the engine's outcome.

Ask ─> count ─> Counted ─┬─ rows      Row: one text
                         ├─ tried     each better rung, and why it was not it
                         └─ coverage  Coverage: what was read, skipped, could not be read
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cc.engine.outcome import Tried
from cc.errors import UsageError
from cc.tokens.families import DEFAULT_MODEL
from cc.tokens.pieces import Error

RUNGS = ("count_tokens", "heuristic", "rough")
STDIN = "-"


class Ask(NamedTuple):
    """`paths`: files and directories, `-` is stdin; empty is stdin. `budget` is tokens of a context, or None."""

    paths: tuple[str, ...] = ()
    model: str = DEFAULT_MODEL
    by_file: bool = False
    budget: int | None = None
    offline: bool = False
    exact: bool = False


def parse(
    *, path: Sequence[str], model: str | None, by: str | None, budget: str | None, offline: bool, exact: bool
) -> Ask:
    """The words of a command line. Raises UsageError."""
    if by not in (None, "file"):
        raise UsageError(f"--by must be file, not {by!r}", field="--by")
    if budget is not None and not (budget.isascii() and budget.isdecimal() and 0 < int(budget[:12]) <= 10**10):
        raise UsageError(f"--budget must be a number of tokens, not {budget!r}", field="--budget")
    if "" in path:
        raise UsageError("--path is empty", field="--path", hint="give a file, a directory, or - for stdin")
    return Ask(
        tuple(path), DEFAULT_MODEL if model is None else model, by is not None,
        None if budget is None else int(budget), offline, exact,
    )  # fmt: skip


class Row(NamedTuple):
    """One text. `error` is None where none was measured or none is needed (rung 0).

    `sampling`: what reading only samples adds, tokens of twice the standard error; 0 where all was read.
    """

    name: str
    kind: str
    tokens: int
    chars: int
    bytes: int
    error: Error | None = None
    sampling: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": self.name,
            "kind": self.kind,
            "tokens": self.tokens,
            "chars": self.chars,
            "bytes": self.bytes,
            "error": None if self.error is None else self.error.as_dict(),
            "sampling_error": _share(self.sampling, self.tokens),
        }


class Coverage(NamedTuple):
    """`skipped`: how many of a directory's entries are no text, by kind. `unreadable`: path and why; these are missing.

    `invalid_bytes` were no UTF-8, and were counted as replacement characters.
    """

    skipped: Mapping[str, int] = {}
    unreadable: tuple[tuple[str, str], ...] = ()
    invalid_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "skipped": dict(self.skipped),
            "unreadable": [{"path": path, "reason": why} for path, why in self.unreadable],
            "invalid_bytes": self.invalid_bytes,
        }


class Counted(NamedTuple):
    """The answer. All texts by one rung. `degraded`: a better one failed; one that the user switched off did not."""

    ask: Ask
    family: str
    rung: int
    rows: tuple[Row, ...]
    coverage: Coverage
    tried: tuple[Tried, ...] = ()
    degraded: bool = False
    notes: tuple[str, ...] = ()
    frame: float = 0.0

    @property
    def rung_name(self) -> str:
        return RUNGS[self.rung]

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def kind(self) -> str:
        """The kind of all texts, or `mixed`."""
        kinds = {row.kind for row in self.rows if row.kind != "empty"}
        return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "empty"

    @property
    def unmeasured(self) -> int:
        """Tokens of texts of a kind for which nobody has measured the error."""
        return sum(row.tokens for row in self.rows if row.error is None) if self.rung == 1 else 0

    @property
    def error(self) -> Error | None:
        """Of the sum, by tokens of those texts that have one: single errors may all lie on one side."""
        known = [(row.tokens, row.error) for row in self.rows if row.error is not None and row.tokens]
        size = sum(tokens for tokens, _ in known)
        if not size:
            return None
        mean, p90 = (sum(tokens * number for tokens, number in each) / size for each in (
            [(tokens, error.mean) for tokens, error in known], [(tokens, error.p90) for tokens, error in known],
        ))  # fmt: skip
        fewest, shortest = min(error.texts for _, error in known), max(error.shortest for _, error in known)
        return Error(round(mean, 4), round(p90, 4), fewest, shortest)

    @property
    def sampling(self) -> float:
        """Tokens: errors of samples are independent of each other."""
        return math.sqrt(sum(row.sampling**2 for row in self.rows))

    @property
    def budget(self) -> dict[str, Any] | None:
        """Whether all fit into the budget: yes, no, or unsure; and how many of the files do, the smallest first."""
        if self.ask.budget is None:
            return None
        error = self.error
        off = self.sampling + (self.tokens * error.p90 if error else 0.0)
        known = self.rung == 0 or (error is not None and not self.unmeasured)
        sure = known and not self.coverage.unreadable
        room, fit = self.ask.budget, 0
        for row in sorted(self.rows, key=lambda row: row.tokens):
            room -= row.tokens
            fit += room >= 0
        if self.tokens - off - self.unmeasured > self.ask.budget:
            fits = "no"
        else:
            fits = "yes" if sure and self.tokens + off <= self.ask.budget else "unsure"
        share = round(self.tokens / self.ask.budget, 4)
        return {"tokens": self.ask.budget, "share": share, "fits": fits, "files_that_fit": fit}

    def as_dict(self) -> dict[str, Any]:
        error = self.error
        return {
            "tokens": self.tokens,
            "model": self.ask.model,
            "family": self.family,
            "kind": self.kind,
            "rung": self.rung,
            "rung_name": self.rung_name,
            "reason": "; ".join(each.reason for each in self.tried) or None,
            "degraded": self.degraded,
            "tried": [each.as_dict() for each in self.tried],
            "error": None if error is None else error.as_dict(),
            "error_unmeasured_tokens": self.unmeasured,
            "sampling_error": _share(self.sampling, self.tokens),
            "frame": self.frame,
            "texts": len(self.rows),
            "chars": sum(row.chars for row in self.rows),
            "bytes": sum(row.bytes for row in self.rows),
            "budget": self.budget,
            "coverage": self.coverage.as_dict(),
            "notes": list(self.notes),
            "files": [row.as_dict() for row in self.rows] if self.ask.by_file else None,
        }


def _share(part: float, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
