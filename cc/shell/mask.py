"""Secrets out of texts and out of streams. Pure; imports the standard library only.

A stream is cut anywhere, so a secret may end in the next chunk. StreamMask holds back only what could still become
a secret: a prompt without one is passed on at once. Overlapping secrets are masked as one stretch, so that no end
of the second is left standing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
SECRET_LINE = 8  # a line of a secret of several lines is masked by itself from this length on: tools indent and wrap


class Mask:
    """Knows the secrets, masks whole texts and makes masks for streams. Empty secrets are ignored."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = _spelled(secrets)

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def text(self, text: str) -> str:
        if not self._secrets:
            return text
        return StreamMask(self._secrets).feed(os.fsencode(text), last=True).decode(errors="surrogateescape")

    def stream(self) -> StreamMask:
        return StreamMask(self._secrets)


def _spelled(secrets: Iterable[str]) -> tuple[bytes, ...]:
    found = set()
    for secret in secrets:
        stripped = secret.strip("\r\n")  # a file's last newline is no part of the secret
        lines = stripped.splitlines()
        found.add(stripped)
        if len(lines) > 1:
            found.update(line.strip() for line in lines if len(line.strip()) >= SECRET_LINE)
    found.discard("")
    return tuple(sorted((os.fsencode(secret) for secret in found), key=len, reverse=True))


class StreamMask:
    """Masks one stream that comes in chunks. `feed` returns what can be told by now; `last` flushes."""

    def __init__(self, secrets: tuple[bytes, ...]) -> None:
        self._secrets = secrets
        self._carry = b""
        self._covered = 0  # bytes at the start of the carry that belong to a stretch whose mask is out already

    def feed(self, chunk: bytes, *, last: bool = False) -> bytes:
        if not self._secrets:
            return chunk
        data = self._carry + chunk
        hold = len(data) if last else self._undecided_from(data)
        out: list[bytes] = []
        at = 0
        for start, end in self._stretches(data):
            if start >= hold:
                break
            out.append(data[at:start])
            if not (start == 0 and self._covered):
                out.append(MASK.encode())
            at = end
        out.append(data[at:hold])
        self._covered = max(0, at - hold)
        self._carry = data[hold:]
        return b"".join(out)

    def _undecided_from(self, data: bytes) -> int:
        """Where the longest end of `data` starts that is the beginning of a secret; its length if there is none."""
        first = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
            while 0 <= at < first:
                if secret.startswith(data[at:]):
                    first = at
                    break
                at = data.find(secret[:1], at + 1)
        return first

    def _stretches(self, data: bytes) -> list[tuple[int, int]]:
        found = [(0, self._covered)] if self._covered else []
        for secret in self._secrets:
            at = data.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = data.find(secret, at + 1)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged
