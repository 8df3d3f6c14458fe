"""Order, parallelism, deadlines, cancellation, and what the runner survives."""

from __future__ import annotations

import threading

import pytest

from cc.clock import Cancel, SystemClock
from cc.engine.events import Event, RunFinished, StepFinished, StepStarted, Waiting
from cc.engine.ladder import Ladder, Rung
from cc.engine.outcome import Recap, Status
from cc.engine.runner import Runner, Step
from cc.engine.step import Context
from cc.errors import ConfigError, Failure, Interrupted

PATIENCE_S = 20.0


@pytest.fixture
def run(cancel: Cancel):
    def go(*steps: Step, listeners=(), deadline_s: float | None = None) -> Recap:
        runner = Runner(clock=SystemClock(), cancel=cancel, listeners=listeners, deadline_s=deadline_s)
        return runner.run("test", steps)

    return go


def statuses(recap: Recap) -> dict[str, str]:
    return {step.name: step.outcome.status.value for step in recap.steps}


def test_steps_run_after_what_they_need_and_the_recap_keeps_the_playbooks_order(thing, run) -> None:
    order: list[str] = []
    note = lambda name: lambda _: order.append(name)  # noqa: E731
    recap = run(
        Step("c", thing(on_act=note("c")), needs=("b",)),
        Step("b", thing(on_act=note("b")), requires=("a",)),
        Step("a", thing(on_act=note("a"))),
    )
    assert order == ["a", "b", "c"]
    assert [step.name for step in recap.steps] == ["c", "b", "a"]
    assert recap.status is Status.CHANGED


def test_independent_steps_run_at_the_same_time(thing, run) -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)
    recap = run(Step("a", thing(on_act=lambda _: both.wait())), Step("b", thing(on_act=lambda _: both.wait())))
    assert recap.counts["changed"] == 2


def test_as_many_steps_as_there_may_be_workers_run_at_the_same_time_if_they_are_long(thing, run) -> None:
    all_of_them = threading.Barrier(8, timeout=PATIENCE_S)
    recap = run(*(Step(str(number), thing(on_act=lambda _: all_of_them.wait())) for number in range(8)))
    assert recap.counts["changed"] == 8


def test_a_failed_step_leaves_out_all_that_comes_after_it_but_what_is_always(thing, run) -> None:
    bad = thing(act_makes_it_so=False)
    recap = run(
        Step("bad", bad),
        Step("next", thing(), needs=("bad",)),
        Step("last", thing(), needs=("next",)),
        Step("cleanup", thing(), needs=("last",), always=True),
        Step("other", thing()),
    )
    assert statuses(recap) == {
        "bad": "failed", "next": "skipped", "last": "skipped", "cleanup": "changed", "other": "changed",
    }  # fmt: skip
    assert recap.steps[2].outcome.reason == "'bad' failed"
    assert recap.status is Status.FAILED


def test_what_requires_a_goal_that_was_given_up_is_skipped_and_what_needs_it_runs(thing, run) -> None:
    without = Ladder((
        Rung("docker", thing(probe_fails=Failure("no docker", code="tool_missing"))),
        Rung("without", message="gone without", when_failed=frozenset({"tool_missing"})),
    ))  # fmt: skip
    recap = run(
        Step("containers", without),
        Step("ingest", thing(), requires=("containers",)),
        Step("dashboard", thing(), needs=("containers",)),
    )
    assert statuses(recap) == {"containers": "skipped", "ingest": "skipped", "dashboard": "changed"}
    assert [step.outcome.degraded for step in recap.steps] == [True, False, False]
    assert recap.degraded


def test_a_step_that_a_flag_leaves_out_is_skipped_and_not_degraded(thing, run) -> None:
    recap = run(Step("containers", thing(), left_out="switched off by --no-docker"))
    outcome = recap.steps[0].outcome
    assert (outcome.status, outcome.degraded, outcome.reason) == (Status.SKIPPED, False, "switched off by --no-docker")


def test_nothing_starts_after_a_cancellation_and_the_running_act_may_end(thing, run, cancel: Cancel) -> None:
    later = thing()
    recap = run(Step("now", thing(on_act=lambda _: cancel.request("SIGINT"))), Step("later", later, needs=("now",)))
    assert statuses(recap) == {"now": "changed", "later": "skipped"}
    assert later.calls == []
    assert recap.stopped == "SIGINT"


def test_the_deadline_of_the_run_cancels_what_is_under_way(thing, run) -> None:
    def until_cancelled(context: Context) -> None:
        assert context.cancel.wait(PATIENCE_S)
        raise Interrupted("ended")

    recap = run(
        Step("slow", thing(act_makes_it_so=False, on_act=until_cancelled)),
        Step("later", thing(), needs=("slow",)),
        deadline_s=0.05,
    )
    assert recap.stopped == "deadline"
    assert statuses(recap) == {"slow": "failed", "later": "skipped"}


def test_a_step_that_says_nothing_for_a_second_is_told_of(thing, run) -> None:
    told = threading.Event()
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Waiting):
            told.set()

    recap = run(Step("slow", thing(name="the long way", on_act=lambda _: told.wait(PATIENCE_S))), listeners=(listen,))
    assert recap.status is Status.CHANGED
    waiting = next(event for event in heard if isinstance(event, Waiting))
    assert (waiting.step, waiting.what) == ("slow", "the long way")


def test_a_bug_in_a_step_is_a_failed_outcome_with_its_traceback_and_the_others_go_on(thing, run) -> None:
    def bug(_: Context) -> None:
        raise ZeroDivisionError("boom")

    recap = run(Step("bug", thing(on_act=bug)), Step("fine", thing()))
    outcome = recap.steps[0].outcome
    assert (outcome.status, outcome.error) == (Status.FAILED, "internal_error")
    assert any("ZeroDivisionError" in line for line in outcome.evidence)
    assert recap.steps[1].outcome.status is Status.CHANGED


def test_a_listener_that_fails_hears_nothing_more_and_costs_a_warning(thing, run) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise OSError(28, "No space left on device")

    recap = run(Step("a", thing()), listeners=(broken, heard.append))
    assert recap.status is Status.CHANGED
    assert [type(event) for event in heard][1:3] == [StepStarted, StepFinished]
    assert isinstance(heard[-1], RunFinished)
    assert len(recap.warnings) == 1
    assert "No space left" in recap.warnings[0]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((("a", "b"), ("b", "c"), ("c", "a")), "a -> b -> c -> a"),
        ((("a", "a"),), "a -> a"),
        ((("a", "zz"),), "'zz'"),
        ((("a", None), ("a", None)), "two steps"),
    ],
)
def test_a_graph_that_makes_no_sense_is_an_error_that_names_the_steps(thing, run, steps, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(*(Step(name, thing(), needs=(after,) if after else ()) for name, after in steps))


def test_a_chain_of_thousands_of_steps_is_no_trouble(thing, run) -> None:
    steps = [Step(str(number), thing(so=True), needs=(str(number - 1),) if number else ()) for number in range(3000)]
    assert run(*reversed(steps)).counts["ok"] == 3000
