"""The watchdog's loop on a clock that the test moves, looks and restarts on the spot; the processes are real."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from cc.clock import Cancel
from cc.errors import Failure, LockHeldError
from cc.supervisor.states import Alert, Observation, RestartResult, Seen, State, Watched
from cc.supervisor.watchdog import Watchdog
from tests.fakes import FakeClock
from tests.supervisor.watchdog_yard import HANG, SLEEP, Log, Yard


@pytest.fixture
def cancel() -> Iterator[Cancel]:
    made = Cancel()
    yield made
    made.request("the test is over")
    made.close()


@pytest.fixture
def yards() -> Iterator[list[Yard]]:
    made: list[Yard] = []
    yield made
    for yard in made:
        for name in yard.running:
            yard.end(name)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Stage:
    """A watchdog on a clock that the test moves; looks and restarts on the spot."""

    def __init__(
        self,
        clock: FakeClock,
        cancel: Cancel,
        observe: Callable[[str], Observation],
        restart: Callable[[str], RestartResult],
        *names: str,
        call: Callable[[Callable[[], None]], None] = lambda function: function(),
    ) -> None:
        self.clock = clock
        self.log = Log(clock.now)
        self.dog = Watchdog(
            [Watched(name) for name in names], observe, restart, clock=clock, cancel=cancel,
            on_change=self.log.change, events=self.log.events.append, call=call,
        )  # fmt: skip

    def settle(self) -> float:
        """Turn until nothing is left to do now; returns the seconds until something is."""
        while (wait := self.dog.turn()) <= 0.0:
            pass
        return wait

    def run(self, seconds: float) -> None:
        """Let so much time pass, in the steps that the watchdog asks for."""
        end = self.clock.now() + seconds
        while (wait := self.settle()) and self.clock.now() + wait <= end:
            self.clock.pass_by(wait)
        self.clock.pass_by(end - self.clock.now())
        self.settle()

    @property
    def state(self) -> State:
        (watched,) = self.dog.watched()
        return watched.state


@pytest.fixture
def stage(clock: FakeClock, cancel: Cancel) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(*args: object, **options: object) -> Stage:
        made.append(Stage(clock, cancel, *args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.dog.close()


def test_what_exits_at_once_is_restarted_three_times_after_1_5_and_15_s_and_then_given_up(
    yards: list[Yard], stage: Callable[..., Stage], clock: FakeClock
) -> None:
    yards.append(yard := Yard(web=("sh", "-c", "exit 3")))
    yard.running["web"].wait(HANG)
    restarts: list[float] = []

    def restart(name: str) -> RestartResult:
        restarts.append(clock.now())
        return yard.restart(name)

    show = stage(yard.observe, restart, "web")
    show.run(1200.0)
    assert [when - 1000.0 for when in restarts] == [1.0, 6.0, 21.0]
    assert show.state is State.FATAL
    (alert,) = [event for event in show.log.events if isinstance(event, Alert)]
    assert alert.reason == "3 restarts did not bring it up: it ended at once"
    assert [change.alert for change in show.log.changes if change.alert] == [alert.reason]
    show.dog.arm("web", ready=False)
    show.run(1.0)
    assert len(restarts) == 4, "a manual up re-arms"


def test_what_hangs_without_dying_is_restarted_after_the_second_look(
    yards: list[Yard], stage: Callable[..., Stage], clock: FakeClock
) -> None:
    yards.append(yard := Yard(web=("cat",)))
    show = stage(yard.observe, yard.restart, "web")
    show.run(30.0)
    hung = yard.running["web"]
    hung.send_signal(signal.SIGSTOP)
    show.run(5.0 + 1.0)
    assert show.state is State.BACKOFF
    show.run(1.0)
    assert show.state is State.RUNNING
    assert yard.running["web"].pid != hung.pid
    assert "unhealthy 2 times in a row: no answer within 0.3 s" in {each.watched.reason for each in show.log.changes}
    show.run(30.0)
    assert show.dog.watched()[0].tries == 0


def test_a_crash_every_11_s_is_given_up_after_ten_restarts(stage: Callable[..., Stage], clock: FakeClock) -> None:
    ready_at, restarts = [clock.now()], 0

    def observe(name: str) -> Observation:
        return Observation(Seen.WELL if clock.now() - ready_at[0] < 11.0 else Seen.GONE)

    def restart(name: str) -> RestartResult:
        nonlocal restarts
        restarts += 1
        ready_at[0] = clock.now()
        return RestartResult(ready=True)

    show = stage(observe, restart, "web")
    show.run(3600.0)
    assert (restarts, show.state) == (10, State.FATAL)
    assert len([event for event in show.log.events if isinstance(event, Alert)]) == 1


def test_looks_are_5_s_apart_and_1_s_apart_while_something_is_wrong(
    stage: Callable[..., Stage], clock: FakeClock
) -> None:
    seen, looks = [Seen.WELL], []

    def observe(name: str) -> Observation:
        looks.append(clock.now())
        return Observation(seen[0])

    show = stage(observe, lambda name: RestartResult(ready=False, code="daemon_down"), "web")
    show.run(20.0)
    assert [when - 1000.0 for when in looks] == [0.0, 5.0, 10.0, 15.0, 20.0]
    seen[0] = Seen.UNKNOWN
    show.run(5.0)
    looks.clear()
    show.run(4.0)
    assert {later - sooner for sooner, later in pairwise(sorted(set(looks)))} == {1.0}


def test_restarts_run_one_at_a_time_and_the_second_is_judged_anew(stage: Callable[..., Stage]) -> None:
    seen = {"web": Seen.GONE, "db": Seen.GONE}
    calls: list[Callable[[], None]] = []
    restarted: list[str] = []

    def restart(name: str) -> RestartResult:
        restarted.append(name)
        return RestartResult(ready=True)

    def work() -> None:
        while calls:
            calls.pop(0)()

    def call(function: Callable[[], None]) -> None:
        calls.append(function)

    show = stage(lambda name: Observation(seen[name]), restart, "web", "db", call=call)
    show.dog.turn()
    work()  # both looks
    show.dog.turn()
    show.clock.pass_by(0.999)
    show.dog.turn()
    show.clock.pass_by(0.001)
    show.dog.turn()
    starting = [each.name for each in show.dog.watched() if each.state is State.STARTING]
    assert len(starting) == 1
    (waiting,) = {"web", "db"} - set(starting)
    assert show.dog.wanted(starting[0])
    assert not show.dog.wanted(waiting)
    seen[waiting] = Seen.WELL  # the ladder of the first brought the second along
    work()
    while show.dog.turn() <= 0.0 or calls:
        work()
    assert restarted[0] == starting[0]


# -- an operation runs


def test_while_paused_nothing_is_judged_and_afterwards_only_what_is_seen_then(stage: Callable[..., Stage]) -> None:
    seen, restarts = [Seen.WELL], []

    def restart(name: str) -> RestartResult:
        restarts.append(name)
        return RestartResult(ready=True)

    show = stage(lambda name: Observation(seen[0]), restart, "web")
    show.run(30.0)
    show.dog.pause()
    seen[0] = Seen.GONE
    show.run(60.0)
    assert show.state is State.RUNNING
    seen[0] = Seen.WELL
    show.dog.resume()
    show.run(60.0)
    assert (show.state, restarts) == (State.RUNNING, [])


def test_a_restart_that_came_due_during_an_operation_waits_for_a_look_after_it(stage: Callable[..., Stage]) -> None:
    seen, restarts = [Seen.GONE], []

    def restart(name: str) -> RestartResult:
        restarts.append(name)
        return RestartResult(ready=True)

    show = stage(lambda name: Observation(seen[0]), restart, "web")
    show.run(0.5)
    assert show.state is State.BACKOFF
    show.dog.pause()
    show.dog.pause()
    show.run(60.0)
    seen[0] = Seen.WELL
    show.dog.resume()
    show.run(60.0)
    assert show.state is State.BACKOFF, "paused twice, resumed once"
    show.dog.resume()
    show.run(1.0)
    assert (show.state, restarts) == (State.RUNNING, [])


def test_a_look_that_was_under_way_when_an_operation_ran_is_dropped(stage: Callable[..., Stage]) -> None:
    calls: list[Callable[[], None]] = []
    seen = [Seen.WELL]
    show = stage(lambda name: Observation(seen[0]), lambda name: RestartResult(ready=True), "web", call=calls.append)
    show.dog.turn()
    seen[0] = Seen.GONE
    show.dog.pause()
    calls.pop()()  # it saw the middle of the operation
    show.dog.resume()
    seen[0] = Seen.WELL
    show.dog.turn()
    assert show.state is State.UNKNOWN
    calls.pop()()
    show.dog.turn()
    assert show.state is State.RUNNING


@pytest.mark.parametrize("by", ["forget", "arm"])
def test_a_restart_that_an_operation_overtook_is_not_wanted_and_its_result_is_dropped(
    stage: Callable[..., Stage], by: str
) -> None:
    wanted: list[bool] = []
    show: Stage

    def restart(name: str) -> RestartResult:
        wanted.append(show.dog.wanted(name))
        if by == "forget":
            show.dog.forget(name)
        else:
            show.dog.arm(name, ready=True)
        wanted.append(show.dog.wanted(name))
        return RestartResult(ready=False, reason="overtaken")

    show = stage(lambda name: Observation(Seen.GONE), restart, "web")
    while not wanted:
        show.clock.pass_by(show.dog.turn())
    assert wanted == [True, False]
    left = show.dog.watched()
    assert [(each.state, each.tries) for each in left] == ([] if by == "forget" else [(State.RUNNING, 0)])


def test_what_was_stopped_on_purpose_is_not_looked_at(stage: Callable[..., Stage]) -> None:
    looks: list[str] = []

    def observe(name: str) -> Observation:
        looks.append(name)
        return Observation(Seen.GONE)

    show = stage(observe, lambda name: RestartResult(ready=True))
    show.dog.arm("web", ready=True)
    show.dog.forget("web")
    show.dog.nudge("web")
    show.dog.nudge("nobody")
    show.dog.forget("nobody")
    show.run(60.0)
    assert looks == []


# -- what goes wrong


@pytest.mark.parametrize("raised", [Failure("no answer", code="daemon_hung"), ZeroDivisionError("a bug")])
def test_a_look_that_raises_says_that_nothing_can_be_known(stage: Callable[..., Stage], raised: Exception) -> None:
    def observe(name: str) -> Observation:
        raise raised

    show = stage(observe, lambda name: RestartResult(ready=False, code="daemon_down"), "web")
    show.settle()
    (watched,) = show.dog.watched()
    assert (watched.state, watched.reason) == (State.UNKNOWN, str(raised))


@pytest.mark.parametrize(
    ("raised", "tries"),
    [
        (Failure("x", code="daemon_down"), 0),
        (LockHeldError("x"), 0),
        (Failure("x", code="unhealthy"), 1),
        (KeyError("x"), 1),
    ],
)
def test_a_restart_that_raises_is_one_that_failed(stage: Callable[..., Stage], raised: Exception, tries: int) -> None:
    def restart(name: str) -> RestartResult:
        raise raised

    show = stage(lambda name: Observation(Seen.GONE), restart, "web")
    while not [change for change in show.log.changes if change.restart]:
        show.clock.pass_by(show.dog.turn())
    assert show.dog.watched()[0].tries == tries


def test_docker_may_tell_of_a_process_that_has_ended_for_a_moment(
    yards: list[Yard], stage: Callable[..., Stage]
) -> None:
    yards.append(yard := Yard(web=SLEEP))
    answers: list[Observation] = []
    show = stage(lambda name: answers[0], yard.restart, "web")
    pid = yard.running["web"].pid
    answers.append(Observation(Seen.WELL, pid=pid))
    show.settle()
    yard.end("web")
    show.run(0.3)  # still told to be well: older than its end
    assert (show.state, show.log.when(State.BACKOFF)) == (State.RUNNING, [])
    answers[0] = Observation(Seen.GONE, "web is exited with code 137")
    show.run(0.05)
    assert show.state is State.BACKOFF
    assert show.dog.watched()[0].reason == "web is exited with code 137"
