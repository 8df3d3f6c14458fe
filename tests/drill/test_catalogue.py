"""Every rung of the contract has a drill, and the stack's own playbooks have the contract's rungs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from cc.drill.catalogue import CATALOGUE, chosen, title
from cc.drill.contract import BY_NAME, LADDERS, Ladder
from cc.drill.exercise import COMPOSE, DOCKER, SOCKET
from cc.engine.playbook import parse
from cc.engine.spec import RungSpec
from cc.errors import UsageError
from cc.resources.verbs import specs
from cc.services.orchestrator import stack_verbs

ROOT = Path(__file__).resolve().parents[2]
LADDER_OF = {"clickhouse": "L3", "collector": "L3", "dashboard": "L4", "containers": "L6"}
TELLING = ("by", "how", "server")  # the fields by which two rungs of the same verb differ


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: ladder.name)
def test_a_rung_without_a_drill_is_a_mistake(ladder: Ladder) -> None:
    rungs = {number for number, _ in ladder.numbered()}
    drilled = {drill.rung for drill in CATALOGUE if drill.ladder == ladder.name}
    assert drilled == rungs


def test_no_drill_is_of_a_ladder_that_there_is_not() -> None:
    assert {drill.ladder for drill in CATALOGUE} <= set(BY_NAME)


def test_ladders_are_numbered_without_a_gap_and_none_is_told_twice() -> None:
    assert [ladder.name for ladder in LADDERS] == [*(f"L{number}" for number in range(1, 13)), "scenario"]
    assert all(rung.way for ladder in LADDERS for rung in ladder.rungs)


def test_what_a_drill_needs_is_one_of_the_words_that_are_looked_for() -> None:
    assert {drill.needs for drill in CATALOGUE} == {"", DOCKER, COMPOSE, SOCKET}


def test_without_compose_the_rung_that_is_for_that_is_played() -> None:
    assert {drill.needs for drill in CATALOGUE if drill.name == "L3.1"} == {DOCKER}


def written(rung: RungSpec, step: str) -> str:
    """A rung of a playbook in the words of the contract."""
    if rung.verb == "without":
        return f"without: {str(rung.args['text']).replace(f'{step} unavailable', '<service> unavailable')}"
    told = [str(rung.args[name]) for name in TELLING if rung.args.get(name) is not None]
    return rung.verb + (f" by {told[0]}" if told else "") + (", again" if rung.again else "")


@pytest.mark.parametrize("name", ["up", "down", "restart"])
def test_a_playbook_has_the_rungs_of_the_contract_in_its_order(name: str) -> None:
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
        contract = [words for rung in BY_NAME[LADDER_OF[step.name]].rungs for words in rung.playbook]
        assert [written(rung, step.name) for rung in step.rungs] == contract, f"{name}.yml, {step.name}"


def test_drills_are_chosen_by_ladder_and_by_rung() -> None:
    assert [drill.name for drill in chosen("l4.2,L9.3")] == ["L4.2", "L9.3"]
    titles = [title(drill) for drill in CATALOGUE]
    assert len(set(titles)) == len(titles)  # by what the report calls it, each can be played again alone
    for drill in CATALOGUE:
        assert drill in chosen(title(drill).lower())
    assert [title(drill) for drill in chosen("L3.0b")] == ["L3.0b"]
    assert {drill.ladder for drill in chosen("L3")} == {"L3"}
    assert chosen(None) == CATALOGUE


@pytest.mark.parametrize("words", ["L99", "", "L4.2,nope", "L8.3"])
def test_a_drill_that_there_is_not_is_wrong_usage(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(words)
    assert (caught.value.exit_code, caught.value.field) == (2, "--only")


def test_the_matrix_in_the_documentation_is_that_of_the_contract_and_the_catalogue() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "write_ladders.py"))
    assert (ROOT / "docs" / "ladders.md").read_text() == made["text"]()
