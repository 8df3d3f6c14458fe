"""The engine as this host's docker would find it, and everything that may answer at its socket, or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cc.clock import Cancel, SystemClock
from cc.engine.step import Context
from cc.errors import CommandFailure, DeadlineExceeded, Failure, Interrupted
from cc.resources import docker as module
from cc.resources.docker import HUNG, Docker
from cc.resources.host import Host
from cc.shell import ScriptedShell
from cc.shell.command import Command, Result
from tests.engines import FakeEngine, answer, engine
from tests.resources.test_docker_facts import INSPECTED

ROOT = Path(__file__).resolve().parents[2]


def docker(environ: dict[str, str], shell: ScriptedShell | None = None) -> Docker:
    return Docker(Host(shell or ScriptedShell(), "/", environ))


# --- what answers there


def refused(ask: Callable[[], object]) -> Failure:
    with pytest.raises(Failure) as caught:
        ask()
    return caught.value


def test_an_engine_that_answers_tells_its_version() -> None:
    with engine(lambda target: answer({"Version": "27.1"})) as found:
        assert docker(found.environ).version() == "27.1"
        assert found.asked == ["/version"]


def test_a_socket_that_is_not_there_is_an_engine_that_is_down(tmp_path: Path) -> None:
    error = refused(docker({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}).version)
    assert error.code == "daemon_down"
    assert f"{tmp_path}/none.sock" in error.message
    assert "start it" in (error.hint or "")


def test_a_socket_that_nobody_listens_on_any_more_is_an_engine_that_is_down() -> None:
    with engine(lambda target: b"") as found:
        environ = found.environ
        found.close()
        assert found.path.exists()
        assert refused(docker(environ).version).code == "daemon_down"


def test_a_file_in_the_sockets_place_is_an_engine_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(docker({"DOCKER_HOST": f"unix://{tmp_path}/file"}).version).code == "daemon_down"
    long = "unix:///" + "x" * 200
    assert refused(docker({"DOCKER_HOST": long}).version).code == "daemon_down"


def test_a_socket_without_a_right_to_it_is_permission_denied_and_says_what_to_type() -> None:
    with engine(lambda target: answer({"Version": "1"})) as found:
        found.path.chmod(0o600)
        if os.geteuid() != 0:
            found.path.chmod(0)
        code = (
            "import os, sys, http.client; from cc.errors import Failure; from cc.resources.docker import Docker\n"
            "from cc.resources.host import Host; from cc.shell import ScriptedShell\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setuid(65534)\n"
            "try: Docker(Host(ScriptedShell(), '/', {'DOCKER_HOST': 'unix://' + sys.argv[1]})).version()\n"
            "except Failure as failure: print(failure.code, failure.hint)\n"
        )
        asked = [sys.executable, "-c", code, str(found.path)]
        said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("permission_denied join the group `docker`")


def test_an_engine_that_is_silent_is_hung_after_its_deadline_and_not_asked_again_in_this_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_S", 0.2)
    with engine(lambda target: None) as found:
        asked = docker(found.environ)
        for ask in (asked.version, lambda: asked.container("x"), lambda: asked.containers({}), lambda: asked.cli("ps")):
            assert refused(ask).code == "daemon_hung"
        assert found.asked == ["/version"]
        asked._host.memo.pop(HUNG)  # somebody started it
        assert "silent for 0.2 s" in refused(asked.version).message
        assert len(found.asked) == 2


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\n", b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"Ver'])
def test_an_engine_that_stops_in_the_middle_is_hung_or_no_engine(monkeypatch: pytest.MonkeyPatch, part: bytes) -> None:
    monkeypatch.setattr(module, "READ_S", 0.2)
    with engine(lambda target: part) as found:
        assert refused(docker(found.environ).version).code == "bad_answer"  # it closed the connection


def test_an_engine_that_says_a_word_now_and_then_gets_no_more_time_than_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_S", 0.3)
    with tempfile.TemporaryDirectory(prefix="cceng-") as directory:
        slow = Path(directory) / "d.sock"
        import socket

        server = socket.socket(socket.AF_UNIX)
        server.bind(str(slow))
        server.listen(1)
        over = threading.Event()

        def drip() -> None:
            client = server.accept()[0]
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not over.wait(0.05):
                client.sendall(b" ")
            client.close()

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert refused(docker({"DOCKER_HOST": f"unix://{slow}"}).version).code == "daemon_hung"
        finally:
            over.set()
            thread.join()
            server.close()


JUNK = [
    b"",
    b"\x00\xff\xfe\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    answer(b"<html>"),
    answer(b"\xff\xfe"),
    answer([]),
    answer("text"),
    answer(7),
    answer(None),
    answer({}),
    answer({"Version": "1"}, 500),
    answer({"message": "broken"}, 500),
    answer(b"<html>", 500),
    answer([], 500),
    answer({"message": "page not found"}, 404),
    answer([{}]),
    answer([1]),
    answer({"Id": {}}),
    answer({"Id": "x", "State": 7}),
    answer({"Id": "x", "Config": {"Env": [1]}}),
    answer({"Id": "x", "NetworkSettings": {"Ports": {"1/tcp": [{"HostPort": "x"}]}}}),
    answer({"Volumes": [{}]}),
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:40]))
def test_what_is_no_engine_is_a_failure_and_never_a_surprise(junk: bytes) -> None:
    with engine(lambda target: junk) as found:
        asked = docker(found.environ)
        asks: list[Callable[[], object]] = [
            asked.version,
            lambda: asked.containers({"a": "b"}),
            lambda: asked.container("x"),
            lambda: asked.image_id("x"),
            lambda: asked.names("network", {}),
            lambda: asked.names("volume", {}),
        ]
        for ask in asks:
            try:
                ask()
            except Failure as failure:
                assert failure.code in ("bad_answer", "daemon_down")  # noqa: PT017 - some of it is an answer to some
        assert asked.publisher(80) is None


def test_the_engines_own_error_is_repeated_and_a_404_of_one_thing_means_that_it_is_not_there() -> None:
    with engine(lambda target: answer({"message": "disk is on fire"}, 500)) as found:
        error = refused(lambda: docker(found.environ).container("x"))
        assert (error.code, error.message) == ("bad_answer", "the Docker engine answered 500: disk is on fire")
    with engine(lambda target: answer({"message": "No such container: x"}, 404)) as found:
        assert docker(found.environ).container("x") is None
        assert docker(found.environ).image_id("x") is None
        assert refused(lambda: docker(found.environ).containers({})).code == "bad_answer"


def test_names_are_quoted_on_their_way() -> None:
    with engine(lambda target: answer({}, 404)) as found:
        docker(found.environ).container("a/../b c?x#y")
        docker(found.environ).image_id("r:5000/a/b:1@sha256:0")
        assert found.asked == ["/containers/a%2F..%2Fb%20c%3Fx%23y/json", "/images/r:5000/a/b:1@sha256:0/json"]


# --- through the program, where there is no local socket

REMOTE = {"DOCKER_HOST": "tcp://127.0.0.1:1"}


def test_a_remote_engine_is_asked_by_the_program_alone() -> None:
    shell = ScriptedShell()
    shell.on(("docker", "version"), stdout="27.1\n")
    shell.on(("docker", "ps"), stdout="0a1b\n2c3d\n")
    shell.on(("docker", "container", "inspect"), stdout=json.dumps([INSPECTED]))
    shell.on(("docker", "container", "inspect", "2c3d"), stderr="Error: No such container: 2c3d", exit_code=1)
    shell.on(("docker", "image", "inspect"), stdout=json.dumps([{"Id": "sha256:1"}]))
    shell.on(("docker", "network", "ls"), stdout="a\nb\n")
    asked = docker(REMOTE, shell)
    assert asked.version() == "27.1"
    assert [found.name for found in asked.containers({"k": "v", "l": "w"})] == ["web"]
    assert asked.image_id("web:1") == "sha256:1"
    assert asked.names("network", {"k": "v"}) == ["a", "b"]
    assert ("docker", "ps", "-aq", "--no-trunc", "--filter", "label=k=v", "--filter", "label=l=w") in shell.ran
    assert {command.env is not None and command.env["DOCKER_HOST"] for command in shell.calls} == {
        REMOTE["DOCKER_HOST"]
    }


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("Error: No such container: x", None),
        ("Error response from daemon: No such container: x", None),
        ("error: no such object: x", None),
        ("error during connect: dial tcp: lookup nohost on 10.0.0.53:53: no such host", "daemon_down"),
        ("Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?", "daemon_down"),
        ("what?", "non_zero_exit"),
    ],
)
def test_only_docker_saying_so_means_that_a_container_is_not_there(stderr: str, code: str | None) -> None:
    shell = ScriptedShell().on(("docker",), stderr=stderr, exit_code=1, stdout="[]\n").on(("docker", "--version"))
    asked = docker(REMOTE, shell)
    if code is None:
        assert asked.container("x") is None
    else:
        assert refused(lambda: asked.container("x")).code == code


@pytest.mark.parametrize("stdout", ["", "junk\x00", "[]", "{}", "7", "[7]", '[{"Id": 7, "State": 8}]'])
def test_a_program_that_answers_junk_is_a_bad_answer(stdout: str) -> None:
    asked = docker(REMOTE, ScriptedShell().on(("docker",), stdout=stdout))
    assert refused(lambda: asked.container("x")).code == "bad_answer"


def late(command: Command) -> DeadlineExceeded:
    return DeadlineExceeded("`docker x` did not end within 10 s", result=Result(command.argv, -9))


def test_a_late_read_tells_of_the_engine_and_a_late_act_only_if_the_engine_is_silent_too() -> None:
    with engine(lambda target: answer({"Version": "1"})) as found:
        shell = ScriptedShell().on(("docker",), late)
        assert refused(lambda: docker(found.environ, shell).cli("ps")).code == "daemon_hung"
        well = ScriptedShell().on(("docker",), late).on(("docker", "version"), stdout="1\n")
        error = refused(lambda: docker(found.environ, well).cli("compose", "up", deadline=3.0))
        assert (error.code, isinstance(error, CommandFailure)) == ("deadline", True)
    with engine(lambda target: answer({"Version": "1"})) as found:
        gone = {"DOCKER_HOST": f"unix://{found.path}.none"}
        assert refused(lambda: docker(gone, shell).cli("compose", "up", deadline=3.0)).code == "daemon_down"


def test_a_program_that_hangs_beside_an_engine_that_answers_is_not_run_again_and_the_engine_still_read() -> None:
    with engine(lambda target: answer({"Version": "1"})) as found:
        shell = ScriptedShell().on(("docker",), late)
        asked = docker(found.environ, shell)
        assert refused(lambda: asked.cli("stop", "x", deadline=3.0)).code == "daemon_hung"
        assert [argv[:2] for argv in shell.ran] == [("docker", "stop"), ("docker", "version")]
        assert refused(lambda: asked.cli("kill", "x", deadline=3.0)).code == "daemon_hung"
        assert len(shell.ran) == 2
        assert asked.version() == "1"


def test_the_last_lines_of_a_log_are_evidence_and_never_a_goal() -> None:
    shell = ScriptedShell().on(("docker", "logs"), stdout="a\nb\n", stderr="c\n")
    assert docker(REMOTE, shell).log_tail("web", 2) == ("b", "c")
    shell.on(("docker", "logs"), stderr="No such container", exit_code=1).on(("docker", "--version"))
    assert docker(REMOTE, shell).log_tail("web") == ()


# --- pulls, as far as an engine of a few words shows them


def pull(found: FakeEngine, context: Context, shell: ScriptedShell | None = None) -> None:
    docker(found.environ, shell).pull("r/x", context)


@pytest.mark.parametrize(
    ("status", "lines", "code"),
    [
        (200, [{"status": "Pulling"}, {"error": "manifest unknown"}], "image_missing"),
        (200, [{"error": "write /x: no space left on device"}], "disk_full"),
        (404, [{"message": "no such image"}], "image_missing"),
        (500, [{"message": "Get https://r/v2/: no such host"}], "image_missing"),
    ],
)
def test_a_pull_that_the_engine_refuses_names_the_image(
    context: Context, status: int, lines: list[object], code: str
) -> None:
    body = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
    with engine(lambda target: answer(body, status)) as found:
        error = refused(lambda: pull(found, context))
        assert found.asked == ["/images/create?fromImage=r%2Fx%3Alatest"]  # without a tag it would fetch all of them
    assert (error.code, error.hint) == (code, "docker pull r/x")
    assert error.message.startswith("image r/x is not here and cannot be pulled: ")


@pytest.mark.parametrize("words", ["pull access denied for r/x", "unauthorized: authentication required"])
def test_what_needs_credentials_is_left_to_the_program_which_has_them(context: Context, words: str) -> None:
    shell = ScriptedShell().on(("docker", "pull", "r/x"))
    with engine(lambda target: answer({"error": words})) as found:
        pull(found, context, shell)
    assert shell.ran == [("docker", "pull", "r/x")]


def test_a_pull_from_a_silent_engine_is_an_engine_that_hangs(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PULL_SILENCE_S", 0.2)
    monkeypatch.setattr(module, "READ_S", 0.2)
    with engine(lambda target: None) as found:
        assert refused(lambda: pull(found, context)).code == "daemon_hung"


def test_a_pull_ends_at_once_when_it_is_cancelled_and_in_time_with_its_step() -> None:
    cancel = Cancel()
    context = Context(SystemClock(), cancel)

    def says(target: str) -> bytes | None:
        cancel.request("SIGINT")
        return None

    with engine(says) as found, pytest.raises(Interrupted):
        pull(found, context)
    cancel.close()
    fresh = Cancel()
    with engine(lambda target: None if "create" in target else answer({"Version": "1"})) as found:
        late = Context(SystemClock(), fresh).until(0.2)
        assert refused(lambda: pull(found, late)).code == "deadline"
    fresh.close()
