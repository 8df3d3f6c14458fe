"""Requests of files and of telemetry that are matched by likeness, because one of the two has no request id."""

from __future__ import annotations

from typing import ClassVar

import pytest

from cc.usage.request import UNKNOWN, Request
from cc.usage.unite import CLOSE_MS, unite

NOON = 1_764_000_000_000


def request(known: str | None, at_ms: int | None = NOON, output: int = 5) -> Request:
    return Request(
        message_id=None, request_id=known, session="s", project="/p", model="claude-x", at_ms=at_ms,
        input_tokens=10, output_tokens=output, cache_write_5m=0, cache_write_1h=0, cache_read=0,
        cost_pico=None, fast=False, sidechain=False,
    )  # fmt: skip


@pytest.mark.parametrize(("row", "event"), [(None, "req_1"), ("req_1", None), (None, None), ("req_1", "req_1")])
def test_a_request_that_one_of_the_two_has_no_id_of_is_counted_once(row: str | None, event: str | None) -> None:
    united = unite([request(row)], [request(event, NOON + 1000)])
    assert [one.request_id for one in united.requests] == [row or event]
    assert (united.files_alone, united.telemetry_alone, len(united.pairs)) == ([], [], 1)


def test_of_two_request_ids_neither_is_the_other() -> None:
    united = unite([request("a")], [request("b")])
    assert [(one.request_id, one.project) for one in united.requests] == [("a", "/p"), ("b", "/p")]


@pytest.mark.parametrize(("apart", "together"), [(-CLOSE_MS - 1, 2), (-CLOSE_MS, 1), (CLOSE_MS, 1), (CLOSE_MS + 1, 2)])
def test_alike_is_within_a_minute(apart: int, together: int) -> None:
    assert len(unite([request(None)], [request("r", NOON + apart)]).requests) == together


def test_each_event_is_of_one_row_the_earliest_first_and_never_of_one_that_wrote_more() -> None:
    rows = [request(None, output=5), request(None, output=9), request(None, output=5), request(None, None)]
    events = [request("late", NOON + 9, 50), request("low", NOON - 9, 4), request("mid", NOON, 7), request("x", None)]
    united = unite(rows, events)
    assert [(row.output_tokens, final.request_id) for row, final in united.pairs] == [(5, "mid"), (9, "late")]
    assert united.files_alone == [request(None), request(None, None)]
    assert [one.request_id for one in united.telemetry_alone] == ["low", "x"]


def test_it_is_what_trying_every_event_would_find() -> None:
    rows = [request(f"f{n}" if n % 3 else None, NOON + n * 7919 % 200_000, n * 31 % 17) for n in range(150)]
    events = [request(f"e{n}" if n % 2 else None, NOON + n * 6007 % 200_000, n * 13 % 19) for n in range(130)]
    left = sorted(events, key=lambda event: event.at_ms or 0)
    expected = []
    for row in rows:
        for event in left:
            near = abs((event.at_ms or 0) - (row.at_ms or 0)) <= CLOSE_MS
            if near and None in (row.request_id, event.request_id) and event.output_tokens >= row.output_tokens:
                left.remove(event)
                expected.append((row, event.at_ms, event.output_tokens))
                break
    events_of = {(event.at_ms, event.output_tokens) for event in left}
    united = unite(rows, events)
    assert [(row, final.output_tokens) for row, final in united.pairs] == [(row, most) for row, _, most in expected]
    assert {(event.at_ms, event.output_tokens) for event in united.telemetry_alone} == events_of
    assert 20 < len(expected) < 130


class Weighed(int):
    """A number that counts how often it is compared with another."""

    times: ClassVar[int] = 0

    def __lt__(self, other: int) -> bool:
        Weighed.times += 1
        return int(self) < int(other)

    def __gt__(self, other: int) -> bool:
        Weighed.times += 1
        return int(self) > int(other)

    def __ge__(self, other: int) -> bool:
        Weighed.times += 1
        return int(self) >= int(other)


@pytest.mark.parametrize(("row", "event"), [(None, None), ("row", None), (None, "event"), ("row", "event")])
@pytest.mark.parametrize("output", [3, 8])
def test_thousands_alike_within_a_minute_take_few_steps_each(row: str | None, event: str | None, output: int) -> None:
    many = 2000
    Weighed.times = 0
    rows = [request(row and f"{row}{n}", NOON + n, Weighed(output)) for n in range(many)]
    events = [request(event and f"{event}{n}", NOON + n, Weighed(5)) for n in range(many)]
    united = unite(rows, events)
    matched = many if output == 3 and None in (row, event) else 0
    assert len(united.pairs) == matched
    assert Weighed.times < 100 * many


def test_the_project_of_what_telemetry_alone_knows_is_that_of_its_session() -> None:
    assert unite([], [request("r")]).requests[0].project == UNKNOWN
