"""Session files: which are found, which of their rows count, and what is said of those that cannot be read."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cc.usage import catch_up, places, prices, recover, tally, transcripts  # noqa: F401 - before rights are given up
from cc.usage.groups import fold
from cc.usage.model import moment
from tests.usage.rows import CLIENT_ROWS, RECORDED, row, session_file, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cc.usage.model import Totals


def totals(*roots: Path) -> Totals:
    return tally.total(fold(transcripts.read(roots).requests), prices.load())


def tokens(found: Totals) -> tuple[int, ...]:
    return (
        found.messages,
        found.input_tokens,
        found.output_tokens,
        found.cache_creation_tokens,
        found.cache_read_tokens,
    )


def naive(root: Path) -> tuple[int, ...]:
    """The same sums by the plainest code: every line decoded, nothing forgiven."""
    best: dict[tuple[str, str], tuple[int, ...]] = {}
    for path in sorted(root.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            found = json.loads(line)
            if found.get("type", "assistant") != "assistant" or "usage" not in found.get("message", {}):
                continue
            usage = found["message"]["usage"]
            counts = tuple(
                usage[name]
                for name in (
                    "input_tokens",
                    "output_tokens",
                    "cache_creation_input_tokens",
                    "cache_read_input_tokens",
                )
            )
            key = (found["message"]["id"], found["requestId"])
            best[key] = max(best.get(key, ()), counts, key=sum)
    return (len(best), *(sum(counts[place] for counts in best.values()) for place in range(4)))


def test_totals_of_the_client_are_what_it_said_itself_to_the_micro_dollar(tmp_path: Path) -> None:
    write(session_file(tmp_path), *CLIENT_ROWS)
    found = totals(tmp_path)
    assert tokens(found) == (2, 203, 83, 400, 6000) == naive(tmp_path)
    assert found.as_dict()["cost_usd"] == 0.005972


@pytest.mark.parametrize(
    ("name", "expected", "usd"),
    [
        ("transcripts/sniffly", (90, 293, 19313, 206624, 4302385), 2.3561295),
        ("transcripts/ccusage", (5, 730, 310, 90, 110), 1.09),
        ("client", (2, 203, 83, 400, 6000), 0.005972),
    ],
)
def test_totals_of_recorded_sets(name: str, expected: tuple[int, ...], usd: float, tmp_path: Path) -> None:
    root = RECORDED / name
    if not root.is_dir():  # a checkout without its neighbour: rows of the same format, and sums of their own
        write(session_file(tmp_path), row("m1", "r1", output=3), row("m1", "r1", output=9), row("m2", "r2", write=7))
        root, expected, usd = tmp_path, (2, 20, 14, 7, 0), (20 * 3 + 14 * 15 + 7 * 3.75) / 1e6
    found = totals(root)
    assert tokens(found) == expected == naive(root)
    assert found.as_dict()["cost_usd"] == pytest.approx(usd, abs=1e-12)


def test_only_the_usage_of_an_assistants_message_counts(tmp_path: Path) -> None:
    result = {"usage": {"input_tokens": 999}, "role": "assistant"}
    write(
        session_file(tmp_path),
        row("m1", "r1"),
        {"type": "user", "message": {"role": "user", "content": [{"type": "tool_result", "content": result}]}},
        {"type": "user", "toolUseResult": {"type": "assistant", **result}, "message": {"role": "user"}},
        {"type": "progress", "data": {"message": row("m9", "r9")}},
        {"type": "user", "message": {"role": "assistant", "usage": {"input_tokens": 999}}},
        {"type": "assistant", "message": {"role": "assistant", "content": []}},
        {"type": "cost-state", "totalCostUSD": 7, "modelUsage": {"assistant": {"inputTokens": 999}}},
        row("m2", "r2", model="<synthetic>", given=0, output=0),
    )
    read = transcripts.read((tmp_path,))
    assert [request.message_id for request in read.requests] == ["m1"]
    assert (read.lines, read.skipped) == (8, {})


def test_a_row_without_type_counts_if_its_message_is_an_assistants(tmp_path: Path) -> None:
    write(session_file(tmp_path), row("m1", "r1", type=None), row("m2", "r2", type="user"))
    assert tokens(totals(tmp_path)) == (1, 10, 5, 0, 0)


def test_spaces_after_colons_and_other_orders_of_fields_are_read(tmp_path: Path) -> None:
    spaced = json.dumps(row("m1", "r1")).encode()
    reversed_order = dict(reversed(row("m2", "r2").items()))
    write(session_file(tmp_path), spaced, reversed_order, b"  " + spaced.replace(b"m1", b"m3") + b" \t")
    assert tokens(totals(tmp_path)) == (3, 30, 15, 0, 0)


def test_cache_writes_for_an_hour_and_for_five_minutes_are_priced_apart(tmp_path: Path) -> None:
    write(
        session_file(tmp_path),
        row("m1", "r1", given=0, output=0, write=1000, split=(600, 400)),
        row("m2", "r2", given=0, output=0, write=1000),  # no split: the ordinary kind
        row("m3", "r3", given=0, output=0, write=0, split=(0, 500)),  # no scalar: the split says it
        row("m4", "r4", given=0, output=0, write=1000, split=(0, 0)),  # a split that says less: nothing is lost
    )
    found = totals(tmp_path)
    assert found.cache_creation_tokens == 3500
    assert found.as_dict()["cost_usd"] == (600 * 3.75 + 400 * 6 + 1000 * 3.75 + 500 * 6 + 1000 * 3.75) / 1e6


def test_the_cost_that_the_client_gave_is_used_and_a_senseless_one_is_not(tmp_path: Path) -> None:
    write(
        session_file(tmp_path),
        row("m1", "r1", costUSD=0.0030220000000000004),
        row("m2", "r2", costUSD=-1),
        row("m3", "r3", costUSD="a lot"),
        row("m4", "r4", costUSD=None, model="claude-unheard-of-9", costBasis="?"),
    )
    found = totals(tmp_path)
    assert found.cost_usd is None
    assert found.cost_unknown_models == ("claude-unheard-of-9",)
    assert found.as_dict()["cost_known_usd"] == 0.003022 + 2 * (10 * 3 + 5 * 15) / 1e6


def test_sub_agents_belong_to_the_session_of_their_folder_and_readable_names_to_projects(tmp_path: Path) -> None:
    base = tmp_path / "projects" / "-home-user-my-app"
    write(base / "s1.jsonl", row("m1", "r1", session=None, cwd="/home/user/my.app"))
    write(base / "s1" / "subagents" / "agent-7.jsonl", row("m2", "r2", session=None, cwd="/elsewhere"))
    write(tmp_path / "projects" / "p1" / "s3.jsonl", row("m3", "r3", session="s3", cwd=None))
    read = transcripts.read((tmp_path,))
    assert [(one.session, one.project) for one in read.requests] == [
        ("s1", "-home-user-my-app"),
        ("s1", "-home-user-my-app"),
        ("s3", "p1"),
    ]
    assert read.project_names == {"-home-user-my-app": "/home/user/my.app"}


@pytest.mark.parametrize(
    ("path", "session"),
    [
        ("p/s1.jsonl", "s1"),
        ("p/s1/subagents/agent-7.jsonl", "s1"),
        ("p/s1/subagents/of/agent-7.jsonl", "s1"),
        ("p/subagents.jsonl", "subagents"),
        ("p/subagents/subagents/agent-7.jsonl", "subagents"),
        ("p/subagents/agent-7.jsonl", "agent-7"),  # there is no session in whose folder it would lie
        ("subagents/s1.jsonl", "s1"),
        ("subagents/s1/subagents/agent-7.jsonl", "s1"),
        ("subagents/subagents/subagents/agent-7.jsonl", "subagents"),
    ],
)
def test_a_project_or_a_session_may_be_called_subagents(tmp_path: Path, path: str, session: str) -> None:
    write(tmp_path / "projects" / path, row("m1", "r1", session=None, cwd=None))
    (request,) = transcripts.read((tmp_path,)).requests
    assert (request.session, request.project) == (session, path.split("/", maxsplit=1)[0])


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
        ("2026-11-21T10:00:00.123456Z", "2026-11-21T10:00:00.123Z"),
        ("2026-11-21T10:00:00", "2026-11-21T10:00:00Z"),
        ("2026-11-21T12:00:00.500+02:00", "2026-11-21T10:00:00.500Z"),
        (1795255200, "2026-11-21T10:00:00Z"),
        (1795255200.5, "2026-11-21T10:00:00.500Z"),
        (1795255200123, "2026-11-21T10:00:00.123Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2099-12-31T23:59:59.999Z", "2099-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("2026-02-30T10:00:00Z", None), ("yesterday", None), ("", None), ([1], None), (True, None), (0, None),
        (-1795255200, None), (10**30, None), (None, None),
    ],
)  # fmt: skip
def test_a_time_as_any_writer_writes_it_or_none(tmp_path: Path, written: Any, at: str | None) -> None:
    write(session_file(tmp_path), row("m1", "r1", at=written), {**row("m2", "r2"), "timestamp": None})
    one, timeless = transcripts.read((tmp_path,)).requests
    assert (one.at_ms if one.at_ms is None else moment(one.at_ms)) == at
    assert timeless.at_ms is None


def test_a_directory_whose_dashed_form_is_the_folder_names_the_project(tmp_path: Path) -> None:
    write(session_file(tmp_path, "a", "-srv-app"), row("m1", "r1", cwd="/srv/app/deep"))
    write(session_file(tmp_path, "b", "-srv-app"), row("m2", "r2", cwd="/srv/app"))
    assert transcripts.read((tmp_path,)).project_names == {"-srv-app": "/srv/app"}


def test_neighbours_of_what_cannot_be_read_are_counted(tmp_path: Path) -> None:
    folder = session_file(tmp_path, "m", "-p").parent
    write(folder / "m.jsonl", row("m1", "r1"))
    write(folder / "z" / "deep.jsonl", row("m2", "r2"))
    os.mkfifo(folder / "a.jsonl")
    (folder / "device.jsonl").symlink_to("/dev/null")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    (folder / "directory.jsonl").mkdir()
    (folder / "z" / "up").symlink_to(folder)  # a loop of directories
    (folder / "notes.txt").write_text("not a session")
    read = transcripts.read((tmp_path,))
    assert sorted(request.message_id or "" for request in read.requests) == ["m1", "m2"]
    assert read.files == 2
    assert {Path(path).name: why for path, why in read.unreadable} == {
        "a.jsonl": "not a regular file",
        "device.jsonl": "not a regular file",
        "gone.jsonl": "vanished, or a link that leads nowhere",
        "loop.jsonl": "too many levels of symbolic links",
    }


@contextmanager
def nobody() -> Iterator[None]:
    """As a user who may not read everything: root may."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_a_file_and_a_directory_without_rights_are_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        write(session_file(root, "a", "-open"), row("m1", "r1"))
        locked_file = write(session_file(root, "b", "-open"), row("m2", "r2"))
        locked_folder = write(session_file(root, "c", "-closed"), row("m3", "r3")).parent
        locked_file.chmod(0)
        locked_folder.chmod(0)
        try:
            with nobody():
                read = transcripts.read((root,))
        finally:
            locked_folder.chmod(0o755)
    assert [request.message_id for request in read.requests] == ["m1"]
    assert dict(read.unreadable) == {str(locked_file): "permission denied", str(locked_folder): "permission denied"}


