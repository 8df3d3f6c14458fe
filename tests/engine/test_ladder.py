"""How a failure leads down a ladder, and what is said of it."""

from __future__ import annotations

import pytest

from cc.clock import Cancel
from cc.engine.ladder import Ladder, Rung, run_ladder
from cc.engine.outcome import Fallback, Status
from cc.errors import Failure


def codes(*words: str) -> frozenset[str]:
    return frozenset(words)


def missing(what: str = "compose is not installed") -> Failure:
    return Failure(what, code="tool_missing")


def test_the_first_rung_that_holds_is_not_degraded(thing, context) -> None:
    outcome = run_ladder("goal", Ladder((Rung("first", thing()), Rung("second", thing()))), context, None)
    assert (outcome.status, outcome.rung, outcome.degraded, outcome.fallbacks) == (Status.CHANGED, 0, False, ())


def test_a_failure_leads_to_the_first_lower_rung_that_declares_it(thing, context) -> None:
    third = thing()
    ladder = Ladder((
        Rung("compose", thing(probe_fails=missing())),
        Rung("other", thing(), when_failed=codes("daemon_down")),
        Rung("docker run", third, when_failed=codes("tool_missing")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.rung, outcome.rung_name, outcome.degraded) == (
        Status.CHANGED,
        2,
        "docker run",
        True,
    )
    assert [(tried.rung, tried.name, tried.error) for tried in outcome.tried] == [(0, "compose", "tool_missing")]
    assert outcome.fallbacks == (Fallback("goal", 2, "compose is not installed"),)
    assert "compose is not installed" in outcome.reason


def test_a_failure_that_nobody_declares_stops_the_ladder_loudly(thing, context) -> None:
    below = thing()
    ladder = Ladder((
        Rung("compose", thing(probe_fails=Failure("yaml: line 3", code="bad_config"))),
        Rung("docker run", below, when_failed=codes("tool_missing")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.error, outcome.reason) == (Status.FAILED, "bad_config", "yaml: line 3")
    assert below.calls == []


def test_a_without_rung_gives_the_goal_up_skipped_and_degraded(thing, context) -> None:
    ladder = Ladder((
        Rung("compose", thing(probe_fails=missing("docker is not installed"))),
        Rung("without", message="Docker unavailable, using file-based analytics", when_failed=codes("tool_missing")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.degraded, outcome.rung) == (Status.SKIPPED, True, 1)
    assert outcome.reason == "Docker unavailable, using file-based analytics: docker is not installed"


def test_a_repair_mends_the_obstacle_and_starts_again_from_rung_0(thing, context) -> None:
    first = thing(probe_fails=Failure("daemon is not running", code="daemon_down"))
    repair = thing(on_act=lambda _: setattr(first, "probe_fails", None))
    ladder = Ladder((
        Rung("compose", first),
        Rung("start docker", repair, when_failed=codes("daemon_down"), again=True),
        Rung("without", message="gone without", when_failed=codes("daemon_down")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.rung, outcome.degraded) == (Status.CHANGED, 0, False)
    assert [fallback.rung for fallback in outcome.fallbacks] == [1]


def test_a_repair_that_mends_nothing_is_used_once(thing, context) -> None:
    ladder = Ladder((
        Rung("compose", thing(probe_fails=Failure("daemon is not running", code="daemon_down"))),
        Rung("start docker", thing(), when_failed=codes("daemon_down"), again=True),
        Rung("without", message="gone without", when_failed=codes("daemon_down")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.rung) == (Status.SKIPPED, 2)
    assert [tried.rung for tried in outcome.tried] == [0, 0]


def test_after_a_repair_that_failed_the_obstacle_still_counts(thing, context) -> None:
    ladder = Ladder((
        Rung("compose", thing(probe_fails=Failure("daemon is not running", code="daemon_down"))),
        Rung("start docker", thing(probe_fails=missing("no systemctl")), when_failed=codes("daemon_down"), again=True),
        Rung("without", message="gone without", when_failed=codes("daemon_down")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.rung) == (Status.SKIPPED, 2)
    assert outcome.reason == "gone without: daemon is not running"
    assert [tried.error for tried in outcome.tried] == ["daemon_down", "tool_missing"]


def test_a_lower_rung_that_reaches_the_same_end_state_is_a_fallback_and_no_degradation(thing, context) -> None:
    ladder = Ladder((
        Rung("compose down", thing(probe_fails=missing())),
        Rung("docker stop", thing(), when_failed=codes("tool_missing"), lesser=False),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.degraded, len(outcome.fallbacks)) == (Status.CHANGED, False, 1)


def test_a_converged_degraded_goal_is_ok_and_degraded(thing, context) -> None:
    ladder = Ladder((
        Rung("compose", thing(probe_fails=missing())),
        Rung("docker run", thing(so=True), when_failed=codes("tool_missing")),
    ))  # fmt: skip
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.degraded) == (Status.OK, True)


@pytest.mark.parametrize("code", ["bad_answer", "deadline", "bad_config"])
def test_a_ladder_that_only_reads_descends_on_any_failure(thing, context, code: str) -> None:
    ladder = Ladder(
        (Rung("clickhouse", thing(probe_fails=Failure("no", code=code))), Rung("files", thing(so=True))), reads=True
    )
    assert run_ladder("goal", ladder, context, None).rung == 1


def test_a_cancellation_ends_the_ladder_whatever_is_declared(thing, cancel: Cancel, context) -> None:
    def stop(_: object) -> None:
        cancel.request("SIGINT")
        context.stop_if_asked()

    below = thing(so=True)
    ladder = Ladder((Rung("first", thing(on_act=stop)), Rung("second", below, when_failed=codes("interrupted"))))
    outcome = run_ladder("goal", ladder, context, None)
    assert (outcome.status, outcome.error) == (Status.FAILED, "interrupted")
    assert below.calls == []
