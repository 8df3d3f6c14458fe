"""The line of a long reading: on a terminal only, after half a second only, and gone at the end."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator

import pytest

from cc.report.progress import Progress
from tests.fakes import FakeClock


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def shown(terminal: tuple[int, int]) -> str:
    os.set_blocking(terminal[0], False)
    try:
        return os.read(terminal[0], 65536).decode()
    except BlockingIOError:
        return ""


def test_nothing_for_half_a_second_then_how_far_it_is_and_gone_at_the_end(terminal: tuple[int, int]) -> None:
    clock = FakeClock()
    with open(os.dup(terminal[1]), "w") as stream:
        progress = Progress(stream, clock, "reading session files")
        clock.pass_by(0.4)
        progress(100_000_000, 1_000_000_000)
        assert shown(terminal) == ""
        clock.pass_by(0.6)
        progress(250_000_000, 1_000_000_000)
        assert shown(terminal) == "\rreading session files: 25 % of 1,000 MB, about 3 s left\x1b[K"
        progress(260_000_000, 1_000_000_000)
        assert shown(terminal) == ""  # ten a second are enough
        progress.close()
        assert shown(terminal) == "\r\x1b[K"


def test_what_was_quick_leaves_nothing(terminal: tuple[int, int]) -> None:
    with open(os.dup(terminal[1]), "w") as stream:
        progress = Progress(stream, FakeClock(), "reading")
        progress(1, 2)
        progress.close()
    assert shown(terminal) == ""


def test_a_pipe_is_left_alone() -> None:
    reading, writing = os.pipe()
    clock = FakeClock()
    with open(writing, "w") as stream:
        progress = Progress(stream, clock, "reading")
        clock.pass_by(5)
        progress(1, 2)
        progress.close()
    with open(reading) as stream:
        assert stream.read() == ""


def test_what_is_counted_in_rows_is_told_in_rows(terminal: tuple[int, int]) -> None:
    clock = FakeClock()
    with open(os.dup(terminal[1]), "w") as stream:
        progress = Progress(stream, clock, "writing to the store", ("rows", 1))
        clock.pass_by(1.0)
        progress(20_000, 80_000)
    assert shown(terminal) == "\rwriting to the store: 25 % of 80,000 rows, about 3 s left\x1b[K"
