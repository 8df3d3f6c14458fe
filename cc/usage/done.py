"""How many bytes were read, counted also within a file, and by copies of this process. Standard library only."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence

Progress = Callable[[int, int], None]
"""Bytes read, bytes to be read."""

OFTEN = 4 << 20
"""After so many bytes it is told: to add up all batches takes longer than to read a small file."""


class Done:
    """Bytes read of each batch, in memory that the copies of this process write into, too.

    A batch is in the hands of one process. This one alone, which made it, tells `progress`: bytes read and to be read.
    """

    def __init__(self, sizes: Sequence[int], progress: Progress) -> None:
        self._sizes, self._progress = sizes, progress
        self._read = memoryview(mmap.mmap(-1, 8 * max(1, len(sizes)))).cast("q")
        self._whole = sum(sizes)
        self._untold = 0
        self._teller = os.getpid()

    def more(self, batch: int, size: int) -> None:
        """So much more of this one was read."""
        self._read[batch] = min(self._read[batch] + size, self._sizes[batch])
        self._untold += size
        if self._untold >= OFTEN and os.getpid() == self._teller:
            self.tell()

    def all_of(self, batch: int) -> None:
        """Nothing is left of this one, whether it could be read or not, or was known."""
        self._read[batch] = self._sizes[batch]
        self.tell()

    def tell(self) -> None:
        """How much all of them have read."""
        self._untold = 0
        self._progress(sum(self._read), self._whole)
