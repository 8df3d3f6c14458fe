"""Rows of telemetry as the engine gives them: strings, of which some are damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cc.usage import prices, tally
from cc.usage.decode import decode_answer
from cc.usage.groups import fold
from cc.usage.telemetry import COLUMNS, EVENTS, requests_of
from tests.usage.rows import CLIENT_EVENTS, RECORDED, SESSION, answer, event


def events_of_the_client() -> list[list[str]]:
    """As they were recorded where they are at hand, else their copy."""
    path = RECORDED / "client" / "otel_logs.jsonl"
    if not path.exists():
        return [list(row) for row in CLIENT_EVENTS]
    found = [json.loads(line) for line in path.read_text().splitlines()]
    events = [one["LogAttributes"] for one in found if one["Body"] == "claude_code.api_request"]
    return [[event.get(column, "") for column in COLUMNS] for event in events]


def test_the_clients_own_events_add_up_to_what_it_said_to_the_micro_dollar() -> None:
    rows = events_of_the_client()
    assert [row[:-1] for row in rows] == [list(row[:-1]) for row in CLIENT_EVENTS]
    requests, unusable = requests_of(rows)
    total = tally.total(fold(requests), prices.load())
    assert unusable == 0
    assert (total.messages, total.input_tokens, total.output_tokens) == (2, 203, 83)
    assert (total.cache_creation_tokens, total.cache_read_tokens) == (400, 6000)
    assert total.as_dict()["cost_usd"] == 0.005972
    by_price = tally.total(fold(request._replace(cost_pico=None) for request in requests), prices.load())
    assert by_price.as_dict()["cost_usd"] == 0.005972


def test_the_query_asks_for_the_columns_in_their_order() -> None:
    places = [EVENTS.index(f"['{column}']") for column in COLUMNS[:-1]]
    assert places == sorted(places)
    assert EVENTS.index("Timestamp") > places[-1]


def test_an_event_that_was_exported_twice_is_one_request() -> None:
    requests, _ = requests_of([event("r1"), event("r1", output_tokens=25), event("r1"), event("r2")])
    assert [(one.request_id, one.output_tokens) for one in requests] == [("r1", 25), ("r2", 20)]


def test_events_without_request_id_are_told_apart_by_their_number_in_the_session() -> None:
    rows = [event("", event_sequence=number, session_id=session) for number in (1, 2, 1) for session in ("a", "b")]
    assert len(requests_of(rows)[0]) == 4


@pytest.mark.parametrize(
    ("attribute", "value", "field", "expected"),
    [
        ("input_tokens", "", "input_tokens", 0),
        ("input_tokens", "321.0", "input_tokens", 321),
        ("input_tokens", "1e3", "input_tokens", 1000),
        ("cost_usd", "0.0030220000000000004", "cost_pico", 3_022_000_000),
        ("cost_usd", "", "cost_pico", None),
        ("cost_usd", "NaN", "cost_pico", None),
        ("cost_usd", "-1", "cost_pico", None),
        ("cost_usd", "free", "cost_pico", None),
        ("cost_usd_micros", "2974", "cost_pico", 2_974_000_000),
        ("speed", "fast", "fast", True),
        ("speed", "normal", "fast", False),
        ("session.id", "", "session", "unknown"),
        ("model", "", "model", "unknown"),
        ("event.timestamp", "2026-11-23T12:00:01.500Z", "at_ms", 1795435201500),
        ("event.timestamp", "", "at_ms", 1795435201000),
        ("event.timestamp", "soon", "at_ms", 1795435201000),
        ("cache_creation_tokens", "300", "cache_write_5m", 300),
        ("cache_creation_1h_tokens", "70", "cache_write_1h", 70),
        ("cache_creation_5m_tokens", "30", "cache_write_5m", 30),
    ],
)
def test_attributes(attribute: str, value: str, field: str, expected: Any) -> None:
    row = event()
    row[COLUMNS.index(attribute)] = value
    ((request,), unusable) = requests_of([row])
    assert getattr(request, field) == expected
    assert unusable == 0


def test_a_time_of_zero_is_no_time() -> None:
    row = event(event_timestamp="")
    row[-1] = "0"
    assert requests_of([row])[0][0].at_ms is None


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "NaN", "Infinity", "1e30", "9" * 400, "٣x"])
def test_an_event_with_damaged_counts_is_left_out_and_counted(value: str) -> None:
    row = event("bad")
    row[COLUMNS.index("output_tokens")] = value
    requests, unusable = requests_of([event("r1"), row, event("r2")])
    assert [request.request_id for request in requests] == ["r1", "r2"]
    assert unusable == 1


def test_a_row_of_another_shape_is_left_out_and_counted() -> None:
    requests, unusable = requests_of([[], ["x"] * 3, event(), ["x"] * 40])
    assert (len(requests), unusable) == (1, 3)
    assert requests[0].session == SESSION


def test_an_answer_that_was_cut_anywhere_is_no_answer() -> None:
    whole = answer([event("r1"), event("r2")])
    assert len(decode_answer(whole)) == 2
    for end in range(0, len(whole) - 1, 7):
        with pytest.raises(ValueError, match=r"."):
            decode_answer(whole[:end])


def test_an_answer_that_counts_other_rows_than_it_brings_is_no_answer() -> None:
    with pytest.raises(ValueError, match="1 rows came of 2"):
        decode_answer(b'{"meta":[],"data":[["a"]],"rows":2}')


def test_one_attribute_that_is_no_utf_8_costs_only_itself() -> None:
    body = answer([event("r1", model="XXX"), event("r2")]).replace(b"XXX", b"\xff\xfe")
    requests, _ = requests_of(decode_answer(body))
    assert [request.model for request in requests] == ["\ufffd\ufffd", "claude-sonnet-4-5-20250929"]
