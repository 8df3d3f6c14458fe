"""Bad lines: each is skipped and counted by its kind, or saved, and its neighbours always count."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cc.usage import lines, transcripts
from cc.usage.lines import LineCount, candidates
from tests.usage.rows import row, session_file, text, write

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = text(row("m1", "r1")), text(row("m2", "r2"))
USER = text({"type": "user", "message": {"role": "user", "content": "assistant"}, "sessionId": "s"})
DEEP = b'{"type":"assistant","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def of(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new)


@pytest.mark.parametrize(
    ("line", "found", "skipped"),
    [
        (b"42", [], {"not_an_object": 1}),
        (b"[1, 2]", [], {"not_an_object": 1}),
        (b'["assistant"]', [], {"not_an_object": 1}),
        (b'"assistant"', [], {"not_an_object": 1}),
        (b"null", [], {"not_an_object": 1}),
        (b"NaN is not JSON", [], {"not_json": 1}),
        (b"", [], {}),
        (b" \t", [], {}),
        (b"\x00" * 500, [], {"nul_bytes": 1}),
        (b"\x00" * 500 + ONE, ["m1"], {}),  # a file system after a crash
        (b"\xef\xbb\xbf" + ONE, ["m1"], {}),
        (b"\xef\xbb\xbf" + USER, [], {}),
        (ONE + b"\r", ["m1"], {}),
        (USER + b"\r", [], {}),
        (of(ONE, b"/home/user", "/\u2028\u2029\x85".encode()), ["m1"], {}),
        (ONE[:-30], [], {"cut": 1}),
        (ONE[:-1], [], {"cut": 1}),
        (USER[:-5], [], {"cut": 1}),
        (of(ONE, b'"content":[]', b'"content":NaN'), ["m1"], {}),
        (of(ONE, b'"content":[]', b'"content":"\\ud800 lone"'), ["m1"], {}),
        (of(ONE, b'"content":[]', b'"content":"\x00\x07 raw"'), ["m1"], {}),
        (of(ONE, b'"content":[]', b'"content":"\xff\xfe"'), ["m1"], {}),
        (of(ONE, b"/home/user", b"/home/\xff\xfe"), ["m1"], {}),
        (of(ONE, b'"content":[]', b'"content":' + b"9" * 10_000), ["m1"], {}),
        (of(ONE, b'"input_tokens":10', b'"input_tokens":' + b"9" * 10_000), [], {"bad_counts": 1}),
        (of(ONE, b'"input_tokens":10', b'"input_tokens":' + b"9" * 15), [], {"bad_counts": 1}),
        (of(ONE, b'"input_tokens":10', b'"input_tokens":NaN'), [], {"bad_counts": 1}),
        (of(ONE, b'"input_tokens":10', b'"input_tokens":Infinity'), [], {"bad_counts": 1}),
        (of(ONE, b'"input_tokens":10', b'"input_tokens":-1'), [], {"bad_counts": 1}),
        (of(ONE, b'"output_tokens":5', b'"output_tokens":5.5'), [], {"bad_counts": 1}),
        (of(ONE, b'"output_tokens":5', b'"output_tokens":"5"'), [], {"bad_counts": 1}),
        (of(ONE, b'"output_tokens":5', b'"output_tokens":true'), [], {"bad_counts": 1}),
        (of(ONE, b'"output_tokens":5', b'"output_tokens":5.0'), ["m1"], {}),
        (of(ONE, b'"output_tokens":5', b'"output_tokens":null'), ["m1"], {}),
        (text(row("m1", "r1", write=5, split=(-5, 10))), [], {"bad_counts": 1}),
        (text(row("m1", "r1", at="yesterday")), ["m1"], {}),
        (text(row("m1", "r1", at=17)), ["m1"], {}),
        (text(row("m1", "r1", session=7, cwd=["x"], isSidechain="no")), ["m1"], {}),
        (text({**row(), "message": [1]}), [], {}),
        (text({**row(), "message": {"usage": [1]}}), [], {}),
        (DEEP, [], {"nested_too_deep": 1}),
        (DEEP[:-5], [], {"nested_too_deep": 1}),
    ],
)
def test_a_bad_line_between_two_good_ones(
    line: bytes, found: list[str], skipped: dict[str, int], tmp_path: Path
) -> None:
    write(session_file(tmp_path), text(row("first", "rf")), line, text(row("last", "rl")))
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["first", *found, "last"]
    assert read.skipped == skipped
    assert read.lines == (2 if not line.strip() else 3)


@pytest.mark.parametrize(
    ("line", "found", "skipped"),
    [
        (ONE + TWO, ["m1", "m2"], {}),
        (ONE + b" " + TWO, ["m1", "m2"], {}),
        (ONE + TWO + text(row("m3", "r3")), ["m1", "m2", "m3"], {}),
        (USER + ONE, ["m1"], {}),
        (ONE + USER, ["m1"], {}),
        (ONE[:70] + TWO, ["m2"], {"not_json": 1}),  # cut in the middle of a string
        (ONE[:-1] + TWO, ["m2"], {"not_json": 1}),
        (USER[:30] + TWO, ["m2"], {"not_json": 1}),
        (ONE + TWO[:-9], ["m1"], {"cut": 1}),
        (ONE[:70] + TWO + text(row("m3", "r3")), ["m2", "m3"], {"not_json": 1}),
        (ONE + b"garbage", ["m1"], {"not_json": 1}),
        (b"garbage" + ONE, ["m1"], {"not_json": 1}),
        (b'{"type":"progress","data":' + ONE, ["m1"], {"not_json": 1}),
        # the object inside a broken record is no record, and neither is one that goes on behind
        (b'{"type":"progress","data":' + text(row("m9", "r9", session=None)), [], {"not_json": 1}),
        (b'{"type":"progress","data":' + ONE + b',"x":1', [], {"cut": 1}),
    ],
)
def test_records_spliced_on_one_line(line: bytes, found: list[str], skipped: dict[str, int], tmp_path: Path) -> None:
    write(session_file(tmp_path), text(row("first", "rf")), line, text(row("last", "rl")))
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["first", *found, "last"]
    assert read.skipped == skipped


def test_a_whole_last_line_without_newline_counts_and_a_half_one_does_not(tmp_path: Path) -> None:
    path = session_file(tmp_path)
    write(path, ONE, end=b"")
    assert len(transcripts.read((tmp_path,)).requests) == 1
    path.write_bytes(ONE + b"\n" + TWO[:40])
    read = transcripts.read((tmp_path,))
    assert (len(read.requests), read.lines, read.skipped) == (1, 2, {"cut": 1})


def test_a_line_that_is_too_long_is_skipped_and_its_neighbours_count(tmp_path: Path) -> None:
    path = write(session_file(tmp_path), ONE)
    with path.open("ab") as file:
        file.write(b'{"type":"assistant","x":"')
        file.truncate(file.tell() + lines.LONGEST + 5 * lines.CHUNK)  # a hole: NULs that take no disk
        file.seek(0, os.SEEK_END)
        file.write(b'"}\n' + TWO + b"\n")
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["m1", "m2"]
    assert (read.lines, read.skipped) == (3, {"too_long": 1})


def test_an_endless_last_line_is_one_line_that_is_too_long(tmp_path: Path) -> None:
    path = write(session_file(tmp_path), ONE)
    os.truncate(path, 3 * lines.LONGEST)
    read = transcripts.read((tmp_path,))
    assert (len(read.requests), read.lines, read.skipped) == (1, 2, {"too_long": 1})


def test_long_lines_below_the_limit_are_whole_wherever_a_chunk_ends(tmp_path: Path) -> None:
    long = text(row("m2", "r2", padding="x" * (2 * lines.CHUNK + 17)))
    write(session_file(tmp_path), ONE, long, text(row("m3", "r3", padding="y" * lines.CHUNK)), text(row("m4", "r4")))
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["m1", "m2", "m3", "m4"]
    assert (read.lines, read.skipped) == (4, {})


@pytest.mark.parametrize("size", [0, 1, len(ONE), len(ONE) + 1, len(ONE) + 20, 10**9])
def test_what_is_appended_or_cut_off_while_it_is_read_ends_the_reading(size: int, tmp_path: Path) -> None:
    """`size` is the file's when it was opened; it holds two lines by now."""
    path = write(tmp_path / "s.jsonl", ONE, TWO)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = list(candidates(descriptor, size, LineCount()))
    finally:
        os.close(descriptor)
    whole = [line for line in found if line in (ONE, TWO)]
    assert len(whole) == (2 if size > len(ONE) * 2 else 1 if size >= len(ONE) else 0)


