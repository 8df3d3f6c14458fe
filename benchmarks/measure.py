"""What is measured, in turns, and what came of it."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class NotMeasured(Exception):  # noqa: N818 - nothing went wrong: something is not here
    """The reason why there is no figure, for people: no Docker engine, no network."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    `value` and `limit` are in `unit`; `limit` is None for what is only reported, `value` for what was not measured.
    `n` is how often each side ran. `told` and `target` are figure and limit in words, `data` is the rest for JSON.
    """

    name: str
    value: float | None
    unit: str
    told: str
    limit: float | None = None
    target: str = "-"
    n: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None where there is none or nothing was measured."""
        return None if self.value is None or self.limit is None else self.value <= self.limit

    def as_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("name", "value", "unit", "limit", "target", "n", "told")}
        return {**own, "met": self.met, **self.data}


def not_measured(name: str, why: str) -> Figure:
    return Figure(name, None, "", f"not measured: {why}")


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def in_turns(sides: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median seconds of each side over so many rounds A B A B, after one round that counts for nothing (caches)."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(runs + 1):
        for name, call in sides.items():
            spent = seconds(call)
            if number:
                took[name].append(spent)
    return {name: statistics.median(all_of_it) for name, all_of_it in took.items()}


def ms(value: float) -> str:
    """Seconds as milliseconds in words."""
    return f"{value * 1000:.0f} ms"


def processor_s(pid: int) -> float:
    """Time on a processor so far, all its threads together, those that ended too. Raises NotMeasured elsewhere."""
    if sys.platform != "linux":
        raise NotMeasured("only Linux tells the processor time of another process")
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), which Python has not


def resident_mb(pid: int) -> float:
    """Resident memory, what it shares with others included. Raises NotMeasured where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError as error:
        raise NotMeasured(f"no /proc/PID/statm: {error.strerror}") from error
