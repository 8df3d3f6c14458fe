"""Bars, and what a stream can show."""

from __future__ import annotations

import io
import os
import pty
from typing import TYPE_CHECKING, TextIO

import pytest

from cc.report.screen import Screen, screen_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    outer, inner = pty.openpty()
    with open(inner, "w", encoding="utf-8") as stream:
        yield stream
    os.close(outer)


@pytest.mark.parametrize(
    ("share", "drawn", "plain"),
    [
        (0.0, "", ""), (1.0, "██████████", "##########"), (0.5, "█████", "#####"), (0.5125, "█████▏", "#####"),
        (0.0001, "▏", "#"), (0.99, "█████████▉", "##########"),
    ],
)  # fmt: skip
def test_a_bar_is_as_long_as_its_share_and_nothing_but_nothing_is_unseen(share: float, drawn: str, plain: str) -> None:
    assert Screen(80).bar(share, 10) == drawn
    assert Screen(80, unicode=False).bar(share, 10) == plain


def test_a_day_without_anything_is_a_gap_and_one_with_little_is_none() -> None:
    shares = [0.0, 0.01, 0.5, 0.0, 1.0]
    assert Screen(80).sparkline(shares) == " ▁▅ █"
    assert Screen(80, unicode=False).sparkline(shares) == " .+ @"


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({"LANG": "C"}, False), ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C", "LANG": "de_DE.UTF-8"}, False), ({"LANG": "C.UTF-8"}, True), ({}, True),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "C"}, True), ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, True), ({"LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, True),
    ],
)  # fmt: skip
def test_the_locale_c_gets_ascii(environ: dict[str, str], unicode: bool, terminal: TextIO) -> None:
    assert screen_of(terminal, environ, 80).unicode == unicode


@pytest.mark.parametrize(("encoding", "unicode"), [("utf-8", True), ("ascii", False), ("latin-1", False)])
def test_a_stream_that_cannot_encode_blocks_gets_ascii(encoding: str, unicode: bool) -> None:
    assert screen_of(io.TextIOWrapper(io.BytesIO(), encoding), {}, None).unicode == unicode


def test_what_is_ours_in_a_text_is_ascii_for_it_too() -> None:
    assert Screen(80, unicode=False).text("4 Nov – 24 Nov, a…b é") == "4 Nov - 24 Nov, a~b é"
    assert Screen(80).text("a…b") == "a…b"


@pytest.mark.parametrize(
    ("environ", "refused", "width", "colour"),
    [
        ({}, False, 80, True), ({"NO_COLOR": "1"}, False, 80, False), ({}, True, 80, False),
        ({"TERM": "dumb"}, False, 80, False), ({}, False, None, False),
    ],
)  # fmt: skip
def test_colour_only_where_it_is_welcome(
    environ: dict[str, str], refused: bool, width: int | None, colour: bool, terminal: TextIO
) -> None:
    assert screen_of(terminal, environ, width, no_color=refused).colour == colour
