"""Time that a test moves: a Clock whose waits pass at once."""

from __future__ import annotations

import threading

from cc.clock import Cancel


class FakeClock:
    """Begins at 1000 s. `wait` moves it and keeps what was asked for in `waits`."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._lock = threading.Lock()
        self.waits: list[float] = []

    def now(self) -> float:
        with self._lock:
            return self._now

    def wait(self, seconds: float, cancel: Cancel | None = None) -> bool:
        if cancel is not None and cancel.requested:
            return False
        self.pass_by(seconds)
        self.waits.append(seconds)
        return True

    def pass_by(self, seconds: float) -> None:
        with self._lock:
            self._now += max(0.0, seconds)
