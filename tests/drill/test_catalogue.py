"""Every rung of the contract has a drill, and so has every rung of the stack's own playbooks."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from cc.drill.catalogue import CATALOGUE, LADDERS, chosen
from cc.engine.playbook import parse
from cc.errors import UsageError
from cc.resources.verbs import specs
from cc.services.orchestrator import stack_verbs

ROOT = Path(__file__).resolve().parents[2]
LADDER_OF = {"clickhouse": "L3", "collector": "L3", "dashboard": "L4", "containers": "L6"}


@pytest.mark.parametrize("ladder", LADDERS)
def test_a_rung_without_a_drill_is_a_mistake(ladder: str) -> None:
    first = 1 if ladder == "scenario" else 0
    rungs = {drill.rung for drill in CATALOGUE if drill.ladder == ladder}
    assert rungs == set(range(first, first + LADDERS[ladder][1]))


def test_no_drill_is_of_a_ladder_that_there_is_not() -> None:
    assert {drill.ladder for drill in CATALOGUE} == set(LADDERS)


@pytest.mark.parametrize("name", ["up", "down", "restart"])
def test_a_rung_of_a_playbook_without_a_drill_is_a_mistake(name: str) -> None:
    file = ROOT / "playbooks" / f"{name}.yml"
    environ = {"CC_STATE": "/s", "CC_CONTAINER_PREFIX": "", "CC_CONTAINERS": "", "CC_VOLUMES": "false"}
    environ |= {f"CC_{each}_PORT": "1" for each in ("CLICKHOUSE", "OTLP_GRPC", "OTLP_HTTP", "OTEL_HEALTH", "DASHBOARD")}
    read = parse(
        file.read_bytes(),
        file=str(file),
        verbs=specs(stack_verbs()),
        set_vars={},
        environ=environ | {"CC_DASHBOARD_PORTS": "1-9"},
    )
    ladders = [step for step in read.steps if step.ladder]
    assert ladders
    for step in ladders:
        drilled = [drill for drill in CATALOGUE if drill.ladder == LADDER_OF[step.name]]
        ways = len([rung for rung in step.rungs if rung.verb != "without"])
        without = len(step.rungs) - ways
        assert len({drill.rung for drill in drilled}) >= ways
        assert len([drill for drill in drilled if drill.rung == ways]) >= without


def test_drills_are_chosen_by_ladder_and_by_rung() -> None:
    assert [drill.name for drill in chosen("l4.2,L9.3")] == ["L4.2", "L9.3"]
    assert {drill.ladder for drill in chosen("L3")} == {"L3"}
    assert chosen(None) == CATALOGUE


@pytest.mark.parametrize("words", ["L99", "", "L4.2,nope"])
def test_a_drill_that_there_is_not_is_wrong_usage(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(words)
    assert (caught.value.exit_code, caught.value.field) == (2, "--only")


def test_the_matrix_in_the_documentation_is_that_of_the_catalogue() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "write_ladders.py"))
    assert (ROOT / "docs" / "ladders.md").read_text() == made["text"]()
