"""The offline estimate (LADDERS.md, L8 rung 1): what the trained data file says a text costs. Imports errors only.

    text -> words -> pieces, always the longest that is known -> the cost of each piece in tokens, added up

Of a word that was met before only the sum is looked up, in a dict, by C. The file is written by
scripts/train_tokens.py; docs/tokens.md says of what, and how large the error is.

    cc-tokens 1\\n | zlib( JSON of the header \\n | a byte a piece for each of `weights` | pieces, separated by NUL )
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cc.errors import Failure
from cc.tokens.kinds import script_of

FILE = os.path.join(os.path.dirname(__file__), "pieces.bin")
MAGIC = b"cc-tokens 1\n"
MOST_BYTES = 8 << 20
LONGEST = 16
"""Characters of the longest piece: what makes the search linear."""
WORDS_KEPT = 200_000

WORDS = re.compile(
    r" ?[^\s!-/:-@\[-`{-~0-9]{1,64}| ?[0-9]{1,64}| ?[!-/:-@\[-`{-~]{1,64}|\s{1,64}(?!\S)|\s{1,64}", re.DOTALL
)
"""A word with the space before it, a number, signs, spaces. Bounded: a text without a space is no single word."""


@dataclass(frozen=True, slots=True)
class Error:
    """How far estimates of this kind were off, as a share, on texts left out of the training.

    `texts`: how many. `shortest`: characters of the shortest one; of shorter texts nothing is known.
    """

    mean: float
    p90: float
    texts: int
    shortest: int

    def as_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "p90": self.p90, "texts": self.texts, "shortest": self.shortest}


@dataclass(frozen=True, slots=True)
class Trained:
    """One family's part of the data file.

    `costs`: tokens of each piece. `unknown`: of a character in no piece, by script, and under its number of bytes in
    UTF-8 for scripts that no training text had. `frame`: what a message costs that holds nothing.
    """

    family: str
    costs: Mapping[str, float]
    unknown: Mapping[str, float]
    frame: float
    errors: Mapping[str, Error]


def load(family: str, path: str = FILE) -> Trained:
    """The family's part of the file. Raises Failure: tool_missing, permission_denied, bad_config, with the path."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MOST_BYTES)
    except FileNotFoundError:
        raise _unusable(path, "is not there", "tool_missing") from None
    except OSError as error:
        code = "permission_denied" if isinstance(error, PermissionError) else "bad_config"
        raise _unusable(path, f"cannot be read: {error.strerror}", code) from error
    if not raw.startswith(MAGIC):
        raise _unusable(path, "is no such file or of another version")
    try:
        return _parsed(family, zlib.decompress(raw[len(MAGIC) :]))
    except (zlib.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise _unusable(path, f"is damaged ({type(error).__name__}: {error})") from error


def _parsed(family: str, content: bytes) -> Trained:
    head, _, rest = content.partition(b"\n")
    header = json.loads(head)
    told = header["families"][family]
    size = header["pieces"]
    at = size * told["weights"]
    pieces = rest[size * header["weights"] :].decode().split("\0")
    steps = rest[at : at + size]
    if len(pieces) != size or len(steps) != size:
        raise ValueError(f"{len(pieces)} pieces, not {size}")
    value = [told["least"] + number * told["step"] for number in range(256)]
    costs = dict(zip(pieces, map(value.__getitem__, steps), strict=True))
    errors = {kind: Error(*numbers) for kind, numbers in told["errors"].items()}
    return Trained(family, costs, told["unknown"], told["frame"], errors)


def _unusable(path: str, why: str, code: str = "bad_config") -> Failure:
    return Failure(f"the data file of the estimate {why}: {path}", code=code, hint="install context-cleaner again")


def pieces_of(word: str, known: Mapping[str, Any]) -> list[str]:
    """The word in pieces, from the left always the longest one known; a character in none stands alone."""
    found, at, end = [], 0, len(word)
    while at < end:
        for to in range(min(end, at + LONGEST), at + 1, -1):
            if word[at:to] in known:
                break
        else:
            to = at + 1
        found.append(word[at:to])
        at = to
    return found


class _Words(dict[str, float]):
    """Tokens of each word that was met, reckoned when it is met first. Bounded: then it begins anew."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self._costs, self._unknown = trained.costs, trained.unknown

    def __missing__(self, word: str) -> float:
        cost = self._costs.get(word)
        if cost is None:
            cost = sum(map(self._cost, pieces_of(word, self._costs)))
        if len(self) >= WORDS_KEPT:
            self.clear()
        self[word] = cost
        return cost

    def _cost(self, piece: str) -> float:
        cost = self._costs.get(piece)
        if cost is not None:
            return cost
        cost = self._unknown.get(script_of(piece))
        return self._unknown[str(len(piece.encode("utf-8", "surrogatepass")))] if cost is None else cost


class Estimator:
    """Estimates the tokens of texts, for one family. Linear in their length; takes any str, lone surrogates too."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self._words = _Words(trained)

    def tokens(self, text: str) -> float:
        """Tokens of the text alone, without a frame."""
        return max(0.0, sum(map(self._words.__getitem__, WORDS.findall(text))))
