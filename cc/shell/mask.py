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
        spelled = _spelled(secrets)
        self._in_text = _longest_first(secret.encode(errors="surrogatepass") for secret in spelled)
        self._in_stream = _longest_first(spelling for secret in spelled for spelling in _as_bytes(secret))

    def __bool__(self) -> bool:
        return bool(self._in_text)

    def text(self, text: str) -> str:
        if not self._in_text:
            return text
        whole = StreamMask(self._in_text).feed(text.encode(errors="surrogatepass"), last=True)
        return whole.decode(errors="surrogatepass")

    def stream(self) -> StreamMask:
        return StreamMask(self._in_stream)


def _spelled(secrets: Iterable[str]) -> set[str]:
    """The secrets as tools write them: line by line when they have several, and inside JSON and URLs."""
    found: set[str] = set()
    for secret in secrets:
        stripped = secret.strip("\r\n")  # a file's last newline is no part of the secret
        lines = stripped.splitlines()
        found.add(stripped)
        if len(lines) > 1:
            found.update(line.strip() for line in lines if len(line.strip()) >= SECRET_LINE)
        if not stripped.isalnum():
            found.update(_escaped(stripped))
    found.discard("")
    return found


def _escaped(secret: str) -> tuple[str, ...]:
    import json
    import urllib.parse

    quoted = urllib.parse.quote(secret, safe="", errors="replace")
    return json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quoted


def _as_bytes(secret: str) -> tuple[bytes, ...]:
    try:
        return secret.encode(errors="surrogateescape"), os.fsencode(secret)  # the second is what a child was given
    except UnicodeEncodeError:
        return (secret.encode(errors="surrogatepass"),)


def _longest_first(secrets: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(set(secrets), key=len, reverse=True))


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
        self._covered = max(0, max(at, self._covered) - hold)
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
