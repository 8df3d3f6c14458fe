"""`${VAR}` as compose has it, in tables."""

from __future__ import annotations

import random

import pytest

from cc.engine.variables import Variables
from cc.errors import ConfigError

VALUES = {"A": "a", "EMPTY": "", "DOLLAR": "${A}", "PORT": "8110"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "a"),
        ("<${A}${PORT}>", "<a8110>"),
        ("${EMPTY}", ""),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${A:-d}", "a"),
        ("${NONE-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE:-}", ""),
        ("${NONE:-http://x:1/?a=b-c}", "http://x:1/?a=b-c"),
        ("${NONE:-${ALSO:-${A}}}", "a"),
        ("${NONE:-{x}}", "{x}"),
        ("${A:-${NONE}}", "a"),
        ("${A:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${NONE+set}", ""),
        ("${NONE:+${NONE}}", ""),
        ("${A:?never}", "a"),
        ("${EMPTY?never}", ""),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$$${A}", "$${A}"),
        ("$$${A}", "$a"),
        ("${NONE:-$${x}", "${x"),
        ("${DOLLAR}", "${A}"),
        ("$A $1 $(x) $", "$A $1 $(x) $"),
        ("awk '{print $1}'", "awk '{print $1}'"),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, result: str) -> None:
    assert Variables(VALUES).substitute(text) == result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${NONE}", "variable NONE is not set"),
        ("${NONE:-${MORE}}", "variable MORE is not set"),
        ("${NONE?}", "NONE is not set"),
        ("${EMPTY:?give one, ${A}}", "EMPTY is not set: give one, a"),
        ("${", "expected a name after '${'"),
        ("${}", "expected a name after '${'"),
        ("${1}", "expected a name after '${'"),
        ("${A", "expected '}', or one of :- - :+ + :? ? after '${A'"),
        ("${A b}", "expected '}', or one of :- - :+ + :? ? after '${A'"),
        ("${A:}", "expected '}', or one of :- - :+ + :? ? after '${A'"),
        ("${A:-x", "'${' has no '}'"),
        ("${A:-" * 17 + "}" * 17, "variables nested more than 16 deep"),
    ],
)
def test_what_cannot_be_put_in_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Variables(VALUES).substitute(text)
    assert caught.value.message == said


def test_an_unset_variable_comes_with_the_nearest_name_and_how_to_set_it() -> None:
    with pytest.raises(ConfigError) as caught:
        Variables(VALUES).substitute("${PROT}")
    hint = caught.value.hint or ""
    assert hint.startswith("did you mean PORT? set it under vars, in the environment or with --set PROT=VALUE")
    assert "${PROT:-VALUE}" in hint
    assert "$${PROT}" in hint


def test_every_name_that_was_asked_for_is_known_afterwards() -> None:
    variables = Variables(VALUES)
    variables.substitute("${A:-${B}} ${NONE:+${C}} $${D} $E")
    assert variables.used == {"A", "B", "NONE", "C"}


def test_variables_that_double_for_ever_are_refused() -> None:
    values = {"A0": "x" * 1000}
    variables = Variables(values)
    for at in range(3):
        values[f"A{at + 1}"] = variables.substitute(f"${{A{at}}}" * 10)
    with pytest.raises(ConfigError, match="more than 8,388,608 characters"):
        variables.substitute("${A3}" * 10)


def test_whatever_the_text_it_is_put_in_or_refused_and_nothing_else() -> None:
    chance = random.Random(1)  # noqa: S311 - what is wanted is that it comes again
    pieces = ["$", "{", "}", "${", "$$", ":", "-", "+", "?", "A", "NONE", "1", " ", "${A", ":-", "é"]
    for _ in range(5000):
        try:
            Variables(VALUES).substitute("".join(chance.choices(pieces, k=chance.randrange(1, 20))))
        except ConfigError as error:
            assert error.message  # noqa: PT017 - either way is good, and both are looked at
