"""Files, directories and what else may lie there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cc.tokens.texts import Found, opened, sources


def read(*paths: object) -> tuple[list[str], Found]:
    """What was read, in order; and what was met besides."""
    found, texts = Found(), []
    for source in sources([str(path) for path in paths], found):
        with opened(source, found) as file:
            if file is not None:
                texts.append(file.read().decode())
    return texts, found


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_directory_is_read_in_the_order_of_its_names_without_git(tmp_path: Path) -> None:
    for name in ("b", "a", "sub/c", "sub/deep/d", ".git/config", "sub/.git", ".hidden"):
        write(tmp_path / name, name)
    texts, found = read(tmp_path)
    assert texts == [".hidden", "a", "b", "sub/.git", "sub/c", "sub/deep/d"]
    assert found.skipped[".git"] == 1
    assert not found.unreadable


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "1")
    os.link(one, tmp_path / "again")
    assert read(one, one, tmp_path)[0] == ["1"]
    assert read(one, tmp_path)[1].skipped["second names of a file"] == 2


def test_links_inside_a_directory_are_not_followed_and_a_named_one_is(tmp_path: Path) -> None:
    write(tmp_path / "real" / "file", "x")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "itself").symlink_to("itself")
    (tmp_path / "real" / "nowhere").symlink_to("missing")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    texts, found = read(tmp_path / "real")
    assert texts == ["x"]
    assert found.skipped["links"] == 3
    assert read(tmp_path / "link")[0] == ["x"]
    assert read(tmp_path / "real" / "itself")[1].unreadable


def test_a_fifo_or_a_device_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    write(tmp_path / "file", "x")
    texts, found = read(tmp_path)
    assert texts == ["x"]
    assert found.skipped["pipes, sockets and devices"] == 1
    texts, found = read(tmp_path / "fifo", "/dev/zero", tmp_path / "file")
    assert texts == ["x"]
    assert [why for _, why in found.unreadable] == ["not a regular file", "not a regular file"]


@pytest.mark.parametrize("name", ["missing", "file/inside", "nul\0nul", "x" * 300])
def test_what_is_not_there_is_named_and_the_rest_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / "file", "x")
    texts, found = read(tmp_path / name, tmp_path / "file")
    assert texts == ["x"]
    assert len(found.unreadable) == 1


def test_a_file_that_vanishes_after_it_was_listed_is_named(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, name)
    found = Found()
    listed = list(sources([str(tmp_path)], found))
    (tmp_path / "a").unlink()
    for source in listed:
        with opened(source, found):
            pass
    assert found.unreadable == [(str(tmp_path / "a"), "no such file or directory")]


def test_a_name_that_is_no_utf8_can_be_shown(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff"
    found = Found()
    list(sources([os.fsdecode(name)], found))
    assert found.unreadable[0][0].endswith("\ufffd")
