"""What an open breaker means for a run, and a run for the breakers (LADDERS.md, L12)."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from cc.engine.outcome import NamedOutcome
from cc.errors import Failure
from cc.resources.breakers import Breakers
from cc.services.orchestrator import Operation, Orchestrator
from cc.services.stack import Stack, stack_root
from tests.services.conftest import Yard


def trip(breakers: Breakers, what: str) -> None:
    for _ in range(5):
        with pytest.raises(Failure), breakers.guarding(what):
            raise Failure("no answer", code="deadline")
    assert [told["what"] for told in breakers.troubled()] == [what]


def up(stack: Stack, service: str, *, wait: bool = True) -> NamedOutcome:
    file = os.path.join(stack_root(), "playbooks", "up.yml")
    recap = Orchestrator(stack).run(Operation("up", file, services=(service,), wait=wait))
    return next(step for step in recap.steps if step.name == service)


def test_the_background_goes_without_containers_at_once_and_a_typed_up_asks(yard: Yard) -> None:
    looks = replace(yard.stack, typed=False)
    trip(looks.breakers, f"docker at {yard.dir}/none.sock")
    for stack, code in ((looks, "breaker_open"), (yard.stack, "daemon_down")):
        outcome = up(stack, "clickhouse").outcome
        assert (outcome.status.value, outcome.degraded, outcome.tried[0].error) == ("skipped", True, code)
        assert outcome.reason.startswith("Docker unavailable, using file-based analytics")


def test_what_a_run_saw_ready_is_in_reach_again_and_what_it_did_not_wait_for_is_not(yard: Yard) -> None:
    trip(yard.stack.breakers, "dashboard")
    assert up(yard.stack, "dashboard", wait=False).outcome.status.value == "changed"
    assert yard.stack.breakers.troubled() != ()
    assert up(yard.stack, "dashboard").outcome.status.value == "ok"
    assert yard.stack.breakers.troubled() == ()
    Orchestrator(yard.stack).run(Operation("down", os.path.join(stack_root(), "playbooks", "down.yml")))
