"""Requests as rows of the store: every key is stable and its own, and what goes stands beside what comes."""

from __future__ import annotations

from datetime import date, datetime, timezone
from itertools import pairwise

import pytest

from cc.usage import ingest, store
from cc.usage.model import UsageQuery
from cc.usage.request import Request
from cc.usage.store_rows import NO_QUARTER, Key, Stored, deleted, request_of, stored

NOON = 1795435200000  # 2026-11-23T12:00:00Z
MADE = Request("m1", "r1", "opus", NOON, "s1", "-home-user", 1, 2, 3, 4, 5, None, False, False)


def selected(row: Stored) -> list[str]:
    """As the store gives it back."""
    quarter, message, request, _ = row.key
    texts = ["" if each is None else str(each) for each in row.told]
    return [str(quarter), message, request, *texts]


@pytest.mark.parametrize(
    "request_",
    [
        MADE,
        MADE._replace(at_ms=None),
        MADE._replace(message_id=None, cost_pico=0),
        MADE._replace(request_id=None, cost_pico=10**17, fast=True, sidechain=True),
        MADE._replace(at_ms=-62_135_596_800_000),  # the year 1
        MADE._replace(at_ms=253_402_300_799_999),  # the end of 9999
    ],
)
def test_a_request_comes_back_as_it_went(request_: Request) -> None:
    (row,) = stored([request_], {})
    assert request_of(selected(row)) == request_
    assert -(2**31) <= row.key.quarter < 2**31


def test_a_project_goes_by_its_readable_name() -> None:
    (row,) = stored([MADE], {"-home-user": "/home/user"})
    assert request_of(selected(row)).project == "/home/user"


def test_the_key_stays_when_the_numbers_change_and_the_fingerprint_does_not() -> None:
    (before,), (after,) = stored([MADE], {}), stored([MADE._replace(output_tokens=9)], {})
    assert before.key == after.key == Key(NOON // 900_000, "m1", "r1", "")
    assert before.fingerprint != after.fingerprint


def test_requests_without_ids_have_keys_of_their_own_whatever_their_order() -> None:
    nameless = MADE._replace(message_id=None, request_id=None)
    some = [nameless, nameless._replace(output_tokens=9), nameless, nameless]
    keys = {row.key for row in stored(some, {})}
    assert len(keys) == 4
    assert {row.key for row in stored(some[::-1], {})} == keys
    assert {row.key for row in stored(some[:3], {})} < keys


def test_a_request_without_a_time_is_in_no_span() -> None:
    (row,) = stored([MADE._replace(at_ms=None)], {})
    assert row.key.quarter == NO_QUARTER
    assert not store.span_of([UsageQuery(since=date(1970, 1, 1), tz=timezone.utc)]).holds(MADE._replace(at_ms=None))
    assert store.span_of([UsageQuery()]).holds(MADE._replace(at_ms=None))


def test_what_goes_is_in_the_batch_of_what_comes_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BATCH_ROWS", 3)
    rows = stored([MADE._replace(message_id=f"m{n}", request_id=f"r{n}", at_ms=NOON + n * 10**7) for n in range(9)], {})
    gone = [Key(1, f"m{number}", "other", "") for number in range(9)] + [Key(2, "", "r4", ""), Key(3, "m99", "", "")]
    batches = ingest.in_batches(rows, gone)
    assert sum(map(len, batches)) == 20
    of_message = {
        key.message_id or "m4": number
        for number, batch in enumerate(batches)
        for key in (each if isinstance(each, Key) else each.key for each in batch)
    }
    for number, batch in enumerate(batches):
        for each in batch:
            key = each if isinstance(each, Key) else each.key
            assert of_message[key.message_id or "m4"] == number
    quarters = [min(each.key.quarter for each in batch if isinstance(each, Stored)) for batch in batches[1:]]
    assert all(before <= after for before, after in pairwise(quarters))


def test_a_row_and_its_end_have_the_columns_of_the_table() -> None:
    (row,) = stored([MADE], {})
    assert len(row.written(7)) == len(deleted(row.key, 7)) == 19
    assert row.written(7)[-2:] == (7, 0)
    assert deleted(row.key, 7)[:4] == row.key
    assert deleted(row.key, 7)[-2:] == (7, 1)


def test_a_span_is_of_all_queries_and_a_little_more() -> None:
    day = date(2026, 11, 23)
    span = store.span_of([UsageQuery(since=day, until=day, tz=timezone.utc)])
    first = int(datetime(2026, 11, 23, tzinfo=timezone.utc).timestamp()) // 900
    assert span.first <= first - 4
    assert span.after >= first + 96 + 4
    assert span.after - span.first < 96 + 12
    assert store.span_of([UsageQuery(since=day), UsageQuery()]).first == NO_QUARTER


def test_names_are_asked_for_in_questions_that_a_url_can_hold() -> None:
    names = [f"{number:05}" + "x" * 250 for number in range(300)]
    questions = list(store.in_questions(names))
    assert [name for some in questions for name in some] == names
    assert all(sum(map(len, some)) <= store.QUESTION_BYTES for some in questions)
    assert list(store.in_questions([])) == []
    assert list(store.in_questions(["x" * 10**6])) == [["x" * 10**6]]
