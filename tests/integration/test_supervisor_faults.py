"""What may happen to a supervisor's files and to what it watches: strangers behind its pids, junk in its socket's
place, two at the same instant, a dashboard that hangs, floods or never comes back. The real commands, the real daemon.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cc.shell.identity import read_stat, start_time
from tests.integration.box import Box, eventually, held, kill, masters, supervisors
from tests.integration.test_supervisor import healthy, supervisor


def kill_all(box: Box) -> None:
    """Supervisor first, so that nobody restarts what is killed after it."""
    for pid in supervisors(box):
        kill(pid)
    eventually(lambda: not supervisors(box), what="the supervisor to be gone")
    for pid in masters(box):
        with suppress(ProcessLookupError):  # one that asks for gunicorn's version leads a group too, and ends
            os.killpg(pid, signal.SIGKILL)
    eventually(lambda: not box.processes(), what="the dashboard to be gone")


# -- a pid that belongs to a stranger by now


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"], env={}, start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("start", ["another start time", "its own start time"])
def test_a_stranger_behind_every_pid_of_ours_is_never_signalled(
    box: Box, stranger: subprocess.Popen[bytes], start: str
) -> None:
    assert box.ask("up", "--no-docker").code == 0
    kill_all(box)
    started = start_time(stranger.pid)
    assert started is not None
    claimed = started if start == "its own start time" else started - 1
    for name in ("dashboard", "supervisor"):
        (box.state / "run" / f"{name}.pid").write_text(f"{stranger.pid} {claimed}\n")
    put_into_registry(box, pid=stranger.pid, start_time=claimed)
    asked = [box.ask(*words) for words in (("status",), ("up", "--no-docker"), ("status",), ("down",))]
    assert [done.code for done in asked] == [0, 0, 0, 0]
    assert [each["pid"] for each in asked[0].json["services"]] == [None] * 3
    assert asked[1].step("dashboard")["status"] == "changed"
    assert asked[2].json["supervisor"]["state"] in ("running", "stopped")
    assert stranger.pid not in [each["pid"] for each in asked[2].json["services"]]
    assert (stranger.poll(), box.processes()) == (None, [])


def put_into_registry(box: Box, **changes: int) -> None:
    """Into each service's record, as another version or another hand may have written it."""
    with closing(sqlite3.connect(box.state / "registry.db", isolation_level=None)) as database:
        rows = database.execute("SELECT name, value FROM kept WHERE kind = 'service'").fetchall()
        assert rows
        for name, text in rows:
            told = json.dumps(json.loads(text) | changes)
            database.execute("UPDATE kept SET value = ? WHERE kind = 'service' AND name = ?", (told, name))


# -- what may lie where the socket should be


def a_file(path: Path) -> None:
    path.write_text("a stranger's")


def a_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def a_link_to_a_file(path: Path) -> None:
    (path.parent / "theirs").write_text("a stranger's")
    path.symlink_to(path.parent / "theirs")


def a_directory(path: Path) -> None:
    path.mkdir()
    (path / "theirs").write_text("a stranger's")


@contextmanager
def listening(path: Path) -> Iterator[list[socket.socket]]:
    """Another program's server, that takes every client and speaks another tongue. Yields whom it has served."""
    served: list[socket.socket] = []

    def serve(one: socket.socket) -> None:
        with suppress(OSError):  # until it is shut
            while True:
                served.append(one.accept()[0])
                with suppress(OSError):  # it has gone already
                    served[-1].sendall(b"220 welcome\r\n")
                    served[-1].shutdown(socket.SHUT_WR)

    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        one.listen()
        server = threading.Thread(target=serve, args=(one,))
        server.start()
        try:
            yield served
        finally:
            one.shutdown(socket.SHUT_RDWR)
            server.join()
            for each in served:
                each.close()


def in_place(box: Box) -> Path:
    run = box.state / "run"
    run.mkdir(parents=True, mode=0o700)
    return run / "supervisor.sock"


def up_and_down_without_a_supervisor(box: Box, why: str) -> None:
    """The stack is up all the same, says that nobody watches it and why, and goes down."""
    up = box.ask("up", "--no-docker")
    step = up.step("supervisor")
    assert (up.code, up.json["degraded"], step["status"]) == (0, True, "skipped"), up.err
    assert "running without a supervisor" in step["reason"]
    assert why in " ".join([step["reason"], *step["evidence"]])
    assert up.step("dashboard")["status"] == "changed"
    told = box.ask("status")
    assert (told.code, told.json["supervisor"]["via"]) == (0, "direct")
    assert [each["health"] for each in told.json["services"] if each["name"] == "dashboard"] == ["healthy"]
    assert box.ask("down").code == 0
    assert box.processes() == []


