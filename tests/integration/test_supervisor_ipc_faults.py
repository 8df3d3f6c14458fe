"""The daemon and clients that mean it no good, or are too many: it answers the others, and never grows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cc.shell.identity import read_stat
from cc.supervisor import protocol
from tests.integration.box import Box, eventually, supervisors
from tests.supervisor.ipc_support import answer, lines, raw

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and "CI" not in os.environ, reason="needs root, which CI has: it becomes another user"
)


def up(box: Box) -> tuple[Path, int]:
    """Its run directory and its pid."""
    assert box.ask("up", "--no-docker").code == 0
    (pid,) = supervisors(box)
    return box.state / "run", pid


def send_quietly(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


JUNK = (b"junk\n", b"\0" * 100 + b"\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"42\n", b"[" * 100_000 + b"\n", b"\n")


def test_amid_junk_half_lines_two_megabytes_and_silence_commands_are_answered(box: Box) -> None:
    run, pid = up(box)
    with ExitStack() as open_ones:
        kinds = [*JUNK, b'{"v":1,"id":1,"meth', b""] * 5
        for sent in kinds:
            send_quietly(open_ones.enter_context(raw(run)), sent)
        long = open_ones.enter_context(raw(run))
        sender = threading.Thread(target=send_quietly, args=(long, b"x" * 2_000_000))
        sender.start()
        told = box.ask("status")
        assert (told.code, told.json["supervisor"]["via"], told.json["supervisor"]["pid"]) == (0, "unix", pid)
        assert "over 1048576 bytes" in answer(long)["error"]["message"]
        long.shutdown(socket.SHUT_RDWR)
        sender.join(30.0)
        assert box.ask("up", "--no-docker").step("supervisor")["rung"] == 1
    assert supervisors(box) == [pid]
    assert box.ask("down").code == 0
    assert box.processes() == []


def test_two_hundred_clients_at_once_are_all_answered_and_so_is_a_command(box: Box) -> None:
    run, pid = up(box)
    with ExitStack() as open_ones:
        clients = [open_ones.enter_context(raw(run)) for _ in range(200)]
        command = box.start("status", "--json")
        for number, one in enumerate(clients):
            one.sendall(protocol.request(number, "ping", {}))
        assert [answer(one)["result"]["pid"] for one in clients] == [pid] * 200
        out, err = command.communicate(timeout=60)
        assert (command.returncode, f'"pid": {pid}' in out) == (0, True), err


AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
one = socket.socket(socket.AF_UNIX)
one.settimeout(30)
one.connect(sys.argv[1])
try:
    one.sendall(b'{"v":1,"id":1,"method":"shutdown","params":{}}' + bytes([10]))
    print(one.recv(100))
except OSError:
    print(b"")
"""


@needs_root
def test_another_user_is_refused_even_where_the_rights_would_let_him_in(box: Box) -> None:
    run, pid = up(box)
    path = run / "supervisor.sock"
    doors = [run, *list(run.parents)[: len(run.relative_to(box.dir).parts)]]
    for door in doors:
        door.chmod(0o755)
    path.chmod(0o666)
    asked = [sys.executable, "-c", AS_NOBODY, str(path)]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True, cwd="/")
    assert said.stdout == "b''\n"
    assert "belongs to another user (uid 65534)" in (box.state / "logs" / "supervisor.log").read_text()
    assert (supervisors(box), box.ask("status").json["supervisor"]["pid"]) == ([pid], pid)


def fail(run: Path, number: int) -> None:
    """One call that comes to nothing, each time in another way."""
    with raw(run) as connection:
        if number % 5 == 0:
            connection.sendall(protocol.request(1, "nonsense", {}))
            assert "there is no method" in answer(connection)["error"]["message"]
        elif number % 5 == 1:
            connection.sendall(protocol.request(1, "run", {"operation": {"colour": "red"}}))
            assert "no operation" in answer(connection)["error"]["message"]
        elif number % 5 == 2:
            connection.sendall(protocol.request(1, "status", {}))  # and it goes in the middle of it
        elif number % 5 == 3:
            connection.sendall(protocol.request(1, "status", {}))
            said = lines(connection)
            assert "ack" in next(said)
            connection.sendall(protocol.said(1, "cancel", "enough"))
            assert any("result" in message or "error" in message for message in said)
        else:
            connection.sendall(b'{"v":1,')


def held(pid: int) -> tuple[int, int, int]:
    """Descriptors, threads, dead children."""
    stats = [read_stat(int(name)) for name in os.listdir("/proc") if name.isdecimal()]
    dead = [each for each in stats if each is not None and each.parent == pid and each.dead]
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), len(dead)


def resident_kb(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def test_five_hundred_failed_calls_leave_it_as_two_hundred_and_fifty_did(box: Box) -> None:
    run, pid = up(box)
    for number in range(250):
        fail(run, number)
    at_rest: list[tuple[int, int, int]] = []

    def settled() -> bool:
        at_rest.append(held(pid))
        return len(at_rest) > 20 and len(set(at_rest[-20:])) == 1

    eventually(settled, what="the calls to be over")
    before, memory = at_rest[-1], resident_kb(pid)
    for number in range(250):
        fail(run, number)
    eventually(lambda: all(now <= then for now, then in zip(held(pid), before, strict=True)), what="as many as before")
    assert before[2] == 0
    assert resident_kb(pid) - memory < 8_000
    assert box.ask("status").json["supervisor"]["pid"] == pid