def test_a_broken_line_made_to_be_searched_ends_within_its_budget(tmp_path: Path) -> None:
    """Objects inside objects: without a budget each start would be tried to the end, which is quadratic."""
    line = b'{"type":"assistant","a":[' + b'{"a":[' * 300_000
    write(session_file(tmp_path), ONE, line, TWO)
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["m1", "m2"]
    assert sum(read.skipped.values()) == 1


PADDING = "x" * 6000


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (text({"type": "user", "message": {"role": "user", "content": PADDING}, "uuid": "u"}), []),
        # a result of a sub-agent, which has a usage and a role of its own
        (text({"type": "user", "message": {"role": "user", "content": PADDING},
               "toolUseResult": {"role": "assistant", "usage": {"input_tokens": 9}}}), []),
        # spliced: the assistant's row is behind the user's, whole or cut, and before it
        (text({"type": "user", "message": {"role": "user", "content": PADDING}}) + ONE, ["m1"]),
        (text({"type": "user", "message": {"role": "user", "content": PADDING}})[:-9] + ONE, ["m1"]),
        (ONE + text({"type": "user", "message": {"role": "user", "content": PADDING}}), ["m1"]),
        # an assistant that quotes a user's row, in its text and in the input of a tool
        (text({**row("m1", "r1"), "quoted": text({"type": "user", "message": {"role": "user"}}).decode() + PADDING}),
         ["m1"]),
        (text({"input": {"type": "user", "message": {"role": "user"}}, "padding": PADDING, **row("m1", "r1")}), ["m1"]),
    ],
)  # fmt: skip
def test_long_rows_of_users_are_passed_over_and_nothing_else(line: bytes, found: list[str], tmp_path: Path) -> None:
    write(session_file(tmp_path), ONE.replace(b"m1", b"m0").replace(b"r1", b"r0"), line, TWO)
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["m0", *found, "m2"]
    assert read.lines == 3


def test_a_line_made_to_be_searched_ends_the_search(tmp_path: Path) -> None:
    """Two million places where a record might begin, each with an error that lies far behind the last one."""
    write(session_file(tmp_path), b'{"type":"assistant"' + b'{"' * 2_000_000, ONE)
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["m1"]
    assert sum(read.skipped.values()) == 1
