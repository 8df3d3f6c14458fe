"""One read at a time, shared for a moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from cc.dashboard.snapshots import Snapshots
from cc.errors import ConfigError, Failure
from cc.usage.model import Coverage, Reading, Totals, UsageQuery
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY, MODEL = UsageQuery(by="day"), UsageQuery(by="model")


@dataclass
class Source:
    """Counts how often it is read, and how many read it at once."""

    clock: FakeClock
    takes_s: float = 0.0
    reads: list[tuple[UsageQuery, ...]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    hold: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)

    def __call__(self, queries: Sequence[UsageQuery]) -> tuple[Reading, ...]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.set()
        if self.hold is not None:
            self.hold.wait(30)
        self.clock.pass_by(self.takes_s)
        self.reads.append(tuple(queries))
        self.at_once -= 1
        as_of = f"read {len(self.reads)}"
        return tuple(
            Reading("files", as_of, stale=False, reason=None, coverage=Coverage(), total=Totals(), by=query.by)
            for query in queries
        )


def today() -> datetime:
    return datetime(2026, 11, 24, tzinfo=timezone.utc)


def made(*, takes_s: float = 0.0) -> tuple[FakeClock, Source, Snapshots]:
    clock = FakeClock()
    one = Source(clock, takes_s)
    return clock, one, Snapshots(one, clock, today, keep_s=2.0)


def test_an_answer_is_shared_for_a_moment_and_no_longer() -> None:
    clock, source, snapshots = made()
    first = snapshots.readings(DAY, MODEL)
    clock.pass_by(1.9)
    assert snapshots.readings(DAY, MODEL) is first
    clock.pass_by(0.2)
    assert snapshots.readings(DAY, MODEL)[0].as_of == "read 2"
    assert source.reads == [(DAY, MODEL), (DAY, MODEL)]


def test_another_question_is_another_read() -> None:
    _, source, snapshots = made()
    snapshots.readings(DAY)
    snapshots.readings(MODEL)
    assert source.reads == [(DAY,), (MODEL,)]


def test_a_slow_answer_is_shared_as_long_as_it_took() -> None:
    clock, source, snapshots = made(takes_s=10.0)
    snapshots.readings(DAY)
    clock.pass_by(9.9)
    snapshots.readings(DAY)
    assert len(source.reads) == 1
    clock.pass_by(0.2)
    snapshots.readings(DAY)
    assert len(source.reads) == 2


def test_who_comes_while_a_read_is_under_way_shares_its_answer() -> None:
    _, source, snapshots = made()
    source.hold = threading.Event()
    got: list[Reading] = []
    threads = [threading.Thread(target=lambda: got.append(snapshots.readings(DAY)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert source.entered.wait(30)
    source.hold.set()
    for thread in threads:
        thread.join(30)
    assert len(got) == 8
    assert {one.as_of for one in got} == {"read 1"}
    assert source.most_at_once == 1


def test_what_is_kept_is_bounded() -> None:
    _, source, snapshots = made()
    for number in range(500):
        snapshots.readings(UsageQuery(model=str(number)))
    assert len(snapshots._kept) <= 64
    assert len(source.reads) == 500


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Failure("gone", code="bad_answer"), "gone"),
        (Failure("gone", code="bad_answer", hint="type: up"), "gone (type: up)"),
        (ConfigError("the list of prices is no JSON", file="/p"), "the list of prices is no JSON"),
        (OSError(5, "Input/output error"), "the sources could not be read: [Errno 5] Input/output error"),
    ],
)
def test_a_read_that_fails_is_an_empty_answer_that_says_why(error: Exception, said: str) -> None:
    def fails(_: Sequence[UsageQuery]) -> tuple[Reading, ...]:
        raise error

    day, model = Snapshots(fails, FakeClock(), today).readings(DAY, MODEL)
    assert (day.source, day.reason, day.by, day.degraded) == ("empty", said, "day", True)
    assert (model.by, model.as_of) == ("model", "2026-11-24T00:00:00Z")
