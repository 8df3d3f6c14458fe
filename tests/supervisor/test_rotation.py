"""Logs are cut while programs write to them; nothing else in the directory is touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cc.supervisor.rotation import rotate
from tests.integration.box import eventually

FLOOD = 'exec >>"$1"; i=0; while :; do i=$((i + 1)); echo "line $i of the flood"; done'


def test_a_log_that_a_process_floods_is_cut_again_and_again_and_goes_on(tmp_path: Path) -> None:
    log, kept = tmp_path / "web.log", tmp_path / "web.log.1"
    log.touch()
    flood = subprocess.Popen(["sh", "-c", FLOOD, "sh", str(log)])
    try:
        for _ in range(3):
            eventually(lambda: log.stat().st_size > 200_000, what="a long log")
            assert rotate(str(tmp_path), 100_000) == (str(log),)
            assert kept.stat().st_size <= 100_000 + 200_000  # what was written while it was copied
            assert kept.stat().st_mode & 0o777 == 0o600
            assert kept.read_text().startswith("line ")
        eventually(lambda: log.stat().st_size > 0, what="it to go on in the same file")
    finally:
        flood.kill()
        flood.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1"]


def test_the_last_whole_lines_are_kept_and_the_ones_before_them_go(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    for last in ("old", "new"):
        log.write_text("".join(f"{number} {last}\n" for number in range(100)))
        assert rotate(str(tmp_path), 100) == (str(log),)
        assert log.read_text() == ""
    kept = (tmp_path / "web.log.1").read_text().splitlines()
    assert (kept[-1], kept[0].split()[1], len(kept)) == ("99 new", "new", 14)


def test_short_logs_links_and_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("short.log", "notes.txt"):
        (tmp_path / name).write_text("x" * (10 if name == "short.log" else 1000))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("y" * 1000)
    (tmp_path / "link.log").symlink_to(elsewhere)
    (tmp_path / "folder.log").mkdir()
    assert rotate(str(tmp_path), 100) == ()
    assert elsewhere.read_text() == "y" * 1000


def test_a_disk_that_refuses_is_an_error_and_the_log_stays_whole(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("line\n" * 100)
    (tmp_path / "web.log.1.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        rotate(str(tmp_path), 100)
    assert log.read_text() == "line\n" * 100
