"""The offline estimate (LADDERS.md, L8 rung 1): what the trained data file says a text costs. Imports errors, kinds.

    text -> words -> pieces, always the longest that is known -> the cost of each piece in tokens, added up

Of a word that was met before only the sum is looked up, in a dict, by C. The file is written by
scripts/train_tokens.py; docs/tokens.md says of what, and how large the error is.

    cc-tokens 2\\n | zlib( JSON of the header \\n | a byte a piece for each of `weights` | pieces, then beginnings )

Pieces and beginnings are separated by NUL. A beginning begins a piece and is none itself; to find them at each start
would take longer than to load all the rest.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from cc.errors import Failure
from cc.tokens.kinds import PROSE, RANGES, script_of

FILE = os.path.join(os.path.dirname(__file__), "pieces.bin")
MAGIC = b"cc-tokens 2\n"
MOST_BYTES = 8 << 20
LONGEST = 16
"""Characters of the longest piece."""
WORDS_KEPT = 200_000

WORDS = re.compile(
    r" ?[^\s!-/:-@\[-`{-~0-9]{1,64}| ?[0-9]{1,64}| ?[!-/:-@\[-`{-~]{1,64}|\s{1,64}(?!\S)|\s{1,64}", re.DOTALL
)
"""A word with the space before it, a number, signs, spaces. Bounded: a text without a space is no single word."""


class Error(NamedTuple):
    """How far estimates of this kind were off, as a share, on texts left out of the training.

    `texts`: how many. `shortest`: characters of the shortest one; of shorter texts nothing is known.
    """

    mean: float
    p90: float
    texts: int
    shortest: int

    def as_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "p90": self.p90, "texts": self.texts, "shortest": self.shortest}


class Trained(NamedTuple):
    """One family's part of the data file.

    `costs`: tokens of each piece. `beginnings`: what begins a piece and is none. `unknown`: tokens of a character in no
    piece, by script, and under its number of bytes in UTF-8 for scripts that no training text had. `frame`: what a
    message costs that holds nothing. `errors`: by kind of text. `unseen`: of prose in scripts that were in no training
    text. `once`: prose in scripts of one language there: with that left out it was unseen, so its error is not known.
    """

    family: str
    costs: Mapping[str, float]
    beginnings: Sequence[str]
    unknown: Mapping[str, float]
    frame: float
    errors: Mapping[str, Error]
    unseen: Error
    once: frozenset[str]

    def error_of(self, kind: str) -> Error | None:
        """How far estimates of this kind are off, or None where nobody has measured that."""
        known = self.errors.get(kind)
        return self.unseen if known is None and kind.startswith(PROSE) and kind not in self.once else known


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
    if len(pieces) != size + header["beginnings"] or len(steps) != size:
        raise ValueError(f"{len(pieces)} pieces, not {size}")
    value = [told["least"] + number * told["step"] for number in range(256)]
    costs = dict(zip(pieces[:size], map(value.__getitem__, steps), strict=True))
    errors = {kind: Error(*numbers) for kind, numbers in told["errors"].items()}
    unseen, once = Error(*told["unseen"]), frozenset(header["once"])
    return Trained(family, costs, pieces[size:], told["unknown"], told["frame"], errors, unseen, once)


def _unusable(path: str, why: str, code: str = "bad_config") -> Failure:
    return Failure(f"the data file of the estimate {why}: {path}", code=code, hint="install context-cleaner again")


V = TypeVar("V", float, tuple[str, ...])


class Apart(dict[str, tuple[V, str]], Generic[V]):
    """Takes words apart, from the left always into the longest piece that is known; a character in none stands alone.

    Reads each character once, whatever the word: trying each length at each place took 15 look-ups a character. The
    state is what was read and is not settled. Where with the next character it begins no piece, its longest piece is
    settled, and the state is what is left. Under the state stand the value of that piece and the state after it, found
    when needed first: never more of them than pieces have parts.

        pieces a, abcd, bc     read  a  ab  abc  x?  ->  a settled, state bc  x?  ->  bc settled, state ""  ->  x

    `known`: the value of each piece. `beginnings`: all that begin a piece and are none. `alone`: the value of a
    character in none. Values are added up from `nothing`.
    """

    def __init__(
        self, known: Mapping[str, V], beginnings: Iterable[str], alone: Callable[[str], V], nothing: V
    ) -> None:
        super().__init__()
        self._known: Mapping[str, V] = known
        self._alone: Callable[[str], V] = alone
        self._nothing: V = nothing
        self._begun = {*known, *beginnings}

    def of(self, word: str) -> V:
        """The sum of the values of the word's pieces."""
        begun, state, total = self._begun, "", self._nothing
        for character in word:
            longer = state + character
            if longer in begun:
                state = longer
                continue
            while state:
                settled, state = self[state]
                total += settled
                longer = state + character
                if longer in begun:
                    state = longer
                    break
            else:
                total += self._alone(character)
        while state:
            settled, state = self[state]
            total += settled
        return total

    def __missing__(self, state: str) -> tuple[V, str]:
        for end in range(len(state), 0, -1):
            value = self._known.get(state[:end])
            if value is not None:
                found = value, state[end:]
                break
        else:
            found = self._alone(state[0]), state[1:]
        self[state] = found
        return found


class _Words(dict[str, float]):
    """Tokens of each word that was met, reckoned when it is met first. Bounded: then it begins anew."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self._costs = trained.costs
        self._apart = Apart(trained.costs, trained.beginnings, _alone(trained.unknown), 0.0)

    def __missing__(self, word: str) -> float:
        cost = self._costs.get(word)
        if cost is None:
            cost = self._apart.of(word)
        if len(self) >= WORDS_KEPT:
            self.clear()
        self[word] = cost
        return cost


def _alone(unknown: Mapping[str, float]) -> Callable[[str], float]:
    """What gives the tokens of a character that is in no piece: the same from each of these borders to the next.

    Never more than it has bytes: what was learnt of a script was learnt of its longest characters.
    """
    borders = sorted({start for start, _ in RANGES} | {0x80, 0x800, 0x10000})
    costs = []
    for first in map(chr, borders):
        size = len(first.encode("utf-8", "surrogatepass"))
        costs.append(min(unknown.get(script_of(first), unknown[str(size)]), size))
    return lambda character: costs[bisect_right(borders, ord(character)) - 1]


class Estimator:
    """Estimates the tokens of texts, for one family. Linear in their length; takes any str, lone surrogates too."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self._words = _Words(trained)

    def tokens(self, text: str) -> float:
        """Tokens of the text alone, without a frame."""
        return max(0.0, sum(map(self._words.__getitem__, WORDS.findall(text))))
