"""The engine's breaker (LADDERS.md, L12): what opens it, whom it holds up, and what closes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cc.errors import DeadlineExceeded, Failure
from cc.resources import docker as module
from cc.resources.breakers import Breakers
from cc.resources.docker import Docker
from cc.resources.docker_engine import DockerEngine
from cc.resources.docker_socket import DEFAULT_SOCKET, breaker_name
from cc.resources.host import Host
from cc.shell import ScriptedShell
from cc.shell.command import Command, Result
from tests.engines import answer, engine
from tests.fakes import FakeClock

REMOTE = {"DOCKER_HOST": "tcp://10.0.0.1:2375"}
DOWN = "Cannot connect to the Docker daemon at tcp://10.0.0.1:2375. Is the docker daemon running?"


def background(environ: dict[str, str], shell: ScriptedShell | None = None) -> Host:
    """As the watchdog has it."""
    breakers = Breakers(clock=FakeClock(), boot_id="boot-1")
    return Host(shell or ScriptedShell(), "/", environ, breakers=breakers, typed=False)


def code_of(ask: Callable[[], object]) -> str:
    try:
        ask()
    except Failure as failure:
        return failure.code
    return ""


def test_an_engine_that_is_down_is_not_asked_a_sixth_time_until_somebody_types_a_command(tmp_path: Path) -> None:
    looks = background({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    codes = [code_of(Docker(looks).version) for _ in range(7)]
    assert codes == ["daemon_down"] * 5 + ["breaker_open"] * 2
    assert code_of(lambda: Docker(looks).cli("start", "x", deadline=3.0)) == "breaker_open"
    assert code_of(Docker(replace(looks, typed=True)).version) == "daemon_down"


def test_a_typed_command_that_comes_through_closes_it_for_the_background() -> None:
    with engine(lambda target: answer({"Version": "1"})) as found:
        looks = background(found.environ)
        found.close()
        while code_of(Docker(looks).version) != "breaker_open":
            pass
        with engine(lambda target: answer({"Version": "2"})) as again:
            found.path.unlink(missing_ok=True)
            found.path.symlink_to(again.path)
            assert code_of(Docker(looks).version) == "breaker_open"
            assert Docker(replace(looks, typed=True)).version() == "2"
            assert Docker(looks).version() == "2"
        found.path.unlink()


def test_silence_is_counted_once_a_look_since_it_is_not_asked_again_in_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_S", 0.05)
    with engine(lambda target: None) as found:
        looks = background(found.environ)
        for _ in range(5):
            one = Docker(replace(looks, memo={}))
            assert [code_of(one.version), code_of(one.version)] == ["daemon_hung"] * 2
        assert code_of(Docker(replace(looks, memo={})).version) == "breaker_open"
        assert len(found.asked) == 5


@pytest.mark.parametrize("status", [404, 500])
def test_what_answers_in_whatever_way_is_in_reach(status: int) -> None:
    with engine(lambda target: answer({"message": "no"}, status)) as found:
        looks = background(found.environ)
        assert {code_of(Docker(looks).version) for _ in range(6)} == {"bad_answer"}


@pytest.mark.parametrize(
    ("words", "code"), [(DOWN, "daemon_down"), ("no such container", "non_zero_exit"), ("exit 3", "non_zero_exit")]
)
def test_of_a_remote_engine_the_words_of_the_program_tell(words: str, code: str) -> None:
    shell = ScriptedShell().on(("docker",), stderr=words, exit_code=1).on(("docker", "--version"))
    looks = background(REMOTE, shell)
    codes = [code_of(lambda: Docker(looks).cli("ps")) for _ in range(6)]
    assert codes == [code] * 5 + (["breaker_open"] if code == "daemon_down" else [code])


def test_an_inspect_that_cannot_connect_is_counted_though_it_is_run_unchecked() -> None:
    looks = background(REMOTE, ScriptedShell().on(("docker",), stderr=DOWN, exit_code=1))
    assert [code_of(lambda: Docker(looks).container("x")) for _ in range(6)][4:] == ["daemon_down", "breaker_open"]


def test_an_act_that_fails_and_a_program_that_is_missing_or_hangs_beside_an_engine_say_nothing_of_the_engine() -> None:
    def late(command: Command) -> DeadlineExceeded:
        return DeadlineExceeded("`docker ps` did not end within 10 s", result=Result(command.argv, -9))

    with engine(lambda target: answer({"Version": "1"})) as found:
        looks = background(found.environ, ScriptedShell().on(("docker",), late))
        assert {code_of(lambda: Docker(replace(looks, memo={})).cli("ps")) for _ in range(9)} == {"daemon_hung"}
        assert looks.breakers.troubled() == ()
    acts = background(REMOTE, ScriptedShell().on(("docker",), stderr=DOWN, exit_code=1))
    assert {code_of(lambda: Docker(acts).cli("rm", "x", deadline=3.0)) for _ in range(9)} == {"daemon_down"}
    config = background(REMOTE, ScriptedShell().on(("docker",), stderr=DOWN, exit_code=1))
    assert {code_of(lambda: Docker(config).cli("compose", "config")) for _ in range(9)} == {"daemon_down"}


def test_an_engine_that_lets_itself_be_listened_to_is_back() -> None:
    with engine(lambda target: answer({"Version": "1"})) as found:
        looks = background(found.environ)
        gone = replace(looks, environ={"DOCKER_HOST": f"unix://{found.path}"})
        for _ in range(5):
            with pytest.raises(Failure), looks.breakers.guarding(f"docker at {found.path}"):
                raise Failure("down", code="daemon_down")
        assert code_of(Docker(gone).version) == "breaker_open"
        assert list(Docker(gone).deaths("p")) in ([], [""])
        assert Docker(gone).version() == "1"


def test_whoever_starts_the_engine_is_not_told_to_wait(tmp_path: Path) -> None:
    looks = background({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    while code_of(Docker(looks).version) != "breaker_open":
        pass
    assert DockerEngine(looks, {})._docker._host.typed


def test_each_endpoint_is_out_of_reach_by_itself() -> None:
    assert breaker_name({}, DEFAULT_SOCKET) == "docker"
    assert breaker_name({}, "/x.sock") == "docker at /x.sock"
    assert breaker_name(REMOTE, None) == "docker at tcp://10.0.0.1:2375"
