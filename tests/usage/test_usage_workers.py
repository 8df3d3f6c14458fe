"""Many files are read by several processes, which say what one says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc.usage import transcripts, workers
from cc.usage.groups import messages_of
from tests.usage.rows import row, session_file, text, write


def big(root: Path, files: int = 6) -> int:
    """Sessions large enough to be shared among processes: how many messages."""
    filler = text({"type": "user", "message": {"role": "user", "content": "x" * 90_000}})
    for number in range(files):
        lines = [[row(f"m{number}-{each}", f"r{number}-{each}", output=1), filler] for each in range(40)]
        write(session_file(root, f"s{number}"), *(line for pair in lines for line in pair))
    return files * 40


def test_several_processes_say_what_one_says(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = big(root)
    monkeypatch.setattr(transcripts, "processors", lambda: 1)
    one = transcripts.read((root,))
    monkeypatch.setattr(transcripts, "processors", lambda: 4)
    told: list[tuple[int, int]] = []
    several = transcripts.read((root,), progress=lambda done, whole: told.append((done, whole)))
    assert messages_of(one.groups) == count
    assert (several.groups, several.lines, several.files) == (one.groups, one.lines, one.files)
    assert told[-1][0] == told[-1][1] > 8 << 20
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_a_killed_copy_has_not_delivered_is_done_here() -> None:
    here = os.getpid()

    def work(number: int) -> bytes:
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        return str(number).encode()

    assert sorted(workers.share(20, work, 3)) == [(number, str(number).encode()) for number in range(20)]


def test_what_fails_in_a_copy_fails_here_and_no_copy_is_left() -> None:
    def work(number: int) -> bytes:
        raise ValueError(number)

    with pytest.raises(ValueError):  # noqa: PT011 - of whichever batch this process drew
        list(workers.share(20, work, 3))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_who_stops_listening_leaves_no_copy_behind() -> None:
    for _ in workers.share(50, lambda number: b"x" * 100_000, 4):
        break
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
