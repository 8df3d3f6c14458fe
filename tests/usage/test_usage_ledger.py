"""Each message once: tables of rows in path order and what is left of them. And files united with telemetry."""

from __future__ import annotations

import pytest

from cc.usage.ledger import Ledger
from cc.usage.request import UNKNOWN, Request
from cc.usage.unite import United, unite


def known(united: United) -> tuple[int, int, int]:
    """How many only files know, only telemetry, and both."""
    return len(united.files_alone), len(united.telemetry_alone), len(united.pairs)


def request(
    message: str | None = "m", request: str | None = "r", output: int = 1, *, side: bool = False, **more: object
) -> Request:
    whole = Request(message, request, "claude-opus-5-5", 1000, "s", "p", 10, output, 0, 0, 0, None, False, side)
    return whole._replace(**more)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        # the same message: more tokens win, of equal ones the first
        ([request(output=1), request(output=9), request(output=3)], [("m", "r", 9)]),
        ([request(session="a"), request(session="b")], [("m", "r", 1)]),
        ([request("m1"), request("m2")], [("m1", "r", 1), ("m2", "r", 1)]),
        ([request("m", "r1"), request("m", "r2")], [("m", "r1", 1), ("m", "r2", 1)]),
        # one of the ids is missing
        ([request("m", None), request("m", None, 5)], [("m", None, 5)]),
        ([request("m", None, 5), request("m", "r")], [("m", None, 5)]),
        ([request("m", "r", 5), request("m", None)], [("m", "r", 5)]),
        ([request(None, "r", 5), request("m", "r")], [(None, "r", 5)]),
        ([request("m", "r"), request(None, "r"), request("m", None)], [("m", "r", 1)]),
        ([request(None, "r1"), request("m1", None)], [(None, "r1", 1), ("m1", None, 1)]),
        ([request(None, None), request(None, None)], [(None, None, 1), (None, None, 1)]),
        # a side-chain repeats its parent's messages, with the same request id or with one of its own
        ([request(side=True), request()], [("m", "r", 1)]),
        ([request("m", "r1"), request("m", "r2", 5, side=True)], [("m", "r2", 5)]),
        ([request("m", "r2", side=True), request("m", "r1", 5)], [("m", "r1", 5)]),
        ([request("m", "r1", side=True), request("m", "r2", side=True)], [("m", "r1", 1), ("m", "r2", 1)]),
        ([request("m", None, side=True), request("m", "r")], [("m", "r", 1)]),
    ],
)  # fmt: skip
def test_what_is_left_of_rows(rows: list[Request], left: list[tuple[str | None, str | None, int]]) -> None:
    ledger = Ledger()
    for one in rows:
        ledger.add(one)
    assert [(one.message_id, one.request_id, one.output_tokens) for one in ledger.settle()] == left


def test_of_equal_rows_the_first_is_kept_and_it_is_the_parents_if_one_is() -> None:
    ledger = Ledger()
    ledger.add(request(session="side", side=True))
    ledger.add(request(session="parent"))
    (kept,) = ledger.settle()
    assert (kept.session, kept.sidechain) == ("side", False)


def test_rows_without_any_id_are_told_apart_by_their_own() -> None:
    ledger = Ledger()
    for row_id in ("u1", "u2", "u1"):
        ledger.add(request(None, None), row_id)
    assert len(ledger.settle()) == 2


def event(request_id: str | None = "r", output: int = 50, **more: object) -> Request:
    return request(None, request_id, output, project=UNKNOWN, cost_pico=7, **more)


def test_final_numbers_win_and_the_files_say_where_and_when() -> None:
    united = unite([request("m", "r", 5)], [event("r", 50, session="t", at_ms=2000, input_tokens=11)])
    (one,) = united.requests
    assert (one.input_tokens, one.output_tokens, one.cost_pico) == (11, 50, 7)
    assert (one.message_id, one.session, one.project, one.at_ms) == ("m", "s", "p", 1000)
    assert known(united) == (0, 0, 1)
    assert united.output_tokens_added == 45


