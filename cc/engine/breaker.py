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
it can be compared between the commands of one boot and no change of the wall clock touches it. `boot_id` is any text
that is new after each start of the machine; the caller reads it. A state of another boot, or one from the future, is
open since an unknown time: the next caller is the probe. HALF_OPEN is kept as OPEN: a probe ends with its process.
Two commands that keep their state side by side may both be the probe; that costs one call, never a wrong answer.
"""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cc.errors import Failure, Interrupted

THRESHOLD = 5
COOLDOWN_S = 60.0
FOR_EVER_S = 1e12  # no machine has been up for so long; also keeps infinity and NaN out


class State(str, enum.Enum):
    """closed: calls pass · open: they are refused · half_open: one call finds out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that was let in, to be handed back with its result. `probe`: the one that decides in HALF_OPEN."""

    epoch: int
    probe: bool


class Breaker:
    """One for each thing that may be out of reach; `what` is its name in messages. Any number of threads may use it.

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
        self._boot_id = boot_id
        self._threshold = threshold
        self._cooldown = cooldown_s
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._failures = 0
        self._opened_at: float | None = None  # None: at an unknown time
        self._probe_since: float | None = None
        self._reason = ""
        self._epoch = 0  # grows with each change of state
        if kept is not None:
            self._restore(kept)

    @property
    def state(self) -> State:
        """What it is, without regard to the time: OPEN becomes HALF_OPEN by a caller only."""
        return self._state

    def admit(self, now: float, *, typed: bool = False) -> Permit:
        """Let a call in, or raise the Failure `breaker_open`. `typed`: a command that a person is waiting for."""
        with self._lock:
            if self._state is State.CLOSED:
                return Permit(self._epoch, probe=False)
            since = self._opened_at if self._probe_since is None else self._probe_since
            left = _left(since, self._cooldown, now)
            if left > 0 and not typed:
                raise self._refusal(left)
            if self._state is State.OPEN:
                self._change(State.HALF_OPEN)
            self._probe_since = now
            return Permit(self._epoch, probe=True)

    def succeeded(self, permit: Permit) -> State | None:
        """The call came through. Returns the new state if that changed it."""
        with self._lock:
            if permit.epoch != self._epoch:
                return None
            self._failures, self._reason = 0, ""
            return self._change(State.CLOSED) if permit.probe else None

    def failed(self, permit: Permit, now: float, reason: str = "") -> State | None:
        """The call failed, and in a way that says that the thing is out of reach. Returns the new state, as above."""
        with self._lock:
            if permit.epoch != self._epoch:
                return None
            self._reason = reason
            self._failures = min(self._failures + 1, self._threshold)
            if not permit.probe and self._failures < self._threshold:
                return None
            self._opened_at = now
            return self._change(State.OPEN)

    def abandoned(self, permit: Permit) -> None:
        """The call ended without saying anything about the thing (cancelled, a mistake of the caller)."""
        with self._lock:
            if permit.probe and permit.epoch == self._epoch:
                self._probe_since = None

    @contextmanager
    def guarding(
        self, now: Callable[[], float], *, typed: bool = False, counts: Callable[[Failure], bool] = lambda failure: True
    ) -> Iterator[Permit]:
        """A call inside `with`: a Failure that `counts` is one of the thing's, all else that is raised says nothing.

        Raises the Failure `breaker_open` before the call, and whatever the call raises.
        """
        permit = self.admit(now(), typed=typed)
        try:
            yield permit
        except Failure as failure:
            if isinstance(failure, Interrupted) or not counts(failure):
                self.abandoned(permit)
            else:
                self.failed(permit, now(), failure.message)
            raise
        except BaseException:
            self.abandoned(permit)
            raise
        self.succeeded(permit)

    def as_dict(self) -> dict[str, Any]:
        """All that the next command has to know, as JSON's plain data."""
        with self._lock:
            return {
                "state": (State.CLOSED if self._state is State.CLOSED else State.OPEN).value,
                "failures": self._failures,
                "opened_at": self._opened_at,
                "boot_id": self._boot_id,
                "reason": self._reason,
            }

    def _restore(self, kept: Mapping[str, Any]) -> None:
        state, failures, opened_at = kept.get("state"), kept.get("failures"), kept.get("opened_at")
        if state not in (State.CLOSED.value, State.OPEN.value) or type(failures) is not int:
            return
        self._state = State(state)
        self._failures = max(0, min(failures, self._threshold))
        if self._state is State.CLOSED:
            self._failures = min(self._failures, self._threshold - 1)
        if isinstance(opened_at, (int, float)) and kept.get("boot_id") == self._boot_id and abs(opened_at) < FOR_EVER_S:
            self._opened_at = float(opened_at)
        self._reason = str(kept.get("reason", ""))

    def _change(self, state: State) -> State:
        self._state = state
        self._epoch += 1
        self._probe_since = None
        return state

    def _refusal(self, left: float) -> Failure:
        return Failure(
            f"Service unavailable: {self.what}, next try in {math.ceil(left)} s",
            code="breaker_open",
            evidence=(self._reason,) if self._reason else (),
            hint="it is being tried right now" if self._probe_since is not None else "a typed command tries at once",
        )


def _left(since: float | None, seconds: float, now: float) -> float:
    """What is left of so many seconds; none if they began at an unknown time or in the future."""
    if since is None or since > now:
        return 0.0
    return since + seconds - now
