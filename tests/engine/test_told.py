"""Events and recaps survive the way through JSON."""

from __future__ import annotations

import json

import pytest

from cc.engine import told
from cc.engine.events import AttemptFailed, Event, Note, RungFailed, RunStarted, StepFinished, StepStarted, Waiting
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status, Tried
from cc.errors import Failure

OUTCOME = Outcome(
    Status.SKIPPED, "Docker unavailable", degraded=True, attempts=2, duration_s=1.25, evidence=("a", "b"), hint="so",
    rung=3, rung_name="without", tried=(Tried(0, "docker compose", "tool_missing", "not installed"),), warnings=("w",),
)  # fmt: skip
EVENTS: list[Event] = [
    RunStarted("up", ("a", "b")),
    StepStarted("a"),
    Waiting("a", "it to answer", 2.5, 60.0),
    AttemptFailed("a", 1, "deadline", "late", 0.5),
    RungFailed("a", 0, "docker compose", "tool_missing", "not installed", 1, gives_up=True),
    Note("a", "a sentence"),
    StepFinished("a", OUTCOME),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_comes_back_as_it_went(event: Event) -> None:
    assert told.event(json.loads(json.dumps(event.as_dict()))) == event


def test_a_recap_comes_back_as_it_went() -> None:
    recap = Recap("up", (NamedOutcome("a", OUTCOME),), (Fallback("a", 3, "why"),), ("w",), 3.5, "SIGINT")
    assert told.recap(json.loads(json.dumps(recap.as_dict(130)))) == recap


def test_a_kind_from_another_version_is_passed_over() -> None:
    assert told.event({"event": "eclipse"}) is None


@pytest.mark.parametrize("junk", [{}, {"steps": 3}, {"command": "up", "steps": [{"name": "a"}]}])
def test_what_is_no_recap_is_a_bad_answer(junk: dict) -> None:
    with pytest.raises(Failure) as caught:
        told.recap(junk)
    assert caught.value.code == "bad_answer"
