"""Every verb says what it is for, and a playbook's steps are bound to a host as they were written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cc.engine.ladder import Ladder
from cc.engine.playbook import parse
from cc.engine.runner import Step
from cc.engine.spec import ChangedWhen, VerbSpec
from cc.errors import ConfigError
from cc.resources import command
from cc.resources.host import Host
from cc.resources.verbs import VERBS, bind, specs
from cc.services.orchestrator import stack_verbs
from cc.shell import ScriptedShell

EVERY = stack_verbs()
SPECS: list[VerbSpec] = [verb.spec for verb in EVERY]


def bound(text: str, **more: object) -> list[Step]:
    read = parse(f"version: 1\nsteps:\n{text}", file="x.yml", verbs=specs(EVERY), set_vars={}, environ={})
    return bind(read, Host(ScriptedShell(), "/base", {}, project="p", owner="p:1"), EVERY, **more)  # type: ignore[arg-type]


def only(text: str) -> Step:
    (step,) = bound(text)
    return step


def test_no_two_verbs_have_one_name() -> None:
    assert len(specs(EVERY)) == len(EVERY) == len({id(verb) for verb in EVERY})
    assert set(specs(VERBS)) < set(specs(EVERY))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_verb_and_each_of_its_fields_say_what_they_are_for(spec: VerbSpec) -> None:
    assert spec.doc
    assert [field.name for field in spec.fields if not field.doc] == []
    assert len({field.name for field in spec.fields}) == len(spec.fields)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_what_a_verb_refers_to_are_fields_of_its_own(spec: VerbSpec) -> None:
    names = {field.name for field in spec.fields}
    assert spec.positional is None or spec.positional in names
    assert {name for group in spec.exactly_one for name in group} <= names
    for field in spec.fields:
        assert field.default is None or not field.required
        assert not field.choices or field.default is None or field.default in field.choices


BODIES = [
    ("command: make test", "make"),
    ("script: {text: 'true'}", None),
    ("file: {path: x, state: directory}", None),
    ("http: 'http://x/'", None),
    ("port: 8110", None),
    ("process: {pattern: x, state: stopped}", None),
    ("compose: {state: up}", "docker compose"),
    ("compose: {state: down}", "docker compose down"),
    ("compose: {state: down, services: a}", "docker compose rm"),
    ("containers_gone: {how: kill}", "docker kill"),
    ("container: {name: web, state: absent}", "container web"),
    ("docker_engine: {state: running}", "docker engine"),
    ("dashboard: {state: stopped}", "stop the dashboard"),
    ("leftovers: {}", "leftovers"),
    ("secret: {path: x}", "secret x"),
]


def test_each_verb_is_tried_below() -> None:
    assert {body.split(":")[0] for body, _ in BODIES} == {spec.name for spec in SPECS}


@pytest.mark.parametrize(("body", "name"), BODIES)
def test_each_verb_becomes_an_action(body: str, name: str | None) -> None:
    goal = only(f"  - name: s\n    {body}\n").goal
    assert not isinstance(goal, Ladder)
    assert goal.name
    assert name is None or name in goal.name
    assert isinstance(goal.probed, bool)
    for part in ("probe", "check", "act"):
        assert callable(getattr(goal, part))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("http: {url: 'ftp://x'}", "http.url"),
        ("http: {url: 'http://x:99999/'}", "http.url"),
        ("file: {path: x, state: directory, content: x}", "file.content"),
        ("file: {path: x, mode: rw}", "file.mode"),
        ("process: {pattern: '.*'}", "process.pattern"),
        ("process: {pidfile: x, start: x, ready: nowhere}", "process.ready"),
        ("process: {pidfile: x, stop_signal: NONE}", "process.stop_signal"),
        ("container: {name: x, state: running}", "container.image"),
        ("containers_gone: {ports: [x]}", "containers_gone.ports"),
    ],
)
def test_what_a_verb_refuses_while_it_is_bound_says_where_it_was_written(body: str, field: str) -> None:
    rung = f"      - {body}\n        when_failed: [deadline]\n"
    with pytest.raises(ConfigError) as caught:
        bound(f"  - {{name: fine, port: 1}}\n  - name: bad\n    ladder:\n      - port: 1\n{rung}")
    assert (caught.value.file, caught.value.line, caught.value.field) == ("x.yml", 7, f"bad.{field}")


def test_what_a_step_says_of_itself_is_kept() -> None:
    first, step = bound(
        "  - {name: a, leftovers: {}}\n"
        "  - {name: b, port: 8110, needs: [a], requires: a, retry: 5, timeout: 30s, always: true}\n"
    )
    assert (first.needs, first.requires, first.retry, first.timeout, first.always) == ((), (), None, None, False)
    assert (step.needs, step.requires, step.timeout, step.always) == (("a",), ("a",), 30.0, True)
    assert step.retry is not None
    assert step.retry.attempts == 5


def test_a_ladder_keeps_its_rungs_in_order_with_what_leads_to_them() -> None:
    step = only(
        "  - name: s\n    ladder:\n"
        "    - compose: {state: up}\n"
        "    - {name: mine, leftovers: {}, when_failed: [tool_missing], degraded: false}\n"
        "    - {docker_engine: {state: running}, when_failed: daemon_down, then: again}\n"
        "    - {without: gave up, when_failed: [daemon_down, tool_missing]}\n"
    )
    assert isinstance(step.goal, Ladder)
    told = [(rung.name, sorted(rung.when_failed), rung.again, rung.lesser) for rung in step.goal.rungs]
    assert told == [
        ("docker compose", [], False, True),
        ("mine", ["tool_missing"], False, False),
        ("docker engine", ["daemon_down"], True, True),
        ("without", ["daemon_down", "tool_missing"], False, True),
    ]
    assert (step.goal.rungs[3].action, step.goal.rungs[3].message) == (None, "gave up")


def test_a_ladder_that_only_reads_is_bound_as_one() -> None:
    step = only("  - name: s\n    reads: true\n    ladder: [{port: 1}, {port: 2}]\n")
    assert isinstance(step.goal, Ladder)
    assert step.goal.reads is True


@pytest.mark.parametrize("ladder", [False, True])
def test_changed_when_reaches_the_command(ladder: bool) -> None:
    body = "ladder: [{command: x}]" if ladder else "command: x"
    step = only(f"  - name: s\n    {body}\n    changed_when: {{exit_code: 3}}\n")
    action = step.goal.rungs[0].action if isinstance(step.goal, Ladder) else step.goal
    assert isinstance(action, command.CommandAction)
    assert action._changed_when == ChangedWhen(exit_code=3)


def test_who_leaves_a_step_out_is_asked_first_and_then_the_step_itself() -> None:
    text = "  - {name: a, leftovers: {}}\n  - {name: b, leftovers: {}, unless: 'yes'}\n"
    told = [step.left_out for step in bound(text, left_out=lambda spec: "by a flag" if spec.name == "a" else None)]
    assert told[0] == "by a flag"
    assert told[1]
    assert [step.left_out is None for step in bound(text)] == [True, False]


def test_paths_begin_where_the_playbook_lies(tmp_path: Path) -> None:
    host = dataclasses.replace(Host(ScriptedShell(), str(tmp_path), {}))
    assert host.path("a/../b") == str(tmp_path / "b")
    assert host.path("/x") == "/x"
    assert not host.path("~/x").startswith("~")
