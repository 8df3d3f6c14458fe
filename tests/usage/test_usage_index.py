"""Reading with an index is reading without one, whatever has happened to the files in between."""

from __future__ import annotations

import os
import random
from array import array
from pathlib import Path
from typing import Any

import pytest

from cc.usage import transcripts
from cc.usage.groups import fold, messages_of
from cc.usage.settle import any_stands_in
from tests.usage.indexed import ONE, THREE, TWO, both, opens, output, sql
from tests.usage.rows import row, session_file, text, write


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


@pytest.mark.parametrize("kinds", [12, 90])
def test_at_random(root: Path, kept: Path, kinds: int) -> None:
    """Sessions that share messages in every way, changed at random: the ledger over everything says the same. With the
    more kinds of rows, the fewer are odd: at times none is."""
    rng = random.Random(7)  # noqa: S311
    paths = [session_file(root, f"s{number}", f"-p{number % 3}") for number in range(6)]

    def line() -> bytes:
        kind, one = rng.randrange(kinds), rng.randrange(25) if rng.random() < 0.5 else rng.randrange(25, 10_000)
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


def test_a_row_without_message_id_is_one_with_what_has_its_request_id_wherever_that_stands(
    root: Path, kept: Path
) -> None:
    """A row is looked for by its message's id, so that here every file must be asked for its request ids, too: as soon
    as there is such a row, as long as there is, and once more when it is gone."""
    write(session_file(root, "parent"), row("m1", "r1", output=10), row("m2", "r2", output=1))
    assert output(both(root, kept)) == 11
    loose = write(session_file(root, "loose"), row(None, "r1", output=300), row(None, "r3", output=5))
    assert output(both(root, kept)) == 306
    other = write(session_file(root, "other"), row("m3", "r3", output=7))
    assert output(both(root, kept)) == 308
    write(loose, row(None, "r2", output=40))
    assert output(both(root, kept)) == 10 + 40 + 7
    write(loose, row("m4", "r4", output=1000))
    assert output(both(root, kept)) == 10 + 1 + 7 + 1000
    write(other, row("m5", "r1", output=2))
    assert output(both(root, kept)) == 10 + 1 + 2 + 1000


@pytest.mark.parametrize("reason", ["it disputed something else", "all were settled anew"])
def test_a_request_whose_four_bytes_are_those_of_a_message_that_stands_twice_stays_counted(
    root: Path, kept: Path, reason: str
) -> None:
    """Of many requests and many contested messages some two have the same; here they have one name. Such a row is
    looked at in vain where its file is gone through for another reason, and must not be lost when that is no more."""
    write(session_file(root, "has-it"), row("twice", "r0", output=1), row("m1", "both", output=20))
    write(session_file(root, "one"), row("both", "r2", output=300))
    write(session_file(root, "two"), row("both", "r2", output=300))
    other = session_file(root, "other")
    if reason == "it disputed something else":
        write(other, row("twice", "r0", output=1))
    assert output(both(root, kept)) == 321
    if reason == "all were settled anew":
        sql(next(kept.iterdir()), "DELETE FROM meta WHERE key = 'pool'")
    write(other, row("m3", "r3", output=4000))
    assert output(transcripts.read((root,), kept)) == 4321
    for name in ("three", "four"):
        write(session_file(root, name), row("thrice", "r4", output=50_000))
    assert output(both(root, kept)) == 54_321


def test_what_a_row_without_message_id_makes_disputed_is_kept_also_where_its_id_was_contested_already(
    root: Path, kept: Path
) -> None:
    """By the four bytes of a message that stands twice: then the contested ids are the same as before, and yet one more
    file disputes. What is its alone now must be so, too, when next nothing is settled."""
    write(session_file(root, "has-it"), row("m", "r", output=1))
    for name in ("one", "two"):
        write(session_file(root, name), row("r", "other", output=10))
    deleted = write(session_file(root, "deleted"), row("m2", "r2", output=100))
    assert output(both(root, kept)) == 111
    write(session_file(root, "loose"), row(None, "r", output=1000))
    assert output(both(root, kept)) == 1110
    deleted.unlink()
    assert output(transcripts.read((root,), kept)) == 1110


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


