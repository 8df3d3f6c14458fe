"""`usage --csv`: what a spreadsheet and a program read."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import pytest

from cc.report.usage_csv import usage_csv
from cc.usage.model import Block, By, Coverage, Reading, Row, Totals


def reading(*rows: Row, by: By = "model") -> Reading:
    return Reading("files", "2026-11-24T10:00:00Z", False, None, Coverage(), Totals(), by, rows)


def read(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def totals(cost: str | None, **more: Any) -> Totals:
    return Totals(2, 203, 83, 400, 6000, None if cost is None else Decimal(cost), **more)


def test_a_row_for_each_key_under_a_header_lines_ended_as_rfc_4180_has_it() -> None:
    assert usage_csv(reading(Row("claude-x", totals("0.005972")), by="model")) == (
        "model,messages,input_tokens,output_tokens,cache_creation_tokens,cache_read_tokens,cost_usd,cost_known_usd,"
        "cost_unknown_models\r\nclaude-x,2,203,83,400,6000,0.005972,0.005972,\r\n"
    )


def test_without_rows_there_is_the_header() -> None:
    (header,) = usage_csv(reading(by="day")).splitlines()
    assert header.startswith("day,messages,")


@pytest.mark.parametrize("key", ['a,b"c', "two\nlines", "'", "日本語", " x "])
def test_any_key_comes_back_as_it_was(key: str) -> None:
    assert read(usage_csv(reading(Row(key, totals("1")))))[0]["model"] == key


@pytest.mark.parametrize("key", ["=1+1", "+1", "-home-user", "@SUM(A1)", "\t=1", "\n=1"])
def test_nothing_is_a_formula(key: str) -> None:
    (row,) = read(usage_csv(reading(Row(key, totals(None, cost_unknown_models=(key,))))))
    assert (row["model"], row["cost_unknown_models"]) == (f"'{key}", f"'{key}")


@pytest.mark.parametrize("key", ["\x1b[2J", "\x00", "\r", "\u202e"])
def test_nothing_moves_the_cursor(key: str) -> None:
    (row,) = read(usage_csv(reading(Row(f"a{key}b", totals("1")))))
    assert row["model"] == f"a{key.replace(key[0], chr(0xFFFD), 1)}b"


@pytest.mark.parametrize(
    ("cost", "cell"),
    [
        ("0", "0"), ("100", "100"), ("1E+3", "1000"), ("0.000000000001", "0.000000000001"), ("0.1000", "0.1"),
        ("123456789.123456789012", "123456789.123456789012"),
    ],
)  # fmt: skip
def test_costs_are_exact_and_never_written_with_an_exponent(cost: str, cell: str) -> None:
    assert read(usage_csv(reading(Row("x", totals(cost)))))[0]["cost_usd"] == cell


def test_a_cost_that_is_not_known_is_empty_and_what_is_known_stands_beside_it() -> None:
    unknown = totals(None, cost_unknown_models=("a", "b (fast)"), cost_known_usd=Decimal("1.5"))
    (row,) = read(usage_csv(reading(Row("x", unknown))))
    assert (row["cost_usd"], row["cost_known_usd"], row["cost_unknown_models"]) == ("", "1.5", "a; b (fast)")


def test_blocks_say_when_they_are_and_whether_one_is_active() -> None:
    hour = 3_600_000
    found = read(
        usage_csv(
            reading(
                Row("1970-01-01T00:00", totals("1"), Block(0, 5 * hour, 60_000)),
                Row("1970-01-01T05:00", totals("1"), Block(5 * hour, 10 * hour, 5 * hour, 6 * hour)),
                Row("unknown", totals("1")),
                by="block",
            )
        )
    )
    assert [[row["start"], row["end"], row["active"]] for row in found] == [
        ["1970-01-01T00:00:00Z", "1970-01-01T05:00:00Z", "false"],
        ["1970-01-01T05:00:00Z", "1970-01-01T10:00:00Z", "true"],
        ["", "", "false"],
    ]
