"""A request as a row of the store's `cc_requests`, and back: pure. Imports request, groups' quarter.

    key     quarter, message id, request id, row id      one row of a key counts, the one of the highest version
    row id  only where a request has neither of the two: what it is, and the how manieth of those that are the same

A request whose numbers are settled differently later is a new version of its row; one that has another quarter then, or
is none any more, leaves its old key behind, which gets a version that is deleted. `fingerprint` is a number for all of
what the row tells: of two sessions whose rows have the same ones all is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from cc.usage.groups import QUARTER_HOUR
from cc.usage.request import Request

NO_QUARTER = -(2**31)
"""Of a request without a usable time: before all others, and in no span."""


class Key(NamedTuple):
    """What a row is found by, in the table's own order."""

    quarter: int
    message_id: str
    request_id: str
    row_id: str


class Stored(NamedTuple):
    """One row as it is to be written: the key, what the request tells, and the fingerprint of both."""

    key: Key
    told: tuple[int | str | None, ...]
    fingerprint: int

    @property
    def session(self) -> str:
        return str(self.told[2])

    def written(self, version: int) -> tuple[int | str | None, ...]:
        """In the order of the table's columns."""
        return (*self.key, *self.told, self.fingerprint, version, 0)


def stored(requests: Iterable[Request], names: Mapping[str, str]) -> list[Stored]:
    """The rows of settled requests, each with a key of its own.

    A project is stored by its readable name, where there is one: the folder of the session files is of no use without
    the files.
    """
    alike: dict[tuple[int | str | None, ...], int] = {}
    found = []
    for request in requests:
        quarter = NO_QUARTER if request.at_ms is None else request.at_ms // QUARTER_HOUR
        message, asked, model, at, session, project, *counts, cost, fast, sidechain = request
        told = (at or 0, model, session, names.get(project, project), *counts, cost, int(fast), int(sidechain))
        row_id = ""
        if not (message or asked):
            same = (quarter, *told)
            number = alike[same] = alike.get(same, 0) + 1
            row_id = f"{_number_of(quarter, *told):016x}-{number}"
        key = Key(quarter, message or "", asked or "", row_id)
        found.append(Stored(key, told, _number_of(*key, *told)))
    return found


def deleted(key: Key, version: int) -> tuple[int | str | None, ...]:
    """The row, in the order of the table's columns, after which a key is no more."""
    return (*key, 0, "", "", "", 0, 0, 0, 0, 0, None, 0, 0, 0, version, 1)


def request_of(row: Sequence[str]) -> Request:
    """The request of a row that store.py asked for. Raises ValueError for one that is none."""
    quarter, message, asked, at, model, session, project, *numbers, cost, fast, sidechain = row
    given, output, for_5m, for_hour, read = map(int, numbers)
    return Request(
        message or None,
        asked or None,
        model,
        None if int(quarter) == NO_QUARTER else int(at),
        session,
        project,
        given,
        output,
        for_5m,
        for_hour,
        read,
        int(cost) if cost else None,
        fast == "1",
        sidechain == "1",
    )


def _number_of(*parts: int | str | None) -> int:
    """64 bits of all of these, the same on every machine."""
    return int.from_bytes(blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
