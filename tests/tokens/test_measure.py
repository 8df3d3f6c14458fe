"""One pass over a text: what is read, what is sampled, what is kept."""

from __future__ import annotations

import io
import random
from typing import BinaryIO, cast

import pytest

from cc.tokens.measure import BLOCK, measure
from cc.tokens.pieces import Estimator, load
from tests.tokens.conftest import RECORDED

ESTIMATOR = Estimator(load("v5"))
PROSE = next(text["text"] for text in RECORDED if text.get("language") == "eng")
CODE = "".join(text["text"] for text in RECORDED if text["kind"] == "code")


def measured(data: bytes, name: str = "", *, exact: bool = False, keep: int = 0) -> tuple[int, int, float, float]:
    found = measure(io.BytesIO(data), name, ESTIMATOR, exact=exact, keep=keep)
    return found.chars, found.bytes, found.tokens, found.spread


def test_a_small_text_is_read_whole() -> None:
    chars, size, tokens, spread = measured(PROSE.encode())
    assert (chars, size, spread) == (len(PROSE), len(PROSE.encode()), 0.0)
    assert tokens == ESTIMATOR.tokens(PROSE)


@pytest.mark.parametrize("text", [PROSE, CODE, PROSE * 3 + CODE * 5], ids=["prose", "code", "mixed"])
def test_a_large_text_is_sampled_and_the_stated_error_holds(text: str) -> None:
    words = (text * (3 * BLOCK // len(text) + 1)).encode()
    _, _, tokens, spread = measured(words)
    _, _, exact, none = measured(words, exact=True)
    assert none == 0.0 < spread < 0.05 * tokens
    assert abs(tokens - exact) <= 4 * spread
    assert (tokens, spread) == measured(words)[2:], "the same text has the same answer"


def test_a_text_whose_parts_differ_has_a_larger_stated_error() -> None:
    even = PROSE * (4 * BLOCK // len(PROSE))
    half = PROSE * (2 * BLOCK // len(PROSE)) + "人人生而自由在尊嚴和權利上一律平等" * (BLOCK // 8)
    assert (
        measured(half.encode())[3] / measured(half.encode())[2]
        > 2 * measured(even.encode())[3] / measured(even.encode())[2]
    )


def test_a_character_across_two_blocks_is_one() -> None:
    text = "x" + "語" * BLOCK
    chars, size, _, _ = measured(text.encode())
    assert (chars, size) == (len(text), len(text.encode()))


def test_bytes_that_are_no_utf8_are_counted_and_replacement_characters_are_not() -> None:
    data = "fine \ufffd here ".encode() + b"\xff broken \xc3" + b" x" * BLOCK
    found = measure(io.BytesIO(data), "", ESTIMATOR, exact=False, keep=0)
    assert found.invalid_bytes == 2


def test_a_replacement_character_across_two_blocks_is_not_counted_as_broken() -> None:
    data = b"x" * (BLOCK - 1) + "\ufffd".encode() + b"y"
    assert measure(io.BytesIO(data), "", None, exact=False, keep=0).invalid_bytes == 0


@pytest.mark.parametrize(("keep", "kept"), [(0, False), (9, False), (10, True)])
def test_a_text_is_kept_if_there_is_room_for_all_of_it(keep: int, kept: bool) -> None:
    found = measure(io.BytesIO(b"0123456789"), "", None, exact=False, keep=keep)
    assert found.text == ("0123456789" if kept else None)


def test_a_nul_early_on_is_no_text_and_a_late_one_does_not_matter() -> None:
    assert not measure(io.BytesIO(b"ELF\0"), "", None, exact=False, keep=9).is_text
    late = measure(io.BytesIO(b"x" * 9000 + b"\0"), "", ESTIMATOR, exact=False, keep=0)
    assert late.is_text
    assert late.chars == 9001


def test_an_empty_text_is_nothing() -> None:
    found = measure(io.BytesIO(b""), "", ESTIMATOR, exact=False, keep=9)
    assert (found.chars, found.tokens, found.kind, found.text) == (0, 0.0, "empty", "")


class Looks:
    """A file that tells how far it was read: at the end no more than two blocks may be in memory."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.asked: list[int] = []

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        self.blocks -= 1
        return b"word " * (size // 5) if self.blocks >= 0 else b""


def test_a_text_without_an_end_to_speak_of_is_read_in_blocks() -> None:
    file = Looks(50)
    found = measure(cast(BinaryIO, file), "", ESTIMATOR, exact=False, keep=10**6)
    assert set(file.asked) == {BLOCK}
    assert found.text is None
    assert found.bytes == 50 * (BLOCK // 5) * 5


def test_samples_of_what_has_no_spaces_work() -> None:
    letters = random.Random(1).choices("abcdefgh", k=2 * BLOCK)  # noqa: S311 - the same each time
    _, _, tokens, spread = measured("".join(letters).encode())
    assert tokens > spread > 0
