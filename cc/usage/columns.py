"""Many things alike in few bytes: a list for each of their fields, which msgpack writes. Imports groups, request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import TypeVar

import msgspec

from cc.usage.groups import Group, Pool
from cc.usage.request import R, Request, Rows

T = TypeVar("T")
Named = TypeVar("Named", bound=tuple[object, ...])


class RowColumns(msgspec.Struct, array_like=True):
    """The rows of a file, in two fifths of the bytes.

    The model is a place in `words`, the project is the file's and is not written. Of `models` and of the fields from
    `sessions` on none is written where all rows have the same: the first of the words, the file's session, no cost,
    False, no identity of their own.
    """

    message_ids: Sequence[str | None] = ()
    request_ids: Sequence[str | None] = ()
    words: Sequence[str] = ()
    models: Sequence[int] = ()
    times: Sequence[int | None] = ()
    numbers: Sequence[Sequence[int]] = ()
    sessions: Sequence[str] = ()
    costs: Sequence[int | None] = ()
    fast: Sequence[bool] = ()
    sidechains: Sequence[bool] = ()
    own: Sequence[str | None] = ()

    @classmethod
    def of(cls, rows: Rows[R], session: str) -> RowColumns:
        if not rows.requests:
            return cls()
        message_ids, request_ids, models, times, sessions, _, *numbers, costs, fast, sidechains = zip(
            *rows.requests, strict=True
        )
        places = {model: place for place, model in enumerate(dict.fromkeys(models))}
        return cls(
            message_ids, request_ids, list(places),
            list(map(places.__getitem__, models)) if len(places) > 1 else (),
            times, numbers, _unless_all(sessions, session), _unless_all(costs, None), _unless_all(fast, False),
            _unless_all(sidechains, False), rows.own,
        )  # fmt: skip

    def rows(self, session: str, project: str) -> Rows[Request]:
        """Raises ValueError, IndexError for what was not made by `of`."""
        number = len(self.message_ids)
        if not number:
            return Rows([])
        requests = zip(
            self.message_ids, self.request_ids, map(self.words.__getitem__, self.models or repeat(0, number)),
            self.times, self.sessions or repeat(session, number), repeat(project, number), *self.numbers,
            self.costs or repeat(None, number), self.fast or repeat(False, number),
            self.sidechains or repeat(False, number), strict=True,
        )  # fmt: skip
        return Rows(list(_made(Request, requests)), self.own)


def _unless_all(column: tuple[T, ...], alike: T) -> tuple[T, ...]:
    return () if column.count(alike) == len(column) else column


def _made(kind: type[Named], fields: Iterable[tuple[object, ...]]) -> Iterator[Named]:
    """NamedTuples of their fields, without the frame of a NamedTuple's own."""
    return map(partial(tuple.__new__, kind), fields)


class GroupColumns(msgspec.Struct, array_like=True):
    """Groups in half the bytes: a list for each part of their keys and for each of their numbers, a word that
    stands in many of them once. A key's words are places in `words`."""

    words: Sequence[str] = ()
    quarters: Sequence[int | None] = ()
    models: Sequence[int] = ()
    fast: Sequence[bool] = ()
    long: Sequence[bool] = ()
    priced: Sequence[bool] = ()
    sessions: Sequence[int] = ()
    projects: Sequence[int] = ()
    numbers: Sequence[Sequence[int]] = ()

    @classmethod
    def of(cls, groups: Pool) -> GroupColumns:
        if not groups:
            return cls()
        keys, sums = zip(*groups, strict=True)
        quarters, models, fast, long, priced, sessions, projects = zip(*keys, strict=True)
        words = dict.fromkeys((*models, *sessions, *projects))
        place = {word: place for place, word in enumerate(words)}.__getitem__
        return cls(
            list(words), quarters, list(map(place, models)), fast, long, priced, list(map(place, sessions)),
            list(map(place, projects)), list(zip(*sums, strict=True)),
        )  # fmt: skip

    def groups(self) -> Pool:
        word = self.words.__getitem__
        keys = zip(
            self.quarters, map(word, self.models), self.fast, self.long, self.priced,
            map(word, self.sessions), map(word, self.projects), strict=True,
        )  # fmt: skip
        return list(zip(_made(Group, keys), map(list, zip(*self.numbers, strict=True)), strict=True))
