"""Whether a thousand services cost each of them what a hundred do: time and memory, for 10, 100 and 1,000 of them.

services-1000-write    the registry: each put by itself, a transaction on the disk
services-1000-read     all of them at once, and each by its name
services-1000-round    the watchdog looks at each, finds it well, and takes that in
services-1000-restart  all of them die at once: each is noticed, judged, restarted after its back-off, and found well
services-1000-memory   what registry and watchdog keep of each

The services are callables that answer at once, on a clock that is moved by hand: what is measured is the supervisor's
own work. Each has a real process to be awaited (its pidfd; a hundred look at one process). The sizes take turns.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.measure import Figure, NotMeasured, seconds
from cc.clock import Cancel
from cc.supervisor.registry import Registry
from cc.supervisor.states import DELAYS_S, Observation, RestartResult, Seen, ServiceRecord, State, Watched
from cc.supervisor.watchdog import CALM_S, Watchdog

SIZES = (10, 100, 1000)
LINEAR = 1.5
SHARED = 100  # services that await one process
SPARE = 200  # descriptors beside those of the services
CALM_ROUNDS = 10


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, cancel: Cancel | None = None) -> bool:
        self.time += seconds
        return cancel is None or not cancel.requested


class Park:
    """So many services under a watchdog whose rounds are driven from here."""

    def __init__(self, size: int) -> None:
        self.names = [f"service-{number}" for number in range(size)]
        self.clock = HandClock()
        self.cancel = Cancel()
        self._running = [_sleeper() for _ in range(0, size, SHARED)]
        self._process = {name: number // SHARED for number, name in enumerate(self.names)}
        self._dead: set[str] = set()
        watched = [Watched(name) for name in self.names]
        self.watchdog = Watchdog(
            watched, self._observe, self._restart, clock=self.clock, cancel=self.cancel, call=lambda work: work()
        )
        self.settle()

    def _observe(self, name: str) -> Observation:
        if name in self._dead:
            return Observation(Seen.GONE, "it does not run")
        return Observation(Seen.WELL, pid=self._running[self._process[name]].pid)

    def _restart(self, name: str) -> RestartResult:
        self._dead.discard(name)
        return RestartResult(ready=True)

    def settle(self) -> None:
        """Rounds until nothing is left to do now, and all of them run."""
        while self.watchdog.turn() == 0.0:
            pass
        states = {each.state for each in self.watchdog.watched()}
        if states != {State.RUNNING}:
            raise SystemExit(f"not all services run: {states}")

    def look(self) -> None:
        """Each is looked at once more."""
        self.clock.time += CALM_S
        self.settle()

    def die(self) -> None:
        """All of them, by the ends of their processes; other processes are there when they are restarted."""
        old, self._running = self._running, [_sleeper() for _ in self._running]
        self._dead = set(self.names)
        _end(old)

    def revive(self) -> None:
        """The watchdog notices, and restarts each once its back-off is over."""
        while self.watchdog.turn() == 0.0:
            pass
        self.clock.time += DELAYS_S[0]
        self.settle()

    def close(self) -> None:
        self.watchdog.close()
        self.cancel.close()
        _end(self._running)


def services(runs: int = 5) -> Iterator[Figure]:
    each: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in SIZES} for name in ("write", "read", "round", "restart")
    }
    with _descriptors(max(SIZES) + SPARE):
        for number in range(runs + 1):
            for size in SIZES:
                took = _registry(size) | _watchdog(size)
                if number:  # the first counts for nothing: caches
                    for name, spent in took.items():
                        each[name][size].append(spent / size)
        memory = {size: _memory(size) / size for size in SIZES}
    for name, sizes in each.items():
        micro = {size: median(spent) * 1e6 for size, spent in sizes.items()}
        yield _linear(name, micro, "us", runs)
    yield _linear("memory", {size: spent / 1000 for size, spent in memory.items()}, "kB", 1)


def _linear(name: str, each: dict[int, float], unit: str, runs: int) -> Figure:
    ratio = each[1000] / each[100]
    said = f"{', '.join(f'{value:.1f}' for value in each.values())} {unit} a service of {', '.join(map(str, each))}"
    data = {f"each_of_{size}_{unit}": value for size, value in each.items()}
    target = f"<= {LINEAR} x (1000 to 100)"
    return Figure(f"services-1000-{name}", ratio, "x", f"{said}: {ratio:.2f} x", LINEAR, target, runs, data)


def _registry(size: int) -> dict[str, float]:
    names = [f"service-{number}" for number in range(size)]
    with tempfile.TemporaryDirectory(prefix="ccbench-") as directory:
        registry = Registry(directory)
        write = seconds(lambda: [registry.put(ServiceRecord(name, pid=1, start_time=1)) for name in names])
        again = Registry(directory)
        read = seconds(lambda: (again.services(), [again.service(name) for name in names]))
        if len(again.services()) != size:
            raise SystemExit(f"the registry did not keep {size} services")
        registry.close()
        again.close()
    return {"write": write, "read": read}


def _watchdog(size: int) -> dict[str, float]:
    park = Park(size)
    try:
        calm = seconds(lambda: [park.look() for _ in range(CALM_ROUNDS)]) / CALM_ROUNDS
        park.die()
        return {"round": calm, "restart": seconds(park.revive)}
    finally:
        park.close()


def _memory(size: int) -> float:
    """Bytes that both hold on to, by what Python allocated."""
    with tempfile.TemporaryDirectory(prefix="ccbench-") as directory:
        gc.collect()
        tracemalloc.start()
        try:
            registry, park = Registry(directory), Park(size)
            for name in park.names:
                registry.put(ServiceRecord(name, pid=1, start_time=1))
            park.look()
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        park.close()
        registry.close()
    return held


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for one in processes:
        one.kill()
        one.wait()


@contextmanager
def _descriptors(count: int) -> Iterator[None]:
    """So many may be open meanwhile. Raises NotMeasured where that is not to be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise NotMeasured(f"{count} descriptors may not be open here, only {hard}")
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
