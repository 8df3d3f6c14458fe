"""Some sessions at a time: as many requests as were asked for, what belongs together at once, and nothing lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from cc.usage import transcripts
from cc.usage.packed import ChangedError
from tests.usage.portions import in_portions
from tests.usage.rows import row, session_file, write


def test_portions_are_no_larger_than_was_asked_for_and_in_the_order_of_time(root: Path, kept: Path) -> None:
    for number in range(30):
        rows = [row(f"m{number}-{n}", f"r{number}-{n}", session=f"s{number}", at=f"2026-11-{30 - number:02}T12:00:00Z")
                for n in range(5)]  # fmt: skip
        write(session_file(root, f"s{number}"), *rows)
    for directory in (None, kept, kept):
        portions = in_portions(transcripts.read((root,), directory), 20)
        assert [len(portion) for portion in portions] == [20] * 7 + [10]
        times = [{request.at_ms for request in portion} for portion in portions]
        assert all(max(before, default=0) < min(after) for before, after in pairwise(times))


def test_sessions_of_which_one_has_copied_anothers_messages_come_together(root: Path, kept: Path) -> None:
    for number in range(9):
        rows = [row(f"m{number}", f"r{number}", session=f"s{number}", at=f"2026-11-{9 - number:02}T12:00:00Z")]
        if number in (5, 8):  # s8 goes on from s5, and that from s2
            rows.insert(0, row(f"m{number - 3}", f"r{number - 3}", session=f"s{number}"))
        write(session_file(root, f"s{number}"), *rows)
    for directory in (None, kept, kept):
        portions = in_portions(transcripts.read((root,), directory), 1)
        assert sorted(sorted(request.session for request in portion) for portion in portions) == [
            ["s0"], ["s1"], ["s2", "s5", "s8"], ["s3"], ["s4"], ["s6"], ["s7"],
        ]  # fmt: skip


def test_a_file_of_several_sessions_gives_each_of_them_once(root: Path, kept: Path) -> None:
    rows = [row(f"m{number}", f"r{number}", session=f"s{number % 3}") for number in range(9)]
    write(session_file(root, "resumed"), *rows)
    write(session_file(root, "s1"), row("m9", "r9", session="s1"))
    for directory in (None, kept, kept):
        portions = in_portions(transcripts.read((root,), directory), 1)
        assert sorted(len(portion) for portion in portions) == [3, 3, 4]


def test_portions_of_an_index_that_has_changed_meanwhile_are_read_anew(root: Path, kept: Path) -> None:
    for number in range(3):
        write(session_file(root, f"s{number}"), row(f"m{number}", f"r{number}", session=f"s{number}"))
    transcripts.read((root,), kept)
    at_hand = transcripts.read((root,), kept)
    with pytest.raises(ChangedError) as caught:
        at_hand.portions(1)
    portions = at_hand.anew(caught.value).portions(1)
    assert len(next(portions)) == 1
    write(session_file(root, "s3"), row("m3", "r3", session="s3"))
    transcripts.read((root,), kept)
    with pytest.raises(ChangedError) as caught:
        next(portions)
    again = at_hand.anew(caught.value)
    assert len(in_portions(again, 1)) == 4
    with pytest.raises(ChangedError):
        transcripts.read((root,)).anew(caught.value)
