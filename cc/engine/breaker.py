"""The circuit breaker (LADDERS.md, L12): after some failures in a row, fail fast for a while, then try once.

    CLOSED     5 failures in a row    -> OPEN
    OPEN       60 s later, a caller   -> HALF_OPEN, that caller is the probe
    OPEN       a typed command        -> HALF_OPEN at once: whoever has just mended it is not told to wait
    HALF_OPEN  the probe came through -> CLOSED
    HALF_OPEN  the probe failed       -> OPEN, for another 60 s

In HALF_OPEN there is one probe; other background callers are refused until it ends, or until 60 s without an end say
that it was lost. Typed commands pass, and the first result counts. The result of a call that was let in before the last
change says nothing about what is now, and is passed over: of a hundred calls that fail together, one opens it.

Time. `now` is in seconds since the machine started (what `time.monotonic` gives on Linux, macOS and Windows), so that
it can be compared between the commands of one boot and no change of the wall clock touches it: by it the processes that
share a breaker know which result is older than the last change. `boot_id` is any text that is new after each start of
the machine; the caller reads it. A state of another boot, or one from the future, is open since an unknown time: the
next caller is the probe.

Pure, and not for several threads: whoever shares one sees to it that one caller at a time has it, and that what changed
is kept (cc.resources.breakers).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from cc.errors import Failure

THRESHOLD = 5
COOLDOWN_S = 60.0
FOR_EVER_S = 1e12  # no machine has been up for so long; also keeps infinity and NaN out
AHEAD_S = 1.0  # who waits for a lock may be so late with its own time; what is further ahead is of another clock


class State(str, enum.Enum):
    """closed: calls pass · open: they are refused · half_open: one call finds out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Permit(NamedTuple):
    """A call that was let in at that time, to be handed back with its result. `probe`: it decides in HALF_OPEN."""

    at: float
    probe: bool


class Breaker:
    """One for each thing that may be out of reach; `what` is its name in messages.

    `kept` is what `as_dict` gave, perhaps to an earlier command; one that makes no sense is taken as CLOSED, as a lost
    file may cost time and nothing else.
    """

    def __init__(
        self,
        what: str,
        *,
        boot_id: str,
        kept: Mapping[str, Any] | None = None,
        threshold: int = THRESHOLD,
        cooldown_s: float = COOLDOWN_S,
    ) -> None:
        self.what = what
        self.reason = ""
        """Of the last failure."""
        self._boot_id = boot_id
        self._threshold = threshold
        self._cooldown = cooldown_s
        self._state = State.CLOSED
        self._failures = 0
        self._opened_at: float | None = None  # None: at an unknown time
        self._probe_since: float | None = None
        self._changed_at: float | None = None
        if kept is not None:
            self._restore(kept)

    @property
    def state(self) -> State:
        """What it is, without regard to the time: OPEN becomes HALF_OPEN by a caller only."""
        return self._state

    @property
    def well(self) -> bool:
        """CLOSED, and the last call came through."""
        return self._state is State.CLOSED and not self._failures

    def admit(self, now: float, *, typed: bool = False) -> Permit:
        """Let a call in, or raise the Failure `breaker_open`. `typed`: a command that a person is waiting for."""
        if self._state is State.CLOSED:
            return Permit(self._not_before_the_change(now), probe=False)
        left = self._wait(now)
        if left > 0 and not typed:
            raise self._refusal(left)
        if self._state is State.OPEN:
            self._change(State.HALF_OPEN, now)
        self._probe_since = now
        return Permit(self._not_before_the_change(now), probe=True)

    def succeeded(self, permit: Permit, now: float) -> State | None:
        """The call came through. Returns the new state if that changed it."""
        if self._says_nothing(permit, now):
            return None
        self._failures, self.reason = 0, ""
        return self._change(State.CLOSED, now) if permit.probe else None

    def failed(self, permit: Permit, now: float, reason: str = "") -> State | None:
        """The call failed, and in a way that says that the thing is out of reach. Returns the new state, as above."""
        if self._says_nothing(permit, now):
            return None
        self.reason = reason
        self._failures = min(self._failures + 1, self._threshold)
        if not permit.probe and self._failures < self._threshold:
            return None
        self._opened_at = now
        return self._change(State.OPEN, now)

    def abandoned(self, permit: Permit, now: float) -> None:
        """The call ended without saying anything about the thing (cancelled, a mistake of the caller)."""
        if permit.probe and not self._says_nothing(permit, now):
            self._probe_since = None

    def mended(self, now: float) -> State | None:
        """Somebody saw the thing at work, without being let in. Returns the new state, as above."""
        self._failures, self.reason = 0, ""
        return None if self._state is State.CLOSED else self._change(State.CLOSED, now)

    def holds(self, now: float) -> bool:
        """Whether it keeps background callers away now; an open one whose time is over does so no more."""
        return self._state is not State.CLOSED and self._wait(now) > 0

    def _wait(self, now: float) -> float:
        """Seconds that background callers have to wait from now: since it opened, or since its probe began."""
        return _left(self._opened_at if self._probe_since is None else self._probe_since, self._cooldown, now)

    def as_dict(self) -> dict[str, Any]:
        """All that the next command has to know, as JSON's plain data."""
        return {
            "state": self._state.value,
            "failures": self._failures,
            "opened_at": self._opened_at,
            "probe_since": self._probe_since,
            "changed_at": self._changed_at,
            "boot_id": self._boot_id,
            "reason": self.reason,
        }

    def _restore(self, kept: Mapping[str, Any]) -> None:
        state, failures = kept.get("state"), kept.get("failures")
        if state not in [each.value for each in State] or type(failures) is not int:
            return
        self._state = State(state)
        self._failures = max(0, min(failures, self._threshold))
        if self._state is State.CLOSED:
            self._failures = min(self._failures, self._threshold - 1)
        if kept.get("boot_id") == self._boot_id:
            self._opened_at = _seconds(kept.get("opened_at"))
            self._probe_since = _seconds(kept.get("probe_since"))
            self._changed_at = _seconds(kept.get("changed_at"))
        self.reason = str(kept.get("reason", ""))

    def _says_nothing(self, permit: Permit, now: float) -> bool:
        """A result from before the last change; or of a call that was let in while the change was on its way here."""
        if not permit.probe and self._state is not State.CLOSED:
            return True
        return self._changed_at is not None and permit.at < self._changed_at <= now + AHEAD_S

    def _not_before_the_change(self, now: float) -> float:
        changed = self._changed_at
        return changed if changed is not None and now < changed <= now + AHEAD_S else now

    def _change(self, state: State, now: float) -> State:
        # Later than whatever was let in at this very moment: a clock may tell two callers the same time.
        self._changed_at = math.nextafter(self._not_before_the_change(now), math.inf)
        self._state = state
        self._probe_since = None
        return state

    def _refusal(self, left: float) -> Failure:
        return Failure(
            f"Service unavailable: {self.what}, next try in {math.ceil(left)} s",
            code="breaker_open",
            evidence=(self.reason,) if self.reason else (),
            hint="it is being tried right now" if self._probe_since is not None else "a typed command tries at once",
        )


def _left(since: float | None, seconds: float, now: float) -> float:
    """What is left of so many seconds; none if they began at an unknown time or in the future."""
    if since is None or since > now + AHEAD_S:
        return 0.0
    return min(seconds, since + seconds - now)


def _seconds(kept: object) -> float | None:
    """A time that was kept, None if it can't be one."""
    return float(kept) if isinstance(kept, (int, float)) and abs(kept) < FOR_EVER_S else None
