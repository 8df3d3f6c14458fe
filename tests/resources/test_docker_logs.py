"""A container's log: from the engine's socket in its frames, elsewhere from `docker logs`; each line once, masked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from cc.clock import Cancel
from cc.errors import Failure, Interrupted, NonZeroExit
from cc.resources.docker_logs import ContainerLog
from cc.resources.host import Host
from cc.shell import SystemShell
from cc.shell.command import Command, Result
from cc.shell.scripted import ScriptedShell
from tests.engines import answer, engine

T1, T2, T3 = (f"2026-11-24T14:02:5{number}.12345678{number}Z" for number in (1, 2, 3))
Heard = list[tuple[str, str]]


def frame(text: str | bytes, stream: int = 1, when: str | None = T1) -> bytes:
    data = (f"{when} ".encode() if when else b"") + (text if isinstance(text, bytes) else text.encode())
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def read(
    body: bytes | None, *, lines: int | None = 9, follow: bool = False, again_after: int = 0,
    secrets: tuple[str, ...] = (), cancel: Cancel | None = None, status: int = 200,
) -> tuple[Heard, ContainerLog, list[str]]:  # fmt: skip
    heard: Heard = []
    with engine(lambda target: None if body is None else answer(body, status)) as found:
        host = Host(ScriptedShell(), "/", found.environ)
        log = ContainerLog(
            host, "p-db", lambda stream, line: heard.append((stream, line)), secrets=secrets, cancel=cancel or Cancel()
        )
        log.after = again_after
        log.read(lines, follow=follow, again=bool(again_after))
    return heard, log, found.asked


def test_lines_of_both_streams_come_in_their_order_without_their_times() -> None:
    body = frame("one\n") + frame("two\n", 2, T2) + frame("three\n", 1, T3)
    heard, log, asked = read(body)
    assert heard == [("stdout", "one"), ("stderr", "two"), ("stdout", "three")]
    assert log.after == 1795528973_123456783
    target = urlsplit(asked[0])
    assert (target.path, parse_qs(target.query)) == (
        "/containers/p-db/logs", {"stdout": ["1"], "stderr": ["1"], "timestamps": ["1"], "tail": ["9"]},
    )  # fmt: skip


def test_following_goes_on_after_the_last_line_and_tells_none_twice() -> None:
    body = frame("one\n") + frame("two\n", 1, T2) + frame("three\n", 1, T3)
    heard, _, asked = read(body, lines=None, follow=True, again_after=1795528972_123456782)
    assert heard == [("stdout", "three")]
    query = parse_qs(urlsplit(asked[0]).query)
    assert (query["since"], query["tail"], query["follow"]) == (["1795528972.123456782"], ["all"], ["1"])


def test_a_time_with_an_offset_is_the_same_moment() -> None:
    _, log, _ = read(frame("a\n", 1, "2026-11-24T16:02:51.5+02:00") + frame("b\n", 1, "2026-11-24T09:02:51-05:00"))
    assert log.after == 1795528971_500000000


ODD: list[tuple[str, bytes, Heard]] = [
    ("nothing", b"", []),
    ("no line break", frame("one"), [("stdout", "one")]),
    ("a long line in parts", frame("on") + frame("e\n", 1, None), [("stdout", "one")]),
    ("a long line, each part with its time", frame("on") + frame("e\n", 1, T2), [("stdout", "one")]),
    ("no time", frame("one\n", 1, None), [("stdout", "one")]),
    ("a time that is none", frame("one\n", 1, "2026-99-24T14:02:51Z"), [("stdout", "one")]),
    ("bytes", frame(b"\xff\x00\n"), [("stdout", "\ufffd\x00")]),
    ("carriage returns", frame("1 %\r2 %\r\n"), [("stdout", "1 %"), ("stdout", "2 %")]),
    ("an error of the engine's", frame("broken\n", 3, None), [("stderr", "broken")]),
    ("a terminal", b"2026-11-24T14:02:51Z one\r\n", [("stdout", "one")]),
    (
        "a line of 10 bytes in a header",
        frame("x" * (10 - len(T1) % 10) + "\n"),
        [("stdout", "x" * (10 - len(T1) % 10))],
    ),
    ("cut in a frame", frame("one\n") + frame("two\n")[:-2], [("stdout", "one")]),
]


@pytest.mark.parametrize(("what", "body", "told"), ODD)
def test_what_an_engine_may_send(what: str, body: bytes, told: Heard) -> None:
    assert read(body)[0] == told, what


def test_a_frame_larger_than_any_is_refused_and_not_waited_for() -> None:
    with pytest.raises(Failure) as caught:
        read(b"\1\0\0\0\xff\xff\xff\xff" + b"x" * 100)
    assert caught.value.code == "bad_answer"


def test_an_engine_that_gives_no_log_says_why() -> None:
    with pytest.raises(Failure, match="driver does not support reading"):
        read(b'{"message": "configured logging driver does not support reading"}', status=501)


def test_a_secret_is_masked_also_where_two_frames_meet() -> None:
    heard, _, _ = read(frame("pass=hunt") + frame("er22 ok\n", 1, None), secrets=("hunter22",))
    assert heard == [("stdout", "pass=*** ok")]


def test_a_line_without_an_end_takes_no_memory_without_an_end() -> None:
    heard, _, _ = read(b"".join(frame("x" * 16000, 1, None) for _ in range(40)))
    assert [len(line) < 70_000 for _, line in heard] == [True]
    assert "bytes left out" in heard[0][1]


def test_what_is_told_may_raise_and_comes_through() -> None:
    def full(stream: str, line: str) -> None:
        raise BrokenPipeError

    with engine(lambda target: answer(frame("one\n"))) as found:
        log = ContainerLog(Host(ScriptedShell(), "/", found.environ), "a", full, secrets=(), cancel=Cancel())
        with pytest.raises(BrokenPipeError):
            log.read(None, follow=False)


def test_cancelled_it_ends_at_once() -> None:
    cancel = Cancel()
    cancel.request("SIGINT")
    began = time.monotonic()
    with pytest.raises(Interrupted):
        read(None, follow=True, cancel=cancel)
    assert time.monotonic() - began < 1
    cancel.close()


# -- through the program, where the engine is not at a local socket


def by_program(
    script: Callable[[ScriptedShell], object], *, follow: bool = False, after: int = 0, secrets: tuple[str, ...] = ()
) -> tuple[Heard, Command]:
    shell, heard = ScriptedShell(), []
    script(shell)
    host = Host(shell, "/", {"DOCKER_HOST": "tcp://elsewhere:2375"})
    log = ContainerLog(host, "p-db", lambda *told: heard.append(told), secrets=secrets, cancel=Cancel())
    log.after = after
    log.read(5, follow=follow, again=bool(after))
    return heard, shell.calls[0]


def test_the_program_is_asked_and_the_order_of_its_two_pipes_mended() -> None:
    heard, command = by_program(
        lambda shell: shell.on(("docker", "logs"), stdout=f"{T1} one\n{T3} three\n", stderr=f"{T2} two\n")
    )
    assert command.argv == ("docker", "logs", "--timestamps", "--tail", "5", "p-db")
    assert heard == [("stdout", "one"), ("stderr", "two"), ("stdout", "three")]


def test_the_program_follows_on_from_the_last_line() -> None:
    heard, command = by_program(
        lambda shell: shell.on(("docker",), stdout=f"{T1} one\n{T2} two hunter22\n"), follow=True,
        after=1795528971_123456781, secrets=("hunter22",),
    )  # fmt: skip
    assert command.argv[5:] == ("--follow", "--since", "1795528971.123456781", "p-db")
    assert heard == [("stdout", "two ***")]


def test_the_programs_complaint_is_brought_to_our_words() -> None:
    said = "Cannot connect to the Docker daemon at tcp://elsewhere:2375. Is the docker daemon running?"

    def script(shell: ScriptedShell) -> None:
        result = Result(("docker",), 1, "", said, 0.0, 0, len(said))
        shell.on(("docker",), NonZeroExit(said, result=result))

    with pytest.raises(Failure) as caught:
        by_program(script)
    assert caught.value.code == "daemon_down"


def test_the_real_program_is_ended_with_us(tmp_path: object) -> None:
    cancel, heard = Cancel(), []
    folder = str(tmp_path)
    with open(os.path.join(folder, "docker"), "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\necho $$ >{folder}/pid\necho '{T1} one'\nexec sleep 60\n")
    os.chmod(os.path.join(folder, "docker"), 0o700)
    environ = {"DOCKER_HOST": "tcp://elsewhere:2375", "PATH": f"{folder}:{os.environ['PATH']}"}

    def hear(stream: str, line: str) -> None:
        heard.append(line)
        cancel.request("SIGINT")

    log = ContainerLog(Host(SystemShell(cancel=cancel), "/", environ), "a", hear, secrets=(), cancel=cancel)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        log.read(None, follow=True)
    assert (heard, time.monotonic() - began < 5) == (["one"], True)
    with open(os.path.join(folder, "pid"), encoding="utf-8") as file, pytest.raises(ProcessLookupError):
        os.kill(int(file.read()), 0)
    cancel.close()
