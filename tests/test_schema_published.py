"""The schema that is published is the one of this code, and the stack's own playbooks hold to it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cc import document
from cc.engine.schema import schema
from cc.resources.verbs import specs
from cc.services.orchestrator import stack_verbs

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "docs" / "playbook.schema.json"
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def test_the_published_schema_is_that_of_the_code() -> None:
    """If it is not: `python scripts/write_schema.py`."""
    assert json.loads(PUBLISHED.read_text()) == json.loads(json.dumps(schema(specs(stack_verbs()))))


def test_the_script_that_writes_it_writes_the_very_file() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "write_schema.py"))
    assert script["text"]() == PUBLISHED.read_text()
    assert script["PUBLISHED"] == PUBLISHED


def test_it_knows_every_verb_the_stacks_own_too() -> None:
    known = json.loads(PUBLISHED.read_text())["$defs"]
    assert {f"verb.{verb.spec.name}" for verb in stack_verbs()} <= set(known)
    assert {"verb.dashboard", "verb.leftovers", "verb.secret", "verb.compose"} <= set(known)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_a_playbook_of_the_stack_holds_to_it(path: Path) -> None:
    read = document.load(path.read_bytes(), file=str(path)).plain()
    Draft202012Validator(json.loads(PUBLISHED.read_text())).validate(read)


def test_there_are_playbooks_to_hold_to_it() -> None:
    assert {"up.yml", "down.yml", "restart.yml"} <= {path.name for path in PLAYBOOKS}
