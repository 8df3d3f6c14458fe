"""A log file read while it grows, is renamed, copied and cut, removed and made anew: every line once, in its order."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from cc.errors import Failure
from cc.resources import log_file
from cc.resources.log_file import LogFile


def last(path: Path, lines: int | None) -> bytes:
    file = LogFile(str(path))
    found = b"".join(file.last(lines))
    file.close()
    return found


def more(file: LogFile) -> bytes:
    return b"".join(file.more())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


LASTS = [
    # what is there, how many lines -> what is told
    (b"", 5, b""),
    (b"a\nb\nc\n", 2, b"b\nc\n"),
    (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
    (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
    (b"a\nb\nc\n", 0, b""),
    (b"a\nb\nc\n", None, b"a\nb\nc\n"),
    (b"a\nb\nc", 1, b"c"),
    (b"a\nb\nc", 2, b"b\nc"),
    (b"\n\n\n", 2, b"\n\n"),
    (b"\n", 1, b"\n"),
    (b"no end", 1, b"no end"),
]


@pytest.mark.parametrize(("data", "lines", "told"), LASTS)
def test_the_last_lines_of_a_file(path: Path, data: bytes, lines: int | None, told: bytes) -> None:
    path.write_bytes(data)
    assert last(path, lines) == told


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_the_last_lines_whatever_pieces_it_is_read_in(path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(log_file, "PIECE", piece)
    chance = random.Random(piece)  # noqa: S311 - no secret
    for _ in range(60):
        data = bytes(chance.choice(b"ab\n") for _ in range(chance.randrange(40)))
        path.write_bytes(data)
        lines = chance.randrange(1, 12)
        whole = data.splitlines(keepends=True)
        assert last(path, lines) == b"".join(whole[-lines:]), data


def test_too_few_lines_reach_into_the_older_file(path: Path) -> None:
    older(path).write_bytes(b"1\n2\n3")
    path.write_bytes(b"4\n5\n")
    assert last(path, 2) == b"4\n5\n"
    assert last(path, 4) == b"2\n3\n4\n5\n"
    assert last(path, 99) == last(path, None) == b"1\n2\n3\n4\n5\n"
    path.unlink()
    assert last(path, 1) == b"3\n"
    assert last(path, 0) == b""


def test_a_large_file_is_not_read_as_a_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 34)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    assert last(path, 1) == b"last\n"


def test_what_is_added_is_told_once(path: Path) -> None:
    path.write_bytes(b"1\n")
    file = LogFile(str(path))
    assert b"".join(file.last(1)) == b"1\n"
    assert more(file) == b""
    with path.open("ab") as writing:
        writing.write(b"2\n")
    assert (more(file), more(file)) == (b"2\n", b"")
    file.close()


def test_a_file_that_is_not_there_yet_is_told_from_its_start(path: Path) -> None:
    file = LogFile(str(path))
    assert (b"".join(file.last(5)), file.there, more(file)) == (b"", False, b"")
    path.write_bytes(b"1\n")
    assert (more(file), file.there) == (b"1\n", True)
    file.close()


def test_one_that_is_renamed_is_read_to_its_end_and_then_the_new_one(path: Path) -> None:
    path.write_bytes(b"1\n")
    file = LogFile(str(path))
    list(file.last(None))
    with path.open("ab") as writing:
        writing.write(b"2\n")
        path.rename(older(path))
        writing.write(b"3\n")
        writing.flush()
        assert more(file) == b"2\n3\n"
        path.write_bytes(b"4\n")
        assert more(file) == b"4\n"
    file.close()


def test_a_line_without_an_end_does_not_run_into_the_next_files_first(path: Path) -> None:
    path.write_bytes(b"torn")
    file = LogFile(str(path))
    list(file.last(None))
    path.rename(older(path))
    path.write_bytes(b"new\n")
    assert more(file) == b"\nnew\n"
    file.close()


def test_two_renames_between_two_looks_lose_nothing(path: Path) -> None:
    path.write_bytes(b"1\n")
    file = LogFile(str(path))
    list(file.last(None))
    for line in (b"2\n", b"3\n"):
        path.rename(older(path))
        path.write_bytes(line)
    assert more(file) == b"2\n3\n"
    assert more(file) == b""
    file.close()


def test_one_that_was_removed_is_read_on_until_there_is_another(path: Path) -> None:
    older(path).write_bytes(b"old news\n")
    path.write_bytes(b"1\n")
    file = LogFile(str(path))
    list(file.last(1))
    with path.open("ab") as writing:
        path.unlink()
        writing.write(b"2\n")
        writing.flush()
        assert (more(file), more(file)) == (b"2\n", b"")
        path.write_bytes(b"3\n")
        assert more(file) == b"3\n"  # and not the old news again
    file.close()


def copied_and_cut(path: Path) -> None:
    """As the supervisor rotates what a program holds open."""
    shutil.copy(path, f"{path}.new")
    Path(f"{path}.new").rename(older(path))
    os.truncate(path, 0)


def test_one_that_is_copied_and_cut_loses_nothing(path: Path) -> None:
    path.write_bytes(b"1\n")
    file = LogFile(str(path))
    list(file.last(None))
    with path.open("ab") as writing:
        writing.write(b"2\n")
        writing.flush()
        copied_and_cut(path)
        assert more(file) == b"2\n"
        writing.write(b"3\n")
        writing.flush()
        assert (more(file), more(file)) == (b"3\n", b"")
        copied_and_cut(path)
        assert more(file) == b""
    file.close()


def test_one_that_was_cut_and_has_grown_longer_again_is_told_from_its_start(path: Path) -> None:
    path.write_bytes(b"1\n")
    file = LogFile(str(path))
    list(file.last(None))
    path.write_bytes(b"a longer line than that\n")  # the same file, cut
    assert more(file) == b"a longer line than that\n"
    file.close()


def test_lines_that_are_all_alike_are_told_once_across_a_cut(path: Path) -> None:
    path.write_bytes(b"same\n" * 3)
    file = LogFile(str(path))
    list(file.last(None))
    copied_and_cut(path)
    assert more(file) == b""
    file.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_writer_that_rotates_all_the_time_loses_no_line_of_a_reader_that_keeps_up(path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    file = LogFile(str(path))
    told, number = b"".join(file.last(0)), 0
    for _ in range(400):
        with path.open("ab") as writing:
            for _ in range(chance.randrange(3)):
                writing.write(b"%d\n" % number)
                number += 1
        what = chance.randrange(6)
        if what == 0:
            path.rename(older(path))
        elif what == 1:
            copied_and_cut(path)
        told += more(file)
    told += more(file)
    assert told.splitlines() == [b"%d" % each for each in range(number)]
    file.close()


@pytest.mark.parametrize("junk", ["directory", "pipe"])
def test_what_is_no_file_is_refused_by_name_and_nobody_waits(path: Path, junk: str) -> None:
    path.mkdir() if junk == "directory" else os.mkfifo(path)
    with pytest.raises(Failure) as caught:
        last(path, 1)
    assert caught.value.code == "bad_config"
    assert str(path) in caught.value.message


def test_a_reader_leaves_no_descriptor_open(path: Path) -> None:
    path.write_bytes(b"1\n")
    older(path).write_bytes(b"0\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        file = LogFile(str(path))
        list(file.last(None))
        path.rename(older(path))
        path.write_bytes(b"2\n")
        more(file)
        file.close()
        file.close()
    assert len(os.listdir("/proc/self/fd")) == before