@pytest.mark.parametrize("put", [a_file, a_dangling_link, a_link_to_a_file, a_directory], ids=lambda put: put.__name__)
def test_what_is_no_socket_is_left_alone_and_costs_the_watch_only(box: Box, put: Callable[[Path], None]) -> None:
    path = in_place(box)
    put(path)
    before = (path.lstat().st_ino, path.lstat().st_mode)
    up_and_down_without_a_supervisor(box, "it is left alone")
    assert (path.lstat().st_ino, path.lstat().st_mode) == before
    assert {each.name: each.read_text() for each in path.parent.rglob("theirs")} in ({}, {"theirs": "a stranger's"})


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "by a link"])
def test_a_live_socket_of_somebody_else_is_never_taken(box: Box, linked: bool) -> None:
    path = in_place(box)
    theirs = path.parent / "t" if linked else path
    with listening(theirs) as served:
        if linked:
            path.symlink_to(theirs)
        inode = path.lstat().st_ino
        up_and_down_without_a_supervisor(box, "it is left alone" if linked else "somebody answers on")
        assert path.lstat().st_ino == inode
        before = len(served)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5.0)
            client.connect(str(theirs))
            assert client.recv(100) == b"220 welcome\r\n"
        assert len(served) == before + 1


def test_a_stale_socket_of_nobody_is_replaced(box: Box) -> None:
    path = in_place(box)
    with listening(path):
        pass
    assert path.is_socket()
    up = box.ask("up", "--no-docker")
    assert (up.code, up.json["degraded"], up.step("supervisor")["status"]) == (0, False, "changed")
    assert any("stale socket" in fallback["reason"] for fallback in up.json["fallbacks"])
    assert supervisor(box)["via"] == "unix"
    assert box.ask("down").code == 0
    assert (box.processes(), os.path.lexists(path)) == ([], False)


def test_under_a_home_too_long_for_a_socket_s_path_all_commands_reach_it(box: Box) -> None:
    box.env["CC_HOME"] = str(box.dir / ("h" * 70) / ("i" * 70))
    path = box.state / "run" / "supervisor.sock"
    assert len(str(path)) > 107
    assert box.ask("up", "--no-docker").json["degraded"] is False
    assert path.is_socket()
    assert (supervisor(box)["via"], box.ask("up", "--no-docker").step("supervisor")["rung"]) == ("unix", 1)
    down = box.ask("down")
    assert (down.code, down.step("supervisor")["status"]) == (0, "changed")
    assert (box.processes(), path.exists()) == ([], False)


def test_deleted_while_it_runs_its_socket_comes_back_and_down_works(box: Box) -> None:
    box.ask("up", "--no-docker")
    shutil.rmtree(box.state / "run")  # the socket, and all that lies beside it
    told = eventually(lambda: supervisor(box)["via"] == "unix" and supervisor(box), what="the socket to come back")
    assert [told["pid"]] == supervisors(box)
    down = box.ask("down")
    assert (down.code, down.step("supervisor")["status"]) == (0, "changed")
    assert box.processes() == []


# -- at the same instant


def test_twenty_times_two_ups_at_the_same_instant_make_one_supervisor_and_one_dashboard(box: Box) -> None:
    """Every other time there is a supervisor already, and only the dashboard is raced for."""
    for number in range(20):
        both = [box.start("up", "--no-docker", "--json") for _ in range(2)]
        told = [process.communicate(timeout=60)[1] for process in both]
        assert sorted(process.returncode for process in both) in ([0, 0], [0, 4]), told
        assert (len(supervisors(box)), len(masters(box))) == (1, 1)
        down = box.ask("down", *(["--service", "dashboard"] if number % 2 else []))
        assert down.code == 0, down.err
        assert len(box.processes()) == number % 2


# -- what is watched


def test_a_dashboard_that_never_comes_back_is_given_up_after_three_restarts_and_up_arms_it_again(box: Box) -> None:
    """Somebody takes its ports the moment it dies: the one way to be gone for good that needs no fault of ours."""
    box.ask("up", "--no-docker")
    before, daemon = box.service("dashboard"), supervisors(box)[0]
    with ExitStack() as strangers:
        for port in box.dashboard_ports[1:]:
            strangers.enter_context(held(port))
        os.killpg(before["pid"], signal.SIGKILL)
        strangers.enter_context(eventually(lambda: seized(before["port"]), what="its port"))
        told = eventually(lambda: given_up(box), within=60, what="to be given up")
        (alert,) = told["alerts"]
        assert alert["service"] == "dashboard"
        assert "3 restarts did not bring it up" in alert["reason"]
        assert "dashboard was given up" in box.run("status").out
    dashboard = next(each for each in told["services"] if each["name"] == "dashboard")
    assert (dashboard["state"], dashboard["restarts"], dashboard["pid"]) == ("fatal", 3, None)
    assert [each["event"] for each in journal(box)].count("alert") == 1
    waits = [each["retry_in_s"] for each in journal(box) if each["event"] == "service_changed" and each["retry_in_s"]]
    assert [round(wait) for wait in waits] == [1, 5, 15]
    eventually(lambda: not zombies(daemon), within=60, what="the dead to be buried")
    up = box.ask("up", "--no-docker")
    assert (up.code, up.step("dashboard")["status"]) == (0, "changed")
    assert box.ask("status").json["alerts"] == []
    again = healthy(box, "dashboard")["pid"]
    os.kill(again, signal.SIGKILL)
    healthy(box, "dashboard", other_than=again)


