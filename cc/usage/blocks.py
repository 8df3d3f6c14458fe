"""The five-hour blocks in which a plan's limits are counted: pure. Imports groups and model.

A block starts with the full hour (UTC) of the first request that is in no other, and ends five hours later; as the
other tools of the field have it, so that the numbers can be compared. Whoever was silent for five hours is past the
end of any block, so that a gap needs no rule of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from cc.usage.groups import FIRST, QUARTER_HOUR, Group
from cc.usage.model import HOUR, Block

LASTS = 5 * HOUR


class Blocks:
    """The blocks of all requests. Which are asked for does not matter: a limit counts every model and project.

    A quarter of an hour is never in two blocks, since they begin and end with full hours.
    """

    def __init__(self, groups: Mapping[Group, list[int]], now: int) -> None:
        """`now` is milliseconds since 1970."""
        firsts: dict[int, int] = {}
        for group, numbers in groups.items():
            if group.quarter is not None:
                firsts[group.quarter] = min(numbers[FIRST], firsts.get(group.quarter, numbers[FIRST]))
        self._blocks: list[Block] = []
        for _, first in sorted(firsts.items()):
            if not self._blocks or first >= self._blocks[-1].end:
                start = first // HOUR * HOUR
                is_active = start <= now < start + LASTS
                self._blocks.append(Block(start, start + LASTS, first, now if is_active else None))
        self._starts = [block.start for block in self._blocks]

    def of(self, quarter: int) -> Block:
        """The block of this quarter, in which there was a request. Raises IndexError if there was none before it."""
        return self._blocks[bisect_right(self._starts, quarter * QUARTER_HOUR) - 1]
