"""Anthropic's own count (LADDERS.md, L8 rung 0): the one module that imports anthropic, and only when there is a key.

    POST <base>/v1/messages/count_tokens  {"model": ..., "messages": [{"role": "user", "content": TEXT}]}
    200 {"input_tokens": 14}  ·  401, 403 the key  ·  404 the model  ·  429, 5xx, 529 not now, maybe with retry-after

One call a text, so both their number and their size are bounded, and one deadline holds for all of them. What says when
to come again is asked again if that is before the deadline; nothing else is tried twice.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from cc.clock import Cancel, Clock
from cc.errors import Failure
from cc.resources.breakers import Breakers
from cc.resources.within import within

if TYPE_CHECKING:
    import anthropic

BREAKER = "anthropic"
SAY_AFTER_S = 1.0
MOST_TEXTS = 20
MOST_CHARS = 4_000_000
NO_KEY = "no key: neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set"
OUT_OF_REACH = frozenset({"connection_refused", "deadline", "unhealthy"})
REFUSED = {401: "permission_denied", 403: "permission_denied", 404: "not_satisfied", 429: "unhealthy"}
SAID = {
    401: "the key is not accepted",
    403: "the key may not do this",
    404: "there is no such model",
    429: "rate limit",
}


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks, and where. `timeout` is seconds for all texts together. Secrets stay out of its repr."""

    api_key: str | None = field(default=None, repr=False)
    auth_token: str | None = field(default=None, repr=False)
    base_url: str | None = None
    timeout: float = 10.0

    @classmethod
    def of(cls, environ: Mapping[str, str], timeout: float) -> Account:
        """By the variables that Anthropic's own client knows."""
        key, token, base = (
            environ.get(name, "").strip() or None
            for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL")
        )
        return cls(key, token, base, timeout)

    @property
    def known(self) -> bool:
        return bool(self.api_key or self.auth_token)


def no_key() -> Failure:
    return Failure(NO_KEY, code="tool_missing", hint="set ANTHROPIC_API_KEY")


class Counter:
    """Counts by asking. `cancel` ends a wait for the time that a server named; `say` hears after a second of a wait."""

    def __init__(
        self,
        account: Account,
        breakers: Breakers,
        clock: Clock,
        cancel: Cancel | None = None,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._account, self._breakers, self._clock, self._cancel = account, breakers, clock, cancel
        self._say = say

    @property
    def known(self) -> bool:
        """Whether there is a key at all: without one nothing is imported and nobody asked."""
        return self._account.known

    def count(self, texts: Sequence[str], model: str) -> list[int]:
        """Tokens of each text as one message, its frame included; 0 of an empty one, which nobody is asked about.

        Raises Failure: tool_missing without a key, and as `_failure` says; breaker_open is not for typed commands.
        """
        if not self.known:
            raise no_key()
        with self._breakers.guarding(BREAKER, typed=True, counts=lambda failure: failure.code in OUT_OF_REACH):
            client = self._client()
            end = self._clock.now() + self._account.timeout  # importing the client is no time that anybody waited for
            with client, self._patience():
                return [self._one(client, text, model, end) if text.strip() else 0 for text in texts]

    @contextmanager
    def _patience(self) -> Iterator[None]:
        line = f"waiting for Anthropic's count, {self._account.timeout:g} s at most (--offline estimates at once)"
        timer = threading.Timer(SAY_AFTER_S, self._say, (line,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _client(self) -> anthropic.Anthropic:
        import anthropic

        account = self._account
        try:
            return anthropic.Anthropic(
                api_key=account.api_key, auth_token=account.auth_token, base_url=account.base_url, max_retries=0
            )
        except (anthropic.AnthropicError, ValueError) as error:
            raise Failure(f"Anthropic's client refuses to start ({type(error).__name__})", code="bad_config") from None

    def _one(self, client: anthropic.Anthropic, text: str, model: str, end: float) -> int:
        import anthropic

        while True:
            left = end - self._clock.now()
            try:
                if left <= 0:
                    raise TimeoutError
                answer = within(left, partial(_asked, client, text, model, left), _errors())
            except (TimeoutError, anthropic.APITimeoutError):
                message = f"no answer from {_place(client)} within {self._account.timeout:g} s"
                raise Failure(message, code="deadline") from None
            except anthropic.APIStatusError as error:
                if not self._again(error, end):
                    raise _failure(error, _place(client)) from error
                continue
            except anthropic.APIConnectionError as error:
                raise Failure(
                    f"{_place(client)} is out of reach: {_cause(error)}", code="connection_refused"
                ) from error
            except _errors() as error:
                # its words are not shown: of a header that can't be sent they repeat the key
                raise Failure(f"{_place(client)} cannot be asked ({type(error).__name__})", code="bad_answer") from None
            return _tokens_in(answer, _place(client))

    def _again(self, error: anthropic.APIStatusError, end: float) -> bool:
        """Wait as long as the server asked for. False if it named no time, or one after the deadline."""
        after = retry_after(error.response.headers)
        if after is None or self._clock.now() + after >= end or error.status_code not in (429, 503, 529):
            return False
        return self._clock.wait(after, self._cancel)


def _asked(client: anthropic.Anthropic, text: str, model: str, timeout: float) -> Any:
    return client.messages.count_tokens(
        model=model, messages=[{"role": "user", "content": text}], timeout=timeout
    )  # fmt: skip


def _errors() -> tuple[type[Exception], ...]:
    import anthropic

    return anthropic.AnthropicError, OSError, ValueError, RuntimeError, TypeError


def _tokens_in(answer: object, place: str) -> int:
    tokens = getattr(answer, "input_tokens", None)
    if type(tokens) is not int or tokens < 0:
        raise Failure(f"{place} answered without a number of tokens", code="bad_answer")
    return tokens


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server wants to be asked again; None where it named no number of them."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _failure(error: anthropic.APIStatusError, place: str) -> Failure:
    status = error.status_code
    code = REFUSED.get(status, "unhealthy" if status >= 500 else "bad_answer")
    kind = "overloaded" if status == 529 else "an error of its own" if status >= 500 else "refused"
    said = SAID.get(status, kind)
    after = retry_after(error.response.headers)
    wait = f", to be asked again after {after:g} s" if after is not None else ""
    return Failure(f"{place} answered {status}: {said}{wait}", code=code)


def _place(client: anthropic.Anthropic) -> str:
    return f"{client.base_url.host}:{client.base_url.port}" if client.base_url.port else client.base_url.host


def _cause(error: BaseException) -> str:
    """The system's own words, which stand at the bottom of the chain."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__).lower()[:200]
