"""YAML with positions: what is read, what is refused, and where the message points."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from cc import document
from cc.errors import ConfigError

BOTH = pytest.mark.parametrize("pure", [False, True], ids=["libyaml", "python"])


def plain(text: str | bytes, *, pure: bool = False) -> Any:
    return document.load(text, file="x.yml", pure=pure).plain()


def refused(text: str | bytes, *, pure: bool = False) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        document.load(text, file="x.yml", pure=pure)
    assert caught.value.file == "x.yml"
    return caught.value


@BOTH
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("null", None), ("~", None), ("", None), ("''", ""), ("'null'", "null"), ("'true'", "true"), ('"8"', "8"),
        ("8110", 8110), ("-3", -3), ("+3", 3), ("0", 0), ("0x1F", 31), ("0o17", 15), ("010", "010"), ("0755", "0755"),
        ("1_000", "1_000"), ("1:30", "1:30"), ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("01.5", "01.5"),
        ("1.2.3", "1.2.3"), (".", "."), ("-", [None]), ("--", "--"), ("-x", "-x"), ("=", "="), ("0x", "0x"),
        ("2024-01-01", "2024-01-01"), ("12e03", 12000.0), ("1e99999", "1e99999"), ("1s", "1s"),
        (".inf", math.inf), ("-.INF", -math.inf), ("9" * 31, float("9" * 31)), ("${X}", "${X}"), ("a: b", {"a": "b"}),
        ("!!str 010", "010"), ("!!str", ""), ("!!int 3", 3), ("!!float 3", 3.0), ("!!bool true", True),
        ("!!null ~", None), ("!", ""),
        ("! 12", "12"), ("!!map {a: 1}", {"a": 1}), ("!!seq [1]", [1]),
        ("|\n  a\n  b\n", "a\nb\n"), (">-\n  a\n  b\n", "a b"),
    ],
)  # fmt: skip
def test_scalars_are_what_yaml_1_2_says(written: str, value: object, pure: bool) -> None:
    found = plain(f"key:\n  {written}\n" if "\n" not in written else f"key: {written}", pure=pure)["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(plain("a: .nan")["a"])


@pytest.mark.parametrize("written", ["1.10", "8110", "true", "0x1F", "null", "9" * 5000, "1." + "9" * 5000])
def test_the_text_of_a_value_stays_as_it_was_written(written: str) -> None:
    assert document.load(f"a: {written}", file="x.yml").root.value["a"].text == written


@BOTH
@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "\ufeff", b"\xef\xbb\xbf", "%YAML 1.2\n---\n"])
def test_an_empty_file_is_nothing(text: str | bytes, pure: bool) -> None:
    read = document.load(text, file="x.yml", pure=pure)
    assert read.plain() is None
    assert read.top_level() == {}


@BOTH
def test_every_key_and_value_knows_its_line_and_column(pure: bool) -> None:
    read = document.load("# top\nvars: {PORT: 8110}\nsteps:\n  - name: é x\n    run: [a, b]\n", file="x.yml", pure=pure)
    root = read.root
    steps = root.value["steps"]
    step = steps.value[0]
    places = [
        root.keys["vars"],
        root.value["vars"].value["PORT"],
        steps,
        step,
        step.keys["run"],
        step.value["run"].value[1],
    ]
    assert [(node.line, node.column) for node in places] == [(2, 1), (2, 14), (4, 3), (4, 5), (5, 5), (5, 14)]
    assert (step.value["name"].line, step.value["name"].column) == (4, 11)


def test_the_top_level_gives_plain_values_with_their_lines() -> None:
    read = document.load("project: demo\nports:\n  - 1\n  - {a: b}\n", file="x.yml")
    assert read.top_level() == {"project": ("demo", 1), "ports": ([1, {"a": "b"}], 2)}


def test_a_top_level_that_is_no_mapping_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"x\.yml:1:1: expected 'key: value' lines, found a list"):
        document.load("- a\n", file="x.yml").top_level()


@BOTH
def test_a_byte_order_mark_moves_no_column(pure: bool) -> None:
    assert document.load(b"\xef\xbb\xbfa: 1\n", file="x.yml", pure=pure).root.value["a"].column == 4


@BOTH
def test_aliases_and_merge_keys_bring_in_what_they_name(pure: bool) -> None:
    text = """
base: &base {image: a, ports: [1], env: &env {X: 1}}
more: &more {image: b, user: u}
one: {<<: *base, image: c}
two:
  <<: [*base, *more]
  own: 1
