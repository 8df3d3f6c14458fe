"""What tokens cost: dated data in prices.json beside this module, and a user's own file over it.

    {"models": {"claude-x": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write_5m": 3.75, "cache_write_1h": 6,
                             "fast": {the same five, and their own "long"}, "long": {the same five}},
                "claude-y": [{"input": 3, ...}, {"from": "2026-03-13", "input": 2, ...}]},
     "aliases": {"my-proxy-name": "claude-x"}}                                       USD per million tokens

A list is the prices of one time after another, each from its day on (UTC): a request costs what was valid when it was
made. A model that is not listed has no price, and a rate that is not given is not guessed: the cost is then unknown,
never 0. The name of a model is reduced to a listed one by rules, one after the other (`canonical`); never by its
beginning: claude-opus-4-9 must not be billed as claude-opus-4. Imports errors and document.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cc.errors import ConfigError

BUILT_IN = Path(__file__).with_name("prices.json")
KINDS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
"""The order of the counts wherever tokens are priced."""

PICO_PER_TOKEN = 10**6
"""1 USD per million tokens is this many pico-dollars a token."""

UNIT = "USD per million tokens"
MOST_BYTES = 1 << 20
ALWAYS = -(10**18)
"""Before any time of a request, in milliseconds since 1970."""

Rates = tuple["int | None", ...]
"""Pico-dollars a token, in the order of KINDS; None where one is not known."""

RULES = (
    ("/", r"^.*/", ""),  # anthropic/claude-x, openrouter/anthropic/claude-x, arn:...:inference-profile/us....
    (".", r"^(?:[a-z]+(?:-[a-z]+)?\.)?anthropic\.", ""),  # Bedrock: anthropic.claude-x, us.anthropic.claude-x
    ("[", r"\[\d+[km]\]$", ""),  # a context window: [1m]
    ("@", r"@(?:\d{8}|default|latest)$", ""),  # Vertex: claude-x@20250929
    ("-v", r"-v\d+(?::\d+)?(?::\d+k)?$", ""),  # Bedrock: -v1:0
    ("-", r"-(?:\d{8}|latest)$", ""),  # a release: -20250929
    (".", r"(?<=\d)\.(?=\d)", "-"),  # OpenRouter: claude-sonnet-4.5
)
"""What a name has in it if the pattern fits: most need never be compiled; the pattern; what is put in its place."""

MOST_NAMES = 4096


@lru_cache(MOST_NAMES)
def canonical(model: str) -> str:
    """The name under which this model would be listed. Remembered: each day's and each session's costs ask for it."""
    name = model.strip().lower()
    for part, pattern, put in RULES:
        if part in name:
            name = re.sub(pattern, put, name)
    return name


class Period(msgspec.Struct, frozen=True):
    """The rates of a model from a day on, until the next period's.

    `since` is milliseconds since 1970, or ALWAYS. `fast` is of the client's fast mode, `long` of requests that
    were given more than `groups.LONG_CONTEXT` tokens; None where those are billed as all others (`long`), or at rates
    that are not known (`fast`).
    """

    since: int
    rates: Rates
    fast: Rates | None = None
    long: Rates | None = None
    fast_long: Rates | None = None

    def of(self, *, fast: bool, long: bool) -> Rates | None:
        """The rates by which such requests are billed."""
        if fast:
            return (self.fast_long if long else None) or self.fast
        return (self.long if long else None) or self.rates


class Prices(msgspec.Struct, frozen=True):
    """The periods of each listed model, in the order of time, and other names of listed models.

    `own`: the user's file that is among them.
    """

    models: Mapping[str, tuple[Period, ...]]
    aliases: Mapping[str, str] = {}
    as_of: str = ""
    own: str | None = None

    def cost_pico(
        self, model: str, counts: tuple[int, ...], *, fast: bool = False, long: bool = False, at_ms: int | None = None
    ) -> int | None:
        """What so many tokens of each kind cost at that time; None if that cannot be known.

        Without a time it is known where all periods agree and there is none before them, of which no price is known.
        No tokens cost nothing at any price.
        """
        if not any(counts):
            return 0
        valid = self.periods(model)
        if at_ms is not None:
            valid = tuple(period for period in valid if period.since <= at_ms)[-1:]
        elif valid and valid[0].since > ALWAYS:
            return None
        costs = {_cost(period.of(fast=fast, long=long), counts) for period in valid}
        return costs.pop() if len(costs) == 1 else None

    def periods(self, model: str) -> tuple[Period, ...]:
        """Those of the listed model that is meant; none if it is not listed."""
        return self.models.get(self.name_of(model), ())

    def lacking(self, model: str) -> tuple[str, ...]:
        """The kinds of token for which a listed model has no rate at some time; none of one that is not listed."""
        periods = self.periods(model)
        return tuple(
            kind for kind, *rates in zip(KINDS, *(period.rates for period in periods), strict=False) if None in rates
        )

    def name_of(self, model: str) -> str:
        """The listed name: as it is, or by alias, or by the rules and then by alias."""
        if (listed := self._listed(model)) is not None:
            return listed
        reduced = canonical(model)
        return reduced if (listed := self._listed(reduced)) is None else listed

    def _listed(self, name: str) -> str | None:
        return name if name in self.models else self.aliases.get(name)


def _cost(rates: Rates | None, counts: tuple[int, ...]) -> int | None:
    if rates is None:
        return None
    cost = 0
    for tokens, rate in zip(counts, rates, strict=True):
        if tokens:
            if rate is None:
                return None
            cost += tokens * rate
    return cost


def load(override: Path | None = None) -> Prices:
    """The built-in prices, with the models and aliases of the user's file over them, if there is one.

    A model of the user's file replaces the built-in one: whole, or from the day on with which its first period begins.
    Raises ConfigError with the file, the field and, where it can be told, the line.
    """
    built_in = _read(BUILT_IN, Prices({}))
    return built_in if override is None else replace(_read(override, built_in), own=str(override))


def _read(path: Path, under: Prices) -> Prices:
    data = _data(path)
    try:
        return _over(under, _document(data))
    except _RefusedError as error:
        raise ConfigError(
            error.message,
            file=str(path),
            line=error.line or _line_of(data, error.path),
            field=".".join(error.path) or None,
            hint=error.hint,
        ) from error


class _RefusedError(Exception):
    """What is wrong in a list of prices, and where: the keys that lead there."""

    def __init__(self, message: str, *path: str, hint: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint
        self.line = line


def _data(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise ConfigError("too large for a list of prices", file=str(path))
            return file.read(MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"the prices cannot be read: {error.strerror}", file=str(path)) from error


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data, parse_float=Decimal, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(f"the prices are no JSON: {error}", line=getattr(error, "lineno", None)) from error
    if not isinstance(document, dict):
        raise _RefusedError('the prices must be an object with "models"')
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # the last would win, and the other be lost without a word
        names = [name for name, _ in pairs]
        raise _RefusedError(f"given twice: {next(name for name in names if names.count(name) > 1)!r}")
    return found


def _line_of(data: bytes, path: tuple[str, ...]) -> int | None:
    """The line of the value to which these keys lead, by the one reader that remembers places: JSON is YAML, nearly."""
    from cc import document as yaml_document  # for who made a mistake

    try:
        node = yaml_document.load(data, file="").root
    except ConfigError as error:
        return None if path else error.line
    line = None
    for key in path:
        inside = node.value[int(key)] if isinstance(node.value, list) else (node.value or {}).get(key)
        if inside is None:
            break
        node, line = inside, inside.line
    return line


def _over(under: Prices, given: dict[str, Any]) -> Prices:
    known = ("models", "aliases", "as_of", "unit", "about")
    for name in given:
        if name not in known:
            raise _RefusedError(f"unknown key {name!r}", name, hint="known: " + ", ".join(known))
    if given.get("unit", UNIT) != UNIT:
        raise _RefusedError(f"must be {UNIT!r}", "unit")
    for name in ("models", "aliases"):
        if not isinstance(given.get(name, {}), dict):
            raise _RefusedError("must be an object", name)
    models = dict(under.models)
    for name, periods in given.get("models", {}).items():
        own = _periods(periods, "models", name)
        earlier = (period for period in models.get(name, ()) if period.since < own[0].since)
        models[name] = (*earlier, *own)
    aliases = {**under.aliases, **given.get("aliases", {})}
    for name in given.get("aliases", {}):
        if name in models:
            raise _RefusedError("is a listed model: give it rates of its own under `models`", "aliases", name)
    for name, target in aliases.items():
        if target not in models:
            raise _RefusedError(f"must be the name of a listed model, not {target!r}", "aliases", name)
    return Prices(models, aliases, str(given.get("as_of", under.as_of)))


def _periods(given: object, *path: str) -> tuple[Period, ...]:
    if not isinstance(given, list):
        return (_period(given, *path),)
    found = [_period(each, *path, str(number)) for number, each in enumerate(given)]
    if not found:
        raise _RefusedError("must be an object of prices, or several", *path)
    for number in range(1, len(found)):
        if found[number].since <= found[number - 1].since:
            raise _RefusedError("must begin later than the period before it", *path, str(number), "from")
    return tuple(found)


def _period(given: object, *path: str) -> Period:
    ways = {"fast": ("long",), "long": ()}
    rates, more = _rates(given, ("from", "basis", *ways), *path)
    other: dict[str, Rates] = {}
    for way, inside in ways.items():
        if way in more:
            other[way], deeper = _rates(more[way], inside, *path, way)
            for name, its in deeper.items():
                other[f"{way}_{name}"], _ = _rates(its, (), *path, way, name)
    since = _midnight(more["from"], *path, "from") if "from" in more else ALWAYS
    return Period(since, rates, **other)


def _midnight(value: object, *path: str) -> int:
    try:
        day = date.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise _RefusedError(f"must be a day such as 2026-01-31, not {value!r}", *path) from error
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()) * 1000


def _rates(given: object, besides: tuple[str, ...], *path: str) -> tuple[Rates, dict[str, Any]]:
    """The five rates, and what stands beside them."""
    if not isinstance(given, dict):
        raise _RefusedError("must be an object of prices", *path)
    for name in given:
        if name not in KINDS and name not in besides:
            raise _RefusedError(f"unknown price {name!r}", *path, hint="known: " + ", ".join((*KINDS, *besides)))
    rates = tuple(_rate(given.get(kind), *path, kind) for kind in KINDS)
    return rates, {name: given[name] for name in given if name in besides}


def _rate(value: object, *path: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 <= value < 10**6:
        pico = value * PICO_PER_TOKEN
        if pico == int(pico):
            return int(pico)
        raise _RefusedError(f"has more than six decimals: {value}", *path)
    raise _RefusedError(f"must be a price in USD per million tokens, not {value!r}", *path)
