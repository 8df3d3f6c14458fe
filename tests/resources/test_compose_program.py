"""Which program speaks compose here: the plugin, the one of its own name, or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cc.errors import Failure, ToolMissing
from cc.resources.compose_program import ComposeProgram
from cc.resources.docker import Docker
from cc.resources.host import Host
from cc.shell import ScriptedShell

NO_PLUGIN = "docker: 'compose' is not a docker command."
CONFIG = ("-f", "/c.yml", "-p", "p", "config", "--hash", "*")


def compose(shell: ScriptedShell) -> ComposeProgram:
    host = Host(shell, "/", {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    return ComposeProgram(host, Docker(host), "/c.yml", "p")


def refused(shell: ScriptedShell) -> Failure:
    with pytest.raises(Failure) as caught:
        compose(shell).hashes()
    return caught.value


def without_plugin(help_: str = "") -> ScriptedShell:
    shell = ScriptedShell().on(("docker", "--help"), stdout=help_)
    return shell.on(("docker", "compose"), stderr=NO_PLUGIN, exit_code=1)


def test_the_plugin_is_asked_first_and_each_reading_once() -> None:
    shell = ScriptedShell().on(("docker", "compose"), stdout="a 1\nb 2\n")
    asked = compose(shell)
    assert [asked.hashes(), asked.hashes()] == [{"a": "1", "b": "2"}] * 2
    assert shell.ran == [("docker", "compose", *CONFIG)]


def test_without_the_plugin_the_program_of_its_own_name_is_used_from_then_on() -> None:
    shell = without_plugin()
    shell.on(("docker-compose",), stdout="a 1\n").on(("docker-compose", "-f", "/c.yml", "-p", "p", "up"))
    asked = compose(shell)
    assert asked.hashes() == {"a": "1"}
    asked.run("up", "-d", deadline=9.0)
    assert [argv[:2] for argv in shell.ran] == [
        ("docker", "compose"),
        ("docker", "--help"),
        ("docker-compose", "-f"),
        ("docker-compose", "-f"),
    ]


def test_without_either_what_the_plugins_absence_said_is_what_the_user_can_mend() -> None:
    shell = without_plugin()
    shell.on(("docker-compose",), ToolMissing("docker-compose is not on PATH"))
    error = refused(shell)
    assert (error.code, error.message) == ("tool_missing", "docker compose is not installed")
    assert "https://docs.docker.com/compose/install" in (error.hint or "")


def test_without_docker_itself_it_is_docker_that_is_missing() -> None:
    shell = ScriptedShell().on(("docker",), ToolMissing("docker is not on PATH"))
    shell.on(("docker-compose",), ToolMissing("docker-compose is not on PATH"))
    assert refused(shell).message == "docker is not installed (no `docker` on PATH)"


@pytest.mark.parametrize("stdout", ["", "junk", "[]", "{}", '{"services"'])
def test_a_configuration_that_is_no_json_is_a_bad_answer(stdout: str) -> None:
    shell = ScriptedShell().on(("docker", "compose"), stdout=stdout)
    with pytest.raises(Failure) as caught:
        compose(shell).services()
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize("stdout", ["{not an answer\n", "a 1\nb\n", "a 1 2"])
def test_hashes_that_are_none_are_a_bad_answer_and_not_a_file_without_services(stdout: str) -> None:
    assert refused(ScriptedShell().on(("docker", "compose"), stdout=stdout)).code == "bad_answer"
    assert compose(ScriptedShell().on(("docker", "compose"), stdout="")).hashes() == {}


def test_a_refusal_is_not_taken_to_the_other_program() -> None:
    shell = ScriptedShell().on(("docker", "compose"), stderr="yaml: line 3: mapping values", exit_code=15)
    assert refused(shell).code == "bad_config"
    assert len(shell.ran) == 1


def with_secret(path: Path, shell: ScriptedShell) -> ComposeProgram:
    host = Host(shell, "/", {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    return ComposeProgram(host, Docker(host), "/c.yml", "p", {"PASSWORD": str(path)})


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\x80 junk", b"\0\0\0\0\0\0\0\0\0", b"one line\nand another\n", b"\x1b[31mred"]
)
def test_a_secret_that_is_junk_counts_as_none_for_a_reading_and_no_act_begins_with_it(
    tmp_path: Path, junk: bytes
) -> None:
    path = tmp_path / "password"
    path.write_bytes(junk)
    asked = with_secret(path, ScriptedShell().on(("docker", "compose"), stdout="a 1\n"))
    assert asked.hashes() == {"a": "1"}
    with pytest.raises(Failure, match="holds no secret") as caught:
        asked.require_secrets()
    assert caught.value.code == "bad_config"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_secret_that_is_no_file_is_bad_configuration_that_names_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "password")
    with pytest.raises(Failure) as caught:
        with_secret(tmp_path / "password", ScriptedShell()).hashes()
    assert (caught.value.code, str(tmp_path / "password") in caught.value.message) == ("bad_config", True)
    assert (caught.value.hint or "").startswith("mv ")
