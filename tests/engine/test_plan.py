"""A plan asks as a run would, and touches nothing."""

from __future__ import annotations

import pytest

from cc.engine.ladder import Ladder, Rung
from cc.engine.outcome import Outcome
from cc.engine.plan import planned
from cc.engine.retry import RetryPolicy
from cc.engine.runner import Runner, Step
from cc.engine.step import Context, Probe
from cc.errors import Failure
from tests.engine.conftest import Thing


def foretell(context: Context, *steps: Step) -> dict[str, Outcome]:
    runner = Runner(clock=context.clock, cancel=context.cancel)
    recap = runner.run("plan", [planned(step) for step in steps])
    return {step.name: step.outcome for step in recap.steps}


def foretold(context: Context, goal: Thing | Ladder) -> Outcome:
    return foretell(context, Step("s", goal))["s"]


def failing(code: str) -> Failure:
    return Failure(f"it fails with {code}", code=code)


def test_what_is_so_already_is_ok(context: Context) -> None:
    one = Thing(so=True)
    outcome = foretold(context, one)
    assert (outcome.status.value, outcome.reason) == ("ok", "it is so")
    assert one.calls == ["probe"]


def test_what_would_be_made_so_would_change_and_is_only_probed_and_checked(context: Context) -> None:
    one = Thing()
    outcome = foretold(context, one)
    assert (outcome.status.value, outcome.reason) == ("changed", "would change: it is not so")
    assert one.calls == ["probe", "check"]
    assert one.so is False


def test_what_cannot_be_probed_would_run(context: Context) -> None:
    one = Thing(probed=False)
    outcome = foretold(context, one)
    assert (outcome.status.value, outcome.reason) == ("changed", "would run")
    assert one.calls == ["check"]


@pytest.mark.parametrize("at", ["probe_fails", "check_fails"])
def test_what_would_fail_as_far_as_reading_can_tell_fails(context: Context, at: str) -> None:
    one = Thing(**{at: failing("port_in_use")})
    outcome = foretold(context, one)
    assert (outcome.status.value, outcome.error) == ("failed", "port_in_use")
    assert "act" not in one.calls


def test_the_difference_that_a_probe_shows_is_shown(context: Context) -> None:
    class Different(Thing):
        def probe(self, context: Context) -> Probe:
            return Probe(False, "another content", diff="-a\n+b")

    outcome = foretold(context, Different())
    assert (outcome.diff, outcome.reason) == ("-a\n+b", "would change: another content")


def test_nothing_is_tried_again(context: Context) -> None:
    one = Thing(probe_fails=failing("deadline"))
    step = Step("s", one, retry=RetryPolicy(attempts=5, on=frozenset({"deadline"})))
    assert foretell(context, step)["s"].status.value == "failed"
    assert one.calls == ["probe"]


def test_a_ladder_descends_by_what_checks_say_and_no_rung_acts(context: Context) -> None:
    first, second = Thing(check_fails=failing("port_in_use")), Thing()
    outcome = foretold(
        context,
        Ladder((Rung("first", first), Rung("second", second, when_failed=frozenset({"port_in_use"})))),
    )
    assert (outcome.status.value, outcome.rung, outcome.degraded) == ("changed", 1, True)
    assert outcome.reason == "would change: it is not so (it fails with port_in_use)"
    assert "act" not in first.calls + second.calls


def test_a_goal_that_would_be_given_up_is_skipped_and_degraded(context: Context) -> None:
    rungs = (
        Rung("first", Thing(probe_fails=failing("tool_missing"))),
        Rung("without", message="no Docker", when_failed=frozenset({"tool_missing"})),
    )
    outcome = foretold(context, Ladder(rungs))
    assert (outcome.status.value, outcome.degraded) == ("skipped", True)
    assert outcome.reason == "no Docker: it fails with tool_missing"


def with_repair(first: Thing, repair: Thing) -> Ladder:
    down = frozenset({"daemon_down"})
    return Ladder(
        (
            Rung("first", first),
            Rung("engine", repair, when_failed=down, again=True),
            Rung("without", message="gave up", when_failed=down),
        )
    )


def test_a_repair_that_would_act_is_foretold_and_what_it_is_there_for_with_it(context: Context) -> None:
    first, repair = Thing(probe_fails=failing("daemon_down")), Thing(name="docker engine")
    outcome = foretold(context, with_repair(first, repair))
    assert (outcome.status.value, outcome.rung, outcome.degraded) == ("changed", 0, False)
    assert outcome.reason == "would change: after docker engine"
    assert [fallback.reason for fallback in outcome.fallbacks] == ["would change: it is not so"]
    assert "act" not in first.calls + repair.calls


@pytest.mark.parametrize(
    "repair", [Thing(so=True), Thing(check_fails=failing("daemon_down"))], ids=["nothing to mend", "cannot mend"]
)
def test_a_repair_that_would_change_nothing_leads_on_as_it_does_in_a_run(context: Context, repair: Thing) -> None:
    outcome = foretold(context, with_repair(Thing(probe_fails=failing("daemon_down")), repair))
    assert (outcome.status.value, outcome.degraded) == ("skipped", True)


def test_steps_that_a_run_would_leave_out_are_left_out(context: Context) -> None:
    outcomes = foretell(
        context,
        Step("a", Thing(probe_fails=failing("bad_config"))),
        Step("b", Thing(), needs=("a",)),
        Step("c", Thing(), always=True, needs=("a",)),
        Step("d", Thing(), left_out="by a flag"),
        Step("e", Thing(), requires=("d",)),
    )
    assert {name: outcome.status.value for name, outcome in outcomes.items()} == {
        "a": "failed", "b": "skipped", "c": "changed", "d": "skipped", "e": "skipped",
    }  # fmt: skip
