"""The orchestrator: whose project it is, one operation at a time, and a plan that touches nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cc.engine.outcome import Recap
from cc.errors import ConfigError, LockHeldError, RunDeadlineError
from cc.resources.state import take_lock
from cc.services.orchestrator import Operation, Orchestrator, stack_verbs
from cc.services.stack import Stack, stack_root
from cc.settings import load
from cc.shell import SystemShell
from tests.integration.box import Box, eventually, new_box
from tests.services.conftest import Yard

EMPTY = "version: 1\nsteps:\n  - {name: folder, file: {path: made, state: directory}}\n"


def operation(yard: Yard, command: str = "play", **more: object) -> Operation:
    file = yard.dir / "play.yml"
    if command == "play" and not file.exists():
        file.write_text(EMPTY)
    path = str(file) if command == "play" else os.path.join(stack_root(), "playbooks", f"{command}.yml")
    return Operation(command, path, **more)  # type: ignore[arg-type]


def run(yard: Yard, command: str = "play", **more: object) -> Recap:
    return Orchestrator(yard.stack).run(operation(yard, command, **more))


@pytest.mark.parametrize("command", ["up", "down", "restart"])
def test_a_project_whose_containers_belong_to_another_home_is_refused_with_both(yard: Yard, command: str) -> None:
    theirs = yard.container()
    theirs["Config"]["Labels"] |= {"cc.owner": "p:other", "cc.home": "/home/other"}
    with yard.docker(theirs), pytest.raises(ConfigError) as caught:
        run(yard, command)
    for part in ("'p'", "/home/other", yard.stack.state.home, "p-clickhouse-otel"):
        assert part in caught.value.message
    assert (caught.value.field, "CC_HOME=/home/other" in (caught.value.hint or "")) == ("CC_PROJECT", True)


def test_a_playbook_of_ones_own_is_not_about_the_project(yard: Yard) -> None:
    theirs = yard.container()
    theirs["Config"]["Labels"] |= {"cc.owner": "p:other"}
    with yard.docker(theirs):
        assert run(yard).status.value == "changed"


def test_another_run_keeps_this_one_out_and_is_named(yard: Yard) -> None:
    lock = take_lock(yard.stack.state, "restart", yard.context)
    with pytest.raises(LockHeldError, match="`restart`"):
        run(yard)
    with pytest.raises(RunDeadlineError, match=r"the deadline of 0\.2 s passed: .*`restart`") as caught:
        run(yard, timeout=0.2, lock_timeout=60.0)
    assert caught.value.exit_code == 124
    with pytest.raises(LockHeldError):
        run(yard, timeout=60.0, lock_timeout=0.2)
    lock.release()
    assert run(yard).status.value == "changed"


def test_a_run_that_was_killed_in_the_middle_is_told_as_a_fallback(yard: Yard) -> None:
    (Path(yard.stack.state.run) / "operation.lock").write_text('{"pid": 4711, "command": "up", "since": 1}')
    recap = run(yard)
    assert [(told.what, told.reason) for told in recap.fallbacks] == [
        ("operation lock", "`up` (pid 4711) was killed in the middle")
    ]
    assert run(yard).fallbacks == ()


@pytest.mark.parametrize("command", ["up", "down", "restart"])
def test_the_stacks_own_playbooks_can_be_planned_and_nothing_is_touched(yard: Yard, command: str) -> None:
    home = yard.dir / "untouched"
    yard.environ["CC_HOME"] = str(home)
    shell = SystemShell(cancel=yard.cancel)
    planned = Stack(load(yard.environ, str(yard.dir)), shell, yard.environ, cancel=yard.cancel)  # has no directories
    recap = Orchestrator(planned).plan(operation(yard, command))
    assert recap.planned is True
    assert (recap.command, len(recap.steps) > 1) == ("plan", True)
    assert not home.exists()
    yard.environ["CC_HOME"] = str(yard.dir / "home")


def test_a_plan_needs_no_lock(yard: Yard) -> None:
    lock = take_lock(yard.stack.state, "up", yard.context)
    recap = Orchestrator(yard.stack).plan(operation(yard))
    assert [step.outcome.status.value for step in recap.steps] == ["changed"]
    assert not (yard.dir / "made").exists()
    lock.release()


def test_a_playbook_that_cannot_be_read_is_bad_configuration(yard: Yard) -> None:
    for path in ("/nonexistent.yml", str(yard.dir)):
        with pytest.raises(ConfigError) as caught:
            Orchestrator(yard.stack).run(Operation("play", path))
        assert caught.value.file == path


def test_the_stacks_own_verbs_come_after_everybodys() -> None:
    names = [verb.spec.name for verb in stack_verbs()]
    assert names[-3:] == ["dashboard", "leftovers", "secret"]


# --- typed at a shell


@pytest.fixture
def box() -> Iterator[Box]:
    with new_box() as made:
        yield made


@contextmanager
def held(box: Box) -> Iterator[None]:
    """A run that holds the lock."""
    (box.dir / "long.yml").write_text(
        "version: 1\nsteps:\n  - {name: long, command: {run: [sh, -c, 'echo > started; exec sleep 600']}}\n"
    )
    (box.dir / "short.yml").write_text(EMPTY)
    first = box.start("play", "long.yml")
    try:
        eventually((box.dir / "started").exists, what="the first run")
        yield
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_while_it_waits_for_another_run_it_exits_as_interrupted(box: Box, number: int) -> None:
    with held(box):
        waiting = box.start("play", "short.yml", "--lock-timeout", "600", "--events", "events.jsonl")
        events = box.dir / "events.jsonl"
        eventually(lambda: events.exists() and "the other run to end" in events.read_text(), what="the wait")
        waiting.send_signal(number)
        _, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, "Traceback" in err) == (128 + number, False), err
    assert not (box.dir / "made").exists()


def test_out_of_time_while_it_waits_for_another_run_it_exits_as_late(box: Box) -> None:
    with held(box):
        late = box.run("play", "short.yml", "--lock-timeout", "600", "--timeout", "0.5", "--json")
        assert (late.code, late.json["error"]["type"]) == (124, "deadline")
        assert "pid " in late.json["error"]["message"]
        refused = box.run("play", "short.yml", "--json")
        assert (refused.code, refused.json["error"]["type"]) == (4, "lock_held")
