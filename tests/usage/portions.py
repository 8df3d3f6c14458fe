"""What must hold of any portions of any session files."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from cc.usage.packed import ChangedError

if TYPE_CHECKING:
    from cc.usage.request import Request
    from cc.usage.transcripts import Transcripts


def in_portions(found: Transcripts, most: int) -> list[list[Request]]:
    """All requests, some sessions at a time, none of which comes twice."""
    asked, portions = found, None
    while portions is None:
        try:
            portions = list(asked.portions(most))
        except ChangedError as error:  # of the index only what is told of all files was read, or it was set aside
            asked = asked.anew(error)
    assert sorted(chain.from_iterable(portions), key=str) == sorted(found.requests, key=str)
    sessions = [{request.session for request in portion} for portion in portions]
    assert sum(map(len, sessions)) == len(set().union(*sessions))
    return portions
