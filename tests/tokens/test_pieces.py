"""The estimate: its error, its data file, its bounds."""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from cc.errors import Failure
from cc.tokens.families import FAMILIES
from cc.tokens.kinds import script_of
from cc.tokens.pieces import FILE, LONGEST, MAGIC, WORDS, WORDS_KEPT, Apart, Error, Estimator, Trained, load
from tests.tokens.conftest import RECORDED

ESTIMATORS = {family: Estimator(load(family)) for family in FAMILIES}
CONTRACT = 0.06
LETTERS = str.maketrans("0123456789", "abcdefghij")
CHANCE = random.Random(4)  # noqa: S311 - the same each time


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


def test_scripts_of_one_language_have_no_error_and_those_without_any_have_one() -> None:
    trained = load("v5")
    assert not trained.once & set(trained.errors)
    assert {trained.error_of(kind) for kind in [*trained.once, "JSON", "empty"]} == {None}
    assert trained.error_of("prose, Mongolian") == trained.unseen
    assert trained.unseen.mean > 3 * trained.errors["prose, Latin"].mean
    assert trained.error_of("prose, Latin") == trained.errors["prose, Latin"]


def test_the_families_differ_as_their_counts_do() -> None:
    text = next(text for text in RECORDED if text.get("language") == "eng")["text"]
    v3, v47, v5 = (ESTIMATORS[family].tokens(text) + ESTIMATORS[family].trained.frame for family in FAMILIES)
    assert v3 != pytest.approx(v5, rel=0.1)
    assert v47 == pytest.approx(v5 + 5.5, rel=0.01)


def beginnings(pieces: Iterable[str]) -> set[str]:
    return {piece[:end] for piece in pieces for end in range(1, len(piece))} - set(pieces)


def apart(known: Iterable[str]) -> Apart[tuple[str, ...]]:
    return Apart({piece: (piece,) for piece in known}, beginnings(known), lambda character: (character,), ())


def longest_first(word: str, known: Collection[str]) -> tuple[str, ...]:
    """What `Apart` must find, in the plainest way: at each place each length is tried."""
    found, at = [], 0
    while at < len(word):
        tried = (word[at : at + size] for size in range(LONGEST, 1, -1))
        found.append(next((piece for piece in tried if piece in known), word[at]))
        at += len(found[-1])
    return tuple(found)


def test_a_word_is_taken_apart_from_the_left_into_the_longest_pieces() -> None:
    known = {"a", "ab", "abc", "cd", " x"}
    assert apart(known).of("abcd x") == ("abc", "d", " x")
    assert apart(known).of("zab") == ("z", "ab")
    assert apart(known).of("") == ()
    assert apart({"a", "abcd", "bc"}).of("abcx") == ("a", "bc", "x")
    assert apart({"abcd", "bcde"}).of("abcdebcdabc") == ("abcd", "e", "b", "c", "d", "a", "b", "c")


@pytest.mark.parametrize("letters", ["ab", "abc", "abcdef"])
def test_any_word_of_any_pieces_is_taken_apart_as_in_the_plainest_way(letters: str) -> None:
    for _ in range(150):
        known = {"".join(CHANCE.choices(letters, k=CHANCE.randint(1, 6))) for _ in range(CHANCE.randint(1, 12))}
        taker = apart(known)
        for _ in range(20):
            word = "".join(CHANCE.choices(letters, k=CHANCE.randint(0, 40)))
            assert taker.of(word) == longest_first(word, known), (word, known)


def test_with_the_pieces_of_the_file_too() -> None:
    known = load("v5").costs
    pieces = sorted(known)
    taker = apart(known)
    for _ in range(3000):
        parts = (CHANCE.choice(pieces) for _ in range(CHANCE.randint(1, 6)))
        word = "".join(part[: CHANCE.randint(1, len(part))] for part in parts)
        assert taker.of(word) == longest_first(word, known), word


def test_the_beginnings_in_the_file_are_those_of_its_pieces() -> None:
    trained = load("v5")
    assert len(trained.beginnings) == len(set(trained.beginnings))
    assert set(trained.beginnings) == beginnings(trained.costs)


class Counted(set[str]):
    """Counts how often it was asked."""

    asked = 0

    def __contains__(self, text: object) -> bool:
        self.asked += 1
        return super().__contains__(text)


@pytest.mark.parametrize("known", [{"a" * 16}, {"a" * size for size in range(1, 17)}, {"a", "a" * 15 + "c"}])
def test_each_character_of_a_word_costs_the_same_however_little_is_settled(known: set[str]) -> None:
    taker = apart(known)
    taker._begun = counted = Counted(taker._begun)
    word = ("a" * 15 + "b") * 500
    assert taker.of(word) == longest_first(word, known)
    assert counted.asked <= 2 * len(word)
    taker._known = {}  # what is settled of each state was found, and is not looked up again
    assert taker.of(word) == longest_first(word, known)


BY_BYTES = {"1": 0.5, "2": 1.5, "3": 2.5, "4": 3.5}


@pytest.mark.parametrize("unknown", [load("v5").unknown, BY_BYTES, {**BY_BYTES, "Han": 9.0, "Latin": 2.5}])
def test_a_character_in_no_piece_costs_what_its_script_does_and_else_by_its_bytes(unknown: dict[str, float]) -> None:
    estimator = Estimator(Trained("v5", {}, [], unknown, 0.0, {}, Error(0.3, 0.9, 21, 1000), frozenset()))
    borders = [number for number in range(1, sys.maxunicode) if script_of(chr(number)) != script_of(chr(number - 1))]
    near = [border + off for border in [*borders, 0x80, 0x800, 0x10000] for off in (-1, 0, 1)]
    for character in map(chr, [0, sys.maxunicode, *near, *CHANCE.sample(range(sys.maxunicode + 1), 2000)]):
        size = len(character.encode("utf-8", "surrogatepass"))
        expected = min(size, unknown.get(script_of(character), unknown[str(size)]))
        assert estimator.tokens(character) == expected, character


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
    assert 0 <= tokens <= len(text.encode("utf-8", "surrogatepass"))
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
