"""The legacy docker-compose: a stand-in that refuses as 1.29.2 does, in its words, and the print of the real one."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure
from cc.resources import readiness
from cc.resources.compose import VERB
from cc.resources.compose_legacy import services
from cc.resources.compose_program import ComposeProgram
from cc.resources.docker import Docker
from cc.resources.host import Host
from cc.shell import ScriptedShell
from tests.broken import legacy
from tests.dockyard import CHANGED, OK, Yard, docker, yard
from tests.integration.box import free_ports, held
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked
from tests.registry import registry

NO_PLUGIN = "docker compose=fail:1:docker: 'compose' is not a docker command."
FILE = """\
name: another-name
services:
  a:
    image: {image}
    stop_grace_period: 0s
    environment: {{S: "${{S}}"}}
    ports: ["127.0.0.1:{port}:80"]
  debug: {{image: {image}, profiles: [debug]}}
"""
PRINTED = """\
services:
  a:
    depends_on:
      c:
        condition: service_started
    environment:
      A: b$$c
    image: x
    ports:
    - published: 80
      target: 80
    - 127.0.0.1:8-9:80/tcp
    - 127.0.0.1:18123:8123/tcp
    restart: "no"
  b:
    image: x
    profiles:
    - dbg
  c:
    image: x
version: '3.9'

"""
"""By docker-compose 1.29.2."""


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with registry() as store:
        name = store.put(note="legacy")
        docker("pull", "-q", name)
        yield name


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(readiness, "SETTLE_S", 0.2)
    legacy(tmp_path / "bin" / "docker-compose")
    (tmp_path / "secret").write_text("*hunter22\n")
    with yard(tmp_path) as made:
        yield made


def ensure(own: Yard, state: str = "up", **more: Any) -> Any:
    host = {"faults": NO_PLUGIN, "environ": {"PATH": f"{own.dir}/bin:{os.environ['PATH']}"}, **more.pop("host", {})}
    args = {"file": "c.yml", "state": state, "timeout": 1.0, "secrets": {"S": "secret"}, **more}
    return own.ensure(VERB, args, **host)


def copies() -> list[str]:
    return glob.glob(os.path.join(tempfile.gettempdir(), "cc-compose-*"))


@pytest.mark.docker
def test_a_file_with_a_name_comes_up_and_goes_by_the_legacy_program_which_knows_no_name(own: Yard, image: str) -> None:
    (port,) = free_ports(1)
    (own.dir / "c.yml").write_text(FILE.format(image=image, port=port))
    with held(port), pytest.raises(Failure) as caught:
        ensure(own)
    assert (caught.value.code, own.containers()) == ("port_in_use", {})
    first = ensure(own)
    assert first.status.value == CHANGED
    assert [each.reason for each in first.acted.fallbacks] == ["docker compose is not installed; used docker-compose"]
    before = own.containers(running=True)
    assert set(before) == {"a"}
    assert "S=*hunter22" in docker("inspect", "-f", "{{.Config.Env}}", before["a"])
    assert ensure(own).status.value == OK
    assert own.containers(running=True) == before
    assert ensure(own, "down").status.value == CHANGED
    assert (own.containers(), copies()) == ({}, [])


@pytest.mark.docker
@pytest.mark.parametrize("name", ["", "name: x\n"])
def test_a_file_that_is_newer_than_the_program_is_no_compose_and_says_what_was_refused(
    own: Yard, image: str, name: str
) -> None:
    check = "healthcheck: {test: [CMD, 'true'], start_interval: 1s}"
    (own.dir / "c.yml").write_text(f"{name}services:\n  a: {{image: '{image}', {check}}}\n")
    with pytest.raises(Failure) as caught:
        ensure(own)
    assert caught.value.code == "tool_missing"
    assert caught.value.message == (
        f"docker compose is not installed; docker-compose 1.29.2 cannot use {own.dir}/c.yml: "
        "services.a.healthcheck value 'start_interval' does not match any of the regexes: '^x-'"
    )
    assert (own.containers(), copies()) == ({}, [])


@pytest.mark.docker
def test_what_a_newer_program_of_that_name_refuses_stays_a_bad_file(own: Yard) -> None:
    (own.dir / "c.yml").write_text("services:\n  a: {imag: x}\n")
    path = own.dir / "bin" / "docker-compose"
    path.write_text('#!/bin/sh\n[ "$1" = version ] && echo 2.26.1-4 && exit 0\nexec docker compose "$@"\n')
    with pytest.raises(Failure) as caught:
        ensure(own)
    assert caught.value.code == "bad_config"


def project(stdout: str, secret: Path | None = None) -> tuple[ComposeProgram, ScriptedShell]:
    shell = ScriptedShell().on(("docker-compose",), stdout=stdout)
    host = Host(shell, "/", {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    return ComposeProgram(host, Docker(host), "/c.yml", "p", {"S": str(secret)} if secret else {}), shell


def test_what_it_prints_is_read_with_ports_as_compose_has_them_and_without_what_no_profile_asks_for() -> None:
    asked, shell = project(PRINTED)
    found = services(asked, frozenset({"a", "c"}))
    assert set(found) == {"a", "c"}
    assert found["a"]["ports"] == [
        {"mode": "ingress", "protocol": "tcp", "published": "80", "target": 80},
        {"mode": "ingress", "protocol": "tcp", "target": 80, "host_ip": "127.0.0.1", "published": "8-9"},
        {"mode": "ingress", "protocol": "tcp", "target": 8123, "host_ip": "127.0.0.1", "published": "18123"},
    ]
    assert (found["a"]["depends_on"], found["a"]["restart"]) == ({"c": {"condition": "service_started"}}, "no")
    assert shell.ran == [("docker-compose", "-f", "/c.yml", "-p", "p", "config")]


def test_its_print_is_asked_for_without_the_secrets(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter22\n")
    asked, shell = project(PRINTED, tmp_path / "secret")
    services(asked, frozenset({"a"}))
    assert (shell.calls[0].env or {})["S"] == "hidden"


@pytest.mark.parametrize(
    "stdout", ["", "junk", "{", "services: 7", "services: {a: 7}", "services: {a: {ports: ['x:y']}}"]
)
def test_a_print_that_is_none_is_a_bad_answer(stdout: str) -> None:
    with pytest.raises(Failure) as caught:
        services(project(stdout)[0], frozenset({"a"}))
    assert caught.value.code == "bad_answer"
