"""The store that the collector writes to, asked over HTTP: the one module that imports requests.

Imports errors, resources.within, decode.

    POST <url>/?database=otel&param_since=7     the statement as the body; {since:Int64} in it is the parameter
    POST <url>/?database=otel&query=INSERT ...  the data as the body
                                                X-ClickHouse-User / X-ClickHouse-Key
    200 JSONCompact  {"meta": [...], "data": [["req_1", ...], ...], "rows": 1, ...}; after a change nothing
    4xx, 5xx         X-ClickHouse-Exception-Code: 60, "Code: 60. DB::Exception: ..."

    Failure              connection_refused, deadline, permission_denied, disk_full, bad_answer
    `- NoTableError      bad_answer: the table that was asked is not there (yet)

An answer can also fail after its 200: the text of the exception then stands in the middle of the rows. JSONCompact ends
with the number of rows, so that one cut anywhere is noticed. What answers, whatever it says, is in reach: only silence
and refusal are told to the guard that whoever makes the client puts around each question (a circuit breaker).
Values never become part of a statement: they are parameters, which the server itself puts in.
Neither proxies nor .netrc of the environment are used: the store is at the address that was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from cc.errors import Failure
from cc.resources.within import Result, within

if TYPE_CHECKING:
    import requests

MOST_BYTES = 512 << 20
CONNECT_SECONDS = 2.0
OUT_OF_REACH = frozenset({"connection_refused", "deadline"})
NO_TABLE, NO_DATABASE = 60, 81
READ_ONLY, NO_SUCH_USER, NOT_ALLOWED = 164, 516, 497
NO_SPACE = 243

ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
ESCAPED_QUOTED = {**ESCAPED, ord("'"): "\\'"}

Value = str | int | Sequence[str]
"""A parameter of a statement: String, a number, or Array(String)."""


class NoTableError(Failure):
    """The store answers, and has no such table: nobody has written to it yet."""

    def __init__(self, message: str, evidence: tuple[str, ...]) -> None:
        super().__init__(message, code="bad_answer", evidence=evidence)


class ClickHouse:
    """One store, by one URL or several of its replicas, tried in turn. `timeout` is seconds for one of them.

    Each question is asked inside a `guard()`, which sees a Failure only if no replica could be reached. Connections are
    kept from one question to the next. Safe to use from several threads.
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
        self._session: requests.Session | None = None

    def rows(self, statement: str, table: str, timeout: float | None = None, **params: Value) -> list[list[str]]:
        """The rows of a question whose columns are all strings. `table` is what it asks, for the message; `timeout` is
        seconds, where a long answer is worth waiting for.

        Raises Failure with a code and the URL (above), and what the guard raises.
        """
        from cc.usage.decode import decode_answer  # msgspec with it, no sooner than something is asked

        text = (statement + "\nFORMAT JSONCompact").encode()
        return self._in_turn(
            lambda url: self._decoded(url, self._ask(url, table, text, params, {}, timeout), decode_answer)
        )

    def change(self, statement: str, table: str, data: bytes | None = None, timeout: float = 60.0) -> None:
        """Run a statement that answers nothing, `data` being what it inserts. `timeout` is seconds, of each replica.

        Raises Failure as `rows` does. When it returns the store has written the data to its disk's cache.
        """
        if data is None:
            body, words = statement.encode(), {}
        else:
            body, words = data, {"query": statement, "async_insert": "0"}

        def tell(url: str) -> None:
            said = self._ask(url, table, body, {}, {**words, "wait_end_of_query": "1"}, timeout)
            if said.strip():
                raise _bad_answer(url, said, "it says something where it should be silent")

        self._in_turn(tell)

    def first_in_reach(self) -> ClickHouse:
        """The same store by the first URL that answers, and no other: what is compared there is written there.

        Raises Failure.
        """

        def reached(url: str) -> str:
            said = self._ask(url, "", b"SELECT 1", {}, {})
            if said.strip() != b"1":
                raise _bad_answer(url, said, "it is not what was asked for")
            return url

        url = self._in_turn(reached)
        return ClickHouse((url,), self._user, self._password, self.database, self._timeout, self._guard)

    def _in_turn(self, ask: Callable[[str], Result]) -> Result:
        """What the first URL says that can be asked."""
        if not self.urls:
            raise Failure("ClickHouse: no URL is configured", code="tool_missing")
        failures: list[Failure] = []
        with self._guard():
            for url in self.urls:
                try:
                    return ask(url)
                except Failure as failure:
                    failures.append(failure)
            if all(failure.code in OUT_OF_REACH for failure in failures):
                raise _together(failures)
        raise _together(failures)

    @staticmethod
    def _decoded(url: str, body: bytes, decode: Callable[[bytes], list[list[str]]]) -> list[list[str]]:
        try:
            return decode(body)
        except (ValueError, RecursionError) as error:
            raise _bad_answer(url, body, str(error)) from None

    def _ask(
        self,
        url: str,
        table: str,
        body: bytes,
        params: Mapping[str, Value],
        words: Mapping[str, str],
        timeout: float | None = None,
    ) -> bytes:
        """The body of a good answer. Raises Failure."""
        import requests

        shown, most = without_password(url), timeout or self._timeout
        words = {
            "database": self.database,
            **words,
            **{f"param_{name}": _written(each) for name, each in params.items()},
        }
        try:
            status, said = within(2 * most, lambda: self._post(url, words, body, most))
        except TimeoutError:
            raise _late(shown, 2 * most) from None
        except requests.exceptions.ConnectTimeout:
            raise _late(shown, min(CONNECT_SECONDS, most)) from None
        except requests.exceptions.Timeout:
            raise _late(shown, most) from None
        except requests.exceptions.ChunkedEncodingError as error:
            raise Failure(f"ClickHouse: the answer of {shown} was cut", code="bad_answer") from error
        except requests.exceptions.ConnectionError as error:
            raise _unreachable(shown, error) from error
        except (requests.exceptions.RequestException, ValueError) as error:
            # its words are not shown: of a bad header or URL they repeat the password
            raise Failure(f"ClickHouse: {shown} cannot be asked ({type(error).__name__})", code="bad_answer") from None
        if status != 200:
            raise self._refusal(shown, table, status, said)
        return said

    def _post(self, url: str, words: Mapping[str, str], body: bytes, timeout: float) -> tuple[int, bytes]:
        with self._connections().post(
            url,
            params=words,
            data=body,
            headers={"X-ClickHouse-User": self._user.encode(), "X-ClickHouse-Key": self._password.encode()},
            timeout=(min(CONNECT_SECONDS, timeout), timeout),
            allow_redirects=False,
            stream=True,
        ) as answer:
            return answer.status_code, _bounded(answer, url)

    def _connections(self) -> requests.Session:
        import requests

        session = self._session
        if session is None:
            session = self._session = requests.Session()
            session.trust_env = False
        return session

    def _refusal(self, shown: str, table: str, status: int, body: bytes) -> Failure:
        text = _line(body)
        found = re.search(rb"Code: (\d+)", body)
        code = int(found[1]) if found else 0
        if code in (NO_SUCH_USER, NOT_ALLOWED, READ_ONLY) or status in (401, 403):
            return Failure(
                f"ClickHouse: {shown} refuses the user {self._user}",
                code="permission_denied",
                hint="set CC_CLICKHOUSE_USER and CC_CLICKHOUSE_PASSWORD",
                evidence=(text,),
            )
        if code in (NO_TABLE, NO_DATABASE):
            return NoTableError(f"ClickHouse: {shown} has no table {self.database}.{table} yet", (text,))
        if code == NO_SPACE or b"No space left on device" in body:
            return Failure(
                f"ClickHouse: the disk of {shown} is full",
                code="disk_full",
                hint="make room where the store keeps its data, and type it again",
                evidence=(text,),
            )
        return Failure(f"ClickHouse: {shown} answered {status}: {text}", code="bad_answer", evidence=(text,))


def _together(failures: Sequence[Failure]) -> Failure:
    reason = "; ".join(dict.fromkeys(failure.message for failure in failures))
    first = failures[0]
    if all(isinstance(failure, NoTableError) for failure in failures):
        return NoTableError(reason, first.evidence)
    return Failure(reason, code=first.code, hint=first.hint, evidence=first.evidence)


def _written(value: Value) -> str:
    """A parameter as the server reads it: a text escaped as in TabSeparated, in an array quoted besides."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.translate(ESCAPED)
    return "[" + ",".join(f"'{each.translate(ESCAPED_QUOTED)}'" for each in value) + "]"


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
