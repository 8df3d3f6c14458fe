"""Tables, `status` and `usage` as people read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cc.report.status import status_document, status_text
from cc.report.table import table
from cc.report.usage import usage_text
from cc.services.health import Health
from cc.usage.model import Coverage, Reading, Row, Totals


def test_columns_stand_under_their_headers_numbers_to_the_right() -> None:
    text = table(("name", "n"), [("a", "1"), ("bcd", "1,000")], right=(1,))
    assert text.splitlines() == ["name        n", "------  -----", "a           1", "bcd     1,000"]


def test_nothing_is_taken_for_a_number_by_itself() -> None:
    assert table(("version", "port"), [("1.10", "08110")]).splitlines()[-1].split() == ["1.10", "08110"]


def test_a_table_without_rows_is_its_headers() -> None:
    assert table(("a", "b"), []).split() == ["a", "b", "---", "---"]


@pytest.mark.parametrize("hostile", ["two\nlines", "\x1b[31mred", "\x1b]0;t\x07", "a\rb", "\x00"])
def test_a_cell_stays_on_its_line_and_moves_no_cursor(hostile: str) -> None:
    text = table(("a", "b"), [(hostile, "x")])
    assert len(text.splitlines()) == 3
    assert not set(text) & set("\x1b\r\x00\x07")


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


def totals(cost: str | None = "0", **more: Any) -> Totals:
    return Totals(1200, 1000, 200, 30, 4_000_000, None if cost is None else Decimal(cost), **more)


def reading(total: Totals, **more: Any) -> Reading:
    given = {
        "source": "files", "as_of": "2026-11-24T10:00:00Z", "stale": False, "reason": None, "by": "day",
        "coverage": Coverage(files=3, lines=1234), "total": total, **more,
    }  # fmt: skip
    return Reading(**given)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (None, "-"), ("0", "0.00"), ("0.01", "0.01"), ("1234.567", "1,234.57"), ("0.0099", "0.009900"),
        ("0.000001", "0.000001"), ("0.00000008", "<0.000001"),
    ],
)  # fmt: skip
def test_money_is_said_to_the_cent_little_of_it_finer_and_none_known_as_a_dash(cost: str | None, said: str) -> None:
    row = usage_text(reading(totals(cost))).splitlines()[2]
    assert row.split() == ["total", "1,200", "1,000", "200", "30", "4,000,000", said]


def test_usage_has_a_row_for_each_key_and_the_total_last() -> None:
    text = usage_text(reading(totals("3"), rows=(Row("2026-11-23", totals("1")), Row("2026-11-24", totals("2")))))
    lines = text.splitlines()
    assert lines[0].split() == ["day", "requests", "input", "output", "cache", "write", "cache", "read", "cost", "USD"]
    assert [line.split()[0] for line in lines[2:5]] == ["2026-11-23", "2026-11-24", "total"]
    assert lines[5:] == ["", "source: files, as of 2026-11-24T10:00:00Z", "coverage: 3 files, 1,234 lines"]


def test_models_without_a_price_are_named_with_what_the_rest_cost() -> None:
    text = usage_text(reading(totals(None, cost_unknown_models=("x", "y"), cost_known_usd=Decimal("1.5"))))
    assert "no price is known for: x, y; the rest cost 1.50 USD" in text.splitlines()


def test_where_the_numbers_come_from_and_what_could_not_be_read_is_said() -> None:
    coverage = Coverage(
        files=3, lines=1234, skipped_lines=5, skipped_by_kind={"cut": 4, "not_json": 1},
        unreadable=(("/a\x1b[2J", "Permission denied"),), first="2026-01-01T00:00:00Z", last="2026-02-01T00:00:00Z",
    )  # fmt: skip
    text = usage_text(
        reading(totals(), source="cache", stale=True, reason="ClickHouse is down", coverage=coverage, notes=("note",))
    )
    assert text.split("\n\n")[1].splitlines() == [
        "source: cache, stale, as of 2026-11-24T10:00:00Z (ClickHouse is down)",
        "coverage: 3 files, 1,234 lines, 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z",
        "skipped: 5 lines (4 cut, 1 not_json)",
        "not read: /a\ufffd[2J: Permission denied",
        "note",
    ]


def test_for_a_terminal_the_provenance_is_broken_at_its_width() -> None:
    text = usage_text(reading(totals(), reason="one reason after another " * 5), width=80)
    assert max(map(len, text.splitlines())) <= 80
