"""Durations as Go writes them: what is read and how it is printed again, and what is refused.

The tables are what Go itself answers.
"""

from __future__ import annotations

import pytest

from cc.resources.go_duration import nanoseconds, printed, seconds


@pytest.mark.parametrize(
    ("text", "amount", "again"),
    [
        ("0", 0, "0s"),
        ("-0", 0, "0s"),
        ("90s", 90 * 10**9, "1m30s"),
        ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
        ("3.5s1h2m", 3_723_500_000_000, "1h2m3.5s"),
        ("1.5h", 5_400 * 10**9, "1h30m0s"),
        (".5m", 30 * 10**9, "30s"),
        ("5.s", 5 * 10**9, "5s"),
        ("500ms", 500_000_000, "500ms"),
        ("12us", 12_000, "12\u00b5s"),
        ("12\u00b5s", 12_000, "12\u00b5s"),
        ("12\u03bcs", 12_000, "12\u00b5s"),
        ("+1.7ns", 1, "1ns"),  # cut off, as Go does
        ("-2s", -2 * 10**9, "-2s"),
        ("2562047h47m16.854775807s", 2**63 - 1, "2562047h47m16.854775807s"),
    ],
)
def test_it_is_read_and_printed_as_go_does(text: str, amount: int, again: str) -> None:
    assert (nanoseconds(text), printed(amount)) == (amount, again)


@pytest.mark.parametrize(
    "text",
    ["", "s", "-", "90", "1d", "1.2.3s", "3 s", " 3s", "3s ", "1h-2m", "--1s", ".s", "1e3s", "\u0661s", "soon", "1S",
     "00", "0." + "0" * 100 + "s"],
)  # fmt: skip
def test_what_go_would_not_read_is_refused_and_so_is_what_is_absurdly_long(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration with units$"):
        nanoseconds(text)


@pytest.mark.parametrize("text", ["2562047h47m16.854775808s", "300000000h", "9" * 90 + "ns"])
def test_more_than_go_holds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration that is not too long$"):
        nanoseconds(text)


def test_in_seconds() -> None:
    assert seconds("1m30.25s") == 90.25
