"""Each message once: pure. Imports request only.

A message streams as several rows, resumed sessions and side-chains copy rows of others, and some rows lack an id:

    the same message id and request id           one message; the row with more tokens, of equal ones the first
    message id without request id                one with the row that has both, if there is one
    request id without message id                likewise
    a side-chain's row with a message id that    one with it, whatever request id the copy has
      stands in the parent too
    neither id                                   one by the row's own id; without that each row is a message
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import count
from typing import Generic

from cc.usage.request import SIDECHAIN, R, Request, Rows, tokens_of


class Ledger(Generic[R]):
    """Takes rows in path order, gives each message once.

    `kept` is the row that each key stands for so far. Who reads very many may put the first row of a key (its message
    id and request id) there himself, without a call; they may be Fields as long as nobody settles them.
    """

    def __init__(self) -> None:
        self.kept: dict[Hashable, R] = {}
        self._anonymous = count()
        self._named_by_itself = False

    def add(self, request: R, row_id: str | None = None) -> None:
        """Count this row. `row_id` is the row's own identity, for rows that have no other."""
        key: Hashable = request[:2]  # message id and request id
        if request[0] is None and request[1] is None:
            key = row_id or next(self._anonymous)
            self._named_by_itself = self._named_by_itself or row_id is not None
        kept = self.kept.setdefault(key, request)
        if kept is not request:
            self.kept[key] = _larger(kept, request)

    def rows(self) -> Rows[R]:
        """Of each key the row that it stands for so far: what `add` of another ledger takes to go on from here."""
        own = [key if type(key) is str else None for key in self.kept] if self._named_by_itself else []
        return Rows(list(self.kept.values()), own)

    def settle(self: Ledger[Request]) -> list[Request]:
        """Every message, in the order in which they were first seen."""
        loose = {
            key: request
            for key, request in self.kept.items()
            if (request.request_id is None or request.message_id is None or request.sidechain)
            and (request.request_id or request.message_id)
        }
        if named := {request.message_id for request in loose.values()} - {None}:
            self._join(loose, "message_id", named)
        alone = {request.request_id for request in loose.values() if request.message_id is None}
        if alone and len(alone) < len(self.kept):  # else they are telemetry's, which know no messages
            self._join(loose, "request_id", alone)
        return list(self.kept.values())

    def _join(self: Ledger[Request], loose: Iterable[Hashable], id_name: str, shared: set[str | None]) -> None:
        """Of the keys that share this id, let the loose ones become one with the key that stays."""
        groups: dict[str, list[Hashable]] = {}
        for key, request in self.kept.items():
            if (name := getattr(request, id_name)) in shared:
                groups.setdefault(name, []).append(key)
        for group in groups.values():
            if len(group) == 1:
                continue
            # The one that has both ids stays, and the parent's rather than a copy's; of equal ones the first.
            stays = min(group, key=lambda key: (_half(self.kept[key]), self.kept[key].sidechain))
            for key in group:
                if key == stays or key not in loose:
                    continue
                copy = self.kept[key]
                if _half(copy) or (id_name == "message_id" and copy.sidechain and not self.kept[stays].sidechain):
                    self.kept[stays] = _larger(self.kept[stays], self.kept.pop(key))


def _half(request: Request) -> bool:
    """It lacks one of the two ids."""
    return request.request_id is None or request.message_id is None


def _larger(first: R, second: R) -> R:
    """The row with more tokens, of equal ones the first. It is a side-chain's only if both are."""
    winner = second if tokens_of(second) > tokens_of(first) else first
    if winner[SIDECHAIN] and not (first[SIDECHAIN] and second[SIDECHAIN]):
        return tuple.__new__(type(winner), (*winner[:SIDECHAIN], False))
    return winner
