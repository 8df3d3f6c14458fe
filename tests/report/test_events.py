"""The journal in words: every kind of event has its line, and what is unknown or spoilt is shown as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from cc.engine.events import (
    AttemptFailed,
    Event,
    Note,
    RunFinished,
    RungFailed,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status
from cc.report.events import KINDS, line, words
from cc.supervisor.states import Alert, ServiceChanged, ServiceRestarted

OUTCOME = Outcome(Status.CHANGED, "made so", duration_s=1.234)
STOPPED = (
    "changed   ok=0  changed=1  skipped=0  failed=0  degraded=0   2.50 s   stopped by SIGINT; "
    "fallback of ipc, rung 2: stale"
)
SAID = [
    (RunStarted("up", ("a", "b")), ("run", "up", "began: a, b")),
    (StepStarted("a"), ("begins", "a", "")),
    (Waiting("a", "b to answer", 4.2, 60.0), ("waits", "a", "for b to answer (4 s of 60 s)")),
    (Waiting("a", "docker", 4.2, None), ("waits", "a", "for docker (4 s)")),
    (
        AttemptFailed("a", 2, "deadline", "too late", 1.5),
        ("again", "a", "attempt 2: too late (deadline); again in 1.5 s"),
    ),
    (
        RungFailed("a", 0, "gunicorn", "port_in_use", "8110 is held", 2),
        ("down", "a", "rung 0, gunicorn: 8110 is held (port_in_use); trying, rung 2"),
    ),
    (
        RungFailed("a", 0, "compose", "daemon_down", "no Docker", 1, gives_up=True),
        ("down", "a", "rung 0, compose: no Docker (daemon_down); done without, rung 1"),
    ),
    (
        RungFailed("a", 3, "kill", "not_satisfied", "it lives", None),
        ("down", "a", "rung 3, kill: it lives (not_satisfied); no way is left"),
    ),
    (Note("a", "pulling x"), ("note", "a", "pulling x")),
    (StepFinished("a", OUTCOME), ("changed", "a", "made so (1.23 s)")),
    (
        StepFinished("a", Outcome(Status.SKIPPED, "no Docker", degraded=True, attempts=0, warnings=("look",))),
        ("skipped", "a", "degraded: no Docker; warning: look"),
    ),
    (
        RunFinished(
            Recap(
                "down", (NamedOutcome("a", OUTCOME),), (Fallback("ipc", 2, "stale"),), duration_s=2.5, stopped="SIGINT"
            )
        ),
        (
            "run",
            "down",
            STOPPED,
        ),
    ),
    (
        ServiceChanged("a", "running", "backoff", "it ended", 1.0),
        ("backoff", "a", "was running: it ended; again in 1.0 s"),
    ),
    (ServiceChanged("a", "unknown", "running", "", None), ("running", "a", "was unknown")),
    (ServiceRestarted("a", True, 1, None, ""), ("restarted", "a", "ready, try 1")),
    (
        ServiceRestarted("a", False, 2, "unhealthy", "silent"),
        ("restarted", "a", "not ready, try 2: silent (unhealthy)"),
    ),
    (Alert("a", "three tries", "invoke logs a"), ("alert", "a", "given up: three tries -> invoke logs a")),
]


def kinds_of(event: type[Event]) -> Iterator[type[Event]]:
    for kind in event.__subclasses__():
        yield kind
        yield from kinds_of(kind)


def told(event: Event) -> dict[str, Any]:
    """As it comes back from the journal."""
    return dict(json.loads(json.dumps({"time": "2026-11-24T14:00:00.000Z", "pid": 1, **event.as_dict()})))


@pytest.mark.parametrize(("event", "said"), SAID)
def test_an_event_in_words(event: Event, said: tuple[str, str, str]) -> None:
    assert words(told(event)) == said


def test_every_kind_of_event_has_words_and_a_test() -> None:
    every = {kind for kind in kinds_of(Event) if kind.__module__.startswith("cc.")}
    assert {kind.kind for kind in every} == set(KINDS) == {event.kind for event, _ in SAID}


@pytest.mark.parametrize(
    "entry",
    [
        {"event": "new in version 9", "answer": 42}, {"answer": 42}, {"event": "note", "answer": 42},
        {"event": "run_started", "command": "up", "steps": None, "answer": 42}, {"event": ["?"], "answer": 42},
        {"event": "waiting", "step": 1, "what": 2, "elapsed_s": "x", "within_s": {}, "answer": 42},
        {"event": "run_finished", "counts": [], "answer": 42},
    ],
)  # fmt: skip
def test_what_is_not_known_is_shown_as_it_stands(entry: dict[str, Any]) -> None:
    assert '"answer": 42' in line(entry, None)


def test_a_line_has_its_time_and_columns_and_colours_the_word_alone() -> None:
    when = datetime(2026, 11, 24, 14, 2, 55, 999999, timezone.utc)
    event = told(StepFinished("clickhouse", OUTCOME))
    assert line(event, when) == "2026-11-24 14:02:55  changed    clickhouse          made so (1.23 s)"
    painted = line(event, when, colour=True)
    assert painted.replace("\x1b[33m", "").replace("\x1b[0m", "") == line(event, when)
    assert "\x1b[33mchanged\x1b[0m" in painted
    assert "\x1b[31malert" in line(told(Alert("a", "b", "c")), when, colour=True)


def test_an_entry_cannot_move_the_cursor_or_break_its_line() -> None:
    text = line(told(Note("a\nb", "x\x1b[2J\x1b]0;t\x07\u202ey\nz")), None)
    assert not any(each in text for each in "\x1b\x07\u202e\n")
