"""probe -> check -> act -> probe again, and what the answers mean."""

from __future__ import annotations

import pytest

from cc.clock import Cancel
from cc.engine.outcome import Status
from cc.engine.retry import RetryPolicy
from cc.engine.step import AttemptsOver, Context, outcome_of, run_action, run_with_retry
from cc.errors import Failure, Interrupted
from tests.fakes import FakeClock


def test_what_is_so_already_is_ok_and_not_touched(thing, context) -> None:
    it = thing(so=True)
    assert run_action(it, context).status is Status.OK
    assert it.calls == ["probe"]


def test_what_was_not_so_and_is_after_the_act_is_changed(thing, context) -> None:
    it = thing()
    assert run_action(it, context).status is Status.CHANGED
    assert it.calls == ["probe", "check", "act", "probe"]


def test_an_act_that_ends_well_and_leaves_the_probe_unsatisfied_is_failed(thing, context) -> None:
    with pytest.raises(Failure) as caught:
        run_action(thing(act_makes_it_so=False), context)
    assert caught.value.code == "not_satisfied"
    assert caught.value.message == "it is not so"


def test_an_act_that_fails_and_leaves_the_probe_satisfied_is_changed_with_a_warning(thing, context) -> None:
    judged = run_action(thing(refuses=[Failure("exit 1", code="non_zero_exit")]), context)
    assert judged.status is Status.CHANGED
    assert judged.warnings == ("it is so, although: exit 1",)


def test_an_act_that_fails_and_leaves_it_not_so_fails_with_its_own_reason(thing, context) -> None:
    with pytest.raises(Failure, match="exit 1"):
        run_action(thing(act_makes_it_so=False, refuses=[Failure("exit 1", code="non_zero_exit")]), context)


def test_a_check_that_refuses_keeps_the_act_from_being_called(thing, context) -> None:
    it = thing(check_fails=Failure("held", code="port_in_use"))
    with pytest.raises(Failure, match="held"):
        run_action(it, context)
    assert "act" not in it.calls


def test_an_act_that_only_found_out_that_less_is_to_be_had_is_ok_and_degraded(thing, context) -> None:
    it = thing(less=("no image",), answer=lambda: "the same as before")
    outcome = outcome_of(run_action(it, context), 1)
    assert (outcome.status, outcome.degraded, outcome.reason) == (Status.OK, True, "no image")


def test_a_bare_command_says_changed_and_is_never_probed(thing, context) -> None:
    it = thing(probed=False, so=True)
    assert run_action(it, context).status is Status.CHANGED
    assert it.calls == ["check", "act"]


def test_nothing_is_probed_after_a_cancellation(thing, cancel: Cancel, context) -> None:
    cancel.request("SIGINT")
    it = thing()
    with pytest.raises(Interrupted):
        run_action(it, context)
    assert it.calls == []


def test_a_cancellation_between_probe_and_act_keeps_the_act_from_being_called(thing, cancel: Cancel, context) -> None:
    it = thing()
    it.answer = lambda: cancel.request("SIGTERM")  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        run_action(it, context)
    assert "act" not in it.calls


def test_a_declared_failure_is_tried_again_and_the_attempts_are_counted(thing, clock: FakeClock, context) -> None:
    it = thing(act_makes_it_so=False, refuses=[Failure("once", code="deadline"), Failure("twice", code="deadline")])
    it.on_act = lambda _: setattr(it, "so", len(it.refuses) == 0)
    policy = RetryPolicy(on=frozenset({"deadline"}), attempts=5, wait=1.0, jitter=0.0)
    judged, attempts = run_with_retry(it, context, policy)
    assert (judged.status, attempts) == (Status.CHANGED, 3)
    assert clock.waits == [1.0, 2.0]


def test_an_undeclared_failure_is_not_tried_again(thing, context) -> None:
    it = thing(act_makes_it_so=False, refuses=[Failure("no", code="bad_config")])
    with pytest.raises(AttemptsOver) as over:
        run_with_retry(it, context, RetryPolicy(on=frozenset({"deadline"}), attempts=5))
    assert (over.value.attempts, over.value.failure.code) == (1, "bad_config")


def test_no_wait_goes_past_the_deadline(thing, clock: FakeClock, context: Context) -> None:
    it = thing(probe_fails=Failure("late", code="deadline"))
    policy = RetryPolicy(on=frozenset({"deadline"}), attempts=50, wait=10.0, max_wait=10.0, within=1000.0, jitter=0.0)
    with pytest.raises(AttemptsOver):
        run_with_retry(it, context.until(25.0), policy)
    assert clock.now() <= 1025.0
    assert clock.waits == [10.0, 10.0]
