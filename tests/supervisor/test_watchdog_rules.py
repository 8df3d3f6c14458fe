"""L11 as tables: what was seen and done, and when -> what is decided. The time is a number in the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cc.services.health import Health
from cc.supervisor.states import (
    Act,
    Observation,
    RestartResult,
    Seen,
    State,
    Watched,
    adopted,
    armed,
    decide,
    restarted,
)
from cc.supervisor.watchdog import observed

WELL, DEGRADED, UNHEALTHY, GONE, UNKNOWN = Seen.WELL, Seen.DEGRADED, Seen.UNHEALTHY, Seen.GONE, Seen.UNKNOWN
UP = RestartResult(ready=True)
NOT_UP = RestartResult(ready=False, reason="it did not answer within 15 s", code="unhealthy")
NO_DOCKER = RestartResult(ready=False, reason="nothing answers", code="daemon_down")
LOCKED = RestartResult(ready=False, reason="another run", code="lock_held")
TIME = None  # nothing was seen: what is due?
START = 1000.0

Step = tuple[float, "Seen | RestartResult | None", str]


def shown(watched: Watched, act: Act, alert: str | None, now: float) -> str:
    """State, what is asked for, seconds until it is due: `backoff 5`, `starting restart`, `fatal alert`."""
    words = [watched.state.value]
    words += [] if act is Act.NOTHING else [act.value]
    words += [] if watched.due is None else [f"{watched.due - now:g}"]
    words += ["alert"] if alert else []
    return " ".join(words)


def play(watched: Watched, *history: Step) -> Watched:
    """Each step: so many seconds later, this was seen (or a restart ended so), and that is decided."""
    now = START
    for number, (later, what, expected) in enumerate(history, 1):
        now += later
        if isinstance(what, RestartResult):
            decision = restarted(watched, what, now)
        else:
            decision = decide(watched, None if what is None else Observation(what, what.value), now)
        watched = decision.watched
        assert shown(watched, decision.act, decision.alert, now) == expected, f"step {number} of {len(history)}"
    return watched


RUNNING = Watched("web", State.RUNNING, well_since=START)

HISTORIES: dict[str, tuple[Watched, list[Step]]] = {
    "what is well stays as it is": (RUNNING, [(5, WELL, "running"), (5, WELL, "running"), (5, TIME, "running")]),
    "what is degraded answers, and is not restarted": (RUNNING, [(5, DEGRADED, "running")] * 4),
    "what died is restarted after a second": (
        RUNNING,
        [(5, GONE, "backoff 1"), (0.9, TIME, "backoff 0.1"), (0.1, TIME, "starting restart"), (2, UP, "running")],
    ),
    "unhealthy once is no reason, twice in a row is": (
        RUNNING,
        [
            (5, UNHEALTHY, "running"), (1, WELL, "running"), (5, UNHEALTHY, "running"), (1, UNHEALTHY, "backoff 1"),
            (1, TIME, "starting restart"),
        ],
    ),
    "unhealthy with nothing known in between is not in a row": (
        RUNNING,
        [
            (5, UNHEALTHY, "running"), (1, UNKNOWN, "unknown 1"), (0.5, UNHEALTHY, "unknown"),
            (1, UNHEALTHY, "backoff 1"),
        ],
    ),
    "what exits at once is restarted after 1, 5 and 15 s, and then given up": (
        RUNNING,
        [
            (5, GONE, "backoff 1"), (1, TIME, "starting restart"), (0.2, NOT_UP, "backoff 5"),
            (1, GONE, "backoff 4"), (4, TIME, "starting restart"), (0.2, NOT_UP, "backoff 15"),
            (14.9, TIME, "backoff 0.1"), (0.2, TIME, "starting restart"), (0.2, NOT_UP, "fatal alert"),
            (60, GONE, "fatal"), (600, TIME, "fatal"), (600, UNHEALTHY, "fatal"), (1, UNKNOWN, "fatal"),
        ],
    ),
    "a third restart that brings it up is none to give up after": (
        RUNNING,
        [
            (5, GONE, "backoff 1"), (1, TIME, "starting restart"), (1, NOT_UP, "backoff 5"),
            (5, TIME, "starting restart"), (1, NOT_UP, "backoff 15"), (15, TIME, "starting restart"),
            (1, UP, "running"), (5, GONE, "backoff 15"), (15, TIME, "starting restart"), (1, NOT_UP, "fatal alert"),
        ],
    ),
    "well for 9 s does not reset the count": (
        RUNNING,
        [
            (5, GONE, "backoff 1"), (1, TIME, "starting restart"), (1, UP, "running"), (9, WELL, "running"),
            (0.5, GONE, "backoff 5"),
        ],
    ),
    "well for 10 s resets the count": (
        RUNNING,
        [
            (5, GONE, "backoff 1"), (1, TIME, "starting restart"), (1, UP, "running"), (10, WELL, "running"),
            (1, GONE, "backoff 1"),
        ],
    ),
    "10 s that were not well throughout do not reset it": (
        RUNNING,
        [
            (5, GONE, "backoff 1"), (1, TIME, "starting restart"), (1, UP, "running"), (6, UNHEALTHY, "running"),
            (1, WELL, "running"), (6, WELL, "running"), (1, GONE, "backoff 5"),
        ],
    ),
    "what comes back by itself during the wait is not restarted": (
        RUNNING,
        [(5, GONE, "backoff 1"), (0.5, WELL, "running"), (1, TIME, "running")],
    ),
    "a look during a restart decides nothing": (
        RUNNING,
        [(5, GONE, "backoff 1"), (1, TIME, "starting restart"), (1, GONE, "starting"), (1, WELL, "starting")],
    ),
    "stopped on purpose stays stopped": (Watched("web", State.STOPPED), [(5, GONE, "stopped"), (60, TIME, "stopped")]),
    "what is being stopped is left alone": (Watched("web", State.STOPPING), [(5, GONE, "stopping")] * 3),
    "Docker out of reach counts nothing, and is repaired ever more rarely": (
        RUNNING,
        [
            (5, UNKNOWN, "unknown 1"), (0.5, UNKNOWN, "unknown 0.5"), (0.5, TIME, "starting repair"),
            (10, NO_DOCKER, "unknown 5"), (5, TIME, "starting repair"), (10, NO_DOCKER, "unknown 15"),
            (15, TIME, "starting repair"), (10, NOT_UP, "unknown 60"), (60, TIME, "starting repair"),
            (10, NO_DOCKER, "unknown 60"), (60, TIME, "starting repair"), (1, UP, "running"), (2, GONE, "backoff 1"),
        ],
    ),
    "Docker back, and the service gone with it: the first restart of the ladder": (
        RUNNING,
        [(5, UNKNOWN, "unknown 1"), (0.5, GONE, "backoff 1"), (1, TIME, "starting restart"), (1, UP, "running")],
    ),
    "Docker out of reach between two restarts starts no count": (
        RUNNING,
        [
            (5, GONE, "backoff 1"), (0.5, UNKNOWN, "unknown 1"), (0.5, GONE, "backoff 1"),
            (1, TIME, "starting restart"), (1, NO_DOCKER, "unknown 1"), (1, GONE, "backoff 1"),
            (1, TIME, "starting restart"), (1, NOT_UP, "backoff 5"),
        ],
    ),
    "a restart that found the lock held was none, and comes again in a second": (
        RUNNING,
        [(5, GONE, "backoff 1")] + [(1, TIME, "starting restart"), (0, LOCKED, "backoff 1")] * 5
        + [(1, TIME, "starting restart"), (1, NOT_UP, "backoff 5")],
    ),
    "given up, and then found well: somebody started it": (
        Watched("web", State.FATAL, tries=3),
        [(5, WELL, "running"), (5, GONE, "backoff 15"), (15, TIME, "starting restart"), (1, NOT_UP, "fatal alert")],
    ),
    "taken over: alive and ready": (Watched("web"), [(0, WELL, "running")]),
    "taken over: gone": (Watched("web"), [(0, GONE, "backoff 1")]),
    "taken over: hanging": (Watched("web"), [(0, UNHEALTHY, "unknown"), (1, UNHEALTHY, "backoff 1")]),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str) -> None:
    watched, history = HISTORIES[name]
    play(watched, *history)


def crash(seconds_up: float) -> list[Step]:
    return [(seconds_up, GONE, "backoff 1"), (1, TIME, "starting restart"), (0.0, UP, "running"), (10, WELL, "running")]


def test_a_crash_every_11_s_ends_fatal_after_ten_restarts_although_it_was_well_each_time() -> None:
    watched = play(RUNNING, *crash(1) * 10, (1, GONE, "fatal alert"), (100, GONE, "fatal"))
    assert "10 restarts in ten minutes" in watched.reason
    assert len(watched.restarted_at) == 10


def test_ten_restarts_in_more_than_ten_minutes_go_on() -> None:
    play(RUNNING, *crash(56) * 25)


def test_after_the_window_has_passed_old_restarts_count_no_more() -> None:
    play(RUNNING, *crash(1) * 9, (600, GONE, "backoff 1"), *crash(1)[1:], *crash(1) * 8)


@pytest.mark.parametrize("before", [state for state in State if state is not State.STOPPING])
@pytest.mark.parametrize("ready", [True, False])
def test_a_manual_up_forgets_all_that_was_counted(before: State, ready: bool) -> None:
    counted = Watched("web", before, tries=3, restarted_at=(1.0,) * 10, unhealthy=1, due=5.0, repairs=4, reason="why")
    after = armed(counted, ready=ready)
    assert after == Watched("web", State.RUNNING if ready else State.UNKNOWN)
    play(after, (0, WELL, "running"), (5, GONE, "backoff 1"))


@pytest.mark.parametrize(
    ("before", "after"),
    [(state, state if state in (State.FATAL, State.STOPPED) else State.UNKNOWN) for state in State],
)
def test_a_new_watchdog_believes_of_the_last_one_only_what_claims_nothing_alive(before: State, after: State) -> None:
    assert adopted(Watched("web", before, due=5.0, tries=2)).state is after
    assert adopted(Watched("web", before, due=5.0, tries=2)).due is None


def test_the_reason_says_what_was_seen_and_what_came_of_it() -> None:
    died = decide(RUNNING, Observation(GONE, "exited with code 3"), START)
    assert died.watched.reason == "exited with code 3"
    hung = decide(replace(RUNNING, unhealthy=1), Observation(UNHEALTHY, "no answer within 5 s"), START)
    assert hung.watched.reason == "unhealthy 2 times in a row: no answer within 5 s"
    starting = replace(RUNNING, state=State.STARTING, tries=2)
    over = restarted(starting, NOT_UP, START)
    assert over.alert == over.watched.reason == "3 restarts did not bring it up: it did not answer within 15 s"


def test_a_result_for_what_is_not_being_started_changes_nothing() -> None:
    assert restarted(RUNNING, NOT_UP, START).watched == RUNNING


@pytest.mark.parametrize(
    ("state", "health", "pid", "seen"),
    [
        ("running", "healthy", 7, WELL),
        ("running", "degraded", 7, DEGRADED),
        ("running", "unhealthy", 7, UNHEALTHY),
        ("running", "unhealthy", None, UNHEALTHY),
        ("stopped", "unhealthy", 7, UNHEALTHY),  # paused
        ("starting", "unhealthy", 7, UNHEALTHY),  # being restarted by somebody
        ("stopped", "unhealthy", None, GONE),  # created
        ("exited", "unhealthy", None, GONE),
        ("fatal", "unhealthy", None, GONE),  # dead, in Docker's word
        ("stopping", "unhealthy", None, GONE),
        ("stopped", "unknown", None, GONE),  # there is none
        ("unknown", "unknown", None, UNKNOWN),
    ],
)
def test_a_rung_of_health_is_seen_as(state: str, health: str, pid: int | None, seen: Seen) -> None:
    told = Health("web", "container", state, health, reason="why", pid=pid)
    assert observed(told) == Observation(seen, "why", pid)
