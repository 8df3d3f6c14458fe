"""`usage` as it is typed: on a terminal, in a pipe, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.integration.box import Box
from tests.integration.test_command_line import in_terminal

FILES = ("usage", "--source", "files")


def sessions(box: Box, *moments: str, model: str = "claude-opus-5-5") -> None:
    """A request of 100 input and 10 output tokens at each of these times."""
    folder = Path(box.env["CLAUDE_CONFIG_DIR"]) / "projects" / "-srv-app"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "type": "assistant", "sessionId": "s1", "requestId": f"r{number}", "timestamp": moment, "cwd": "=srv/app",
            "message": {"id": f"m{number}", "model": model, "role": "assistant",
                        "usage": {"input_tokens": 100, "output_tokens": 10}},
        }
        for number, moment in enumerate(moments)
    ]  # fmt: skip
    (folder / "s1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def ago(**more: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(**more)).isoformat(timespec="seconds")


def rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_terminal_gets_bars_and_a_line_of_days_and_a_pipe_gets_neither(box: Box) -> None:
    sessions(box, ago(days=3), ago(days=1), ago(days=1))
    shown = in_terminal(box, 100, *FILES)
    assert "Cost by day" in shown
    assert "\x1b[32m█" in shown
    plain = in_terminal(box, 100, *FILES, "--no-color")
    assert "█" in plain
    assert "\x1b" not in plain
    piped = box.run(*FILES).out
    assert piped.startswith("3 requests, 330 tokens, 0.001800 USD\n")
    assert not set(piped) & set("█\x1b|")


def test_the_locale_c_gets_ascii_on_a_terminal_too(box: Box) -> None:
    sessions(box, ago(days=3), ago(days=1))
    box.env["LANG"] = "C"
    shown = in_terminal(box, 100, *FILES, "--no-color")
    assert shown.isascii()
    assert "####" in shown


def test_strict_minds_a_file_that_could_not_be_read(box: Box) -> None:
    sessions(box, ago(days=1))
    assert box.run(*FILES, "--strict").code == 0
    (Path(box.env["CLAUDE_CONFIG_DIR"]) / "projects" / "-srv-app" / "gone.jsonl").symlink_to("nowhere")
    assert box.run(*FILES).code == 0
    for form in ((), ("--json",), ("--csv",), ("--quiet",)):
        assert box.run(*FILES, "--strict", *form).code == 3


def test_times_that_cannot_be_are_told_of_in_every_form(box: Box) -> None:
    sessions(box, "2026-11-20T10:40:00Z", "1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "nonsense")
    said = (
        "times: 2 requests are dated before 2020 (1) or in the future (1): that is wrong, and they are counted under"
        " those dates; 1 request has no usable time: it is on no day (`unknown`) and in no span of time\n"
    )
    assert said in box.run(*FILES).out
    assert said in box.run(*FILES, "--csv").err
    coverage = box.ask(*FILES).json["coverage"]
    assert coverage["odd_times"] == {"before_2020": 1, "in_the_future": 1, "none": 1}
    assert (coverage["first"], coverage["last"]) == ("2026-11-20T10:40:00Z", "2026-11-20T10:40:00Z")
    sessions(box, ago(days=1))
    assert "times:" not in box.run(*FILES).out


def test_the_same_rows_as_json_and_as_csv(box: Box) -> None:
    sessions(box, "2026-11-20T10:40:00Z", "2026-11-20T15:30:00Z", "nonsense")
    for by in ("day", "week", "month", "model", "project", "session", "block"):
        told = box.ask(*FILES, "--by", by, "--tz", "UTC").json["rows"]
        done = box.run(*FILES, "--by", by, "--tz", "UTC", "--csv")
        assert "source: files" in done.err
        found = rows(done.out)
        assert [row[by] for row in found] == [row["key"].replace("=", "'=") for row in told]
        for name in ("messages", "input_tokens", "output_tokens"):
            assert [int(row[name]) for row in found] == [row[name] for row in told]
        assert [float(row["cost_usd"]) for row in found] == [row["cost_usd"] for row in told]
        if by == "block":
            assert [row["key"] for row in told] == ["2026-11-20T10:00", "2026-11-20T15:00", "unknown"]
            assert [row["start"] or None for row in found] == [row["start"] for row in told]


def test_the_block_that_goes_on_is_active_and_its_end_foretold(box: Box) -> None:
    sessions(box, ago(minutes=2))
    (row,) = box.ask(*FILES, "--by", "block").json["rows"]
    assert row["active"] is True
    assert row["projection"]["total_tokens"] >= 110
    assert "(a projection)" in box.run(*FILES, "--by", "block").out


def test_a_model_without_a_price_is_null_and_named_in_every_form(box: Box) -> None:
    sessions(box, "2026-11-20T10:40:00Z", model="claude-of-tomorrow")
    told = box.ask(*FILES).json
    assert (told["total"]["cost_usd"], told["total"]["cost_unknown_models"]) == (None, ["claude-of-tomorrow"])
    (row,) = rows(box.run(*FILES, "--csv").out)
    assert (row["cost_usd"], row["cost_unknown_models"]) == ("", "claude-of-tomorrow")
    assert "no price is known for: claude-of-tomorrow" in box.run(*FILES).out


def test_a_users_prices_count_and_a_slip_in_them_is_an_error_with_its_line(box: Box) -> None:
    sessions(box, "2026-11-20T10:40:00Z", model="claude-of-tomorrow")
    own = Path(box.env["CC_HOME"]) / "prices.json"
    own.parent.mkdir(exist_ok=True)
    own.write_text('{"models": {"claude-of-tomorrow": {"input": 1, "output": 2}}}')
    assert box.ask(*FILES).json["total"]["cost_usd"] == 0.00012
    own.write_text('{"models": {\n "claude-of-tomorrow": {\n  "input": "1"}}}')
    done = box.ask(*FILES)
    error = done.json["error"]
    assert (done.code, error["type"], error["line"]) == (2, "bad_config", 3)
    assert (error["file"], error["field"]) == (str(own), "models.claude-of-tomorrow.input")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--csv",), "--csv"), (("--limit", "3"), "--limit"), (("--limit", "x"), "--limit"), (("--by", "hour"), "by"),
        (("--tz", "Europe/Nowhere"), "tz"),
    ],
)  # fmt: skip
def test_words_that_do_not_go_together_with_json_or_at_all_are_refused(
    box: Box, words: tuple[str, ...], field: str
) -> None:
    done = box.ask("usage", *words)
    assert (done.code, done.json["error"]["field"]) == (2, field)
