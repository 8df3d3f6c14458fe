"""Ports that are claimed are nobody else's, here and in other processes, until their process ends, however it does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cc.drill import ground
from cc.drill.ground import claim_ports, give_back_ports, path_without
from cc.errors import Failure

CHILD = """
import sys
from cc.drill import ground
ground.FIRST, ground.LAST = int(sys.argv[1]), int(sys.argv[2])
ground._CLAIMS._next = ground.FIRST
print(*ground.claim_ports(int(sys.argv[3])), flush=True)
sys.stdin.read()
"""


@contextmanager
def another(first: int, last: int, count: int) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """Another process with a claim of that range, which it holds until it ends."""
    words = [sys.executable, "-c", CHILD, str(first), str(last), str(count)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, set(map(int, process.stdout.readline().split()))
        finally:
            process.kill()


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A short range that nobody else searches: it is claimed here, and given back as the test begins."""
    ports = claim_ports(20)
    monkeypatch.setattr(ground, "FIRST", ports[0])
    monkeypatch.setattr(ground, "LAST", ports[-1] + 1)
    monkeypatch.setattr(ground._CLAIMS, "_next", ports[0])
    give_back_ports(ports)
    yield ports[0], ports[-1] + 1
    give_back_ports(ports)


def test_two_processes_that_search_at_once_do_not_meet(mine: tuple[int, int]) -> None:
    with another(*mine, 6) as (_, first), another(*mine, 6) as (_, second):
        own = set(claim_ports(6))
        assert len(first | second | own) == 18
        with pytest.raises(Failure, match="no 6 free ports"):
            claim_ports(6)


def test_the_claims_of_a_process_that_was_killed_are_free(mine: tuple[int, int]) -> None:
    with another(*mine, 15) as (process, claimed):
        assert len(claimed) == 15
        with pytest.raises(Failure):
            claim_ports(6)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert len(claim_ports(6)) == 6


def test_a_child_of_ours_neither_holds_nor_gives_up_what_we_claimed(mine: tuple[int, int]) -> None:
    own = claim_ports(15)
    child = os.fork()
    if child == 0:
        os.closerange(3, 256)  # what any child does before it becomes another program
        os._exit(0)
    os.waitpid(child, 0)
    with another(*mine, 4) as (_, theirs):
        assert theirs
        assert theirs.isdisjoint(own)


def test_what_is_given_back_can_be_had_again_and_the_rest_can_not(mine: tuple[int, int]) -> None:
    first, second = claim_ports(9), claim_ports(9)
    assert not set(first) & set(second)
    give_back_ports(first)
    give_back_ports(first)
    assert set(claim_ports(9)) == set(first)


def test_a_port_that_a_stranger_has_is_passed_over(mine: tuple[int, int]) -> None:
    with socket.create_server(("127.0.0.1", mine[0] + 3)):
        assert claim_ports(6)[0] > mine[0] + 3


def test_a_path_without_a_program_has_all_others_of_the_path_and_the_first_of_each_name(tmp_path: Path) -> None:
    for folder, names in (("a", ("docker", "sh")), ("b", ("sh", "ls", "docker"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    farm = Path(path_without(str(tmp_path), "docker", path=f"{tmp_path}/a:{tmp_path}/gone:{tmp_path}/b"))
    assert {each.name: os.readlink(each) for each in farm.iterdir()} == {
        "sh": f"{tmp_path}/a/sh",
        "ls": f"{tmp_path}/b/ls",
    }
