"""The states of a service, the ways between them, and the rules by which it goes there (LADDERS.md, L11).

Pure: of cc it imports the engine's events only. The states are Supervisor's own:

    stopped    on purpose, or never started          stopping   it was asked to end
    starting   started, not ready yet                exited     it ended by itself
    running    it was ready: not merely alive        fatal      given up: somebody has to look
    backoff    it waits for its next start           unknown    nothing can be known (Docker is out of reach)

                      .-----------------------------------------.
                      v                                         |
    stopped ---> starting ---> running ---> exited ---> backoff -+--> fatal
                  |    ^         |                         |             |
                  |    |         `------ unhealthy ------->|             |
                  |    `-----------------------------------'<-- `up` ----'
                  `--> stopping ---> stopped

Where ours differs from Supervisor's: what exited waits in `backoff` before it is started again, not only what failed to
start. A service that hangs goes from `running` to `backoff` without having ended. One that is found ready by itself
(somebody started it by hand, it was only slow) is `running` from wherever nobody was acting on it: the state tells what
is, whoever brought it about. Any state that claims something alive may become `unknown`; `unknown` may become any.

    decide(watched, observation, now)     what was seen, or what is due -> what is so now, and what is to be done
    restarted(watched, result, now)       what came of it
    armed, adopted                        a manual `up`; a new supervisor

Times are those of a monotonic clock, in seconds: a jump of the wall clock changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from cc.engine.events import Event

DELAYS_S = (1.0, 5.0, 15.0)
GIVE_UP_AFTER = 3  # restarts that did not make it well for WELL_S
WELL_S = 10.0
CROWD, CROWD_S = 10, 600.0  # so many restarts in so long are too many, however well it was in between
UNHEALTHY_IN_A_ROW = 2
REPAIR_S = (1.0, 5.0, 15.0, 60.0)  # between two tries to bring Docker back; the last one for ever
AGAIN_S = 1.0  # after a restart that could not begin, because another run holds the lock

OUT_OF_REACH = frozenset({"daemon_down", "daemon_hung", "breaker_open"})
"""Failures that say nothing about the service: none is counted."""
NOT_BEGUN = frozenset({"lock_held", "interrupted"})
"""Failures of a restart that was none."""


class State(str, enum.Enum):
    """The words of `status` (CLI.md, "JSON")."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    EXITED = "exited"
    FATAL = "fatal"
    UNKNOWN = "unknown"


EDGES: dict[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.STARTING, State.UNKNOWN}),
    State.STARTING: frozenset({State.RUNNING, State.BACKOFF, State.STOPPING, State.UNKNOWN}),
    State.RUNNING: frozenset({State.STARTING, State.BACKOFF, State.STOPPING, State.EXITED, State.UNKNOWN}),
    State.BACKOFF: frozenset(
        {State.STARTING, State.RUNNING, State.STOPPING, State.STOPPED, State.FATAL, State.UNKNOWN}
    ),
    State.STOPPING: frozenset({State.STOPPED, State.UNKNOWN}),
    State.EXITED: frozenset(
        {State.STARTING, State.RUNNING, State.BACKOFF, State.STOPPING, State.STOPPED, State.FATAL, State.UNKNOWN}
    ),
    State.FATAL: frozenset({State.STARTING, State.RUNNING, State.STOPPING, State.STOPPED}),
    State.UNKNOWN: frozenset(set(State) - {State.UNKNOWN}),
}
"""From where to where. Nothing leads to itself: that is no move."""


class IllegalMove(Exception):  # noqa: N818 - what it says; a bug of ours, and no way for a ladder to descend on
    """A state cannot follow from another: `before`, `after`."""

    def __init__(self, before: State, after: State) -> None:
        super().__init__(f"no service goes from {before.value} to {after.value}")
        self.before = before
        self.after = after


def may(state: State, to: State) -> bool:
    """Whether `to` can follow from `state`."""
    return to in EDGES[state]


def move(state: State, to: State) -> State:
    """`to`, if it can follow from `state`. Raises IllegalMove."""
    if to not in EDGES[state]:
        raise IllegalMove(state, to)
    return to


def through(state: State, *by: State) -> State:
    """`move` along several states; one that is reached already is passed over. Raises IllegalMove."""
    for to in by:
        state = state if state is to else move(state, to)
    return state


