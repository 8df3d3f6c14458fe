"""`logs`, `events` and `health` as a person types them: on real processes, and on real containers where marked so."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.box import PROGRAM, ROOT, Box, eventually, heeds_signals


class Following:
    """A command with --follow (or --watch), and what it has told so far."""

    def __init__(self, box: Box, *words: str, env: dict[str, str] | None = None, follow: str = "--follow") -> None:
        self.process = box.start(*words, follow, env=env)
        self.out: list[str] = []
        self.err: list[str] = []
        pairs = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._threads = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: Any, told: list[str]) -> None:
        told.extend(line.rstrip("\n") for line in stream)

    def ended(self, signal_: signal.Signals | None = signal.SIGINT, within: float = 5.0) -> int:
        """Its exit code once it is interrupted."""
        if signal_ is not None:
            self.process.send_signal(signal_)
        began = time.monotonic()
        code = self.process.wait(within)
        assert time.monotonic() - began < within
        for thread in self._threads:
            thread.join(5)
        return code


@contextmanager
def following(box: Box, *words: str, **more: Any) -> Iterator[Following]:
    made = Following(box, *words, **more)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def invoke(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    """The same command as a task of Invoke."""
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words], cwd=ROOT, env=box.env, text=True, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip


def log_of(box: Box, name: str) -> Path:
    path = box.state / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def healths(box: Box, *words: str) -> Any:
    return {each["name"]: each for each in box.ask("health", *words).json["services"]}


# -- logs of processes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("logs", "clickhose"), "did you mean 'clickhouse'?"), (("logs", "everything"), "services are clickhouse"),
        (("logs", "dashboard", "--lines", "many"), "--lines must be a whole number"),
        (("logs", "dashboard", "--lines=-1"), "--lines must be a whole number"),
        (("logs", "dashboard", "--lines", "1.5"), "--lines must be a whole number"), (("logs",), "--help logs"),
        (("events", "--since", "soon"), "--since must be like 10m"), (("events", "--service", "x"), "services are"),
        (("events", "--lines", ""), "--lines must be a whole number"),
        (("health", "--service", "dashbord"), "'dashboard'?"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense_exit_2_and_say_what_does(box: Box, words: tuple[str, ...], said: str) -> None:
    done = box.run(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    asked = box.run(*words, "--json")
    assert (asked.code, asked.json["error"]["type"]) == (2, "bad_usage")


def test_the_log_of_a_process_under_both_programs(box: Box) -> None:
    path = log_of(box, "supervisor")
    path.with_name("supervisor.log.1").write_text("1\n2\n")
    path.write_text("3\n4\n")
    assert box.run("logs", "supervisor", "--lines", "3").out == "2\n3\n4\n"
    assert box.run("logs", "supervisor").out == "1\n2\n3\n4\n"
    assert box.run("logs", "supervisor", "--lines", "0").out == ""
    task = invoke(box, "logs", "supervisor", "--lines", "3")
    assert (task.returncode, task.stdout) == (0, "2\n3\n4\n")
    asked = box.run("logs", "supervisor", "--lines", "1", "--json")
    assert asked.json == {"service": "supervisor", "stream": "log", "line": "4"}


def test_a_process_without_a_log_is_a_failure_with_what_to_type(box: Box) -> None:
    done = box.run("logs", "dashboard")
    assert (done.code, done.out) == (1, "")
    assert "-> `up` starts it" in done.err


def test_junk_in_a_log_cannot_break_the_terminal(box: Box) -> None:
    log_of(box, "dashboard").write_bytes(b"\x1b[2J\x1b]0;title\x07 \xff\xfe\x00 \xe2\x80\xae ok\n\x1b[31mred\x1b[0m\n")
    out = box.run("logs", "dashboard").out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    assert out.endswith(" ok\nred\n")
    asked = box.run("logs", "dashboard", "--json").out
    assert "\x1b" not in asked
    assert json.loads(asked.splitlines()[1])["line"] == "\x1b[31mred\x1b[0m"


def test_the_password_is_masked(box: Box) -> None:
    log_of(box, "dashboard").write_text("with hunter22hunter22 in it\n")
    (box.state / "clickhouse.password").write_text("hunter22hunter22\n")
    assert box.run("logs", "dashboard").out == "with *** in it\n"
    given = {"CC_CLICKHOUSE_PASSWORD": "in it"}
    assert box.run("logs", "dashboard", env=given).out == "with hunter22hunter22 ***\n"


def test_a_log_is_followed_past_rotation_until_it_is_interrupted(box: Box) -> None:
    path = log_of(box, "dashboard")
    path.write_text("1\n2\n")
    with following(box, "logs", "dashboard", "--lines", "1") as found:
        eventually(lambda: found.out == ["2"])
        path.rename(path.with_name("dashboard.log.1"))
        path.write_text("3\n")
        eventually(lambda: found.out == ["2", "3"])
        path.unlink()
        path.write_text("4\n")
        eventually(lambda: found.out == ["2", "3", "4"])
        assert found.ended() == 130
        assert found.err == []


@pytest.mark.parametrize("words", [("logs", "dashboard"), ("events",)])
def test_following_is_bounded_by_the_timeout(box: Box, words: tuple[str, ...]) -> None:
    log_of(box, "dashboard").touch()
    began = time.monotonic()
    done = box.run(*words, "--follow", "--timeout", "0.7")
    assert (done.code, 0.5 < time.monotonic() - began < 5) == (124, True)
    assert "the deadline of 0.7 s passed" in done.err


# -- events


def test_what_happened_is_told_in_words_and_as_it_stands_in_the_journal(box: Box) -> None:
    none = box.run("events")
    assert (none.code, none.out) == (0, "")
    assert "no journal yet" in none.err
    box.ask("up", "--no-docker", "--no-supervisor")
    told = box.run("events")
    assert told.code == 0
    assert re.search(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  changed    dashboard +Dashboard running on http", told.out, re.MULTILINE
    )
    assert re.search(r"  run        up +began: clickhouse password, ", told.out)
    assert invoke(box, "events").stdout == told.out
    lines = box.run("events", "--json", "--lines", "1000").out
    assert lines == (box.state / "journal.jsonl").read_text()
    only = box.run("events", "--service", "dashboard", "--lines", "1").out
    assert len(only.splitlines()) == 1
    assert "changed    dashboard" in only
    assert box.run("events", "--since", "1h").out == told.out
    assert box.run("events", "--since", "2099-01-01").out == ""
    with (box.state / "journal.jsonl").open("ab") as file:
        file.write(b"\x00\xff{\n[1]\n")
    spoilt = box.run("events")
    assert (spoilt.code, spoilt.out) == (0, told.out)
    assert "2 lines of the journal cannot be read" in spoilt.err
    assert box.run("events", "--quiet").err == ""


def test_events_are_followed_through_a_run_and_the_loss_of_the_journal(box: Box) -> None:
    with following(box, "events", "--json") as found:
        eventually(lambda: found.err, what="that there is no journal yet")
        box.ask("up", "--no-docker", "--no-supervisor")
        reasons = lambda: [json.loads(line).get("reason", "") for line in found.out]  # noqa: E731
        eventually(lambda: any(reason.startswith("Dashboard running on") for reason in reasons()))
        (box.state / "journal.jsonl").unlink()
        box.ask("down")
        eventually(lambda: "stopped" in reasons(), what=str(reasons()))
        assert found.ended() == 130


# -- health


def test_health_without_a_stack_exits_1_and_knows_why(box: Box) -> None:
    done = box.ask("health", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert (done.code, done.json["healthy"]) == (1, False)
    assert [(each["health"], each["rung"]) for each in done.json["services"]] == [("unknown", 3)] * 3
    text = box.run("health", "--service", "dashboard")
    assert (text.code, "dashboard: it does not run" in text.out) == (1, True)


def test_a_dashboard_that_runs_is_healthy_and_one_whose_check_fails_degraded(box: Box) -> None:
    box.ask("up", "--no-docker", "--no-supervisor")
    done = box.ask("health", "--service", "dashboard")
    found = done.json["services"][0]
    assert (done.code, len(done.json["services"]), found["health"], found["rung"]) == (0, 1, "healthy", 0)
    assert 0 < found["took_ms"] < 5000
    assert found["metrics"]["workers"] == 4
    assert box.service("dashboard")["metrics"]["server"] == "gunicorn"
    text = invoke(box, "health", "--service", "dashboard")
    assert (text.returncode, "full check" in text.stdout, "\x1b" in text.stdout) == (0, True, False)


def test_an_engine_that_hangs_costs_its_deadline_once(box: Box, tmp_path: Path) -> None:
    import socket

    path = box.dir / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(8)
        env = {"DOCKER_HOST": f"unix://{path}"}
        began = time.monotonic()
        bounded = box.ask("health", "--timeout", "1", env=env)
        assert (bounded.code, time.monotonic() - began < 4) == (124, True)
        began = time.monotonic()
        done = box.ask("health", env=env)
        assert (done.code, time.monotonic() - began < 15) == (1, True)
        assert "silent for 10 s" in done.json["services"][0]["reason"]


def test_colour_is_for_a_terminal_alone(box: Box) -> None:
    box.ask("up", "--no-docker", "--no-supervisor")
    for words, painted in ((("events",), "\x1b[33mchanged\x1b[0m"), (("health",), "\x1b[32mhealthy\x1b[0m")):
        for more, there in (((), True), (("--no-color",), False)):
            seen = on_a_terminal(box, *words, *more)
            assert (painted in seen, "\x1b[" in seen) == (there, there), seen


def on_a_terminal(box: Box, *words: str) -> str:
    ours, theirs = pty.openpty()
    env = {**box.env, "TERM": "xterm", "DOCKER_HOST": "unix:///nowhere.sock"}
    process = subprocess.Popen([*PROGRAM, *words], cwd=box.dir, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:
        pass  # the other end is closed: that is how a terminal says so
    process.wait(20)
    os.close(ours)
    return seen.decode()


# -- with Docker


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout


def programs() -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.startswith("docker logs")]


@pytest.mark.docker
def test_every_rung_of_clickhouse_on_a_real_one(box: Box) -> None:
    box.ask("up")
    found = healths(box)
    assert {name: (each["health"], each["rung"]) for name, each in found.items()} == dict.fromkeys(
        found, ("healthy", 0)
    )
    metrics = found["clickhouse"]["metrics"]
    assert metrics["version"]
    assert (metrics["uptime_s"] >= 0, metrics["memory_bytes"] > 0, metrics["log_rows"]) == (True, True, 0)
    assert found["collector"]["metrics"]["status"] == "Server available"
    assert box.service("clickhouse")["metrics"]["log_rows"] == 0

    password, container = box.state / "clickhouse.password", found["clickhouse"]["container"]
    kept, pid = password.read_text(), found["clickhouse"]["pid"]
    password.write_text("another-password\n")
    wrong = box.ask("health")
    clickhouse = wrong.json["services"][0]
    assert (wrong.code, wrong.json["degraded"], clickhouse["health"], clickhouse["rung"]) == (0, True, "degraded", 1)
    assert clickhouse["reason"].startswith("/ping answers, but ClickHouse refuses the user cc")
    assert box.ask("health", "--strict").code == 3
    box.wait_for_a_look()
    assert box.service("clickhouse")["pid"] == pid
    password.write_text(kept)

    docker("pause", container)
    paused = box.ask("health", "--service", "clickhouse")
    docker("unpause", container)
    assert (paused.code, paused.json["services"][0]["rung"]) == (1, 2)


@pytest.mark.docker
def test_the_log_of_a_container_is_followed_past_its_death(box: Box) -> None:
    box.ask("up", "--service", "clickhouse")
    name = box.service("clickhouse")["container"]
    all_ = box.run("logs", "clickhouse")
    assert (all_.code, "Ready for connections" in all_.out) == (0, True)
    assert box.run("logs", "clickhouse", "--lines", "1").out.splitlines() == all_.out.splitlines()[-1:]
    asked = [json.loads(line) for line in box.run("logs", "clickhouse", "--json").out.splitlines()]
    assert {each["service"] for each in asked} == {"clickhouse"}
    assert {each["stream"] for each in asked} <= {"stdout", "stderr"}
    with following(box, "logs", "clickhouse", "--lines", "0") as found:
        time.sleep(0.5)
        docker("kill", name)
        eventually(lambda: any("waiting for it to be started again" in line for line in found.err), what=str(found.err))
        eventually(lambda: any("Ready for connections" in line for line in found.out), within=30)
        assert any("clickhouse was started again; its log goes on" in line for line in found.err)
        whole = docker("logs", name)
        assert sum("Ready for connections" in line for line in found.out) == 1, whole
        assert found.ended() == 130
    password = (box.state / "clickhouse.password").read_text().strip()
    assert password not in all_.out
    box.ask("down")
    gone = box.run("logs", "clickhouse")
    assert (gone.code, f"there is no container {name}" in gone.err) == (1, True)


@pytest.mark.docker
def test_through_the_program_no_process_stays_behind_whenever_it_is_interrupted(box: Box) -> None:
    box.ask("up", "--service", "clickhouse")
    with door() as address:
        env = {"DOCKER_HOST": address}
        once = box.run("logs", "clickhouse", env=env)
        assert (once.code, sorted(once.out.splitlines())) == (
            0, sorted(box.run("logs", "clickhouse").out.splitlines()),
        )  # fmt: skip
        for after in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0):
            with following(box, "logs", "clickhouse", env=env) as found:
                eventually(lambda pid=found.process.pid: heeds_signals(pid), what="Python to be there")
                time.sleep(after)
                assert found.ended() == 130
                assert programs() == []


@contextmanager
def door() -> Iterator[str]:
    """A TCP address of the engine's socket: one that is not local, as far as anybody can see."""
    import socket

    def pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # either side has gone

    def serve() -> None:
        while True:
            try:
                client = server.accept()[0]
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect("/var/run/docker.sock")
            for pair in ((client, engine), (engine, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
