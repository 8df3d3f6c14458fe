"""Masking and keeping, as tables: the same text, cut in every way, comes out the same."""

from __future__ import annotations

import random

import pytest

from cc.shell.mask import Mask
from cc.shell.output import LINE_BYTES, Output


@pytest.mark.parametrize(
    ("secrets", "text", "masked"),
    [
        ((), "nothing is secret", "nothing is secret"),
        (("",), "an empty secret is none", "an empty secret is none"),
        (("abc",), "xabcx abcabc", "x***x ******"),
        (("abc", "abcdef"), "abcdef abc abcde", "*** *** ***de"),
        (("xab", "abcd"), "xabcd", "***"),
        (("aa",), "aaaaa b aa", "*** b ***"),
        (("a\nb",), "1a\nb2", "1***2"),
        (("first line\nsecond line\n",), "  first line\n  second line\n", "  ***\n  ***\n"),
        (("päß",), "xpäßx", "x***x"),
        (('p"q\\',), r'{"password": "p\"q\\"}', '{"password": "***"}'),
        (("p@ss/word",), "http://u:p%40ss%2Fword@host", "http://u:***@host"),
        (("\ud800",), "a\ud800b", "a***b"),
    ],
)
def test_a_text_and_every_way_of_cutting_its_stream_are_masked_alike(
    secrets: tuple[str, ...], text: str, masked: str
) -> None:
    mask = Mask(secrets)
    assert mask.text(text) == masked
    data = text.encode(errors="surrogatepass")
    for cut in range(len(data) + 1):
        for second in range(cut, len(data) + 1):
            stream = mask.stream()
            parts = [stream.feed(data[:cut]), stream.feed(data[cut:second]), stream.feed(data[second:], last=True)]
            assert b"".join(parts).decode(errors="surrogatepass") == masked


def test_a_stream_holds_back_only_what_may_become_a_secret() -> None:
    stream = Mask(("hunter2",)).stream()
    assert stream.feed(b"password? ") == b"password? "
    assert stream.feed(b"hun") == b""
    assert stream.feed(b"ger") == b"hunger"


def test_a_stream_that_repeats_a_secret_for_ever_keeps_nothing_of_it() -> None:
    stream = Mask(("aaaa",)).stream()
    told = b"".join(stream.feed(b"a" * 1000) for _ in range(1000))
    assert told + stream.feed(b"", last=True) == b"***"
    assert len(stream._carry) < 4


def test_random_streams_agree_with_masking_the_whole() -> None:
    chance = random.Random(7)  # noqa: S311 - a test's luck, repeatable
    for _ in range(500):
        secrets = ["".join(chance.choices("ab", k=chance.randint(1, 5))) for _ in range(3)]
        text = "".join(chance.choices("abc", k=40))
        stream, told, at = Mask(secrets).stream(), b"", 0
        while at < len(text):
            size = chance.randint(1, 6)
            told += stream.feed(text[at : at + size].encode())
            at += size
        assert (told + stream.feed(b"", last=True)).decode() == Mask(secrets).text(text)


def output(*chunks: bytes, keep: int = 1000) -> tuple[Output, list[str]]:
    heard: list[str] = []
    made = Output(Mask(), keep, heard.append)
    for chunk in chunks:
        made.feed(chunk)
    made.close()
    return made, heard


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ((b"one\ntwo\n",), ["one", "two"]),
        ((b"one\ntwo",), ["one", "two"]),
        ((b"o", b"ne\r", b"\ntwo\r", b"three\n"), ["one", "two", "three"]),
        ((b"one\r\n\r\ntwo\n",), ["one", "", "two"]),
        ((b"\n\n",), ["", ""]),
        ((b"\r", b"", b"\n", b"\n"), ["", ""]),
        ((b"\xc3", b"\xa4\n"), ["ä"]),
        ((b"a\x00\xff\n",), ["a\x00\ufffd"]),
        ((b"a\xe2\x80\xa8b\n",), ["a\u2028b"]),
        ((), []),
    ],
)
def test_lines_are_the_same_however_they_arrive(chunks: tuple[bytes, ...], lines: list[str]) -> None:
    assert output(*chunks)[1] == lines
    assert output(*(bytes([byte]) for chunk in chunks for byte in chunk))[1] == lines


def test_a_line_over_the_limit_is_shortened_and_the_next_one_is_whole() -> None:
    _, (long, short) = output(b"x" * LINE_BYTES, b"y" * 10, b"\nnext")
    assert long == "x" * LINE_BYTES + " ... 10 bytes left out"
    assert short == "next"


def test_what_fits_is_kept_whole_and_what_does_not_loses_its_middle() -> None:
    whole, _ = output(b"a" * 500, b"b" * 500)
    assert (whole.text, whole.left_out) == ("a" * 500 + "b" * 500, 0)
    cut, _ = output(b"a" * 500, b"b", b"c" * 500)
    assert cut.text == "a" * 500 + "\n... 1 bytes left out ...\n" + "c" * 500
    assert cut.left_out == 1


def test_a_character_at_the_cut_is_left_out_and_not_broken() -> None:
    cut, _ = output("€".encode() * 1000, keep=100)  # 3 bytes each, halves of 50
    head, _, tail = cut.text.split("\n")
    assert (head, tail) == ("€" * 16, "€" * 16)
    assert not cut.undecodable


@pytest.mark.parametrize(
    ("chunks", "undecodable"),
    [
        ((b"plain",), False),
        ((b"\xc3", b"\xa4"), False),
        ((b"\xc3",), True),
        ((b"\xc3", b"A"), True),
        ((b"\xff",), True),
    ],
)
def test_what_is_no_text_is_noticed_across_chunks(chunks: tuple[bytes, ...], undecodable: bool) -> None:
    assert output(*chunks)[0].undecodable is undecodable


def test_memory_stays_flat_over_any_amount() -> None:
    made = Output(Mask(), 1000)
    for _ in range(2000):
        made.feed(b"z" * 65536)
    assert len(made._head) + len(made._tail) < 20_000
    assert made.total == 2000 * 65536
