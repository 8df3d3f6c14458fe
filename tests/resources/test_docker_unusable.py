"""A docker, a plugin and a docker-compose that cannot start: missing tools, that say how they are broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cc.errors import Failure, ToolMissing
from cc.resources.compose_program import ComposeProgram
from cc.resources.compose_run import DockerRun
from cc.resources.docker import Docker
from cc.resources.host import Host
from cc.shell import Faults, ScriptedShell, SystemShell
from cc.shell.command import Command, Result
from tests.broken import TRACEBACK, WAYS, plugin_that_breaks_later
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked

NO_PLUGIN = "docker compose=fail:1:docker: 'compose' is not a docker command."
SAID = {
    "no right": "ermission denied",
    "another machine's": "xec format error",
    "no interpreter": "interpreter",
    "127": "127",
    "SIGSEGV": "SIGSEGV",
    "traceback": "No module named 'distutils'",
}
ways = pytest.mark.parametrize("way", WAYS)


def compose(folder: Path, faults: str = "", **environ: str) -> ComposeProgram:
    (folder / "c.yml").write_text("services: {a: {image: x}}\n")
    environ = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", **environ}
    host = Host(SystemShell(faults=Faults.parse(faults)), str(folder), environ)
    return ComposeProgram(host, Docker(host), str(folder / "c.yml"), "p")


def refused(ask: Callable[[], object]) -> Failure:
    with pytest.raises(Failure) as caught:
        ask()
    return caught.value


@pytest.mark.docker
@ways
def test_a_docker_compose_that_cannot_start_is_a_missing_one_that_says_how(tmp_path: Path, way: str) -> None:
    WAYS[way](tmp_path / "bin" / "docker-compose")
    path = str(tmp_path / "bin") + ":" + _only(tmp_path, "docker")
    error = refused(compose(tmp_path, NO_PLUGIN, PATH=path).hashes)
    assert error.code == "tool_missing"
    begin = "docker compose is not installed; docker-compose is broken: "
    assert (error.message.startswith(begin), SAID[way] in error.message) == (True, True), error.message
    assert "https://docs.docker.com/compose/install" in (error.hint or "")


def _only(folder: Path, *names: str) -> str:
    """A directory for PATH with these programs and the shell's."""
    import shutil

    place = folder / "only"
    place.mkdir()
    for name in (*names, "sh", "cat"):
        found = shutil.which(name)
        assert found is not None, name
        (place / name).symlink_to(found)
    return str(place)


@pytest.mark.docker
@pytest.mark.parametrize("way", ["no right", "another machine's", "127", "SIGSEGV", "traceback"])
def test_a_plugin_that_docker_does_not_take_is_broken_and_not_only_absent(tmp_path: Path, way: str) -> None:
    WAYS[way](tmp_path / "cli-plugins" / "docker-compose")
    error = refused(compose(tmp_path, "docker-compose=missing", DOCKER_CONFIG=str(tmp_path)).hashes)
    assert error.code == "tool_missing"
    assert error.message.startswith("docker compose is broken: failed to fetch metadata: "), error.message


@pytest.mark.docker
@pytest.mark.parametrize("does", ["exec /nonexistent/program", "kill -SEGV $$", f'echo "{TRACEBACK}" >&2; exit 1'])
def test_a_plugin_that_breaks_only_when_it_is_used_is_broken_too(tmp_path: Path, does: str) -> None:
    plugin_that_breaks_later(tmp_path / "cli-plugins" / "docker-compose", does)
    error = refused(compose(tmp_path, "docker-compose=missing", DOCKER_CONFIG=str(tmp_path)).hashes)
    assert (error.code, error.message.partition(": ")[0]) == ("tool_missing", "docker compose is broken"), error.message


@pytest.mark.docker
def test_a_plugin_that_is_well_and_fails_at_its_work_is_not_broken(tmp_path: Path) -> None:
    plugin = tmp_path / "cli-plugins" / "docker-compose"
    plugin_that_breaks_later(plugin, '[ "$2" = version ] && exit 0', "echo no such luck >&2; exit 127")
    error = refused(compose(tmp_path, DOCKER_CONFIG=str(tmp_path)).hashes)
    assert (error.code, "exited with 127: no such luck" in error.message) == ("non_zero_exit", True), error.message


@ways
def test_a_docker_that_cannot_start_is_a_missing_one_for_both_ways_to_use_it(tmp_path: Path, way: str) -> None:
    WAYS[way](tmp_path / "bin" / "docker")
    (tmp_path / "c.yml").write_text("services: {a: {image: x}}\n")
    environ = {**os.environ, "PATH": str(tmp_path / "bin") + ":" + _only(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:1"}
    host = Host(SystemShell(), str(tmp_path), environ)
    file = str(tmp_path / "c.yml")
    for ask in (
        ComposeProgram(host, Docker(host), file, "p").hashes,
        DockerRun(host, Docker(host), file, "p").hashes,
        lambda: Docker(host).container("x"),
    ):
        error = refused(ask)
        assert (error.code, error.message.partition(": ")[0]) == ("tool_missing", "docker is broken"), error.message
        assert SAID[way] in error.message
        assert error.hint == "install Docker: https://docs.docker.com/get-docker/"


# --- which one is missing


@pytest.mark.docker
def test_of_a_program_that_is_missing_it_is_said_which(tmp_path: Path) -> None:
    def said(faults: str) -> str:
        return refused(compose(tmp_path, faults).hashes).message

    assert said("docker compose=missing;docker-compose=missing") == "docker compose is not installed"
    assert said("docker=missing;docker-compose=missing") == "docker is not installed (no `docker` on PATH)"
    used = compose(tmp_path, "docker=missing")
    assert set(used.hashes()) == {"a"}
    assert [each.reason for each in used.fallbacks()] == [
        "docker is not installed (no `docker` on PATH); used docker-compose"
    ]


# --- what is not to be taken for it


@pytest.mark.parametrize(
    ("code", "stderr"),
    [
        (127, 'Error: OCI runtime create failed: exec: "nope": executable file not found in $PATH'),
        (126, "exec /bin/sh: exec format error"),
        (1, TRACEBACK),  # of a build
        (255, ""),
        (-11, ""),
    ],
)
def test_how_one_command_ends_tells_nothing_of_the_program(code: int, stderr: str) -> None:
    shell = ScriptedShell().on(("docker",)).on(("docker", "start"), stderr=stderr, exit_code=code)
    host = Host(shell, "/", {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert refused(lambda: Docker(host).cli("start", "x", deadline=9.0)).code == "non_zero_exit"
    assert shell.ran == [("docker", "start", "x"), ("docker", "--version")]


@pytest.mark.parametrize("signal", [9, 15])
def test_one_that_somebody_else_ends_twice_is_not_broken(signal: int) -> None:
    shell = ScriptedShell().on(("docker",), exit_code=-signal)
    host = Host(shell, "/", {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert refused(lambda: Docker(host).cli("ps")).code == "non_zero_exit"


def test_a_directory_that_may_not_be_entered_is_not_the_programs_fault() -> None:
    def denied(command: Command) -> Result | Failure:
        from cc.errors import PermissionDenied

        if command.cwd == "/":
            return Result(command.argv, 0)
        return PermissionDenied("cannot run `docker ps` in /root: Permission denied", result=Result(command.argv, 126))

    host = Host(ScriptedShell().on(("docker",), denied), "/root", {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    error = refused(lambda: Docker(host).cli("ps"))
    assert (error.code, isinstance(error, ToolMissing)) == ("permission_denied", False)
