"""Faults on purpose: each kind is the real thing, and the notation says what it does not understand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from cc.errors import ConfigError, DeadlineExceeded, Failure, NonZeroExit, PermissionDenied, ToolMissing
from cc.shell import Command, Faults, SystemShell, faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def broken(spec: str) -> SystemShell:
    return SystemShell(faults=Faults.parse(spec))


def test_a_missing_tool_is_not_found_though_it_is_there() -> None:
    for argv in (("sh", "-c", "true"), ("/bin/sh", "-c", "true")):
        with pytest.raises(ToolMissing) as caught:
            broken("sh=missing").run(Command(argv))
        assert caught.value.evidence[0] == "fault on purpose: sh=missing"
        assert caught.value.result.argv == argv


def test_a_denied_tool_may_not_be_executed_even_by_root() -> None:
    for argv in (("sh", "-c", "true"), ("/bin/sh", "-c", "true")):
        with pytest.raises(PermissionDenied):
            broken("sh=denied").run(Command(argv))


def test_a_hanging_tool_ignores_term_and_holds_on_until_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        broken("docker=hang").run(Command(("docker", "ps"), deadline=0.3, grace=0.3))
    assert time.monotonic() - began > 0.5
    assert caught.value.result.exit_code == -9


def test_a_failing_tool_exits_with_the_code_and_the_words() -> None:
    with pytest.raises(NonZeroExit, match="exited with 17: it: broke") as caught:
        broken("docker=fail:17:it: broke").run(Command(("docker", "ps")))
    assert caught.value.result.stderr == "it: broke\n"
    assert broken("docker=fail").run(Command(("docker", "ps"), check=False)).exit_code == 1


def test_junk_is_what_the_tool_answers() -> None:
    result = broken(r"docker=junk:{\x00\xff%s\\n").run(Command(("docker", "ps")))
    assert result.stdout == "{\x00\ufffd%s\\n"
    assert result.undecodable
    assert broken("docker=junk:€").run(Command(("docker", "ps"))).stdout == "€"
    assert broken("docker=junk").run(Command(("docker", "ps"))).undecodable


def test_a_slow_tool_does_its_work_later() -> None:
    began = time.monotonic()
    result = broken("echo=slow:0.3").run(Command(("echo", "$HOME", "a b")))
    assert result.stdout == "$HOME a b\n"
    assert result.argv == ("echo", "$HOME", "a b")
    assert time.monotonic() - began > 0.3


def test_a_slow_tool_that_is_missing_is_missing() -> None:
    with pytest.raises(ToolMissing):
        broken("no-such-tool=slow:0.1").run(Command(("no-such-tool",)))


def test_what_is_spawned_is_broken_alike(tmp_path: Path, eventually: Callable[[Callable[[], object]], bool]) -> None:
    log = tmp_path / "log"
    with pytest.raises(ToolMissing):
        broken("dockerd=missing").spawn(Command(("dockerd",)), log=str(log))
    child = broken("dockerd=fail:5:no space").spawn(Command(("dockerd",)), log=str(log))
    assert eventually(lambda: child.poll() == 5)
    assert log.read_text() == "no space\n"


def test_other_tools_and_other_words_are_left_alone() -> None:
    shell = broken("echo broken=fail;cat=missing")
    assert shell.run(Command(("echo", "fine"))).stdout == "fine\n"
    with pytest.raises(NonZeroExit):
        shell.run(Command(("echo", "it", "is", "broken")))


def test_the_first_entry_that_fits_counts() -> None:
    rules = Faults({"docker compose up": faults.hang(), "docker compose": faults.fail(), "docker": faults.missing()})
    told = [
        (rules.find(Command(argv)) or ("none",))[0]
        for argv in (
            ("docker", "compose", "-f", "x.yml", "up", "-d"),
            ("/usr/bin/docker", "compose", "ps"),
            ("docker", "volume", "create", "--label", "com.docker.compose.project=p"),
            ("docker", "up", "compose"),
            ("cat",),
        )
    ]
    assert told == ["docker compose up", "docker compose", "docker", "docker compose", "none"]


def test_the_environment_variable_is_read_and_may_be_absent() -> None:
    assert not Faults.from_environment({})
    assert Faults.from_environment({"CC_FAULTS": " docker = missing ; ; curl=hang;"}).find(Command(("docker",)))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("docker", "expected PROGRAM=KIND"),
        ("=missing", "expected PROGRAM=KIND"),
        ("docker=explode", "unknown kind 'explode'; known: missing, denied"),
        ("docker=missing:1", "takes no argument"),
        ("docker=slow", "a number of seconds, not ''"),
        ("docker=slow:-1", "a number of seconds"),
        ("docker=slow:nan", "a number of seconds"),
        ("docker=fail:0", "from 1 to 255, not '0'"),
        ("docker=fail:x", "from 1 to 255, not 'x'"),
        ("docker=junk:\\x", "not a text with escapes"),
    ],
)
def test_an_entry_that_is_not_understood_is_named(spec: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why.replace("(", r"\(")) as caught:
        Faults.from_environment({"CC_FAULTS": f"curl=hang;{spec}"})
    assert caught.value.field == "CC_FAULTS"
    assert repr(spec) in str(caught.value)
    assert not isinstance(caught.value, Failure)
