"""When the next attempt comes, or that there is none: decisions in tables."""

from __future__ import annotations

import pytest

from cc.engine.retry import TRANSIENT, RetryPolicy, next_wait
from cc.errors import FAILURE_CODES

ON = frozenset({"connection_refused"})
STEADY = RetryPolicy(on=ON, attempts=6, wait=1.0, max_wait=5.0, within=60.0, jitter=0.0)


def decide(policy: RetryPolicy = STEADY, **given: object) -> float | None:
    situation = {"attempt": 1, "elapsed": 0.0, "code": "connection_refused", "left": None, "random": 0.0, **given}
    return next_wait(
        policy,
        situation["attempt"],  # type: ignore[arg-type]
        situation["elapsed"],  # type: ignore[arg-type]
        situation["code"],  # type: ignore[arg-type]
        situation["left"],  # type: ignore[arg-type]
        lambda: situation["random"],  # type: ignore[arg-type, return-value]
    )


@pytest.mark.parametrize(("attempt", "wait"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0), (6, None), (7, None)])
def test_waits_double_up_to_the_cap_and_end_with_the_attempts(attempt: int, wait: float | None) -> None:
    assert decide(attempt=attempt) == wait


@pytest.mark.parametrize(
    ("elapsed", "left", "wait"),
    [(58.9, None, 1.0), (59.0, None, None), (70.0, None, None), (0.0, 1.1, 1.0), (0.0, 1.0, None), (0.0, -3.0, None)],
)
def test_no_wait_ends_past_the_total_time_or_the_deadline(
    elapsed: float, left: float | None, wait: float | None
) -> None:
    assert decide(elapsed=elapsed, left=left) == wait


@pytest.mark.parametrize("code", sorted(FAILURE_CODES - ON))
def test_only_declared_failures_are_tried_again(code: str) -> None:
    assert decide(code=code) is None


@pytest.mark.parametrize(("random", "wait"), [(0.0, 2.0), (0.5, 1.5), (1.0, 1.0)])
def test_chance_takes_away_from_a_wait_and_never_adds(random: float, wait: float) -> None:
    policy = RetryPolicy(on=ON, wait=2.0, max_wait=2.0, jitter=0.5)
    assert decide(policy, random=random) == wait


def test_every_wait_is_within_its_bounds_for_any_number_of_attempts() -> None:
    policy = RetryPolicy(on=ON, attempts=10**9, wait=0.001, max_wait=15.0, within=1e9, jitter=1.0)
    for attempt in (1, 2, 10, 1000, 5000, 10**8):
        wait = decide(policy, attempt=attempt, random=0.999)
        assert wait is not None
        assert 0 <= wait <= 15.0


def test_the_defaults_are_bounded_and_say_on_what_is_required() -> None:
    policy = RetryPolicy(on=TRANSIENT)
    assert (policy.attempts, policy.max_wait, policy.within) == (3, 15.0, 60.0)
    with pytest.raises(TypeError):
        RetryPolicy()  # type: ignore[call-arg]


def test_what_waiting_cannot_mend_is_not_tried_again_by_default() -> None:
    never = {
        "tool_missing",
        "permission_denied",
        "bad_config",
        "internal_error",
        "interrupted",
        "breaker_open",
        "not_ours",
    }
    assert not TRANSIENT & never
    assert TRANSIENT <= FAILURE_CODES


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"attempts": 0}, "attempts"),
        ({"wait": -1.0}, "wait"),
        ({"wait": float("nan")}, "wait"),
        ({"max_wait": float("inf")}, "max_wait"),
        ({"within": float("inf")}, "within"),
        ({"within": 0.0}, "within"),
        ({"jitter": 1.5}, "jitter"),
        ({"on": frozenset({"no_such_code"})}, "no_such_code"),
    ],
)
def test_a_policy_without_an_end_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RetryPolicy(**{"on": ON, **wrong})  # type: ignore[arg-type]