def seized(port: int) -> socket.socket | None:
    """The port, though connections to who had it before are not forgotten yet; None while it is held."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
        one.listen()
    except OSError:
        one.close()
        return None
    return one


def given_up(box: Box) -> Any:
    told = box.ask("status").json
    return told if "fatal" in [each["state"] for each in told["services"]] else None


def journal(box: Box) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (box.state / "journal.jsonl").read_text().splitlines()]


def test_a_dashboard_that_hangs_with_all_its_workers_is_restarted_on_its_port_without_an_orphan(box: Box) -> None:
    box.ask("up", "--no-docker")
    before = box.service("dashboard")
    hung = [pid for pid, words in box.processes() if "gunicorn" in words]
    assert len(hung) > 1
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    after = healthy(box, "dashboard", other_than=before["pid"], within=90)
    assert (after["port"], masters(box)) == (before["port"], [after["pid"]])
    assert not set(hung) & {pid for pid, _ in box.processes()}
    assert any("unhealthy 2 times in a row" in each.get("reason", "") for each in journal(box))


def test_a_dashboard_that_floods_its_log_costs_the_supervisor_no_memory_and_is_restarted_as_ever(box: Box) -> None:
    box.ask("up", "--no-docker")
    before, pid = box.service("dashboard"), supervisors(box)[0]
    resident = resident_kb(pid)
    with Path(f"/proc/{before['pid']}/fd/1").open("ab") as log:  # where all that it says goes
        log.writelines(b"x" * 1_000_000 for _ in range(100))
    assert (box.state / "logs" / "dashboard.log").stat().st_size >= 100_000_000
    with urllib.request.urlopen(f"{before['url']}/healthz", timeout=15) as answer:  # noqa: S310 - our own
        assert answer.status == 200
    os.kill(before["pid"], signal.SIGKILL)
    healthy(box, "dashboard", other_than=before["pid"])
    assert supervisors(box) == [pid]
    assert resident_kb(pid) - resident < 30_000


def resident_kb(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def zombies(parent: int) -> list[int]:
    stats = [read_stat(int(name)) for name in os.listdir("/proc") if name.isdecimal()]
    return [each.pid for each in stats if each is not None and each.parent == parent and each.dead]


def test_killed_in_the_middle_of_up_its_run_is_carried_out_directly_and_its_commands_are_ended(box: Box) -> None:
    faults = {"CC_FAULTS": f"{os.path.basename(sys.executable)} -m gunicorn --version=slow:3"}
    process = box.start("up", "--no-docker", "--json", env=faults)
    eventually(lambda: slowed(box), what="the question for gunicorn's version")
    os.kill(supervisors(box)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    told = json.loads(out)
    reasons = " ".join(fallback["reason"] for fallback in told["fallbacks"])
    assert "supervisor unavailable: the supervisor went away" in reasons
    assert "was killed in the middle" in reasons
    step = next(step for step in told["steps"] if step["name"] == "supervisor")
    assert (told["degraded"], step["status"], step["rung"]) == (True, "skipped", 3)
    assert step["reason"].startswith("running without a supervisor: ")
    assert (len(masters(box)), slowed(box), supervisors(box)) == (1, [], [])
    assert box.ask("up", "--no-docker").step("dashboard")["status"] == "ok"
    assert (len(masters(box)), len(supervisors(box))) == (1, 1)


def test_one_that_was_given_up_on_does_not_wake_up_later(box: Box) -> None:
    faults = {"CC_FAULTS": f"{os.path.basename(sys.executable)} -m cc.supervisor=slow:600"}
    up = box.ask("up", "--no-docker", env=faults)
    assert "did not answer within" in up.step("supervisor")["reason"]
    assert [words for _, words in box.processes() if "cc.supervisor" in words or "sleep" in words] == []
    process = box.start("up", "--no-docker", env=faults)
    eventually(lambda: [words for _, words in box.processes() if "sleep" in words], what="another to be started")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert [words for _, words in box.processes() if "cc.supervisor" in words or "sleep" in words] == []


def slowed(box: Box) -> list[int]:
    """Programs that CC_FAULTS makes slow."""
    return [pid for pid, words in box.processes() if 'exec "$@"' in words]
