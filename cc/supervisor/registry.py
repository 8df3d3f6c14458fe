"""The registry: what is to run and what was seen of it, kept from one supervisor to the next in registry.db.

    kind     | name  | value
    service  | NAME  | a ServiceRecord
    alert    | NAME  | when and why the watchdog gave that service up

How it is kept, and what is done when the disk or the file is of no use: cc.resources.kept. May import the leaves, the
engine, the shell and resources.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from cc.clock import Clock, wall_time
from cc.engine.outcome import Fallback
from cc.errors import Failure
from cc.resources.kept import Kept, parsed
from cc.shell.identity import read_boot_id
from cc.supervisor.states import AlertRecord, ServiceRecord, State

CLAIMS_LIFE = frozenset({State.STARTING, State.RUNNING, State.BACKOFF, State.STOPPING, State.EXITED})


class Registry:
    """Safe to use from several threads; the wait for any call is bounded, and none raises for what the disk does.

    `tell` is called with each new trouble with the disk, once, and with every fallback taken.
    """

    def __init__(
        self,
        directory: str,
        *,
        boot_id: str | None = None,
        tell: Callable[[Failure | Fallback], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.boot_id = read_boot_id() if boot_id is None else boot_id
        self._kept = Kept(directory, tell=tell, clock=clock)
        self._lock = threading.RLock()

    def services(self) -> tuple[ServiceRecord, ...]:
        """All of them, by name. A pid of an earlier boot is none, and what it claimed alive is unknown."""
        return tuple(filter(None, (self._service(*kept) for kept in self._kept.read("service"))))

    def service(self, name: str) -> ServiceRecord | None:
        text = dict(self._kept.read("service", name)).get(name)
        return None if text is None else self._service(name, text)

    def put(self, record: ServiceRecord) -> None:
        """Write it, in the place of what was known of that name."""
        told = asdict(record) | {"boot_id": self.boot_id, "state": record.state.value}
        self._kept.write({("service", record.name): json.dumps(told)})

    def change(self, name: str, **changes: Any) -> ServiceRecord:
        """Change these fields of a service, which is new if it was not known. Returns the whole."""
        with self._lock:
            record = replace(self.service(name) or ServiceRecord(name), **changes)
            self.put(record)
            return record

    def remove(self, name: str) -> None:
        """Forget it, and its alert."""
        self._kept.write({("service", name): None, ("alert", name): None})

    def alert(self, service: str, reason: str) -> None:
        """Keep that a service was given up: one alert for each, the last."""
        self._kept.write({("alert", service): json.dumps({"at": round(wall_time(), 3), "reason": reason})})

    def alerts(self) -> tuple[AlertRecord, ...]:
        """By service."""
        told = ((name, parsed(text)) for name, text in self._kept.read("alert"))
        return tuple(AlertRecord(name, each.get("at", 0.0), each.get("reason", "")) for name, each in told if each)

    def clear_alert(self, service: str) -> None:
        """It is well again, or somebody has seen to it."""
        self._kept.write({("alert", service): None})

    def close(self) -> None:
        """A last try at what is not on disk yet."""
        self._kept.close()

    def _service(self, name: str, text: str) -> ServiceRecord | None:
        try:
            told = {**parsed(text), "name": name}
            record = ServiceRecord(**{field: told[field] for field in ServiceRecord.__slots__ if field in told})
            at = tuple(float(when) for when in record.restarted_at)
            record = replace(record, state=State(record.state), tries=int(record.tries), restarted_at=at)
        except (TypeError, ValueError):
            return None  # somebody else's hand was in it: that service is found anew
        if record.boot_id == self.boot_id:
            return record
        state = State.UNKNOWN if record.state in CLAIMS_LIFE else record.state
        return replace(record, state=state, pid=None, start_time=None, tries=0, restarted_at=())
