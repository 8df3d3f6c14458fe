"""What clients say that their sessions cost, beside what we count: pure. Imports groups, prices, tally.

A client writes a running total into its session file. It is never counted, and it is the one number that neither we nor
our prices made: where it differs, somebody has to know. A client restarts its total with its process, so that of a
session that was resumed it says less than there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from cc.usage import tally
from cc.usage.groups import Group, Groups
from cc.usage.prices import Prices

MICRO = Decimal("0.000001")


class Said(msgspec.Struct, frozen=True):
    """What a client says that its session has cost, in pico-dollars; `in_part`: it did not know all prices."""

    session: str
    cost_pico: int
    in_part: bool


class Difference(msgspec.Struct, frozen=True):
    """A session whose client says another cost than is counted; USD, `counted_usd` None where a price is unknown."""

    session: str
    client_usd: Decimal
    counted_usd: Decimal | None

    def as_dict(self) -> dict[str, Any]:
        counted = None if self.counted_usd is None else float(self.counted_usd)
        return {"session": self.session, "client_usd": float(self.client_usd), "counted_usd": counted}


class ClientTotals(msgspec.Struct, frozen=True):
    """Of `sessions` whose client states a total, those that `differ` by a micro-dollar or more; the largest first."""

    sessions: int = 0
    differ: tuple[Difference, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"sessions": self.sessions, "differ": [each.as_dict() for each in self.differ]}


def compare(said: Iterable[Said], groups: Mapping[Group, list[int]], prices: Prices) -> ClientTotals:
    """What is said and what is counted. A total that the client itself calls incomplete is left out."""
    totals = {each.session: each.cost_pico for each in said if not each.in_part}
    if not totals:
        return ClientTotals()
    of_session: dict[str, Groups] = {session: {} for session in totals}
    for group, numbers in groups.items():
        if group.session in of_session:
            of_session[group.session][group] = numbers
    found = []
    for session, cost in totals.items():
        counted = tally.total(of_session[session], prices).cost_usd
        client = Decimal(cost).scaleb(-12)
        if counted is None or abs(counted - client) >= MICRO:
            found.append(Difference(session, client, counted))
    found.sort(key=lambda each: (-abs(each.client_usd - (each.counted_usd or 0)), each.session))
    return ClientTotals(len(totals), tuple(found))
