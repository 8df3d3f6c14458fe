"""One pass over a text, in bounded memory: its size, its kind, its estimate. Imports this room only.

A text of up to a megabyte is read whole. Of a larger one only SLICE characters out of each STRATUM are looked at, at a
place in it that chance decides (the same each time, by a fixed seed): what that adds to the error is reckoned from how
much the slices differ. A text that is sent to be counted is kept, up to `keep` characters.
"""

from __future__ import annotations

import codecs
import random
from dataclasses import dataclass, field
from typing import BinaryIO

from cc.tokens.kinds import kind_of
from cc.tokens.pieces import Estimator
from cc.tokens.texts import LOOKED_AT

BLOCK = 1 << 20
STRATUM, SLICE = 8192, 512
WORD_END = 64
"""How far at most a slice gives way, so that it begins and ends between words."""
REPLACEMENT = "\ufffd".encode()
BEGINNING = 16_384


@dataclass(slots=True)
class Measured:
    """`tokens` is the estimate without a frame; 0 without an estimator. `spread`: its standard error by sampling.

    `text` is all of it, or None if that is more than was to be kept. `is_text`: False for what holds a NUL early on.
    """

    kind: str = "empty"
    chars: int = 0
    bytes: int = 0
    tokens: float = 0.0
    spread: float = 0.0
    invalid_bytes: int = 0
    text: str | None = ""
    is_text: bool = True


@dataclass(slots=True, eq=False, repr=False)
class _Slices:
    """Sums over the slices of a text: from them its rate in tokens a character, and how sure that is."""

    chance: random.Random = field(default_factory=lambda: random.Random(8))  # noqa: S311 - to be repeated
    number: int = 0
    chars: int = 0
    tokens: float = 0.0
    rates: float = 0.0
    squares: float = 0.0

    def take(self, block: str, estimator: Estimator) -> None:
        for start in range(0, len(block), STRATUM):
            room = min(STRATUM, len(block) - start) - SLICE
            at = start + (self.chance.randrange(room) if room > 0 else 0)
            piece = _between_words(block[at : at + SLICE])
            tokens = estimator.tokens(piece)
            rate = tokens / len(piece)
            self.number += 1
            self.chars += len(piece)
            self.tokens += tokens
            self.rates += rate
            self.squares += rate * rate

    def total(self, chars: int) -> tuple[float, float]:
        """Tokens of so many characters, and the standard error."""
        mean = self.rates / self.number
        variance = max(0.0, self.squares / self.number - mean * mean) / max(1, self.number - 1)
        return self.tokens / self.chars * chars, variance**0.5 * chars


def _between_words(piece: str) -> str:
    begin = piece.find(" ", 0, WORD_END)
    end = piece.rfind(" ", len(piece) - WORD_END)
    return piece[max(begin, 0) : end if end > WORD_END else len(piece)]


def measure(file: BinaryIO, name: str, estimator: Estimator | None, *, exact: bool, keep: int) -> Measured:
    """Read the file to its end. Raises OSError as `read` does."""
    raw = file.read(BLOCK)
    found = Measured()
    if b"\0" in raw[:LOOKED_AT]:
        found.is_text = False
        return found
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    slices, tail = _Slices(), b""
    kept: list[str] = []
    large = False
    while raw:
        following = file.read(BLOCK)
        large = large or bool(following)
        block = decoder.decode(raw, final=not following)
        if not found.chars:
            found.kind = kind_of(name, block[:BEGINNING])
        found.chars += len(block)
        found.bytes += len(raw)
        found.invalid_bytes += block.count("\ufffd") - (tail + raw).count(REPLACEMENT)
        tail = raw[-len(REPLACEMENT) + 1 :]
        if found.chars <= keep:
            kept.append(block)
        else:
            kept.clear()
        if estimator is not None and block:
            if large and not exact:
                slices.take(block, estimator)
            else:
                found.tokens += estimator.tokens(block)
        raw = following
    if slices.number:
        found.tokens, found.spread = slices.total(found.chars)
    found.text = "".join(kept) if found.chars <= keep else None
    return found
