"""The estimate: its error, its data file, its bounds."""

from __future__ import annotations

import zlib
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from cc.errors import Failure
from cc.tokens.families import FAMILIES
from cc.tokens.pieces import FILE, LONGEST, MAGIC, WORDS, WORDS_KEPT, Estimator, load, pieces_of
from tests.tokens.conftest import RECORDED

ESTIMATORS = {family: Estimator(load(family)) for family in FAMILIES}
CONTRACT = 0.06
LETTERS = str.maketrans("0123456789", "abcdefghij")


def off(text: dict[str, Any], family: str) -> float:
    estimator = ESTIMATORS[family]
    told = text["counts"][family]
    return abs(estimator.tokens(text["text"]) + estimator.trained.frame - told) / told


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_counts_are_met(family: str) -> None:
    for kind in ("code", "prose"):
        errors = [off(text, family) for text in RECORDED if text["kind"] == kind]
        assert mean(errors) < CONTRACT, kind


@pytest.mark.parametrize("family", FAMILIES)
def test_no_recorded_count_is_missed_by_far(family: str, recorded: dict[str, Any]) -> None:
    assert off(recorded, family) < 0.2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_error_that_is_stated_keeps_the_contract(family: str) -> None:
    errors = load(family).errors
    assert {"code", "prose, Latin", "prose, Cyrillic", "prose, Han", "prose, Arabic"} <= set(errors)
    assert all(error.mean <= CONTRACT for kind, error in errors.items() if error.texts > 10)
    assert all(error.mean <= error.p90 and error.texts > 1 and error.shortest > 0 for error in errors.values())
    assert not {"JSON", "logs", "Markdown", "prose, Thai"} & set(errors), "nobody has measured those"


def test_the_families_differ_as_their_counts_do() -> None:
    text = next(text for text in RECORDED if text.get("language") == "eng")["text"]
    v3, v47, v5 = (ESTIMATORS[family].tokens(text) + ESTIMATORS[family].trained.frame for family in FAMILIES)
    assert v3 != pytest.approx(v5, rel=0.1)
    assert v47 == pytest.approx(v5 + 5.5, rel=0.01)


def test_a_word_is_taken_apart_from_the_left_into_the_longest_pieces() -> None:
    known = {"a", "ab", "abc", "cd", " x"}
    assert pieces_of("abcd x", known) == ["abc", "d", " x"]
    assert pieces_of("zab", known) == ["z", "ab"]
    assert pieces_of("", known) == []


def test_words_are_the_whole_text() -> None:
    for text in (
        "a  b\n\n c1,2;d\u2028é\u3000 ",
        "\0\x01",
        "x" * 1000,
        " " * 1000,
        "\ud800\udfff",
        *[t["text"] for t in RECORDED],
    ):
        assert "".join(WORDS.findall(text)) == text


def test_no_word_is_longer_than_what_bounds_the_search() -> None:
    for character in ("x", " ", "\n", "9", "-", "語", "\u0301"):
        assert max(map(len, WORDS.findall(character * 10_000))) <= 65
    assert max(map(len, load("v5").costs)) <= LONGEST


@pytest.mark.parametrize(
    "text", ["", "\ud800", "\udc80" * 50, "\0" * 50, "\U0010ffff" * 50, "\u0301" * 50, "ᚠᛇᚻ", "\uffff"]
)
def test_any_text_has_an_estimate(text: str) -> None:
    tokens = ESTIMATORS["v5"].tokens(text)
    assert 0 <= tokens <= 4 * len(text)
    assert bool(tokens) == bool(text)


def test_what_is_remembered_of_words_is_bounded() -> None:
    estimator = Estimator(load("v5"))
    for block in range(3):
        estimator.tokens(
            " ".join(str(number).translate(LETTERS) for number in range(block * 10**5, (block + 1) * 10**5))
        )
        assert len(estimator._words) <= WORDS_KEPT


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nowhere") as raised:
        load("v5", str(tmp_path / "nowhere.bin"))
    assert raised.value.code == "tool_missing"


@pytest.mark.parametrize("keep", [0, 5, len(MAGIC), 1000, 200_000])
def test_a_file_that_was_cut_is_no_use(tmp_path: Path, keep: int) -> None:
    damaged = tmp_path / "pieces.bin"
    damaged.write_bytes(Path(FILE).read_bytes()[:keep])
    with pytest.raises(Failure, match="pieces") as raised:
        load("v5", str(damaged))
    assert raised.value.code == "bad_config"


def test_a_file_with_a_flipped_bit_is_no_use(tmp_path: Path) -> None:
    whole = bytearray(Path(FILE).read_bytes())
    for at in range(len(MAGIC) + 2, len(whole), 9973):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        (tmp_path / "pieces.bin").write_bytes(damaged)
        with pytest.raises(Failure, match="is damaged"):
            load("v5", str(tmp_path / "pieces.bin"))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}\n", b'{"families": {}, "pieces": 1, "weights": 1}\nab', b"nonsense"]
)
def test_a_file_that_holds_something_else_is_no_use(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pieces.bin").write_bytes(MAGIC + zlib.compress(content))
    with pytest.raises(Failure, match="is damaged"):
        load("v5", str(tmp_path / "pieces.bin"))
