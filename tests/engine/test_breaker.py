"""The circuit breaker's transitions (LADDERS.md, L12)."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from cc.engine.breaker import Breaker, Permit, State
from cc.errors import ConfigError, Failure, Interrupted

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
    assert subject.succeeded(subject.admit(0.0)) is None
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
    assert subject.succeeded(subject.admit(1060.0)) is State.CLOSED
    assert fail(subject, 1061.0, 4) is None


def test_half_open_to_open_for_another_minute_when_the_probe_fails() -> None:
    subject = opened(1000.0)
    assert fail(subject, 1060.0) is State.OPEN
    refusal(subject, 1119.9)
    assert subject.admit(1120.0).probe


def test_a_typed_command_is_the_probe_at_once() -> None:
    subject = opened(1000.0)
    assert subject.succeeded(subject.admit(1001.0, typed=True)) is State.CLOSED


def test_a_typed_command_is_not_refused_while_another_probe_is_out() -> None:
    subject = opened(1000.0)
    background = subject.admit(1060.0)
    typed = subject.admit(1061.0, typed=True)
    assert subject.succeeded(typed) is State.CLOSED
    assert subject.failed(background, 1062.0, "late") is None
    assert subject.state is State.CLOSED


def test_a_probe_that_never_ends_is_taken_as_lost_after_a_minute() -> None:
    subject = opened(1000.0)
    subject.admit(1060.0)
    refusal(subject, 1119.0)
    assert subject.admit(1120.0).probe


def test_a_probe_that_was_cancelled_leaves_the_place_to_the_next() -> None:
    subject = opened(1000.0)
    subject.abandoned(subject.admit(1060.0))
    assert subject.admit(1060.5).probe


def test_a_typed_probe_that_was_cancelled_does_not_shorten_the_wait_of_others() -> None:
    subject = opened(1000.0)
    subject.abandoned(subject.admit(1010.0, typed=True))
    assert refusal(subject, 1020.0).message.endswith("next try in 40 s")


def test_results_of_calls_from_before_a_change_are_passed_over() -> None:
    subject = breaker()
    early = [subject.admit(0.0) for _ in range(7)]
    changes = [subject.failed(permit, 1.0) for permit in early[:6]]
    assert changes == [None, None, None, None, State.OPEN, None]
    assert subject.succeeded(early[6]) is None
    assert subject.state is State.OPEN


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (Failure("refused", code="connection_refused"), State.OPEN),
        (Failure("not counted", code="bad_config"), State.CLOSED),
        (Interrupted("cancelled"), State.CLOSED),
        (ConfigError("a mistake"), State.CLOSED),
        (KeyboardInterrupt(), State.CLOSED),
        (ZeroDivisionError(), State.CLOSED),
    ],
)
def test_a_guarded_call_counts_failures_of_the_thing_and_nothing_else(raised: BaseException, state: State) -> None:
    subject = breaker()
    for _ in range(5):
        with (
            pytest.raises(type(raised)),
            subject.guarding(lambda: 1.0, counts=lambda failure: failure.code != "bad_config"),
        ):
            raise raised
    assert subject.state is state


def test_a_guarded_call_that_comes_through_closes_it() -> None:
    subject = opened(1000.0)
    with subject.guarding(lambda: 1060.0) as permit:
        assert permit.probe
    assert subject.state is State.CLOSED
    fail(subject, 1061.0, 5)
    with pytest.raises(Failure, match="Service unavailable: Docker"), subject.guarding(lambda: 1062.0):
        raise AssertionError("an open breaker lets nobody in")


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


def test_a_probe_that_died_with_its_command_does_not_block_the_next() -> None:
    first = opened(1000.0)
    first.admit(1060.0)
    assert breaker(through_json(first)).admit(1060.5).probe


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


class Crowd:
    """A hundred callers at once; gathers every change of state that any of them made."""

    def __init__(self, subject: Breaker) -> None:
        self.subject = subject
        self.changes: list[State] = []
        self.permits: list[Permit] = []
        self.refused = 0
        self._lock = threading.Lock()

    def come(self, now: float, *, works: bool, typed: bool = False) -> None:
        start = threading.Barrier(100)
        threads = [threading.Thread(target=self._call, args=(start, now, works, typed)) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _call(self, start: threading.Barrier, now: float, works: bool, typed: bool) -> None:
        start.wait()
        try:
            permit = self.subject.admit(now, typed=typed)
        except Failure:
            with self._lock:
                self.refused += 1
            return
        changed = self.subject.succeeded(permit) if works else self.subject.failed(permit, now)
        with self._lock:
            self.permits.append(permit)
            if changed is not None:
                self.changes.append(changed)


def test_a_hundred_callers_open_it_once() -> None:
    crowd = Crowd(breaker())
    crowd.come(1000.0, works=False)
    assert crowd.changes == [State.OPEN]
    assert len(crowd.permits) + crowd.refused == 100


def test_a_hundred_callers_send_one_probe_and_close_it_once() -> None:
    crowd = Crowd(opened(1000.0))
    crowd.come(1060.0, works=True)
    assert crowd.changes == [State.CLOSED]
    assert sum(permit.probe for permit in crowd.permits) == 1
    assert crowd.subject.state is State.CLOSED


def test_a_hundred_callers_whose_probe_fails_open_it_once_more() -> None:
    crowd = Crowd(opened(1000.0))
    crowd.come(1060.0, works=False)
    assert crowd.changes == [State.OPEN]
    assert len(crowd.permits) == 1
    assert crowd.refused == 99


def test_a_hundred_typed_commands_are_all_let_in_and_close_it_once() -> None:
    crowd = Crowd(opened(1000.0))
    crowd.come(1001.0, works=True, typed=True)
    assert crowd.changes == [State.CLOSED]
    assert crowd.refused == 0
