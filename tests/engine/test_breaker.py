"""The circuit breaker's transitions (LADDERS.md, L12)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cc.engine.breaker import Breaker, State
from cc.errors import Failure

BOOT = "boot-1"


def breaker(kept: dict[str, Any] | None = None, boot_id: str = BOOT) -> Breaker:
    return Breaker("Docker", boot_id=boot_id, kept=kept)


def fail(subject: Breaker, now: float, times: int = 1, *, typed: bool = False) -> State | None:
    changed = None
    for _ in range(times):
        changed = subject.failed(subject.admit(now, typed=typed), now, "no answer") or changed
    return changed


def opened(now: float = 1000.0) -> Breaker:
    subject = breaker()
    assert fail(subject, now, 5) is State.OPEN
    return subject


def refusal(subject: Breaker, now: float) -> Failure:
    with pytest.raises(Failure) as caught:
        subject.admit(now)
    assert caught.value.code == "breaker_open"
    return caught.value


def test_closed_to_open_at_the_fifth_failure_in_a_row() -> None:
    subject = breaker()
    assert fail(subject, 0.0, 4) is None
    assert subject.state is State.CLOSED
    assert fail(subject, 0.0) is State.OPEN


def test_a_success_between_failures_starts_the_count_again() -> None:
    subject = breaker()
    fail(subject, 0.0, 4)
    assert subject.succeeded(subject.admit(0.0), 0.0) is None
    assert fail(subject, 0.0, 4) is None


@pytest.mark.parametrize(("later", "seconds"), [(0.0, 60), (0.1, 60), (30.0, 30), (59.5, 1)])
def test_open_fails_fast_and_says_when_it_tries_next(later: float, seconds: int) -> None:
    failure = refusal(opened(1000.0), 1000.0 + later)
    assert failure.message == f"Service unavailable: Docker, next try in {seconds} s"
    assert failure.evidence == ("no answer",)


def test_open_to_half_open_after_a_minute_with_one_probe() -> None:
    subject = opened(1000.0)
    assert subject.admit(1060.0).probe
    assert subject.state is State.HALF_OPEN
    failure = refusal(subject, 1061.0)
    assert failure.message == "Service unavailable: Docker, next try in 59 s"
    assert failure.hint == "it is being tried right now"


def test_half_open_to_closed_when_the_probe_comes_through() -> None:
    subject = opened(1000.0)
    assert subject.succeeded(subject.admit(1060.0), 1060.0) is State.CLOSED
    assert fail(subject, 1061.0, 4) is None


def test_half_open_to_open_for_another_minute_when_the_probe_fails() -> None:
    subject = opened(1000.0)
    assert fail(subject, 1060.0) is State.OPEN
    refusal(subject, 1119.9)
    assert subject.admit(1120.0).probe


def test_a_typed_command_is_the_probe_at_once() -> None:
    subject = opened(1000.0)
    assert subject.succeeded(subject.admit(1001.0, typed=True), 1001.0) is State.CLOSED


def test_a_typed_command_is_not_refused_while_another_probe_is_out() -> None:
    subject = opened(1000.0)
    background = subject.admit(1060.0)
    typed = subject.admit(1061.0, typed=True)
    assert subject.succeeded(typed, 1061.5) is State.CLOSED
    assert subject.failed(background, 1062.0, "late") is None
    assert subject.state is State.CLOSED


def test_a_probe_that_never_ends_is_taken_as_lost_after_a_minute() -> None:
    subject = opened(1000.0)
    subject.admit(1060.0)
    refusal(subject, 1119.0)
    assert subject.admit(1120.0).probe


def test_a_probe_that_was_cancelled_leaves_the_place_to_the_next() -> None:
    subject = opened(1000.0)
    subject.abandoned(subject.admit(1060.0), 1060.2)
    assert subject.admit(1060.5).probe


def test_a_typed_probe_that_was_cancelled_does_not_shorten_the_wait_of_others() -> None:
    subject = opened(1000.0)
    subject.abandoned(subject.admit(1010.0, typed=True), 1011.0)
    assert refusal(subject, 1020.0).message.endswith("next try in 40 s")


def test_results_of_calls_from_before_a_change_are_passed_over() -> None:
    subject = breaker()
    early = [subject.admit(0.0) for _ in range(7)]
    changes = [subject.failed(permit, 1.0) for permit in early[:6]]
    assert changes == [None, None, None, None, State.OPEN, None]
    assert subject.succeeded(early[6], 2.0) is None
    assert subject.state is State.OPEN


def through_json(subject: Breaker) -> dict[str, Any]:
    kept = json.loads(json.dumps(subject.as_dict(), allow_nan=False))
    assert isinstance(kept, dict)
    return kept


def test_it_stays_open_from_one_command_to_the_next_and_failures_add_up() -> None:
    first = breaker()
    fail(first, 1000.0, 3)
    second = breaker(through_json(first))
    assert fail(second, 1001.0, 2) is State.OPEN
    third = breaker(through_json(second))
    failure = refusal(third, 1031.0)
    assert failure.message == "Service unavailable: Docker, next try in 30 s"
    assert failure.evidence == ("no answer",)
    assert third.admit(1061.0).probe


def test_a_probe_is_known_to_the_next_command() -> None:
    first = opened(1000.0)
    first.admit(1060.0)
    later = breaker(through_json(first))
    assert refusal(later, 1061.0).hint == "it is being tried right now"
    assert later.admit(1120.0).probe


@pytest.mark.parametrize("boot_id", ["boot-2", ""])
def test_after_a_restart_of_the_machine_the_next_caller_is_the_probe(boot_id: str) -> None:
    later = breaker(through_json(opened(1000.0)), boot_id)
    assert later.state is State.OPEN
    assert later.admit(3.0).probe


def test_a_state_from_the_future_does_not_keep_it_open() -> None:
    assert breaker(through_json(opened(9_000_000.0))).admit(1000.0).probe


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"state": "ajar"},
        {"state": ["open"]},
        {"state": "open", "failures": "5"},
        {"state": "open", "failures": True},
        {"state": None, "failures": 5},
    ],
)
def test_a_state_that_makes_no_sense_is_closed(kept: dict[str, Any]) -> None:
    assert not breaker(kept).admit(0.0).probe


@pytest.mark.parametrize("opened_at", [None, "soon", float("nan"), float("inf"), -float("inf"), 10**400, True, []])
def test_an_open_state_of_an_unusable_time_lets_the_next_caller_try(opened_at: object) -> None:
    kept = {"state": "open", "failures": 5, "opened_at": opened_at, "boot_id": BOOT}
    assert breaker(kept).admit(1000.0).probe


def test_a_kept_count_beyond_the_threshold_still_takes_a_failure_to_open() -> None:
    subject = breaker({"state": "closed", "failures": 10**9, "boot_id": BOOT})
    assert subject.state is State.CLOSED
    assert fail(subject, 0.0) is State.OPEN


def test_a_hundred_that_were_let_in_at_the_same_moment_open_it_once() -> None:
    subject = breaker()
    permits = [subject.admit(1000.0) for _ in range(100)]
    assert [subject.failed(permit, 1000.0) for permit in permits].count(State.OPEN) == 1
    assert subject.succeeded(permits[0], 1000.0) is None


def test_a_hundred_typed_commands_are_all_let_in_and_close_it_once() -> None:
    subject = opened(1000.0)
    permits = [subject.admit(1001.0, typed=True) for _ in range(100)]
    assert [subject.succeeded(permit, 1001.0) for permit in permits].count(State.CLOSED) == 1
    assert subject.failed(permits[0], 1001.0) is None
    assert subject.well


def test_a_result_from_before_the_change_is_passed_over_by_the_next_command_too() -> None:
    first = breaker()
    early = first.admit(1000.0)
    fail(first, 1001.0, 5)
    first.succeeded(first.admit(1002.0, typed=True), 1003.0)
    second = breaker(through_json(first))
    assert fail(second, 1004.0, 4) is None
    assert second.failed(early, 1004.0) is None
    assert second.state is State.CLOSED


def test_a_change_from_the_future_passes_over_nothing() -> None:
    subject = breaker({"state": "closed", "failures": 0, "changed_at": 9_000_000.0, "boot_id": BOOT})
    assert fail(subject, 1000.0, 5) is State.OPEN


def test_what_was_seen_at_work_is_closed_and_its_failures_are_forgotten() -> None:
    subject = opened(1000.0)
    probe = subject.admit(1060.0)
    assert subject.mended(1061.0) is State.CLOSED
    assert subject.failed(probe, 1062.0) is None
    fail(subject, 1063.0, 4)
    assert subject.mended(1064.0) is None
    assert subject.well
