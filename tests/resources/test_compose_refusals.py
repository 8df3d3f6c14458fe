"""Compose on the real engine: what it refuses before anything is touched, what hangs, and what stands in for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure
from cc.resources import containers_gone, docker_said, readiness
from cc.resources.compose import VERB
from tests.dockyard import CHANGED, Yard, docker, yard
from tests.integration.box import free_ports, path_without
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked
from tests.registry import registry

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with registry() as store:
        name = store.put()
        docker("pull", "-q", name)
        yield name


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(readiness, "SETTLE_S", 0.2)
    with yard(tmp_path) as made:
        yield made


def compose_file(own: Yard, **said: Any) -> None:
    (own.dir / "c.yml").write_text(json.dumps({"services": {"a": {"stop_grace_period": "0s", **said}}}))


def ensure(own: Yard, state: str = "up", **args: Any) -> Any:
    host = args.pop("host", {})
    return own.ensure(VERB, {"file": "c.yml", "state": state, "timeout": 1.0, **args}, **host)


def refused(own: Yard, state: str = "up", **args: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        ensure(own, state, **args)
    return caught.value


def test_one_that_somebody_paused_runs_again_and_its_own_port_is_no_strangers(own: Yard, image: str) -> None:
    (port,) = free_ports(1)
    compose_file(own, image=image, ports=[f"127.0.0.1:{port}:80"])
    ensure(own)
    before = own.containers(running=True)
    docker("pause", before["a"])
    assert ensure(own).status.value == CHANGED
    assert docker("inspect", "-f", "{{.State.Status}}", before["a"]) == "running"


@pytest.mark.parametrize("state", ["up", "restarted"])
def test_a_file_that_is_not_there_is_bad_configuration_that_names_it_before_anything_is_run(
    own: Yard, state: str
) -> None:
    error = refused(own, state, host={"faults": "docker=fail:99:was run"})
    assert (error.code, error.message) == ("bad_config", f"the compose file {own.dir}/c.yml does not exist")


def test_down_without_its_file_is_refused_while_containers_are_left(own: Yard, image: str) -> None:
    assert ensure(own, "down").probe.reason == "Containers not running"
    compose_file(own, image=image)
    ensure(own)
    (own.dir / "c.yml").unlink()
    assert refused(own, "down").code == "bad_config"
    assert own.ensure(containers_gone.VERB, {"how": "kill"}).status.value == CHANGED


@pytest.mark.parametrize("code", docker_said.COMPOSE_REFUSES)
def test_composes_own_codes_for_a_file_that_it_cannot_use_are_bad_configuration(own: Yard, code: int) -> None:
    compose_file(own, image="x")
    error = refused(own, host={"faults": f"docker compose=fail:{code}:words of another version"})
    assert (error.code, error.message) == ("bad_config", "words of another version")


@pytest.mark.parametrize("fault", ["docker=junk", "docker compose=junk", "docker compose=junk:a b"])
def test_junk_is_a_bad_answer_that_names_the_command(own: Yard, fault: str) -> None:
    compose_file(own, image="x")
    error = refused(own, host={"faults": fault})
    assert (error.code, "docker compose config" in error.message) == ("bad_answer", True)


def test_a_docker_that_hangs_while_it_stops_them_is_hung_and_what_still_runs_is_named(own: Yard, image: str) -> None:
    compose_file(own, image=image)
    ensure(own)
    bad = own.dir / "bin"
    bad.mkdir()
    (bad / "docker").write_text("#!/bin/sh\nexec sleep 1000\n")
    (bad / "docker").chmod(0o755)
    host = own.host(environ={"PATH": f"{bad}:{path_without(own.dir, 'docker')}"})
    fields = {field.name: field.default for field in VERB.spec.fields}
    down = VERB.make(host, {**fields, "file": "c.yml", "state": "down", "timeout": 0.1})
    context = own.context.until(2.0)
    with pytest.raises(Failure) as caught:
        down.act(context, down.probe(context))
    named = f"still there: {own.project}-a-1 is running"
    assert (caught.value.code, named in caught.value.message) == ("daemon_hung", True), caught.value.message
    with pytest.raises(Failure) as again:
        down.act(own.context, down.probe(own.context))
    assert (again.value.code, named in again.value.message) == ("daemon_hung", True)


def test_that_the_program_of_composes_own_name_stood_in_is_told(own: Yard, image: str) -> None:
    compose_file(own, image=image)
    host = {"faults": "docker compose=fail:1:docker: 'compose' is not a docker command."}
    for state in ("up", "down"):
        done = ensure(own, state, host=host)
        assert done.acted is not None
        assert [each.reason for each in done.acted.fallbacks] == [
            "docker compose is not installed; used docker-compose"
        ]
