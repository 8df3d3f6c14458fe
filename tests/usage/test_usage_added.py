"""What the store's own table adds: put to the rest it is the whole, and each span is as it was last asked for."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cc.usage.added import Added, Asked, difference, put
from cc.usage.groups import FIRST, Group, fold
from cc.usage.request import Request
from cc.usage.store_rows import NO_QUARTER

if TYPE_CHECKING:
    from cc.usage.groups import Groups

END = 2**31 - 1


def sums(groups: Groups) -> dict[Group, list[int]]:
    """Without the first and the last millisecond, between which a difference may leave some room."""
    return {group: numbers[:FIRST] for group, numbers in groups.items()}


def made(number: int, session: str = "s1", quarter: int | None = 7, output: int = 1, project: str = "p") -> Request:
    at = None if quarter is None else quarter * 900_000 + number
    return Request(f"m{number}", f"r{number}", "opus", at, session, project, 1, output, 0, 0, 0, None, False, False)


def test_what_is_added_to_the_rest_makes_the_whole() -> None:
    chance = random.Random(4)  # noqa: S311 - numbers, no secret
    for _ in range(200):
        rest = [made(n, f"s{chance.randrange(3)}", chance.randrange(3), chance.randrange(9)) for n in range(20)]
        whole = [one._replace(project=chance.choice("pq"), output_tokens=chance.randrange(9)) for one in rest]
        whole += [made(n, f"s{chance.randrange(4)}", chance.choice([None, 2, 3])) for n in range(30, 40)]
        added = difference(fold(whole), fold(rest))
        assert sums(put(fold(rest), added.items())) == sums(fold(whole))
    assert difference(fold(rest), fold(rest)) == {}


def test_nothing_goes_below_zero_where_what_was_there_is_gone() -> None:
    added = difference(fold([made(1, project="known")]), fold([made(1, project="unknown")]))
    assert [(group.project, numbers[0]) for group, numbers in put({}, added.items()).items()] == [("known", 1)]


def told(first: int, after: int, as_of: float, *requests: Request) -> Added:
    return Added((Asked(first, after, as_of),), fold(requests), dict.fromkeys((one.session for one in requests), 0))


def quarters(groups: Groups) -> list[int | None]:
    return sorted((group.quarter for group in groups), key=str)


def test_a_span_is_as_it_was_last_asked_for_and_the_rest_as_before() -> None:
    kept = told(NO_QUARTER, END, 1.0, *(made(n, f"s{n}", n) for n in range(10)), made(11, "s11", None))
    kept = kept.renewed(told(3, 6, 2.0, made(20, "s20", 5)))
    assert kept.asked == (Asked(NO_QUARTER, 3, 1.0), Asked(3, 6, 2.0), Asked(6, END, 1.0))
    assert quarters(kept.groups) == [0, 1, 2, 5, 6, 7, 8, 9, None]
    assert sorted(kept.known) == ["s0", "s1", "s11", "s2", "s20", "s6", "s7", "s8", "s9"]
    kept = kept.renewed(told(5, END, 3.0))
    assert kept.asked == (Asked(NO_QUARTER, 3, 1.0), Asked(3, 5, 2.0), Asked(5, END, 3.0))
    assert quarters(kept.groups) == [0, 1, 2, None]
    assert kept.renewed(told(NO_QUARTER, END, 4.0)) == told(NO_QUARTER, END, 4.0)


def test_what_was_never_asked_for_is_not_covered() -> None:
    kept = told(3, 6, 1.0).renewed(told(8, 9, 1.0))
    assert kept.covers(3, 6)
    assert kept.covers(4, 5)
    assert not kept.covers(4, 7)
    assert not kept.covers(5, 9)
    assert kept.renewed(told(6, 8, 2.0)).covers(4, 9)
    assert not Added().covers(0, 1)


def test_of_a_span_its_groups_and_not_those_of_sessions_that_have_come_here() -> None:
    kept = told(NO_QUARTER, END, 1.0, made(1, "s1", 1), made(2, "s2", 2), made(3, "s2", 3), made(4, "s4", None))
    assert quarters(kept.of(1, 3, {}).groups) == [1, 2]
    assert quarters(kept.of(NO_QUARTER, END, {"s1": 1, "s2": 1}).groups) == [2, 3, None]
    assert quarters(kept.of(NO_QUARTER, END, {"s2": 2}).groups) == [1, None]
    in_part = Added(kept.asked, kept.groups, {"s2": 5})  # and has gone on since
    assert quarters(in_part.of(NO_QUARTER, END, {"s2": 9}).groups) == [1, 2, 3, None]


def test_groups_and_requests_agree_on_what_a_span_is() -> None:
    assert Asked(NO_QUARTER, 3, 0.0).holds(Group(None, "", False, False, False, "", ""))
    assert not Asked(0, 3, 0.0).holds(Group(None, "", False, False, False, "", ""))
