"""What a request asks for: the Host header it may come under, the query string as a UsageQuery. Pure."""

from __future__ import annotations

import difflib
import ipaddress
from typing import TYPE_CHECKING

from cc.errors import UsageError
from cc.usage import query

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cc.usage.model import UsageQuery

FILTERS = ("since", "until", "model", "project", "source", "tz")
"""What the page takes. /api/usage takes `by` as well."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound


def answers_to(host_header: str | None, bound_host: str | None) -> bool:
    """Whether a request under this Host header is answered: the guard against DNS rebinding.

    A web page can make a name of its own resolve to 127.0.0.1 and then read what answers there; the name it used
    stands in the Host header. So only local names and the address we listen on are answered. No header at all
    is no browser. A dashboard on every interface also answers to any literal address: rebinding needs a name.
    """
    if host_header is None:
        return True
    host = _host_of(host_header)
    if host is None:
        return False
    if host in LOCAL_HOSTS or (bound_host is not None and host == bound_host):
        return True
    return bound_host in WILDCARDS and _is_address(host)


def words_of(pairs: Iterable[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    """The words of a query string, empty ones left out. Raises UsageError for one that is unknown or given twice."""
    words: dict[str, str] = {}
    for name, word in pairs:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known)
            raise UsageError(f"unknown parameter {name[:80]!r}", field=name[:80], hint=hint)
        if name in words:
            raise UsageError(f"parameter {name!r} is given twice", field=name, hint="give it once")
        words[name] = word
    return {name: word for name, word in words.items() if word}


def usage_query(words: dict[str, str], *, now: datetime) -> UsageQuery:
    """The query that these words ask, the same as on the command line. Raises UsageError naming the field."""
    try:
        return query.parse(**words, now=now)
    except UsageError as error:  # the words are the same as a command line's, the dashes of a flag are not
        message = error.message.replace(f"--{error.field} ", f"{error.field} ", 1)
        raise UsageError(message, hint=error.hint, field=error.field) from error


def _host_of(header: str) -> str | None:
    """The host of `host[:port]`, without brackets, lower case. None if it is not of that form."""
    if header.startswith("["):
        host, bracket, rest = header[1:].partition("]")
        if not bracket or not _is_address(host):
            return None
    else:
        host, colon, port = header.partition(":")
        rest = colon + port
    if rest and not (rest.startswith(":") and (rest[1:].isdecimal() or rest == ":")):
        return None
    return host.lower() or None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
