"""Prices: what the client charges, names reduced by rule, and a user's own list."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from cc.errors import ConfigError
from cc.usage.prices import canonical, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-4-5-20250929[1m]", "claude-sonnet-4-5"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openrouter/anthropic/claude-opus-4.1", "claude-opus-4-1"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0:200k", "claude-3-haiku"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0[1m]", "claude-sonnet-4-5"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-5-20251101-v1:0",
            "claude-opus-4-5",
        ),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("claude-opus-4-9", "claude-opus-4-9"),
        ("gpt-5", "gpt-5"),
    ],
)
def test_a_models_name_is_reduced_by_rule(model: str, name: str) -> None:
    assert canonical(model) == name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-5-haiku-20241022", (0.8, 4, 1, 1.6, 0.08)),
        ("claude-sonnet-4-20250514", (3, 15, 3.75, 6, 0.3)),
        ("claude-sonnet-4-0", (3, 15, 3.75, 6, 0.3)),
        ("claude-opus-4-20250514", (15, 75, 18.75, 30, 1.5)),
        ("claude-opus-4-6", (5, 25, 6.25, 10, 0.5)),
        ("claude-opus-5-5", (4, 20, 5, 8, 0.2)),
        ("claude-sonnet-5", (2, 10, 2.5, 4, 0.2)),
        ("claude-sonnet-5-5", (2, 10, 2.5, 4, 0.1)),
        ("claude-haiku-4-5-20251001", (1, 5, 1.25, 2, 0.1)),
    ],
)
def test_a_million_tokens_of_each_kind_cost_what_the_client_charges(model: str, expected: tuple[float, ...]) -> None:
    rates = load()
    for place, usd in enumerate(expected):
        counts = tuple(10**6 if place == other else 0 for other in range(5))
        assert rates.cost_pico(model, counts) == round(usd * 10**12)


@pytest.mark.parametrize(
    "model", ["claude-opus-4-9", "claude-opus", "claude-opus-4-6-turbo", "opus", "gpt-5", "", "unknown"]
)
def test_a_model_that_is_not_listed_has_no_price_however_it_begins(model: str) -> None:
    assert load().cost_pico(model, (1, 0, 0, 0, 0)) is None


def test_fast_mode_without_a_rate_of_its_own_is_unknown_and_not_the_ordinary_price() -> None:
    assert load().cost_pico("claude-opus-5-5", (1, 0, 0, 0, 0), fast=True) is None


MILLION = (10**6, 0, 0, 0, 0)


def at(day: str) -> int:
    return round(datetime.fromisoformat(day + "T00:00:00+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("model", "day", "way", "usd"),
    [
        ("claude-sonnet-4-20250514", None, {"long": True}, 6),
        ("claude-sonnet-4-5", None, {"long": True}, 6),
        ("claude-sonnet-4-6", "2026-03-12", {"long": True}, 6),
        ("claude-sonnet-4-6", "2026-03-13", {"long": True}, 3),
        ("claude-sonnet-4-6", None, {"long": True}, None),  # it depends on the time
        ("claude-sonnet-4-6", None, {}, 3),
        ("claude-opus-4-6", "2026-03-12", {"long": True}, 10),
        ("claude-opus-4-6", "2026-03-12", {"fast": True}, 30),
        ("claude-opus-4-6", "2026-03-12", {"fast": True, "long": True}, 60),
        ("claude-opus-4-6", "2026-03-13", {"fast": True, "long": True}, 30),
        ("claude-opus-5", None, {"fast": True, "long": True}, 10),
        ("claude-opus-5", None, {"long": True}, 5),
        ("claude-haiku-4-5", None, {"fast": True}, None),
    ],
)
def test_a_request_costs_what_was_valid_for_its_way_of_billing_at_its_time(
    model: str, day: str | None, way: dict[str, bool], usd: float | None
) -> None:
    cost = load().cost_pico(model, MILLION, **way, at_ms=at(day) if day else None)
    assert cost == (None if usd is None else usd * 10**12)


def test_the_rates_of_every_way_of_billing_are_one_multiple_of_the_ordinary_ones_or_dearer() -> None:
    """A slip of the pen in the file, such as an input price in the place of a read."""
    for name, periods in load().models.items():
        for period in periods:
            given, _, for_5m, for_hour, read = (rate or 0 for rate in period.rates)
            assert 0 < read < given < for_5m < for_hour, name
            for other in (period.fast, period.long, period.fast_long):
                if other is not None:
                    times = (other[0] or 0) / given
                    assert times >= 1, name
                    assert [other[2], other[3], other[4]] == [for_5m * times, for_hour * times, read * times], name


def test_a_request_without_a_time_has_no_price_where_none_is_known_of_all_times(tmp_path: Path) -> None:
    dated = [{"from": "2026-01-01", "input": 1}, {"from": "2026-06-01", "input": 1}]
    rates = load(own(tmp_path, {"models": {"later": {"from": "2027-01-01", "input": 7}, "same": dated,
                                           "always": [{"input": 1}, *dated[1:]]}}))  # fmt: skip
    for model, cost in (("later", None), ("same", None), ("always", 10**12)):
        assert rates.cost_pico(model, MILLION) == cost
    assert rates.cost_pico("later", MILLION, at_ms=at("2026-12-31")) is None
    assert rates.cost_pico("same", MILLION, at_ms=at("2026-02-01")) == 10**12
    assert rates.cost_pico("later", (0, 0, 0, 0, 0)) == 0


def own(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_users_prices_replace_the_built_in_ones_model_by_model(tmp_path: Path) -> None:
    rates = load(
        own(
            tmp_path,
            {
                "models": {
                    "claude-opus-5-5": {"input": 1.5, "output": 2, "fast": {"input": 3, "output": 4}},
                    "local": {"input": 0, "output": 0},
                },
                "aliases": {"my-proxy": "claude-haiku-4-5"},
            },
        )
    )
    assert rates.cost_pico("claude-opus-5-5", (10, 0, 0, 0, 0)) == 15_000_000
    assert rates.cost_pico("claude-opus-5-5", (10, 0, 0, 0, 0), fast=True) == 30_000_000
    assert rates.cost_pico("claude-opus-5-5", (10, 0, 0, 0, 1)) is None  # a rate that was not given is not guessed
    assert rates.cost_pico("local", (10, 10, 0, 0, 0)) == 0
    assert rates.cost_pico("my-proxy", (10, 0, 0, 0, 0)) == 10_000_000
    assert rates.cost_pico("claude-haiku-4-5", (10, 0, 0, 0, 0)) == 10_000_000


def test_a_users_prices_from_a_day_on_leave_those_before_it(tmp_path: Path) -> None:
    changes = [{"from": "2026-12-01", "input": 7}, {"from": "2027-01-01", "input": 8}]
    rates = load(own(tmp_path, {"models": {"claude-haiku-4-5": changes[0], "new": changes}}))
    assert rates.cost_pico("claude-haiku-4-5", MILLION, at_ms=at("2026-11-30")) == 10**12
    assert rates.cost_pico("claude-haiku-4-5", MILLION, at_ms=at("2026-12-01")) == 7 * 10**12
    found = [rates.cost_pico("new", MILLION, at_ms=at(f"{day}-15")) for day in ("2026-11", "2026-12", "2027-02")]
    assert found == [None, 7 * 10**12, 8 * 10**12]
    replaced = load(own(tmp_path, {"models": {"claude-opus-4-6": {"input": 1}}}))
    assert replaced.cost_pico("claude-opus-4-6", MILLION, long=True, at_ms=at("2026-02-10")) == 10**12


def test_a_price_is_exact_however_it_is_written(tmp_path: Path) -> None:
    rates = load(own(tmp_path, '{"models": {"a": {"input": 0.000001, "output": 1e-1, "cache_read": 0.30}}}'))
    assert rates.cost_pico("a", (1, 1, 0, 0, 1)) == 1 + 100_000 + 300_000


@pytest.mark.parametrize(
    ("text", "field", "line"),
    [
        ('{\n "models": {\n  "a.b": {\n   "input": 1,\n   "output": "x"}}}', "models.a.b.output", 5),
        ('{"models": {\n\t"a": [{"input": 1},\n\t{"from": "2026-1-1"}]}}', "models.a.1.from", 3),
        ('{"models": {"a": {\n"input": 1,\n"input": 2}}}', None, 3),
        ('{"models": {\n"a": {"input" 1}}}', None, 2),
        ('{\n\n"modles": {}}', "modles", 3),
        ('{"aliases":\n{"a": "b"}}', "aliases.a", 2),
    ],
)
def test_the_line_of_what_is_wrong_is_told(text: str, field: str | None, line: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(own(tmp_path, text))
    assert (caught.value.field, caught.value.line) == (field, line)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("not json", None),
        ("[" * 100_000, None),
        ('{"models": {"a": {"input": 1' + "0" * 10_000 + "}}}", None),
        ({"model": {}}, "model"),
        ({"unit": "EUR per token"}, "unit"),
        ({"models": {"a": []}}, "models.a"),
        ({"models": {"a": {"from": 5}}}, "models.a.from"),
        ({"models": {"a": [{"from": "2026-01-02"}, {"from": "2026-01-01"}]}}, "models.a.1.from"),
        ({"models": {"a": [{}, {}]}}, "models.a.1.from"),
        ({"models": {"a": {"input": 0.0000001}}}, "models.a.input"),
        ({"models": {"a": {"long": {"long": {}}}}}, "models.a.long"),
        ({"models": {"a": {"fast": {"long": {"input": -1}}}}}, "models.a.fast.long.input"),
        ({"aliases": {"a": "no-such-model"}}, "aliases.a"),
        ([1], None),
        ({"models": []}, "models"),
        ({"models": {"a": 5}}, "models.a"),
        ({"models": {"a": {"inptu": 5}}}, "models.a"),
        ({"models": {"a": {"input": "5"}}}, "models.a.input"),
        ({"models": {"a": {"input": -5}}}, "models.a.input"),
        ({"models": {"a": {"input": 10**9}}}, "models.a.input"),
        ('{"models": {"a": {"input": NaN}}}', "models.a.input"),
        ({"models": {"a": {"fast": {"output": True}}}}, "models.a.fast.output"),
        ({"aliases": {"a": 5}}, "aliases.a"),
        ({"aliases": {"claude-haiku-4-5": "claude-opus-4"}}, "aliases.claude-haiku-4-5"),
    ],
)
def test_a_bad_list_of_prices_is_an_error_with_its_file_and_field(
    document: Any, field: str | None, tmp_path: Path
) -> None:
    path = own(tmp_path, document)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert (caught.value.file, caught.value.field) == (str(path), field)


def test_a_list_of_prices_that_is_not_there_or_far_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match="too large"):
        load(own(tmp_path, " " * (2 << 20)))
