"""Actions whose world is a variable of the test: the engine is pure, so nothing else is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from cc.clock import Cancel
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure
from tests.fakes import FakeClock


@dataclass
class Thing:
    """An action on one thing that is so or not. What each part does can be replaced; `calls` says what was called."""

    so: bool = False
    name: str = "thing"
    probed: bool = True
    act_makes_it_so: bool = True
    refuses: list[Failure] = field(default_factory=list)
    probe_fails: Failure | None = None
    check_fails: Failure | None = None
    less: tuple[str, ...] = ()
    answer: Callable[[], object] = lambda: None
    on_act: Callable[[Context], None] = lambda context: None
    calls: list[str] = field(default_factory=list)

    def probe(self, context: Context) -> Probe:
        self.calls.append("probe")
        if self.probe_fails is not None:
            raise self.probe_fails
        return Probe(
            self.so, "it is so" if self.so else "it is not so", self.answer(), less=self.less if self.so else ()
        )

    def check(self, context: Context, before: Probe) -> None:
        self.calls.append("check")
        if self.check_fails is not None:
            raise self.check_fails

    def act(self, context: Context, before: Probe) -> Acted:
        self.calls.append("act")
        self.on_act(context)
        if self.act_makes_it_so:
            self.so = True
        if self.refuses:
            raise self.refuses.pop(0)
        return Acted("done")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cancel() -> Iterator[Cancel]:
    made = Cancel()
    yield made
    made.close()


@pytest.fixture
def context(clock: FakeClock, cancel: Cancel) -> Context:
    return Context(clock=clock, cancel=cancel)


@pytest.fixture
def thing() -> type[Thing]:
    return Thing