three: *env
four: {"<<": plain}
five: {<<: []}
"""
    read = plain(text, pure=pure)
    assert read["one"] == {"image": "c", "ports": [1], "env": {"X": 1}}
    assert read["two"] == {"image": "a", "ports": [1], "env": {"X": 1}, "user": "u", "own": 1}
    assert read["three"] == {"X": 1}
    assert read["four"] == {"<<": "plain"}
    assert read["five"] == {}


def test_what_was_merged_in_points_to_where_it_was_written() -> None:
    root = document.load("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n", file="x.yml").root
    merged = root.value["b"]
    assert (merged.keys["x"].line, merged.keys["y"].line) == (1, 4)
    assert set(merged.keys) == set(merged.value)


PLACED = [
    ("a: 1\nb: 2\na: 3\n", 3, 1, "'a' stands here a second time, first in line 1"),
    ("a: {x: 1, 'x': 2}\n", 1, 11, "'x' stands here a second time, first in line 1"),
    ("8: a\n'8': b\n", 2, 1, "'8' stands here a second time, first in line 1"),
    ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, 3, "'<<' stands here a second time, first in line 3"),
    ("a: 1\n---\nb: 2\n", 2, 1, "a second document begins here; a file holds one"),
    ("a: &a [1, *a]\n", 1, 11, "*a stands inside what it names"),
    ("a: *nobody\n", 1, 4, "*nobody names no &anchor above"),
    ("a: !!python/object/apply:os.system ['id']\n", 1, 4, "unknown tag !!python/object/apply:os.system"),
    ("a: !!binary aGk=\n", 1, 4, "unknown tag !!binary"),
    ("a: !reset []\n", 1, 4, "unknown tag !reset"),
    ("a: !!set {x}\n", 1, 4, "unknown tag !!set"),
    ("a: !!int x\n", 1, 4, "!!int does not fit 'x'"),
    ("a: !!bool yes\n", 1, 4, "!!bool does not fit 'yes'"),
    ("{a: b}: c\n", 1, 1, "a key must be a word, not a mapping"),
    ("a: {{ x }}\n", 1, 5, "a key must be a word, not a mapping"),
    ("? [a]\n: c\n", 1, 3, "a key must be a word, not a list"),
    ("a: &k [x]\n*k : c\n", 2, 1, "a key must be a word, not an alias"),
    ("'': c\n", 1, 1, "a key is missing before ':'"),
    ("? \n: c\n", 1, 2, "a key is missing before ':'"),
    ("a:\n  <<: 3\n", 2, 7, "'<<' takes a mapping or a list of them, found 3"),
    ("a:\n  <<: [x]\n", 2, 8, "'<<' takes a mapping or a list of them, found 'x'"),
    ("a:\n\tb: 1\n", 2, 1, "a tab where YAML wants spaces"),
    ("a:\n  b: 1\n\tc: 2\n", 3, 1, "a tab where YAML wants spaces"),
    ("- a:\n  -\tb: 1\n", 2, 4, "a tab where YAML wants spaces"),
    ('a: "x\\0y"\n', 1, 4, "a NUL character (\\0) in a text"),
    ("a: b\0c\n", 1, 5, "not YAML text: a NUL character"),
    ("a: b\n\x07c\n", 2, 1, "not YAML text: a character that cannot be printed, U+0007"),
    ("a: b\ufeff\n", 1, 5, "not YAML text: a byte order mark in the middle of the text"),
    ("a: \ud800\n", 1, 4, "not YAML text: a character that cannot be printed, U+D800"),
    (b"a: 1\nb: \xff\n", 2, 4, "not UTF-8 text: byte 0xff"),
    (b"\xff\xfea\x00", 1, 1, "not UTF-8 text: byte 0xff"),
    (b"\x7fELF\x02\x01\x01\x00", 1, 1, "not YAML text: a character that cannot be printed, U+007F"),
    (b"\x89PNG\r\n\x1a\n", 1, 1, "not UTF-8 text: byte 0x89"),
    ("a: " + "[" * 900, 1, 67, "nested more than 64 deep"),
    ("- " * 100_000, 1, 129, "nested more than 64 deep"),
    ("{a: " * 100_000, 1, 257, "nested more than 64 deep"),
    ("[" + "a," * 200_000, 1, 100_000, "more than 50,000 values, aliases counted as what they stand for"),
    ("%TAG !a! b\n" * 50_000, 1, 1, "too many %TAG directives"),
]


@BOTH
@pytest.mark.parametrize(("text", "line", "column", "said"), PLACED)
def test_what_is_refused_is_named_with_its_place(
    text: str | bytes, line: int, column: int, said: str, pure: bool
) -> None:
    error = refused(text, pure=pure)
    assert (error.line, error.column, error.message) == (line, column, said)


@BOTH
@pytest.mark.parametrize(
    ("text", "line", "column", "hint"),
    [
        ("url: {a: ${X}}\n", 1, 11, "inside [ ] and { }, text with ${...} in it needs quotes"),
        ("a: 'abc\nb: 1\n", 1, 4, "the closing quote is missing"),
        ('a: 1\nb: "abc', 2, 4, "the closing quote is missing"),
        ("a: {b: 1\n", 1, 4, "is its end missing?"),
        ("a: b: c\n", 1, 5, "a value with ': ' in it needs quotes; or does this line stand too far in?"),
        ("steps:\n  - name: x\n   run: y\n", 3, 4, "does this line stand as far in as its neighbours?"),
        ("a: 1\nb\nc: 2\n", 3, 1, "is a ':' missing after the key?"),
        ("a: @x\n", 1, 4, "a value that begins with a special character needs quotes"),
        ("a: *x\n", 1, 4, "a text that begins with '*' needs quotes"),
        ("a: '1'\n--- \nb: 1\n", 2, 1, "remove the '---' line"),
    ],
)
def test_a_mistake_of_syntax_comes_with_what_to_do(text: str, line: int, column: int, hint: str, pure: bool) -> None:
    error = refused(text, pure=pure)
    assert (error.line, error.column, error.hint) == (line, column, hint)


def test_what_began_further_up_is_named_with_its_line() -> None:
    error = refused("a: [1, 2\nb: 3\n")
    assert str(error) == (
        "x.yml:2:2: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence that began in line 1"
    )


def test_a_file_that_is_too_big_is_not_parsed() -> None:
    error = refused(b"a: b\n" * 2_200_000)
    assert (error.line, error.message) == (1, "too big: more than 1,048,576 bytes")
    assert plain("a: " + "b" * (document.MAX_BYTES - 3)) == {"a": "b" * (document.MAX_BYTES - 3)}


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{at}: &a{at} [{','.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 10)
)
MERGED_LAUGHS = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{at}: &a{at} {{<<: [{','.join([f'*a{at - 1}'] * 9)}]}}\n" for at in range(1, 10)
)
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{at}: &a{at} [[[[*a{at - 1}]]]]\n" for at in range(1, 1000))


@BOTH
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "more than 50,000 values"),
        (MERGED_LAUGHS, "more than 50,000 values"),
        (CHAIN, "nested more than 64 deep"),
    ],
    ids=["lists", "merges", "a chain"],
)
def test_aliases_that_explode_are_refused(text: str, said: str, pure: bool) -> None:
    assert said in refused(text, pure=pure).message


@BOTH
@pytest.mark.parametrize("opening", ["[", "{", "{a: ", "- ", "? ", "[{a: "])
def test_a_hundred_thousand_brackets_are_refused_and_nothing_breaks(opening: str, pure: bool) -> None:
    """Some versions of libyaml look a thousand characters ahead and have a bound of their own: the words differ."""
    assert refused(opening * 100_000, pure=pure).line == 1


def test_hundreds_of_steps_fit() -> None:
    step = (
        "  - {name: s, run: [a, b, c], needs: [x], env: {A: 1, B: 2}, retry: {attempts: 3, wait: 1s}, tags: [t, u]}\n"
    )
    assert len(plain("steps:\n" + step * 1000)["steps"]) == 1000


def test_a_very_long_word_is_cut_in_messages() -> None:
    word = "k" * 400_000
    assert len(str(refused(f"? {word}\n: 1\n? {word}\n: 2\n"))) < 200
    assert len(str(refused(f"a: *{word}\n"))) < 200
    assert len(str(refused(f"a: !<{word}> b\n"))) < 200


PIECES = [
    "a", "b: ", "- ", "\n", "\n  ", "\n\t", "{", "}", "[", "]", ",", "'", '"', "&x ", "*x", "!", "!!int ", "!!str", "|",
    ">", "#", "%", "@", "`", "? ", ": ", "<<: ", "---\n", "...\n", "~", "${", "\\", "\\ud800", "\\x", "1", ".5", "é",
    "\x85", "\u2028", "\ufeff", "\0", "\x07", "\r", "%TAG ! x\n", "%YAML 1.1\n", "0x", "1e9", "[" * 70, "- " * 70,
    "\U0001f600",
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_in_it_is_read_or_refused_and_nothing_else(seed: int, pure: bool) -> None:
    chance, refusals = random.Random(seed), []  # noqa: S311 - what is wanted is that it comes again
    for _ in range(150):
        pieces: str | bytes = "".join(chance.choices(PIECES, k=chance.randrange(1, 30)))
        for text in (pieces, chance.randbytes(chance.randrange(1, 60))):
            try:
                read = document.load(text, file="x.yml", pure=pure)
            except ConfigError as error:
                refusals.append(error)
            else:
                read.plain()
    assert all(error.file == "x.yml" and (error.line or 0) >= 1 and (error.column or 0) >= 1 for error in refusals)


@pytest.mark.parametrize("seed", range(4))
def test_both_parsers_read_the_same(seed: int) -> None:
    """They differ in what they refuse (tabs, escapes); what both read means the same."""
    chance = random.Random(seed)  # noqa: S311 - as above
    for _ in range(200):
        text = "".join(chance.choices(PIECES, k=chance.randrange(1, 12)))
        found = []
        for pure in (False, True):
            try:
                found.append(repr(plain(text, pure=pure)))
            except ConfigError:
                break
        assert len(set(found)) <= 1, text
