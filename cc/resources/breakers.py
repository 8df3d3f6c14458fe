"""The breakers of one project (LADDERS.md, L12), shared by all its commands, its supervisor and its dashboard.

    with breakers.guarding("docker", typed=True):      raises the Failure `breaker_open`, or whatever the call raises
        ask_docker()

What a breaker knows is kept in registry.db (cc.resources.kept) and changed there in one transaction, so that of all
processes one opens it, one is the probe, and one closes it. While all are well nothing of that is touched: a call then
costs one `stat` of the flag, a file that is there while a breaker is not well. A call that fails, or any call while the
flag is there, opens the file, for about 1 ms. Where the file can't be written, each process has its breakers to itself.

A probe whose process has died is nobody's: the next caller takes its place.

    not well   breaker  | WHAT | what cc.engine.breaker's as_dict gave, and who probes
    well       mended   | WHAT | the same: since when, so that results from before are passed over

May import the leaves, the engine, the shell. SQLite and the shell are imported by the first call that needs them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cc.clock import Clock, SystemClock
from cc.engine.breaker import Breaker, Permit
from cc.errors import Failure, Interrupted

if TYPE_CHECKING:
    from cc.resources.kept import Changes, Rows

FLAG = "breakers.open"
NOT_WELL, MENDED = "breaker", "mended"

Told = TypeVar("Told")


class Breakers:
    """Safe to use from several threads and processes. Without a `directory` (the project's) nothing is kept.

    `clock` tells seconds since the machine started. `boot_id`: a text that is new after each start of it.
    """

    def __init__(self, directory: str | None = None, *, clock: Clock | None = None, boot_id: str | None = None) -> None:
        self._directory = directory
        self._flag = None if directory is None else os.path.join(directory, FLAG)
        self._clock = clock or SystemClock()
        self._boot_id = boot_id
        self._opening = threading.Lock()
        self._store: _Store | None = _Memory() if directory is None else None

    @contextmanager
    def guarding(
        self,
        what: str,
        *,
        typed: bool = False,
        counts: Callable[[Failure], bool] = lambda failure: True,
        tells: bool = True,
    ) -> Iterator[None]:
        """A call inside `with`, of the thing called `what`. `typed`: a person waits for it.

        A Failure that `counts` is one of the thing's; all else that is raised says nothing of it. Nor does anything if
        the call `tells` nothing. Raises the Failure `breaker_open` before the call, and whatever the call raises.
        """
        permit = self._admit(what, typed=typed)
        try:
            yield
        except BaseException as error:
            if tells and isinstance(error, Failure) and not isinstance(error, Interrupted) and counts(error):
                reason = error.message
                self._revise(what, lambda breaker: breaker.failed(permit, self._clock.now(), reason))
            elif permit.probe:
                self._revise(what, lambda breaker: breaker.abandoned(permit, self._clock.now()))
            raise
        if tells:
            self._succeeded(what, permit)
        elif permit.probe:
            self._revise(what, lambda breaker: breaker.abandoned(permit, self._clock.now()))

    def mended(self, what: str) -> None:
        """Somebody saw it at work just now: who waits for it need not."""
        if not self._all_well() and self._row(what) is not None:
            self._revise(what, lambda breaker: breaker.mended(self._clock.now()))

    def troubled(self) -> tuple[dict[str, str], ...]:
        """Those that keep background callers away now, by name: what, state, and the reason of the last failure."""
        if self._all_well():
            return ()
        found = (self._restored(name, text) for name, text in self._stored().read(NOT_WELL))
        return tuple(
            {"what": each.what, "state": each.state.value, "reason": each.reason}
            for each in found
            if each.holds(self._clock.now())
        )

    def _admit(self, what: str, *, typed: bool) -> Permit:
        now = self._clock.now()
        if self._all_well():
            return Permit(now, probe=False)
        if not self._stored().read(NOT_WELL):  # the flag outlived its file: it is taken down
            self._revise(what, lambda breaker: None)
        if (text := self._row(what)) is None:
            return Permit(now, probe=False)
        now = self._clock.now()
        permit = self._restored(what, text).admit(now, typed=typed)  # whoever is refused needs no transaction
        if not permit.probe:
            return permit
        # The time is told anew inside: before, others may have waited less for their turn, and be in our future.
        told = self._revise(what, lambda breaker: _admission(breaker, self._clock.now(), typed=typed))
        if isinstance(told, Failure):
            raise told
        return told

    def _succeeded(self, what: str, permit: Permit) -> None:
        if permit.probe or (not self._all_well() and self._row(what) is not None):
            self._revise(what, lambda breaker: breaker.succeeded(permit, self._clock.now()))

    def _all_well(self) -> bool:
        if self._flag is None or (self._store is not None and self._store.trouble is not None):
            return not self._stored().read(NOT_WELL)
        return not os.path.exists(self._flag)

    def _row(self, what: str) -> str | None:
        return dict(self._stored().read(NOT_WELL, what)).get(what)

    def _revise(self, what: str, act: Callable[[Breaker], Told]) -> Told:
        """Do it to the breaker as it is now, and keep what becomes of it."""
        told: list[Told] = []

        def change(rows: Rows) -> Changes:
            kept = rows.get((NOT_WELL, what)) or rows.get((MENDED, what))
            breaker = self._restored(what, kept)
            before = breaker.as_dict()
            told[:] = [act(breaker)]
            after = breaker.as_dict()
            if after == before:
                return {}
            if isinstance(told[0], Permit):
                from cc.shell.identity import start_time

                after["by"] = [os.getpid(), start_time(os.getpid())]
            elif after["probe_since"] is not None:
                after["by"] = _object(kept).get("by")
            text = json.dumps(after)
            return {(NOT_WELL, what): None if breaker.well else text, (MENDED, what): text if breaker.well else None}

        self._stored().revise(change)
        return told[0]

    def _restored(self, what: str, text: str | None) -> Breaker:
        if self._boot_id is None:
            from cc.shell.identity import read_boot_id

            self._boot_id = read_boot_id()
        kept = _object(text)
        if kept.get("probe_since") is not None and not _lives(kept.get("by")):
            kept["probe_since"] = None
        return Breaker(what, boot_id=self._boot_id, kept=kept)

    def _stored(self) -> _Store:
        with self._opening:
            if self._store is None:
                from cc.resources.kept import Kept

                assert self._directory is not None and self._flag is not None  # noqa: S101, PT018 - else it is memory
                self._store = Kept(self._directory, clock=self._clock, flags={NOT_WELL: self._flag})
            return self._store


class _Store(Protocol):
    """What is needed of cc.resources.kept.Kept."""

    trouble: Failure | None

    def read(self, kind: str, name: str | None = None) -> Iterable[tuple[str, str]]: ...

    def revise(self, change: Callable[[Rows], Changes]) -> None: ...


class _Memory:
    """Where there is no directory."""

    trouble: Failure | None = None

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def read(self, kind: str, name: str | None = None) -> Iterable[tuple[str, str]]:
        with self._lock:
            return [(each, text) for (its, each), text in self._rows.items() if its == kind and name in (None, each)]

    def revise(self, change: Callable[[Rows], Changes]) -> None:
        with self._lock:
            for key, text in change(self._rows).items():
                if text is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = text


def _admission(breaker: Breaker, now: float, *, typed: bool) -> Permit | Failure:
    """The refusal as a value: whoever keeps the state is not to be left in the middle."""
    try:
        return breaker.admit(now, typed=typed)
    except Failure as refusal:
        return refusal


def _object(text: str | None) -> dict[str, Any]:
    try:
        told = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _lives(by: object) -> bool:
    """Whether the process that probes is there: its pid and start time."""
    if not (isinstance(by, list) and len(by) == 2 and all(type(each) is int for each in by)):
        return True  # nobody can say: a minute without an end will
    from cc.shell.identity import is_alive

    return is_alive(*by)
