"""The ladder: which rung, why not a better one, and what the answer says of it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cc.clock import SystemClock
from cc.errors import UsageError
from cc.report.tokens import tokens_text
from cc.resources.breakers import Breakers
from cc.tokens import api
from cc.tokens.api import Account, Counter
from cc.tokens.ladder import count
from cc.tokens.model import Ask, Counted, parse
from cc.tokens.pieces import FILE, MAGIC, load
from tests.answering import Server, say
from tests.tokens.conftest import RECORDED

JSON = {"Content_Type": "application/json"}
PROSE = next(text for text in RECORDED if text.get("language") == "eng")
CODE = next(text for text in RECORDED if text["kind"] == "code")


def asked(*paths: Path, url: str | None = None, data: str = FILE, **more: Any) -> Counted:
    account = Account("key", None, url, 5.0) if url else Account()
    return count(Ask(tuple(map(str, paths)), **more), Counter(account, Breakers(), SystemClock()), data)


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    (tmp_path / "prose").write_text(PROSE["text"], encoding="utf-8")
    return tmp_path / "prose"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text(CODE["text"], encoding="utf-8")
    return tmp_path / "code.py"


@pytest.fixture
def broken(tmp_path: Path) -> str:
    (tmp_path / "broken.bin").write_bytes(MAGIC + b"broken")
    return str(tmp_path / "broken.bin")


def test_what_anthropic_counts_is_the_answer(server: Server, prose: Path, code: Path) -> None:
    server.reply = say(200, b'{"input_tokens": 21}', **JSON)
    counted = asked(prose, code, url=server.url)
    assert (counted.rung, counted.rung_name, counted.tokens, counted.degraded) == (0, "count_tokens", 42, False)
    assert counted.tried == ()
    assert counted.error is None
    assert tokens_text(counted).startswith("42 tokens (v5, mixed; counted by Anthropic)")


def test_without_a_key_the_estimate_answers_with_its_error(prose: Path) -> None:
    counted = asked(prose)
    assert (counted.rung, counted.rung_name, counted.degraded) == (1, "heuristic", True)
    assert counted.tried[0].as_dict() == {
        "rung": 0, "name": "count_tokens", "error": "tool_missing", "reason": api.NO_KEY,
    }  # fmt: skip
    told = PROSE["counts"]["v5"]
    assert counted.error is not None
    assert abs(counted.tokens - told) <= 0.1 * told
    assert (
        f"≈ {counted.tokens:,} tokens ± {100 * counted.error.p90:.1f} % (v5, prose, Latin; heuristic)"
        in tokens_text(counted)
    )


def test_offline_was_asked_for_and_is_not_degraded(server: Server, prose: Path) -> None:
    counted = asked(prose, url=server.url, offline=True)
    assert (counted.rung, counted.degraded, counted.tried) == (1, False, ())
    assert server.asked == []
    assert "not by rung 0 (count_tokens): --offline" in tokens_text(counted)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_refusal_leads_to_the_estimate_and_is_named(server: Server, prose: Path, status: int) -> None:
    server.reply = say(status, b"{}")
    counted = asked(prose, url=server.url)
    assert counted.rung == 1
    assert f"answered {status}" in counted.as_dict()["reason"]
    assert f"answered {status}" in tokens_text(counted)


def test_one_text_that_is_not_counted_makes_all_of_it_an_estimate(server: Server, prose: Path, code: Path) -> None:
    answers = iter([say(200, b'{"input_tokens": 7}', **JSON), say(500, b"{}")])

    def in_turn(handler: Any) -> None:
        next(answers)(handler)

    server.reply = in_turn
    counted = asked(prose, code, url=server.url)
    assert counted.rung == 1
    assert min(row.tokens for row in counted.rows) > 7


def test_without_the_estimate_a_token_is_four_characters(prose: Path, broken: str) -> None:
    counted = asked(prose, data=broken)
    assert (counted.rung, counted.rung_name, counted.degraded) == (2, "rough", True)
    assert [each.rung for each in counted.tried] == [0, 1]
    assert counted.tokens == -(-len(PROSE["text"]) // 4)
    assert "rough: characters / 4" in tokens_text(counted)
    assert "is damaged" in tokens_text(counted)


def test_a_broken_estimate_is_no_news_while_anthropic_counts(server: Server, prose: Path, broken: str) -> None:
    server.reply = say(200, b'{"input_tokens": 5}', **JSON)
    counted = asked(prose, url=server.url, data=broken)
    assert (counted.rung, counted.tokens, counted.degraded) == (0, 5, False)


def test_more_texts_than_calls_are_made_is_a_reason_and_no_call(server: Server, tmp_path: Path) -> None:
    for number in range(api.MOST_TEXTS + 1):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    counted = asked(tmp_path, url=server.url)
    assert counted.rung == 1
    assert counted.tried[0].reason == f"{api.MOST_TEXTS + 1} texts would take as many calls, more than {api.MOST_TEXTS}"
    assert server.asked == []


def test_more_characters_than_are_sent_is_a_reason_and_no_call(server: Server, tmp_path: Path) -> None:
    (tmp_path / "large").write_text(PROSE["text"] * (api.MOST_CHARS // len(PROSE["text"]) + 1))
    counted = asked(tmp_path, url=server.url)
    assert counted.tried[0].reason == "more than 4,000,000 characters are not sent"
    assert server.asked == []
    assert 0 < counted.sampling < 0.01 * counted.tokens
    assert "--exact reads all" in tokens_text(counted)


def test_an_unknown_model_is_named(prose: Path) -> None:
    counted = asked(prose, model="gpt-9")
    assert counted.family == "v5"
    assert "the tokenizer of 'gpt-9' is not known" in tokens_text(counted)


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-opus-4-7", "claude-opus-5"])
def test_each_family_meets_its_own_counts(prose: Path, model: str) -> None:
    counted = asked(prose, model=model, offline=True)
    told = PROSE["counts"][counted.family]
    assert abs(counted.tokens - told) <= 0.1 * told


def test_a_kind_that_nobody_measured_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2, 3]}')
    counted = asked(tmp_path, offline=True)
    assert counted.error is None
    assert counted.unmeasured == counted.tokens
    text = tokens_text(counted)
    assert "error not measured" in text
    assert "no error was measured for: JSON" in text


def test_a_text_shorter_than_those_measured_says_so(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Everyone has the right to life.")
    assert "shorter than any whose error was measured" in tokens_text(asked(tmp_path, offline=True))


def test_what_can_not_be_read_is_named_and_the_rest_counted(tmp_path: Path, prose: Path) -> None:
    (tmp_path / "image").write_bytes(b"\x89PNG\0\0")
    counted = asked(prose, tmp_path / "missing", tmp_path / "image")
    assert [row.name for row in counted.rows] == [str(prose)]
    assert [path for path, _ in counted.coverage.unreadable] == [str(tmp_path / "missing"), str(tmp_path / "image")]
    assert f"not read: {tmp_path / 'missing'}" in tokens_text(counted)


def test_binary_files_of_a_directory_are_counted_as_skipped(tmp_path: Path, prose: Path) -> None:
    (tmp_path / "image").write_bytes(b"\x89PNG\0\0")
    counted = asked(tmp_path)
    assert counted.coverage.skipped == {"binary files": 1}
    assert counted.coverage.unreadable == ()
    assert "skipped: binary files (1)" in tokens_text(counted)


def test_nothing_is_no_tokens_and_nobody_is_asked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert asked(tmp_path, url=server.url).tokens == 0
    (tmp_path / "blank.txt").write_text(" \n")
    assert asked(tmp_path).tokens == 0
    assert server.asked == []


@pytest.mark.parametrize(
    ("budget", "fits"), [(10**6, "yes"), (100, "no")],
)  # fmt: skip
def test_a_budget_says_what_fits(tmp_path: Path, code: Path, prose: Path, budget: int, fits: str) -> None:
    counted = asked(code, prose, budget=budget, by_file=True)
    assert counted.budget is not None
    assert counted.budget["fits"] == fits
    assert counted.budget["files_that_fit"] == (2 if fits == "yes" else 0)
    text = tokens_text(counted)
    assert text.index(str(prose)) < text.index(str(code)), "the largest first"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_what_may_fit_within_the_error_is_unsure(prose: Path, more: int) -> None:
    counted = asked(prose, budget=asked(prose).tokens + more)
    assert counted.budget is not None
    assert counted.budget["fits"] == "unsure"


def test_what_could_not_be_read_may_not_fit(prose: Path, tmp_path: Path) -> None:
    counted = asked(prose, tmp_path / "nowhere", budget=10**6)
    assert counted.budget is not None
    assert counted.budget["fits"] == "unsure"
    counted = asked(prose, tmp_path / "nowhere", budget=10)
    assert counted.budget is not None
    assert counted.budget["fits"] == "no"


def test_on_a_narrow_terminal_the_tokens_of_each_file_are_whole_and_no_line_is_wider(tmp_path: Path) -> None:
    for number in range(45):
        (tmp_path / f"a-file-with-a-name-of-some-length-{number:02}.py").write_text("print('x')\n" * (number + 1) * 200)
    lines = tokens_text(asked(tmp_path, by_file=True, budget=10**6, offline=True), 40).splitlines()
    assert max(map(len, lines)) <= 40
    head = lines.index("-" * 15 + "  ------  -------  ------")
    assert lines[head + 1].endswith("44.py  49,588  ± 7.0 %   5.0 %")
    assert "no room for: kind" in lines


def test_where_no_text_was_read_no_number_pretends_to_be_an_estimate(tmp_path: Path) -> None:
    text = tokens_text(asked(tmp_path / "nowhere", offline=True))
    assert text.startswith("0 tokens: no text could be read\n")
    assert "not read: " in text
    assert "nowhere: no such file or directory" in text
    (tmp_path / "folder").mkdir()
    assert tokens_text(asked(tmp_path / "folder", offline=True)).startswith("0 tokens: there is no text\n")


def test_one_short_text_among_two_is_one(tmp_path: Path, prose: Path) -> None:
    (tmp_path / "short").write_bytes(b"a few words that are so few, and one that is broken \xff")
    text = tokens_text(asked(prose, tmp_path / "short", offline=True))
    assert "\n1 text is shorter than any whose error was measured" in text
    assert "\n1 place is no UTF-8" in text


def test_of_a_script_that_was_seen_once_is_told_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "thai").write_text("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์" * 100, encoding="utf-8")
    counted = asked(tmp_path / "thai", offline=True)
    unseen = load("v5").unseen
    assert (counted.kind, counted.error, counted.unmeasured) == ("prose, Thai", None, counted.tokens)
    (note,) = counted.notes
    assert note.startswith("of Thai one language was recorded, so no error could be measured")
    assert f"{100 * unseen.mean:.0f} % in the mean, nine of ten within {100 * unseen.p90:.0f} %" in note
    assert note in tokens_text(counted)


def test_of_a_script_that_was_never_seen_the_error_is_that_of_such_scripts(tmp_path: Path) -> None:
    (tmp_path / "mongolian").write_text("ᠬᠦᠮᠦᠨ ᠪᠦᠷ ᠲᠥᠷᠥᠵᠦ " * 300, encoding="utf-8")
    counted = asked(tmp_path / "mongolian", offline=True)
    assert (counted.kind, counted.unmeasured, counted.notes) == ("prose, Mongolian", 0, ())
    assert counted.rows[0].error == load("v5").unseen


def test_an_unmeasured_kind_never_fits_for_sure(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2, 3]}')
    counted = asked(tmp_path, budget=10**6)
    assert counted.budget is not None
    assert counted.budget["fits"] == "unsure"


def test_stdin_is_read_where_no_path_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PROSE["text"].encode())))
    counted = asked()
    assert [row.name for row in counted.rows] == ["-"]
    assert counted.tokens > 1000


def test_a_terminal_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, closefd=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(UsageError, match="stdin is a terminal"):
            asked()
    os.close(ours)


def test_the_document_is_json_and_names_each_file_when_asked(prose: Path, code: Path) -> None:
    document = json.loads(json.dumps(asked(prose, code, by_file=True).as_dict()))
    assert [file["path"] for file in document["files"]] == [str(prose), str(code)]
    assert document["tokens"] == sum(file["tokens"] for file in document["files"])
    assert document["frame"] == 5.8
    assert asked(prose).as_dict()["files"] is None


@pytest.mark.parametrize(
    "words", [{"by": "day"}, {"budget": "x"}, {"budget": "0"}, {"budget": "-1"}, {"budget": "٣"}, {"path": [""]}]
)
def test_wrong_words_are_wrong_usage(words: dict[str, Any]) -> None:
    given: dict[str, Any] = {"path": (), "model": None, "by": None, "budget": None, "offline": False, "exact": False}
    with pytest.raises(UsageError):
        parse(**{**given, **words})
