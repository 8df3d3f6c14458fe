"""The store that the collector writes to, asked over HTTP: the one module that imports requests.

Imports errors, resources.within.

    POST <url>/?database=otel     query as the body, X-ClickHouse-User / X-ClickHouse-Key
    200 JSONCompact  {"meta": [...], "data": [["req_1", ...], ...], "rows": 1, ...}
    4xx, 5xx         X-ClickHouse-Exception-Code: 60, "Code: 60. DB::Exception: ..."

An answer can also fail after its 200: the text of the exception then stands in the middle of the rows. JSONCompact ends
with the number of rows, so that one cut anywhere is noticed. What answers, whatever it says, is in reach: only silence
and refusal are told to the guard that whoever makes the client puts around each question (a circuit breaker).
Neither proxies nor .netrc of the environment are used: the store is at the address that was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from cc.errors import Failure
from cc.resources.within import within

if TYPE_CHECKING:
    import requests

EVENTS = """\
SELECT LogAttributes['request_id'], LogAttributes['session.id'], LogAttributes['model'],
       LogAttributes['input_tokens'], LogAttributes['output_tokens'],
       LogAttributes['cache_read_tokens'], LogAttributes['cache_creation_tokens'],
       LogAttributes['cache_creation_5m_tokens'], LogAttributes['cache_creation_1h_tokens'],
       LogAttributes['cost_usd'], LogAttributes['cost_usd_micros'], LogAttributes['speed'],
       LogAttributes['event.sequence'], LogAttributes['event.timestamp'],
       toString(toUnixTimestamp64Milli(Timestamp))
FROM otel_logs
WHERE Body = 'claude_code.api_request'
   OR LogAttributes['event.name'] IN ('api_request', 'claude_code.api_request')
"""
"""Every request that a client reported, in the order of telemetry.COLUMNS. What the value means is decided in Python.

