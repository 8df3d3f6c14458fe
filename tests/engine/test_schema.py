"""The published schema says what the parser says, as far as a schema can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cc import document
from cc.engine.schema import schema
from cc.errors import ConfigError
from tests.engine.test_playbook import EXAMPLE, VERBS, read
from tests.engine.test_playbook_errors import STEP, WHOLE

SCHEMA = schema(VERBS)
VALIDATOR = Draft202012Validator(SCHEMA)


def valid(text: str) -> bool:
    return VALIDATOR.is_valid(document.load(text, file="x.yml").plain())


def step(body: str) -> str:
    return "version: 1\nsteps:\n  - name: s\n" + "".join(f"    {line}\n" for line in body.split("\n"))


def test_it_is_a_schema_of_plain_json() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA


def test_the_example_of_the_contract_passes() -> None:
    VALIDATOR.validate(document.load(EXAMPLE, file="x.yml").plain())


@pytest.mark.parametrize(
    "body",
    [
        "command: make test",
        "command: [make, 8, true]",
        "command: {run: x, env: {A: 1, B: '${X:-}'}}",
        "http: 'http://x/'",
        "http: {url: x, status: '200', within: '${W:-1s}'}",
        "http: {url: x, within: 1m30s}",
        "http: {url: x, within: 0.5}",
        "port: '${P:-8110}'",
        "port: '8110'",
        "compose: {state: '${S:-up}', volumes: '${V:-false}', services: a, file: 8}",
        "compose: {state: up, services: [a, 1]}",
        "dash:",
        "dash: {ports: 8110-8120, share: '.5'}",
        "script: {text: 'echo ${x}'}",
        "command: x\nretry: 3\ntimeout: 30s\nalways: true\ntags: [a]\nwhen: '${X:-}'\nunless: 0",
        "command: x\nretry:",
        "command: x\nretry: {on: [deadline, '${C:-unhealthy}'], jitter: 0.5}",
        "command: x\nchanged_when: {exit_code: 3}",
        "reads: true\nladder: [{http: a}, {http: b, degraded: false, name: b}, {without: none}]",
        "ladder:\n- port: 1\n- {port: 2, when_failed: deadline, then: again}\n- {without: x, when_failed: deadline}",
    ],
)
def test_what_the_parser_reads_passes(body: str) -> None:
    read(step(body))
    VALIDATOR.validate(document.load(step(body), file="x.yml").plain())


NEEDS_MORE_THAN_SHAPE = (  # names in other places, values of variables, expressions, comparisons, order
    "no step", "itself", "circle", "is called", "further down", "not set", "expected a name", "from ${V}",
    "regular expression", "split into words", "'${' has no", "leaves no time", "is shorter", "by itself", "may follow",
    "in one line", "found ' '", "found '9-8'", "found '.inf'", "found '.nan'",
)  # fmt: skip


@pytest.mark.parametrize(
    "text", [case[0] for case in WHOLE if not any(part in case[4] for part in NEEDS_MORE_THAN_SHAPE)]
)
def test_a_file_that_the_parser_refuses_for_its_shape_does_not_pass(text: str) -> None:
    with pytest.raises(ConfigError):
        read(text)
    assert not valid(text)


@pytest.mark.parametrize(
    "body", [case[0] for case in STEP if not any(part in case[4] for part in NEEDS_MORE_THAN_SHAPE)]
)
def test_a_step_that_the_parser_refuses_for_its_shape_does_not_pass(body: str) -> None:
    with pytest.raises(ConfigError):
        read(step(body))
    assert not valid(step(body))


def test_a_rung_that_nothing_leads_to_passes_only_in_a_ladder_that_reads() -> None:
    ladder = "ladder: [{port: 1}, {port: 2}]"
    assert not valid(step(ladder))
    assert valid(step(f"reads: true\n{ladder}"))
    assert not valid(step("reads: true\nladder: [{port: 1}, {port: 2, then: again}]"))


def described(shape: Any) -> list[str]:
    """Every description in it."""
    if isinstance(shape, dict):
        own = [shape["description"]] if isinstance(shape.get("description"), str) else []
        return own + [text for value in shape.values() for text in described(value)]
    return [text for value in shape for text in described(value)] if isinstance(shape, list) else []


def test_the_documentation_of_fields_reaches_the_editor() -> None:
    texts = described(SCHEMA)
    assert "the compose file" in texts
    assert "run also when an earlier step failed" in texts
