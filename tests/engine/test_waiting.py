"""Waiting is a probe with a deadline that says what it waits for, and ends when it is cancelled."""

from __future__ import annotations

import pytest

from cc.clock import Cancel
from cc.engine.step import Context
from cc.engine.waiting import wait_for
from cc.errors import Failure, Interrupted
from tests.fakes import FakeClock


def test_what_is_there_is_not_waited_for(context: Context, clock: FakeClock) -> None:
    assert wait_for(context, "it", lambda: "there", within=10) == "there"
    assert clock.waits == []


@pytest.mark.parametrize("found", [False, 0, ""])
def test_any_answer_but_none_is_one(context: Context, found: object) -> None:
    assert wait_for(context, "it", lambda: found, within=10) is found


def test_it_looks_at_least_once_also_without_any_time(context: Context, clock: FakeClock) -> None:
    looks: list[float] = []

    def look() -> None:
        looks.append(clock.now())

    assert wait_for(context, "it", look, within=0) is None
    assert wait_for(context._replace(deadline=clock.now() - 5), "it", look, within=10) is None
    assert len(looks) == 2


@pytest.mark.parametrize("within", [0.01, 1.0, 7.3, 60.0])
def test_it_gives_up_when_the_time_is_over_and_not_before(context: Context, clock: FakeClock, within: float) -> None:
    assert wait_for(context, "it", lambda: None, within=within) is None
    assert clock.now() == pytest.approx(1000 + within)


def test_the_time_of_the_run_counts_too(context: Context, clock: FakeClock) -> None:
    assert wait_for(context._replace(deadline=1002.0), "it", lambda: None, within=60) is None
    assert clock.now() == pytest.approx(1002)


def test_pauses_grow_from_short_ones_to_the_longest_and_no_further(context: Context, clock: FakeClock) -> None:
    wait_for(context, "it", lambda: None, within=5, first_pause=0.1, longest_pause=0.4)
    assert clock.waits[:5] == pytest.approx([0.1, 0.15, 0.225, 0.3375, 0.4])
    assert max(clock.waits) == pytest.approx(0.4)
    assert sum(clock.waits) == pytest.approx(5)


@pytest.mark.parametrize(("within", "said_at"), [(0.9, []), (3, [1]), (12, [1, 6, 11]), (30, [1, 6, 11, 16, 21, 26])])
def test_after_a_second_it_says_what_it_waits_for_and_then_now_and_again(
    context: Context, within: float, said_at: list[int]
) -> None:
    said: list[tuple[str, float, float | None]] = []
    heard = context._replace(say=lambda what, elapsed, of: said.append((what, elapsed, of)))
    wait_for(heard, "the engine to answer", lambda: None, within=within)
    assert [int(elapsed) for _, elapsed, _ in said] == said_at
    assert {(what, of) for what, _, of in said} <= {("the engine to answer", within)}


def test_a_cancellation_ends_it_and_says_what_was_awaited(context: Context, clock: FakeClock, cancel: Cancel) -> None:
    def look() -> None:
        if clock.now() > 1001:
            cancel.request("SIGINT")

    with pytest.raises(Interrupted, match="the engine to answer"):
        wait_for(context, "the engine to answer", look, within=1000)
    assert clock.now() < 1002


def test_what_is_there_counts_even_when_cancelled(context: Context, cancel: Cancel) -> None:
    cancel.request("SIGINT")
    assert wait_for(context, "it", lambda: "there", within=10) == "there"


def test_what_looking_raises_comes_through(context: Context) -> None:
    def look() -> None:
        raise Failure("broken", code="bad_answer")

    with pytest.raises(Failure, match="broken"):
        wait_for(context, "it", look, within=10)