class Seen(str, enum.Enum):
    """L10 in the watchdog's eyes. A degraded service answers: it is well, and not restarted."""

    WELL = "well"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at a service gave. `pid` is the process whose end is to be awaited, if it can be seen from here."""

    seen: Seen
    reason: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class RestartResult:
    """How a restart ended. `ready`: within its start deadline. `code`: the failure's, if there was one."""

    ready: bool
    reason: str = ""
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One service. `started_at` in seconds since 1970, for showing. `start_time` as cc.shell.identity reads it.

    `desired` is running or stopped: what was last asked for. `boot_id` is that of the boot in which it was written.
    `tries` and `restarted_at` are the watchdog's (Watched), in seconds of that boot's clock.
    `degraded_rung` and `degraded_reason`: what it is less than its first choice in, None and "" if in nothing.
    """

    name: str
    kind: str = "process"
    desired: str = "running"
    state: State = State.STOPPED
    pid: int | None = None
    start_time: int | None = None
    boot_id: str = ""
    container: str | None = None
    port: int | None = None
    started_at: float | None = None
    restarts: int = 0
    reason: str = ""
    degraded_rung: int | None = None
    degraded_reason: str = ""
    tries: int = 0
    restarted_at: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """The service was given up. `at` in seconds since 1970."""

    service: str
    at: float
    reason: str


class Act(str, enum.Enum):
    """What a decision asks for: both are the same ladder; a repair counts nothing."""

    NOTHING = "nothing"
    RESTART = "restart"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Watched:
    """What the watchdog knows of a service.

    `tries`: restarts since it was last well for 10 s. `restarted_at`: those of the last ten minutes. `unhealthy`: looks
    in a row. `due`: when the next restart or repair begins. `repairs`: tries to bring Docker back in this outage.
    """

    name: str
    state: State = State.UNKNOWN
    tries: int = 0
    restarted_at: tuple[float, ...] = ()
    unhealthy: int = 0
    well_since: float | None = None
    due: float | None = None
    repairs: int = 0
    repairing: bool = False
    reason: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is to be looked at closely."""
        calm = (State.FATAL, State.STOPPED)
        return self.state not in calm and (self.state is not State.RUNNING or self.unhealthy > 0 or self.tries > 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is so now, and what is to be done. `alert`: it was given up, and why, in a sentence."""

    watched: Watched
    act: Act = Act.NOTHING
    alert: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Told to `on_change`: another state, reason or count of tries, or a restart that ended (`restart`)."""

    before: State
    watched: Watched
    restart: RestartResult | None = None
    alert: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceChanged(Event):
    """A service went from one state to another; `retry_in_s` until it is started again, None if it is not."""

    kind: ClassVar[str] = "service_changed"
    service: str
    before: str
    after: str
    reason: str
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class ServiceRestarted(Event):
    """A restart ended. `tries`: how many since the service was last well for a while."""

    kind: ClassVar[str] = "service_restarted"
    service: str
    ready: bool
    tries: int
    error: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Alert(Event):
    """A service was given up: somebody has to look."""

    kind: ClassVar[str] = "alert"
    service: str
    reason: str
    hint: str


def told_of(before: Watched, decision: Decision, result: RestartResult | None, now: float) -> Iterator[Event]:
    """The events of a decision; `result` if it followed from a restart."""
    after = decision.watched
    if result is not None:
        yield ServiceRestarted(after.name, result.ready, after.tries, result.code, result.reason)
    if before.state is not after.state:
        wait = None if after.due is None else round(after.due - now, 3)
        yield ServiceChanged(after.name, before.state.value, after.state.value, after.reason, wait)
    if decision.alert is not None:
        hint = f"invoke logs {after.name}; once it is mended, invoke up"
        yield Alert(after.name, decision.alert, hint)


def adopted(watched: Watched) -> Watched:
    """As a new watchdog begins with what an earlier one wrote down: what it claimed alive has to be seen first.

    What was counted goes on counting: a supervisor that is killed over and over must not restart for ever.
    """
    state = watched.state if watched.state in (State.FATAL, State.STOPPED) else State.UNKNOWN
    known = Watched(watched.name, state, tries=watched.tries, restarted_at=watched.restarted_at)
    return replace(known, reason=watched.reason)


def armed(watched: Watched, *, ready: bool, reason: str = "") -> Watched:
    """After a manual `up`: nothing counts any more. `ready`: that run saw it ready; if not, the next look says."""
    state = through(watched.state, State.STARTING, State.RUNNING if ready else State.UNKNOWN)
    return Watched(watched.name, state, reason=reason)


def decide(watched: Watched, observation: Observation | None, now: float) -> Decision:
    """What follows from a look; or, with None, what is due now.

    Only the time lets a restart begin, so that whoever calls this can keep to one at a time. What is stopped on
    purpose or just being started is left alone.
    """
    if watched.state in (State.STOPPED, State.STOPPING, State.STARTING):
        return Decision(watched)
    if observation is not None:
        return _JUDGEMENTS[observation.seen](watched, observation, now)
    if watched.due is None or now < watched.due:
        return Decision(watched)
    repairing = watched.state is State.UNKNOWN
    state = through(watched.state, State.STARTING)
    after = replace(watched, state=state, due=None, repairing=repairing, well_since=None)
    return Decision(after, Act.REPAIR if repairing else Act.RESTART)


def restarted(watched: Watched, result: RestartResult, now: float) -> Decision:
    """What follows from a restart that `decide` asked for."""
    if watched.state is not State.STARTING:
        return Decision(watched)
    repaired, watched = watched.repairing, replace(watched, repairing=False, unhealthy=0, reason=result.reason)
    if result.ready:
        counted = watched if repaired else _count(watched, now)
        return Decision(replace(counted, state=through(counted.state, State.RUNNING), well_since=now, repairs=0))
    if repaired or result.code in OUT_OF_REACH:
        return Decision(_out_of_reach(watched, now))
    if result.code in NOT_BEGUN:
        return Decision(replace(watched, state=through(watched.state, State.BACKOFF), due=now + AGAIN_S))
    counted = _count(watched, now)
    if counted.tries >= GIVE_UP_AFTER:
        return _give_up(counted, f"{counted.tries} restarts did not bring it up: {result.reason}")
    return _back_off(counted, result.reason, now)


def _well(watched: Watched, observation: Observation, now: float) -> Decision:
    since = now if watched.well_since is None else watched.well_since
    tries = 0 if now - since >= WELL_S else watched.tries
    state = through(watched.state, State.RUNNING)
    after = replace(watched, state=state, tries=tries, well_since=since, unhealthy=0, due=None, repairs=0)
    return Decision(replace(after, reason=observation.reason))


def _unhealthy(watched: Watched, observation: Observation, now: float) -> Decision:
    if watched.state in (State.FATAL, State.BACKOFF):
        return Decision(watched)
    after = replace(watched, unhealthy=watched.unhealthy + 1, well_since=None, due=None, repairs=0)
    after = replace(after, reason=observation.reason)
    if after.unhealthy < UNHEALTHY_IN_A_ROW:
        return Decision(after)
    return _back_off(after, f"unhealthy {after.unhealthy} times in a row: {observation.reason}", now)


def _gone(watched: Watched, observation: Observation, now: float) -> Decision:
    if watched.state in (State.FATAL, State.BACKOFF):
        return Decision(watched)
    ended = replace(watched, state=through(watched.state, State.EXITED), repairs=0)
    return _back_off(ended, observation.reason or "it ended", now)


def _unknown(watched: Watched, observation: Observation, now: float) -> Decision:
    if watched.state is State.FATAL:
        return Decision(watched)
    if watched.state is State.UNKNOWN and watched.due is not None:
        return Decision(replace(watched, reason=observation.reason))
    return Decision(_out_of_reach(replace(watched, reason=observation.reason), now))


_JUDGEMENTS = {
    Seen.WELL: _well,
    Seen.DEGRADED: _well,
    Seen.UNHEALTHY: _unhealthy,
    Seen.GONE: _gone,
    Seen.UNKNOWN: _unknown,
}


def _out_of_reach(watched: Watched, now: float) -> Watched:
    """Nothing is counted; L3's repair is due instead, ever more rarely."""
    wait = REPAIR_S[min(watched.repairs, len(REPAIR_S) - 1)]
    after = replace(watched, due=now + wait, repairs=watched.repairs + 1, unhealthy=0, well_since=None)
    return replace(after, state=through(watched.state, State.UNKNOWN))


def _back_off(watched: Watched, reason: str, now: float) -> Decision:
    recent = tuple(when for when in watched.restarted_at if now - when < CROWD_S)
    after = replace(watched, restarted_at=recent, reason=reason, unhealthy=0, well_since=None)
    if len(recent) >= CROWD:
        return _give_up(after, f"{len(recent)} restarts in ten minutes did not keep it up: {reason}")
    due = now + DELAYS_S[min(after.tries, len(DELAYS_S) - 1)]
    return Decision(replace(after, state=through(after.state, State.BACKOFF), due=due))


def _give_up(watched: Watched, reason: str) -> Decision:
    state = through(watched.state, State.BACKOFF, State.FATAL)
    return Decision(replace(watched, state=state, due=None, well_since=None, reason=reason), alert=reason)


def _count(watched: Watched, now: float) -> Watched:
    return replace(watched, tries=watched.tries + 1, restarted_at=(*watched.restarted_at, now)[-CROWD:])
