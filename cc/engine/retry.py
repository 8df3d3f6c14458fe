"""Retries: how long to wait before the next attempt, or that there is none. Pure; the caller counts, waits and calls.

    attempt   1       2           3                4
    wait        wait    2 x wait    4 x wait ...     each at most max_wait, each shortened by the jitter

Bounded twice, in attempts and in total time, and never on a failure that waiting cannot mend. Every wait that would
end past the policy's `within` or the deadline is refused at once: to sleep until there is no time left for the attempt
that the sleep was for helps nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cc.errors import FAILURE_CODES

TRANSIENT = frozenset({"bad_answer", "connection_refused", "deadline", "non_zero_exit", "not_satisfied", "unhealthy"})
"""What a playbook's `retry` means when it names no codes. Not the daemon's failures: ladders answer those at once."""

LONGEST_WAIT_S = 15.0
DOUBLINGS = 60  # 2.0 ** 1024 overflows; after so many doublings every cap is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long. Times in seconds; `attempts` counts the first one too.

    `on` is the failure codes worth another attempt, and has no default here: whoever retries says on what. `jitter` is
    the part of each wait, from 0 to 1, that chance may take away, so that many callers don't come back as one.
    Raises ValueError for a policy without an end or one that could never retry on anything known.
    """

    on: frozenset[str]
    attempts: int = 3
    wait: float = 1.0
    max_wait: float = LONGEST_WAIT_S
    within: float = 60.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")
        if not 0 <= self.wait < float("inf") or not 0 <= self.max_wait < float("inf"):
            raise ValueError("wait and max_wait must be finite and not negative")
        if not 0 < self.within < float("inf"):
            raise ValueError("within must be finite and above 0")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter must be from 0 to 1")
        unknown = self.on - FAILURE_CODES
        if unknown:
            raise ValueError(f"unknown failure codes: {', '.join(sorted(unknown))}")


def next_wait(
    policy: RetryPolicy,
    attempt: int,
    elapsed: float,
    code: str,
    deadline_left: float | None,
    random: Callable[[], float],
) -> float | None:
    """Seconds to wait before the next attempt, or None if there is to be none.

    `attempt` is how many were made, `elapsed` the seconds since the first began, `code` what the last failed with,
    `deadline_left` the seconds until the caller's own deadline (None for none), `random` gives numbers in [0, 1).
    """
    if code not in policy.on or attempt >= policy.attempts:
        return None
    backoff = min(policy.max_wait, policy.wait * 2.0 ** min(attempt - 1, DOUBLINGS))
    wait = backoff * (1.0 - policy.jitter * random())
    left = policy.within - elapsed
    if deadline_left is not None:
        left = min(left, deadline_left)
    return wait if wait < left else None