def test_what_only_one_of_them_knows_counts_once() -> None:
    united = unite(
        [request("m1", "r1"), request("m2", "r2"), request("m3", None, input_tokens=11)], [event("r2"), event("r9")]
    )
    assert [one.request_id for one in united.requests] == ["r1", "r2", None, "r9"]
    assert known(united) == (2, 1, 1)


def test_a_request_of_telemetry_gets_the_project_of_its_session() -> None:
    united = unite([request("m1", "r1", project="first"), request("m2", "r2", project="second")], [event("r9")])
    assert united.requests[-1].project == "first"
    assert unite([], [event("r9")]).requests[0].project == UNKNOWN


def test_one_request_that_files_hold_as_two_messages_is_one() -> None:
    assert len(unite([request("m1", "r"), request("m2", "r")], [event("r")]).requests) == 1


def test_an_event_without_request_id_is_matched_by_likeness_once() -> None:
    rows = [request("m1", None, 5, at_ms=1000), request("m2", None, 5, at_ms=1500)]
    united = unite(rows, [event(None, 50, at_ms=2000)])
    assert [one.output_tokens for one in united.requests] == [50, 5]
    assert known(united) == (1, 0, 1)


@pytest.mark.parametrize(
    "change",
    [{"at_ms": 200_000}, {"session": "other"}, {"input_tokens": 11}, {"model": "claude-haiku-4-5"}, {"output": 3}],
)
def test_an_event_without_request_id_that_is_not_alike_is_a_request_of_its_own(change: dict[str, object]) -> None:
    likeness = {"output": 50, **change}
    united = unite([request("m1", None, 5)], [event(None, **likeness)])  # type: ignore[arg-type]
    assert len(united.requests) == 2


def test_an_older_clients_event_takes_the_split_of_cache_writes_from_the_file() -> None:
    row = request("m", "r", cache_write_5m=100, cache_write_1h=200)
    (one,) = unite([row], [event("r", cache_write_5m=300)]).requests
    assert (one.cache_write_5m, one.cache_write_1h) == (100, 200)
    (other,) = unite([row], [event("r", cache_write_5m=310)]).requests
    assert (other.cache_write_5m, other.cache_write_1h) == (310, 0)


def test_a_files_own_cost_is_kept_only_for_the_numbers_it_was_given_for() -> None:
    row = request("m", "r", 5, cost_pico=3)
    assert unite([row], [event("r", 5)._replace(cost_pico=None)]).requests[0].cost_pico == 3
    assert unite([row], [event("r", 6)._replace(cost_pico=None)]).requests[0].cost_pico is None


def test_a_row_without_request_id_is_the_request_of_an_event_that_has_one() -> None:
    united = unite([request("m1", None, 5, at_ms=1000)], [event("req_1", 50, at_ms=2000)])
    assert [(one.message_id, one.request_id, one.output_tokens) for one in united.requests] == [("m1", "req_1", 50)]
    assert known(united) == (0, 0, 1)


def test_two_requests_that_are_alike_and_have_ids_of_their_own_are_two() -> None:
    united = unite([request("m1", "req_2", 5, at_ms=1000)], [event("req_1", 50, at_ms=2000)])
    assert known(united) == (1, 1, 0)


def test_of_many_alike_each_is_matched_with_one_that_is_near() -> None:
    rows = [request(f"m{n}", None, 5, at_ms=n * 1000) for n in range(4000)]
    events = [event(None, 9, at_ms=n * 1000 + 200_000_000) for n in range(4000)]
    assert known(unite(rows, events)) == (4000, 4000, 0)
    near = [each._replace(at_ms=(each.at_ms or 0) - 200_000_000 + 500) for each in events]
    assert known(unite(rows, near)) == (0, 0, 4000)
