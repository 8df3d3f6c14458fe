"""Reading with an index is reading without one, whatever has happened to the files and to the index in between."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cc.usage import transcripts, workers
from cc.usage.groups import fold, messages_of
from tests.usage.portions import in_portions
from tests.usage.rows import row, session_file, text, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "claude"


def both(root: Path, kept: Path) -> transcripts.Transcripts:
    """With the index and without one: the same but for what has been deleted."""
    found, anew = transcripts.read((root,), kept), transcripts.read((root,))
    assert found.notes == ()
    for name in ("groups", "files", "lines", "skipped", "unreadable", "project_names", "said"):
        assert getattr(found, name) == getattr(anew, name), name
    assert fold(found.requests) == found.groups
    assert sorted(found.requests, key=str) == sorted(anew.requests, key=str)
    for most in (1, 7, 10**6):
        in_portions(found, most)
    return found


def output(found: transcripts.Transcripts) -> int:
    return sum(sums[2] for sums in found.groups.values())


def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The session files that are opened from now on."""
    seen: list[str] = []
    really = os.open

    def opening(path: Any, *more: Any, **named: Any) -> int:
        if str(path).endswith(".jsonl"):
            seen.append(os.path.basename(path))
        return really(path, *more, **named)

    monkeypatch.setattr(os, "open", opening)
    return seen


