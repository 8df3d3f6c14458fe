"""What tokens cost: dated data in prices.json beside this module, and a user's own file over it. Imports errors.

    {"models": {"claude-x": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write_5m": 3.75, "cache_write_1h": 6,
                             "fast": {the same five}, "long": {the same five}}},
     "aliases": {"my-proxy-name": "claude-x"}}                                       USD per million tokens

A model that is not listed has no price, and a rate that is not given is not guessed: the cost is then unknown, never 0.
The name of a model is reduced to a listed one by rules, one after the other (`canonical`); never by its beginning:
claude-opus-4-9 must not be billed as claude-opus-4.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from cc.errors import ConfigError

BUILT_IN = Path(__file__).with_name("prices.json")
KINDS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
"""The order of the counts wherever tokens are priced."""

PICO_PER_TOKEN = 10**6
"""1 USD per million tokens is this many pico-dollars a token."""

MOST_BYTES = 1 << 20

RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^.*/"), ""),  # anthropic/claude-x, openrouter/anthropic/claude-x, arn:...:inference-profile/us....
    (re.compile(r"^(?:[a-z]+(?:-[a-z]+)?\.)?anthropic\."), ""),  # Bedrock: anthropic.claude-x, us.anthropic.claude-x
    (re.compile(r"\[\d+[km]\]$"), ""),  # a context window: [1m]
    (re.compile(r"@(?:\d{8}|default|latest)$"), ""),  # Vertex: claude-x@20250929
    (re.compile(r"-v\d+(?::\d+)?(?::\d+k)?$"), ""),  # Bedrock: -v1:0
    (re.compile(r"-(?:\d{8}|latest)$"), ""),  # a release: -20250929
    (re.compile(r"(?<=\d)\.(?=\d)"), "-"),  # OpenRouter: claude-sonnet-4.5
)


def canonical(model: str) -> str:
    """The name under which this model would be listed."""
    name = model.strip().lower()
    for pattern, put in RULES:
        name = pattern.sub(put, name)
    return name


@dataclass(frozen=True, slots=True)
class Prices:
    """Rates in pico-dollars a token, in the order of KINDS; None where one is not known."""

    rates: Mapping[str, tuple[int | None, ...]]
    fast: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    long: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    as_of: str = ""

    def cost_pico(self, model: str, counts: tuple[int, ...], *, fast: bool = False, long: bool = False) -> int | None:
        """What so many tokens of each kind cost; None if that cannot be known. No tokens cost nothing at any price.

        `long`: of requests that were given more than `groups.LONG_CONTEXT` tokens. Most models bill them as all others.
        """
        if not any(counts):
            return 0
        name = self.name_of(model)
        rates = self.fast.get(name) if fast else (self.long.get(name) if long else None) or self.rates.get(name)
        if rates is None:
            return None
        cost = 0
        for tokens, rate in zip(counts, rates, strict=True):
            if tokens:
                if rate is None:
                    return None
                cost += tokens * rate
        return cost

    def name_of(self, model: str) -> str:
        """The listed name: as it is, or by alias, or by the rules and then by alias."""
        for name in (model, canonical(model)):
            if name in self.rates:
                return name
            if name in self.aliases:
                return self.aliases[name]
        return canonical(model)


def load(override: Path | None = None) -> Prices:
    """The built-in prices, with the models and aliases of the user's file over them, if there is one.

    A model of the user's file replaces the built-in one whole. Raises ConfigError with the file and the field.
    """
    built_in = _parsed(BUILT_IN)
    if override is None:
        return built_in
    own = _parsed(override)
    return Prices(
        {**built_in.rates, **own.rates},
        {**{name: rates for name, rates in built_in.fast.items() if name not in own.rates}, **own.fast},
        {**{name: rates for name, rates in built_in.long.items() if name not in own.rates}, **own.long},
        {**built_in.aliases, **own.aliases},
        own.as_of or built_in.as_of,
    )


def _parsed(path: Path) -> Prices:
    document = _document(path)
    models, aliases = document.get("models", {}), document.get("aliases", {})
    for name, value in (("models", models), ("aliases", aliases)):
        if not isinstance(value, dict):
            raise ConfigError("must be an object", file=str(path), field=name)
    rates, fast, long = {}, {}, {}
    for name, given in models.items():
        rates[name] = _rates(given, path, f"models.{name}")
        if "fast" in given:
            fast[name] = _rates(given["fast"], path, f"models.{name}.fast")
        if "long" in given:
            long[name] = _rates(given["long"], path, f"models.{name}.long")
    for name, target in aliases.items():
        if not isinstance(target, str):
            raise ConfigError("must be the name of a model", file=str(path), field=f"aliases.{name}")
    return Prices(rates, fast, long, aliases, str(document.get("as_of", "")))


def _document(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise ConfigError("too large for a list of prices", file=str(path))
            document = json.loads(file.read(MOST_BYTES), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"the prices cannot be read: {error.strerror}", file=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"the prices are no JSON: {error}", file=str(path), line=getattr(error, "lineno", None)
        ) from error
    if not isinstance(document, dict):
        raise ConfigError('the prices must be an object with "models"', file=str(path))
    return document


def _rates(given: object, path: Path, where: str) -> tuple[int | None, ...]:
    if not isinstance(given, dict):
        raise ConfigError("must be an object of prices", file=str(path), field=where)
    unknown = set(given) - {*KINDS, "fast", "long", "basis"}
    if unknown:
        known = ", ".join(KINDS)
        raise ConfigError(f"unknown price {min(unknown)!r}", file=str(path), field=where, hint=f"known: {known}")
    return tuple(_rate(given.get(kind), path, f"{where}.{kind}") for kind in KINDS)


def _rate(value: object, path: Path, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 <= value < 10**6:
        return int(value * PICO_PER_TOKEN)
    raise ConfigError(f"must be a price in USD per million tokens, not {value!r}", file=str(path), field=where)
