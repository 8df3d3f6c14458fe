"""What kind of text it is."""

from __future__ import annotations

from typing import Any

import pytest

from cc.tokens.kinds import kind_of, script_of

ENGLISH = "Everyone has the right to life, liberty and security of person (as it is said): nobody shall be a slave. "


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a/b.py", "x", "code"),
        ("b.PY", "plain words only", "code"),
        ("c.jsonl", "{}", "JSON"),
        ("d.log", "started", "logs"),
        ("README.md", "# Title", "Markdown"),
        ("e.toml", "a = 1", "markup"),
        ("notes.txt", ENGLISH, "prose, Latin"),
        ("", ENGLISH, "prose, Latin"),
        ("", "Все люди рождаются свободными", "prose, Cyrillic"),
        ("", "人人生而自由", "prose, Han"),
        ("", "สวัสดี", "prose, Thai"),
        ("", '{"a": 1, "b": [2, 3]}', "JSON"),
        ("", "for (i = 0; i < n; i++) { a[i] = b[i]; }", "code"),
        ("", "123 456", "code"),
        ("", "\U0001f389\U0001f1e9\U0001f1ea " * 9, "symbols"),
        ("", ENGLISH + "\U0001f389" * 9, "prose, Latin"),
        ("", "SGVsbG8gd29ybGQgYW5kIGFsbCB0aGF0\n" * 9, "data"),
        ("key.pem", "a" * 999, "data"),
        ("", "", "empty"),
        ("empty.py", "", "code"),
        ("", " \n\t ", "empty"),
        ("", "\udc80\udcff\ud800", "code"),
    ],
)
def test_a_kind_is_known_by_the_name_or_by_the_text(name: str, text: str, kind: str) -> None:
    assert kind_of(name, text) == kind


def test_recorded_texts_are_told_apart(recorded: dict[str, Any]) -> None:
    kind = kind_of("", recorded["text"])
    assert kind.startswith("prose") or recorded["kind"] == "code"
    assert recorded["kind"] == "code" or kind.startswith("prose")


@pytest.mark.parametrize(("character", "script"), [("a", "Latin"), ("é", "Latin"), ("ß", "Latin"), ("λ", "Greek"),
    ("ж", "Cyrillic"), ("א", "Hebrew"), ("ع", "Arabic"), ("न", "Devanagari"), ("語", "Han"), ("か", "Kana"),
    ("한", "Hangul"), ("\U0001f600", "Symbols"), ("\ud800", "Other"), ("\U0010ffff", "Other")])  # fmt: skip
def test_a_script_is_known_by_the_code_point(character: str, script: str) -> None:
    assert script_of(character) == script