def test_one_file_by_two_paths_is_one_file(tmp_path: Path) -> None:
    original = write(session_file(tmp_path / "one", "a"), row(None, None), row(None, None))
    copy = session_file(tmp_path / "two", "b")
    copy.parent.mkdir(parents=True)
    copy.hardlink_to(original)
    (tmp_path / "three").symlink_to(tmp_path / "one")
    read = transcripts.read((tmp_path / "one", tmp_path / "two", tmp_path / "three", tmp_path / "one" / "projects"))
    assert (read.files, len(read.requests)) == (1, 2)


def test_equal_rows_go_to_the_first_in_path_order(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(session_file(tmp_path, name), row("m1", "r1", session=name))
    assert [request.session for request in transcripts.read((tmp_path,)).requests] == ["a"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/h"}, ["/h/.config/claude/projects", "/h/.claude/projects"]),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, ["/x/claude/projects", "/h/.claude/projects"]),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "relative"}, ["/h/.config/claude/projects", "/h/.claude/projects"]),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/a"}, ["/a"]),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": " /a , ~/b,,/a/"}, ["/a", "/h/b"]),
        ({"HOME": "/h", "CLAUDE_CONFIG_DIR": " , "}, ["/h/.config/claude/projects", "/h/.claude/projects"]),
    ],
)
def test_roots(environ: dict[str, str], expected: list[str]) -> None:
    assert [str(root) for root in places.roots(environ)] == expected


def test_without_home_the_user_database_knows_it() -> None:
    import pwd

    home = pwd.getpwuid(os.getuid()).pw_dir
    assert places.roots({})[-1] == Path(home, ".claude", "projects")


def test_a_root_may_be_a_projects_folder_itself_and_one_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    write(session_file(tmp_path), row())
    write(tmp_path / "history.jsonl", row("m9", "r9"))
    for root in (tmp_path, tmp_path / "projects"):
        read = transcripts.read((root, tmp_path / "absent"))
        assert (read.files, [one.message_id for one in read.requests], read.unreadable) == (1, ["msg_1"], ())


def test_an_empty_file_and_no_file_are_nothing(tmp_path: Path) -> None:
    session_file(tmp_path).parent.mkdir(parents=True)
    session_file(tmp_path).touch()
    read = transcripts.read((tmp_path,))
    assert (read.files, read.lines, read.requests, read.unreadable) == (1, 0, [], ())
