"""Tables and `status` as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from cc.report.status import status_document, status_text
from cc.report.table import columns_of, table, wrapped
from cc.services.health import Health


def test_columns_stand_under_their_headers_numbers_to_the_right() -> None:
    text = table(("name", "n"), [("a", "1"), ("bcd", "1,000")], right=(1,))
    assert text.splitlines() == ["name        n", "------  -----", "a           1", "bcd     1,000"]


def test_nothing_is_taken_for_a_number_by_itself() -> None:
    assert table(("version", "port"), [("1.10", "08110")]).splitlines()[-1].split() == ["1.10", "08110"]


def test_a_table_without_rows_is_its_headers() -> None:
    assert table(("a", "b"), []).split() == ["a", "b", "---", "---"]


@pytest.mark.parametrize(
    "hostile",
    [
        "two\nlines",
        "\x1b[31mred",
        "\x1b]0;t\x07",
        "a\rb",
        "\x00",
        "a\u2028b",
        "a\u2029b",
        "a\x85b",
        *"\x0b\x0c\x1c\x1d\x1e",
    ],
)
def test_a_cell_stays_on_its_line_and_moves_no_cursor(hostile: str) -> None:
    text = table(("a", "b"), [(hostile, "x")])
    assert len(text.splitlines()) == 3
    assert not set(text) & set("\x1b\r\x00\x07\u2028\u2029\x85\x1e")


@pytest.mark.parametrize(
    ("key", "width", "shown"),
    [
        ("abcdefghijklmnop", 20, "abcdefghijklmnop"),
        ("abcdefghijklmnop", 18, "abcdefg\u2026klmnop"),
        ("short", 1, "short"),
    ],
)
def test_with_a_width_the_first_column_gives_up_its_middle(key: str, width: int, shown: str) -> None:
    row = table(("k", "n"), [(key, "12")], right=(1,), width=width).splitlines()[-1]
    assert row.split() == [shown, "12"]


WIDE = ("a-long-key-that-ends-in-one", "a-long-key-that-ends-in-two"), ("12", "345"), ("first part", "x"), ("y", "z")


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(80, ""), (33, ""), (32, "no room for: more words"), (20, "no room for: more words, last")],
)
def test_where_there_is_no_room_the_spare_columns_go_one_after_the_other_and_are_named(
    width: int, left_out: str
) -> None:
    rows = list(zip(*WIDE, strict=True))
    lines = table(("key", "n", "more words", "last"), rows, right=(1,), width=width, spare=(2, 3)).splitlines()
    assert max(map(len, lines)) <= width
    at = [line.startswith("a-") for line in lines].index(True)
    assert [line.split()[1] for line in lines[at : at + 2]] == ["12", "345"]
    assert " ".join(map(str.strip, lines[at + 2 :])) == left_out


def test_a_column_is_left_out_rather_than_that_two_keys_look_alike_and_not_where_that_is_of_no_use() -> None:
    apart = [("vendor-model-a-20260101", "1", "x"), ("vendor-model-b-20260101", "2", "y")]
    lines = table(("model", "n", "other"), apart, right=(1,), width=28, spare=(2,)).splitlines()
    assert lines[-3:] == ["vendor-model-a-20260101  1", "vendor-model-b-20260101  2", "no room for: other"]
    alike = [(f"{'x' * 30}{middle}{'x' * 30}", "1", "x") for middle in "ab"]
    lines = table(("model", "n", "other"), alike, right=(1,), width=28, spare=(2,)).splitlines()
    assert [line.split()[1:] for line in lines[-2:]] == [["1", "x"]] * 2


def test_letters_of_two_columns_leave_the_others_in_their_places() -> None:
    """As in a terminal, where each of these takes the room of two."""
    lines = table(("k", "n"), [("日本", "1"), ("abcdef", "23")], right=(1,)).splitlines()
    assert lines[2:] == ["日本      1", "abcdef   23"]
    assert table(("k", "n"), [("日本" * 9, "1")], right=(1,), width=20).splitlines()[-1] == "日本日本…日本日本  1"


DOCKER = {"here": "unix:///a.sock", "supervisor": "unix:///a.sock"}


def health(name: str, **more: Any) -> Health:
    return Health(**{"name": name, "kind": "container", "state": "running", "health": "healthy", **more})


def document(*services: Health, state: str = "running") -> dict[str, Any]:
    supervisor = {"state": state, "pid": 1, "via": "unix"}
    return status_document(supervisor, [each.as_dict() for each in services], [], [], DOCKER)


def test_status_lists_what_is_not_healthy_and_what_is_less_than_its_first_choice() -> None:
    told = document(
        health("clickhouse"),
        health("collector", health="unhealthy", reason="no answer", rung=2),
        health("dashboard", kind="process", reason="Flask's own server", rung=1),
        health("other", health="unknown", state="unknown", rung=3),
    )
    assert told["degraded"] == [
        {"what": "collector", "rung": 2, "reason": "no answer"},
        {"what": "dashboard", "rung": 1, "reason": "Flask's own server"},
        {"what": "other", "rung": 3, "reason": ""},
    ]
    assert told["supervisor"] == {"state": "running", "pid": 1, "via": "unix"}


def test_without_a_supervisor_status_says_that_nobody_restarts_what_crashes() -> None:
    assert "nobody restarts what crashes" in status_text(document(health("a"), state="stopped"))
    assert "nobody restarts what crashes" not in status_text(document(health("a")))


@pytest.mark.parametrize(
    ("states", "supervisor", "down"),
    [
        (("stopped", "stopped"), "stopped", True),
        (("stopped", "running"), "stopped", False),
        (("stopped", "unknown"), "stopped", False),
        (("stopped", "stopped"), "running", False),
    ],
)
def test_a_stack_is_down_when_nothing_runs_at_all(states, supervisor: str, down: bool) -> None:
    services = [health(str(at), state=state, health="unknown", reason="why") for at, state in enumerate(states)]
    text = status_text(document(*services, state=supervisor))
    assert ("the stack is down: `up` starts it" in text) == down
    assert ("degraded" in text) != down


def test_of_a_stack_that_is_down_is_told_what_stands_in_its_way() -> None:
    stopped = health(
        "a", state="stopped", health="unknown", reason="why; port 1 is held by x", obstacle="port 1 is held by x"
    )
    lines = status_text(document(stopped, state="stopped")).splitlines()
    assert lines[-2:] == ["a: port 1 is held by x", "the stack is down: `up` starts it"]


def test_what_was_given_up_is_an_alert() -> None:
    given_up = {"service": "dashboard", "at": 0.0, "reason": "three restarts"}
    told = status_document({"state": "running"}, [], [given_up], [], DOCKER)
    assert "alert: dashboard was given up: three restarts" in status_text(told)


def test_status_says_what_is_left_alone_for_a_while_and_who_does_not_answer() -> None:
    open_one = {"what": "docker", "state": "open", "reason": "no answer within 10 s"}
    text = status_text(status_document({"state": "unknown"}, [], [], [open_one], DOCKER))
    assert "left alone for a while: docker: no answer within 10 s" in text
    assert "the supervisor does not answer" in text


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [("unix:///a", "unix:///a", False), ("unix:///a", "unix:///b", True), ("tcp://h:1", None, False)],
)
def test_the_docker_that_was_asked_is_named_where_it_is_another_than_the_callers(here, there, said: bool) -> None:
    told = status_document({"state": "running"}, [], [], [], {"here": here, "supervisor": there})
    assert told["docker"] == {"here": here, "supervisor": there}
    shell = f"that of this shell (DOCKER_HOST, context) at {here}"
    line = f"told by the supervisor: the supervisor's Docker is at {there}, {shell}"
    assert (line in status_text(told).splitlines()) == said


def test_each_service_has_the_fields_of_the_contract() -> None:
    service = health("a", container="c", port=1, pid=2, uptime_s=3.0, restarts=0, rss_bytes=4)
    (told,) = document(service)["services"]
    assert {
        "name", "kind", "state", "health", "reason", "pid", "container", "port", "url", "uptime_s", "restarts",
        "rss_bytes",
    } <= set(told)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"), (0, "0 s"), (59, "59 s"), (60, "1.0 min"), (5400, "1.5 h"), (86400, "1.0 d"),
        (86400 * 400, "400.0 d"),
    ],
)  # fmt: skip
def test_an_age_is_said_in_its_own_unit(seconds: float | None, said: str) -> None:
    line = status_text(document(health("a", uptime_s=seconds))).splitlines()[2]
    assert f"  {said}  " in line


def test_status_for_people_has_a_line_for_each_service_and_for_each_reason() -> None:
    text = status_text(
        document(
            health("clickhouse", url="http://127.0.0.1:8123", pid=7, uptime_s=61),
            health("collector", state="exited", health="unhealthy", reason="exited\nwith code 1"),
        )
    )
    lines = text.splitlines()
    assert lines[0].split() == ["service", "state", "health", "up", "where", "pid"]
    assert lines[2].split() == ["clickhouse", "running", "healthy", "1.0", "min", "http://127.0.0.1:8123", "7"]
    assert lines[3].split() == ["collector", "exited", "unhealthy", "-", "-", "-"]
    assert lines[4:] == ["degraded: collector: exited with code 1"]


def test_sentences_are_broken_by_columns_and_not_by_letters() -> None:
    said = "no price is known for: 中文模型, 日本語のモデル, some-other-model; the rest cost 3 USD"
    lines = wrapped(said, 30)
    assert max(map(columns_of, lines)) <= 30
    assert " ".join(line.strip() for line in lines) == said
    assert wrapped(said, None) == [said]