def test_what_has_not_changed_is_not_opened_again(root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write(session_file(root, name), row(f"m{name}", f"r{name}"), row("shared", "shared", output=ord(name)))
    first = both(root, kept)
    seen = opens(monkeypatch)
    again = transcripts.read((root,), kept)
    assert (again.groups, again.lines, seen) == (first.groups, 6, [])
    assert output(again) == 3 * 5 + ord("c")


def test_only_what_was_appended_is_read(root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(session_file(root), *(row(f"m{number}", f"r{number}") for number in range(50)))
    both(root, kept)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(text(row("new", "new", output=7)) + b"\n")
    sizes: list[int] = []
    really = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: sizes.append(size) or really(fd, size))
    found = transcripts.read((root,), kept)
    assert (messages_of(found.groups), found.lines, output(found)) == (51, 51, 257)
    assert sum(sizes) < whole / 10
    monkeypatch.undo()
    both(root, kept)


ONE, TWO, THREE = (text(row(f"m{n}", f"r{n}", output=n)) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("before", "after", "outputs"),
    [
        ([ONE, TWO], [ONE], 1),  # truncated
        ([ONE, TWO], [TWO, THREE, ONE], 6),  # rewritten, and longer
        ([ONE, TWO], [], 0),
        ([ONE], [ONE, text(row("m1", "r1", output=9))], 9),  # the same message, further in its stream
        ([text(row("m1", "r1", output=9))], [ONE], 1),
        ([text(row(None, None, output=4))], [text(row(None, None, output=4))] * 3, 12),  # without identity: messages
        ([text(row(None, None, uuid="u", output=4))], [text(row(None, None, uuid="u", output=4))] * 3, 4),
        ([ONE[:40]], [ONE], 1),
        ([b"42", ONE], [b"42", ONE, b"[1]"], 1),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_file_that_changed_tells_what_it_tells_now(
    root: Path, kept: Path, before: list[bytes], after: list[bytes], outputs: int, end: bytes
) -> None:
    """Also if its last line had no end, and whether or not another file disputes its messages."""
    for disputed in (False, True):
        path = session_file(root, f"s{disputed}")
        if disputed:
            write(session_file(root, "zz"), row("m2", "r2", output=1), row("m1", "r1", output=1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\n".join(before) + end)
        both(root, kept)
        path.write_bytes(b"\n".join(after) + end)
        found = both(root, kept)
        if not disputed:
            assert output(found) == outputs
        path.unlink()
        for file in kept.iterdir():
            file.unlink()


def test_a_half_written_line_counts_once_when_the_rest_has_come(root: Path, kept: Path) -> None:
    line = text(row(None, None, output=3)) + b"\n"  # no identity: counted twice if it were read twice
    path = write(session_file(root), ONE)
    for cut in (5, len(line) - 2, len(line) - 1, len(line)):
        path.write_bytes(ONE + b"\n" + line[:cut])
        found = both(root, kept)
        assert output(found) == (4 if cut >= len(line) - 1 else 1)


def test_a_file_that_was_deleted_stays_counted_and_is_told(root: Path, kept: Path) -> None:
    """The client deletes what is older than 30 days."""
    write(session_file(root, "old"), row("m1", "r1", output=2), row("both", "both", output=30))
    write(session_file(root, "new"), row("m2", "r2", output=3), row("both", "both", output=20))
    both(root, kept)
    session_file(root, "old").unlink()
    for _ in range(2):
        found = transcripts.read((root,), kept)
        assert (output(found), found.files, found.deleted, found.lines) == (35, 1, 1, 2)
        assert fold(found.requests) == found.groups
    write(session_file(root, "new"), row("m2", "r2", output=3))
    found = transcripts.read((root,), kept)
    assert (output(found), found.deleted) == (35, 1)
    write(session_file(root, "old"), row("m1", "r1", output=1))  # it is there again, and says something else
    assert output(both(root, kept)) == 4


def test_a_file_that_was_renamed_counts_once_and_under_its_new_name(root: Path, kept: Path) -> None:
    write(session_file(root, "one"), row(None, None, output=2, session=None))
    both(root, kept)
    session_file(root, "one").rename(session_file(root, "two"))
    found = both(root, kept)
    assert [request.session for request in found.requests] == ["two"]
    assert found.deleted == 0


def test_a_file_whose_rights_were_taken_is_named_and_counts_as_it_was(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(session_file(root), ONE)
    both(root, kept)
    write(path, ONE, TWO)
    really = os.open

    def refusing(name: Any, *more: Any, **named: Any) -> int:
        if str(name).endswith(".jsonl"):
            raise PermissionError(13, "Permission denied")
        return really(name, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    found = transcripts.read((root,), kept)
    assert (output(found), found.unreadable) == (1, ((str(path), "permission denied"),))
    monkeypatch.undo()
    assert output(both(root, kept)) == 3


def test_at_random(root: Path, kept: Path) -> None:
    """Sessions that share messages in every way, changed at random: the ledger over everything says the same."""
    rng = random.Random(7)  # noqa: S311
    paths = [session_file(root, f"s{number}", f"-p{number % 3}") for number in range(6)]

    def line() -> bytes:
        kind, one = rng.randrange(12), rng.randrange(25)
        if kind == 0:
            return rng.choice([b"42", b"", b"{", b"\0\0", ONE[:50], ONE + TWO])
        more: dict[str, Any] = {"uuid": f"u{one}"} if rng.random() < 0.5 else {}
        message = None if kind == 1 else f"m{one}"
        request = None if kind in (1, 2) else f"r{one + (rng.randrange(2) if kind == 3 else 0)}"
        message = None if kind == 4 else message
        more["isSidechain"] = kind == 5
        at = f"2026-11-{rng.randrange(1, 28):02}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z"
        return text(row(message, request, output=rng.randrange(40), at=at, **more))

    for _ in range(120):
        path = rng.choice(paths)
        data = path.read_bytes() if path.exists() else b""
        fresh = b"\n".join(line() for _ in range(rng.randrange(1, 5))) + rng.choice([b"\n", b"\n", b""])
        path.parent.mkdir(parents=True, exist_ok=True)
        change = rng.randrange(6)
        if change < 4:
            with path.open("ab") as file:
                file.write((b"" if data.endswith(b"\n") or not data else b"\n") + fresh)
        else:
            path.write_bytes(data[: rng.randrange(len(data) + 1)] if change == 4 else fresh)
        both(root, kept)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database"),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:8192] + os.urandom(20000)),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: sql(path, "PRAGMA user_version = 99"),
        lambda path: sql(path, "PRAGMA application_id = 1"),
        lambda path: sql(path, "UPDATE file SET known = x'00'"),
        lambda path: sql(path, "UPDATE body SET rows = x'ff', ids = x'ff'"),
        lambda path: sql(path, "DELETE FROM meta"),
        lambda path: sql(path, "DROP TABLE body"),
    ],
)
def test_a_damaged_index_costs_one_reading_is_told_and_made_anew(root: Path, kept: Path, damage: Any) -> None:
    path = write(session_file(root), ONE, TWO)
    write(session_file(root, "other"), ONE, THREE)
    both(root, kept)
    (index,) = kept.iterdir()
    damage(index)
    with path.open("ab") as file:
        file.write(text(row("m9", "r9", output=9)) + b"\n")
    found = transcripts.read((root,), kept)
    assert output(found) == 15
    assert found.notes
    assert str(index) in found.notes[0]
    if not index.is_dir():
        both(root, kept)


def test_an_index_that_is_empty_is_one_whose_first_writer_is_at_work(root: Path, kept: Path) -> None:
    write(session_file(root), ONE)
    both(root, kept)
    (index,) = kept.iterdir()
    index.write_bytes(b"")
    assert output(both(root, kept)) == 1
    assert index.stat().st_size > 0


def test_a_file_that_got_the_inode_of_a_deleted_one_is_another_file(root: Path, kept: Path) -> None:
    """File systems give them out again at once; the client deletes old sessions and writes new ones."""
    paths = [write(session_file(root, f"old{n}"), row(f"m{n}", f"r{n}", output=1)) for n in range(10)]
    both(root, kept)
    inodes = {path.stat().st_ino for path in paths[:5]}
    for path in paths[:5]:
        path.unlink()
    fresh = [write(session_file(root, f"new{n}"), row(f"n{n}", f"q{n}", output=1)) for n in range(5)]
    found = transcripts.read((root,), kept)
    assert (messages_of(found.groups), found.deleted, found.notes) == (15, 5, ())
    reused = inodes & {path.stat().st_ino for path in fresh}
    for path, old in zip(fresh, paths, strict=False):  # also where this file system did not: the same, made to happen
        entry = transcripts.Index(kept, (root,)).read().entries
        assert os.fsencode(path) in entry
        assert os.fsencode(old) in entry or reused


def test_a_file_changed_in_place_is_read_again(root: Path, kept: Path) -> None:
    path = write(session_file(root), *(row(f"m{n}", f"r{n}", output=10) for n in range(40)))
    both(root, kept)
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(whole.index(b'"output_tokens":10') + len(b'"output_tokens":'))
        file.write(b"99")
    assert output(both(root, kept)) == 39 * 10 + 99
    with path.open("r+b") as file:
        file.write(path.read_bytes().replace(b'"output_tokens":99', b'"output_tokens":55'))
        file.seek(0, 2)
        file.write(text(row("new", "new", output=1)) + b"\n")
    assert output(both(root, kept)) == 39 * 10 + 55 + 1


@pytest.mark.parametrize("moment", ["while it is read", "while a body is read"])
def test_trouble_of_the_moment_is_no_damage_and_loses_nothing(
    root: Path, kept: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(session_file(root, "old"), ONE)
    path = write(session_file(root), TWO)
    both(root, kept)
    session_file(root, "old").unlink()
    assert output(transcripts.read((root,), kept)) == 3
    write(path, TWO, THREE)
    index = next(each for each in kept.iterdir() if each.suffix == ".db")
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        if moment == "while it is read":
            other.execute("BEGIN EXCLUSIVE")
        else:
            really = transcripts.Index.rows

            def rows(self: Any, wanted: Any) -> Any:
                if not other.in_transaction:
                    other.execute("BEGIN EXCLUSIVE")
                return really(self, wanted)

            monkeypatch.setattr(transcripts.Index, "rows", rows)
        found = transcripts.read((root,), kept)
    monkeypatch.undo()
    assert output(found) == 5  # without what only the index knows, and it says so
    assert "in use by another process" in found.notes[0]
    assert output(transcripts.read((root,), kept)) == 6
    assert [each.name for each in kept.iterdir()] == [index.name]


def test_a_writer_that_was_killed_half_way_is_rolled_back(root: Path, kept: Path) -> None:
    write(session_file(root, "old"), ONE)
    write(session_file(root), TWO)
    both(root, kept)
    session_file(root, "old").unlink()
    (index,) = kept.iterdir()
    code = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "d.execute('PRAGMA cache_size = 1'); d.execute('BEGIN IMMEDIATE');"
        "d.execute('CREATE TABLE x (y BLOB)');"
        "[d.execute('INSERT INTO x VALUES (randomblob(9000))') for _ in range(99)];"
        "d.execute('DELETE FROM file'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(index)], check=False)
    assert Path(f"{index}-journal").exists()
    found = transcripts.read((root,), kept)
    assert (output(found), found.deleted, found.notes) == (3, 1, ())


def test_another_that_wrote_in_between_makes_it_begin_anew(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without ids would count twice where a place in the file is paired with rows from beyond it."""
    path = write(session_file(root), row(None, None, output=1))
    both(root, kept)
    write(path, row(None, None, output=1), row(None, None, output=10))
    really, others = transcripts.Index.rows, [0]

    def rows(self: Any, wanted: Any) -> Any:
        if not others[0]:
            others[0] += 1
            assert output(transcripts.read((root,), kept)) == 11
        return really(self, wanted)

    monkeypatch.setattr(transcripts.Index, "rows", rows)
    found = transcripts.read((root,), kept)
    assert (output(found), found.notes) == (11, ())


def test_requests_are_there_also_when_the_index_was_damaged_or_written_since(root: Path, kept: Path) -> None:
    path = write(session_file(root), ONE, TWO)
    both(root, kept)
    found = transcripts.read((root,), kept)
    write(path, ONE, TWO, THREE)
    assert output(transcripts.read((root,), kept)) == 6
    assert sum(request.output_tokens for request in found.requests) == 6  # as it is now
    index = next(kept.glob("*.db"))
    for statement in ("UPDATE body SET rows = x'ff'", "DELETE FROM body"):
        sql(index, statement)
        for _ in range(2):
            assert sum(request.output_tokens for request in transcripts.read((root,), kept).requests) == 6


def test_sums_beyond_64_bits_and_times_beyond_the_year_2262(root: Path, kept: Path) -> None:
    path = write(session_file(root), *(row(f"m{n}", f"r{n}", costUSD=999_999.0) for n in range(30)))
    os.utime(path, (1.4e10, 1.4e10))
    for _ in range(2):
        found = both(root, kept)
        assert sum(sums[6] for sums in found.groups.values()) == 30 * 999_999 * 10**12


def test_a_place_whose_name_is_no_text(root: Path, tmp_path: Path) -> None:
    write(session_file(root), ONE)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff?#"))
    for _ in range(2):
        assert output(both(root, odd)) == 1


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


def test_an_index_in_use_is_not_waited_for_and_stays(root: Path, kept: Path) -> None:
    path = write(session_file(root), ONE)
    both(root, kept)
    (index,) = kept.iterdir()
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        write(path, ONE, TWO)
        found = transcripts.read((root,), kept)
        assert output(found) == 3
        assert "in use by another process" in found.notes[0]
    assert output(both(root, kept)) == 3


def test_of_two_that_read_at_once_the_later_does_not_undo_what_the_earlier_wrote(root: Path, kept: Path) -> None:
    path = write(session_file(root), ONE)
    slow = transcripts.Index(kept, (root,))
    nothing = slow.read()
    write(path, ONE, TWO)
    assert output(transcripts.read((root,), kept)) == 3
    slow.write([], [], nothing.contested, b"")
    assert output(both(root, kept)) == 3


def test_an_index_that_cannot_be_written_costs_speed_and_is_told(root: Path, tmp_path: Path) -> None:
    write(session_file(root), ONE)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    found = transcripts.read((root,), in_the_way / "index")
    assert output(found) == 1
    assert "cannot be" in found.notes[0]


def test_each_set_of_roots_has_its_own(root: Path, kept: Path, tmp_path: Path) -> None:
    write(session_file(root), ONE)
    write(session_file(tmp_path / "second"), TWO)
    assert output(transcripts.read((root,), kept)) == 1
    assert output(transcripts.read((tmp_path / "second",), kept)) == 2
    assert output(transcripts.read((root, tmp_path / "second"), kept)) == 3
    assert transcripts.read((root,), kept).deleted == 0


def test_killed_while_it_writes_the_index_is_the_old_or_the_new_one(root: Path, kept: Path) -> None:
    for number in range(300):
        write(session_file(root, f"s{number}"), row(f"m{number}", f"r{number}", output=1))
    paths = f"(Path({str(root)!r}),), Path({str(kept)!r})"
    code = f"from pathlib import Path; from cc.usage import transcripts; transcripts.read({paths})"
    rng = random.Random(3)  # noqa: S311
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        try:
            child.wait(timeout=rng.uniform(0.05, 0.35))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        write(session_file(root, f"s{rng.randrange(300)}"), row(f"new{rng.random()}", "r", output=1))
    found = transcripts.read((root,), kept)
    assert found.groups == transcripts.read((root,)).groups


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
