"""Many files are read by several processes, which say what one says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc.usage import catch_up, done, transcripts, workers
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
    monkeypatch.setattr(catch_up, "processors", lambda: 1)
    one = transcripts.read((root,))
    monkeypatch.setattr(catch_up, "processors", lambda: 4)
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


@pytest.mark.parametrize("processes", [1, 3])
def test_how_far_it_is_within_one_large_file_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    big(root)
    large = text({"type": "user", "message": {"role": "user", "content": "x" * 1_000_000}})
    path = write(session_file(root, "large"), *[large] * 20)
    monkeypatch.setattr(catch_up, "processors", lambda: processes)
    told: list[tuple[int, int]] = []
    transcripts.read((root,), progress=lambda done, whole: told.append((done, whole)))
    steps = [read for read, _ in told]
    assert steps == sorted(steps)
    assert told[-1][0] == told[-1][1]
    if processes == 1:
        whole = path.stat().st_size
        assert len([read for read in steps if read < whole]) >= 4  # it is the largest, and so the first


def test_while_others_have_all_that_is_left_somebody_may_tell_how_far_it_is() -> None:
    here = os.getpid()
    begun, go_on = os.pipe(), os.pipe()
    told = []

    def work(number: int) -> bytes:
        if os.getpid() == here:
            os.read(begun[0], 1)
        else:
            os.write(begun[1], b"x")
            os.read(go_on[0], 1)
        return b""

    def waiting() -> None:
        told.append(1)
        os.write(go_on[1], b"x")

    assert sorted(workers.share(2, work, 2, waiting)) == [(0, b""), (1, b"")]
    assert told
    for descriptor in (*begun, *go_on):
        os.close(descriptor)


def test_bytes_are_counted_in_copies_too_and_told_by_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done, "OFTEN", 10)
    told: list[tuple[int, int]] = []
    counted = done.Done([100, 50], lambda read, whole: told.append((read, whole)))
    counted.more(0, 4)
    counted.more(0, 6)
    child = os.fork()
    if not child:
        counted.more(1, 30)
        counted.more(1, 30)  # a file that grew, or one that is read a second time
        os._exit(len(told) != 1)
    assert os.waitpid(child, 0)[1] == 0
    assert told == [(10, 150)]
    counted.tell()
    counted.all_of(0)
    assert told == [(10, 150), (60, 150), (150, 150)]