def test_each_set_of_roots_has_its_own(root: Path, kept: Path, tmp_path: Path) -> None:
    write(session_file(root), ONE)
    write(session_file(tmp_path / "second"), TWO)
    assert output(transcripts.read((root,), kept)) == 1
    assert output(transcripts.read((tmp_path / "second",), kept)) == 2
    assert output(transcripts.read((root, tmp_path / "second"), kept)) == 3
    assert transcripts.read((root,), kept).deleted == 0


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows of how many files are taken out of the index, from now on."""
    seen: list[int] = []
    really = transcripts.Index.rows

    def rows(self: transcripts.Index, wanted: Any) -> dict[int, bytes]:
        numbers = list(wanted)
        seen.append(len(numbers))
        return really(self, numbers)

    monkeypatch.setattr(transcripts.Index, "rows", rows)
    return seen


@pytest.mark.parametrize(
    ("more", "outputs", "others"),
    [
        (row("new", "newer", output=1000), 1000, False),
        (row(None, None, output=1000), 1000, False),  # without identity
        (row("m0", "r0", output=1000), 1000 - 1, False),  # its own, further in its stream
        (row("both", "both", output=1000), 1000 - 400, True),
        (row("both", "both", output=1, isSidechain=True), 0, None),  # the same once more
        (row("m1", "r1", output=1000), 1000 - 1, True),  # so far another file's alone
        (row("new", "r0", output=1000), 1000, None),  # a request of its own under another message
    ],
)
def test_what_is_added_to_a_file_that_disputes_concerns_the_others_only_if_they_tell_it_too(
    root: Path, kept: Path, bodies: list[int], more: dict[str, Any], outputs: int, others: bool | None
) -> None:
    for number in range(5):
        lines = row(f"m{number}", f"r{number}", output=1), row("both", "both", output=100 * number)
        write(session_file(root, f"s{number}"), *lines)
    before = output(both(root, kept))
    with session_file(root, "s0").open("ab") as file:
        file.write(text(more) + b"\n")
    bodies.clear()
    found = transcripts.read((root,), kept)
    if others is not None:
        assert (max(bodies) > 1) == others
    assert output(found) == before + outputs or others is None
    both(root, kept)


@pytest.mark.parametrize("many", [1, 100])
def test_an_id_stands_among_others_where_all_its_bytes_are_one_ids(many: int) -> None:
    rng = random.Random(many)  # noqa: S311
    ids = array("I", (rng.randrange(2**32) for _ in range(200)))
    packed = ids.tobytes()
    across = array("I", packed[1:-3])  # each of the bytes of two
    absent = {one for one in across if one not in ids}
    assert not any_stands_in(set(list(absent)[:many]), packed)
    assert all(any_stands_in({one, *list(absent)[: many - 1]}, packed) for one in ids)
    twice = array("I", [across[0]]).tobytes()
    assert any_stands_in({across[0]}, packed + twice)


@pytest.mark.parametrize("gone", ["", "projects", "projects/*", "projects/-p/a.jsonl"])
@pytest.mark.parametrize("named", ["", "projects"])
def test_a_root_that_is_not_there_is_told_as_such_and_its_sessions_are_counted(
    root: Path, tmp_path: Path, kept: Path, gone: str, named: str
) -> None:
    """A disk that is not mounted has deleted nothing. Whichever of the two a root is given as."""
    other = tmp_path / "other"
    write(session_file(root, "a", "-p"), ONE)
    write(session_file(root, "b", "-q"), TWO)
    write(session_file(other, "c"), THREE)
    roots = (root / named, other)
    transcripts.read(roots, kept)
    moved = root.with_name("elsewhere")
    moved.mkdir()
    parts = sorted(root.glob("projects/*")) if "*" in gone else [root / gone]
    for number, part in enumerate(parts):
        part.rename(moved / str(number))
    for _ in range(2):
        found = transcripts.read(roots, kept)
        assert (output(found), found.files) == (6, 2 if gone.endswith("jsonl") else 1)
        projects = root / "projects"
        said = {"projects/*": f"{projects} is empty", "projects/-p/a.jsonl": ""}.get(gone, f"{projects} is not there")
        notes = (f"{said}: 2 session files known of it are counted as they last were",) if said else ()
        assert (found.notes, found.deleted) == (notes, 0 if said else 1)
    for number, part in enumerate(parts):
        (moved / str(number)).rename(part)
    found = transcripts.read(roots, kept)
    assert (output(found), found.files, found.deleted, found.notes) == (6, 3, 0, ())


def test_a_directory_that_cannot_be_read_has_lost_nothing(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(session_file(root, "a", "-p"), ONE)
    write(session_file(root, "b", "-q"), TWO)
    both(root, kept)
    locked = str(session_file(root, "a", "-p").parent)
    really = os.scandir

    def refusing(path: Any) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return really(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for _ in range(2):
        found = transcripts.read((root,), kept)
        assert (output(found), found.deleted, found.unreadable) == (3, 0, ((locked, "permission denied"),))
        said = f"{locked} cannot be read (permission denied): 1 session file known of it is counted as it last was"
        assert found.notes == (said,)