`EventName` is left alone: clients leave it empty, and older tables do not have the column.
"""

MOST_BYTES = 512 << 20
CONNECT_SECONDS = 2.0
OUT_OF_REACH = frozenset({"connection_refused", "deadline"})
NO_TABLE, NO_DATABASE, NO_SUCH_USER, NOT_ALLOWED = 60, 81, 516, 497


class ClickHouse:
    """One store, by one URL or several of its replicas, tried in turn. `timeout` is seconds for one of them.

    Each question is asked inside a `guard()`, which sees a Failure only if no replica could be reached.
    """

    def __init__(
        self,
        urls: Sequence[str],
        user: str = "default",
        password: str | None = None,
        database: str = "otel",
        timeout: float = 5.0,
        guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.urls = tuple(urls)
        self.database = database
        self._user = user
        self._password = password or ""
        self._timeout = timeout
        self._guard = guard

    def request_rows(self) -> list[list[str]]:
        """A row of strings (telemetry.COLUMNS) for each event about a request. Raises Failure with a code and the URL:

        connection_refused (nothing answers there), deadline, permission_denied, bad_answer (no such table, an
        exception, an answer that is cut or no answer of ClickHouse's); and what the guard raises.
        """
        from cc.usage.decode import decode_answer

        if not self.urls:
            raise Failure("ClickHouse: no URL is configured", code="tool_missing")
        failures: list[Failure] = []
        with self._guard():
            for url in self.urls:
                body = b""
                try:
                    body = self._ask(url, EVENTS + "FORMAT JSONCompact")
                    return decode_answer(body)
                except Failure as failure:
                    failures.append(failure)
                except (ValueError, RecursionError) as error:
                    failures.append(_bad_answer(url, body, str(error)))
            if all(failure.code in OUT_OF_REACH for failure in failures):
                raise _together(failures)
        raise _together(failures)

    def _ask(self, url: str, query: str) -> bytes:
        """The body of a good answer. Raises Failure."""
        import requests

        shown = without_password(url)
        try:
            return within(2 * self._timeout, lambda: self._post(url, query))
        except TimeoutError:
            raise _late(shown, 2 * self._timeout) from None
        except requests.exceptions.ConnectTimeout:
            raise _late(shown, min(CONNECT_SECONDS, self._timeout)) from None
        except requests.exceptions.Timeout:
            raise _late(shown, self._timeout) from None
        except requests.exceptions.ChunkedEncodingError as error:
            raise Failure(f"ClickHouse: the answer of {shown} was cut", code="bad_answer") from error
        except requests.exceptions.ConnectionError as error:
            raise _unreachable(shown, error) from error
        except (requests.exceptions.RequestException, ValueError) as error:
            # its words are not shown: of a bad header or URL they repeat the password
            raise Failure(f"ClickHouse: {shown} cannot be asked ({type(error).__name__})", code="bad_answer") from None

    def _post(self, url: str, query: str) -> bytes:
        import requests

        with requests.Session() as session:
            session.trust_env = False
            with session.post(
                url,
                params={"database": self.database},
                data=query.encode(),
                headers={"X-ClickHouse-User": self._user.encode(), "X-ClickHouse-Key": self._password.encode()},
                timeout=(min(CONNECT_SECONDS, self._timeout), self._timeout),
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = _bounded(answer, url)
        if answer.status_code != 200:
            raise self._refusal(without_password(url), answer.status_code, answer.headers, body)
        return body

    def _refusal(self, shown: str, status: int, headers: object, body: bytes) -> Failure:
        text = _line(body)
        found = re.search(rb"Code: (\d+)", body)
        code = int(found[1]) if found else 0
        if code in (NO_SUCH_USER, NOT_ALLOWED) or status in (401, 403):
            return Failure(
                f"ClickHouse: {shown} refuses the user {self._user}",
                code="permission_denied",
                hint="set CC_CLICKHOUSE_USER and CC_CLICKHOUSE_PASSWORD",
                evidence=(text,),
            )
        if code in (NO_TABLE, NO_DATABASE):
            table = f"{self.database}.otel_logs"
            return Failure(f"ClickHouse: {shown} has no table {table} yet", code="bad_answer", evidence=(text,))
        return Failure(f"ClickHouse: {shown} answered {status}: {text}", code="bad_answer", evidence=(text,))


def _together(failures: Sequence[Failure]) -> Failure:
    reason = "; ".join(dict.fromkeys(failure.message for failure in failures))
    first = failures[0]
    return Failure(reason, code=first.code, hint=first.hint, evidence=first.evidence)


def without_password(url: str) -> str:
    """The URL as it may be shown: no user, no password, no query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _bounded(answer: requests.Response, url: str) -> bytes:
    pieces, size = [], 0
    for piece in answer.iter_content(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise Failure(
                f"ClickHouse: {without_password(url)} answers more than {MOST_BYTES >> 20} MB", code="bad_answer"
            )
    return b"".join(pieces)


def _late(shown: str, seconds: float) -> Failure:
    return Failure(f"ClickHouse: no answer from {shown} within {seconds:g} s", code="deadline")


def _unreachable(shown: str, error: Exception) -> Failure:
    """Refused, no such host, no route: in the system's own words, which stand deep inside requests' exception."""
    why: BaseException = error
    reason: object = error
    while why.args and isinstance(reason := getattr(why, "reason", why.args[-1]), BaseException):
        why = reason
    found = why.__cause__ or why.__context__ or why
    text = getattr(found, "strerror", None) or str(reason)
    if "refused" in text.lower():
        return Failure(f"ClickHouse: connection refused at {shown}", code="connection_refused")
    return Failure(f"ClickHouse: {shown} cannot be reached: {text}", code="connection_refused")


def _bad_answer(url: str, body: bytes, why: str) -> Failure:
    found = re.search(rb"Code: \d+\. DB::Exception[^\n]{0,300}", body)
    text = found[0].decode("utf-8", "replace") if found else _line(body)
    what = text if found else f"no answer of ClickHouse's ({why})"
    return Failure(f"ClickHouse: {without_password(url)}: {what}", code="bad_answer", evidence=(text,))


def _line(body: bytes) -> str:
    """The beginning of an answer, as one line that may be shown."""
    text = body[:300].decode("utf-8", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()) or "(nothing)"
