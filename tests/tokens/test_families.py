"""Which tokenizer a model has."""

from __future__ import annotations

import pytest

from cc.errors import UsageError
from cc.tokens.families import DEFAULT_MODEL, NEWEST, family_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-3-haiku-20240307", "v3"),
        ("claude-3-5-haiku-latest", "v3"),
        ("claude-3-7-sonnet-20250219", "v3"),
        ("claude-sonnet-4-20250514", "v3"),
        ("claude-opus-4-1-20250805", "v3"),
        ("claude-haiku-4-5", "v3"),
        ("claude-opus-4-6", "v3"),
        ("claude-opus-4-6[1m]", "v3"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "v3"),
        ("claude-opus-4-5@20251101", "v3"),
        ("claude-opus-4-7", "v4.7"),
        ("claude-sonnet-4-8", "v4.7"),
        ("claude-opus-5", "v5"),
        ("claude-opus-5-20260801", "v5"),
        ("Claude-Sonnet-5-5", "v5"),
        (DEFAULT_MODEL, NEWEST),
    ],
)
def test_a_model_has_the_family_of_its_version(model: str, family: str) -> None:
    assert family_of(model) == (family, None)


@pytest.mark.parametrize("model", ["claude-2.1", "claude-instant-1", "gpt-9", "claude", "claude-opus", "opus"])
def test_a_model_nobody_knows_is_reckoned_with_the_newest_family_and_named(model: str) -> None:
    family, why = family_of(model)
    assert family == NEWEST
    assert why is not None
    assert model in why


@pytest.mark.parametrize("model", ["", " ", "two words", "x" * 201, "new\nline", "Opus\u2028"])
def test_what_can_be_no_name_is_wrong_usage(model: str) -> None:
    with pytest.raises(UsageError, match="--model"):
        family_of(model)
