"""One supervisor after another: what the next one knows, adopts, brings back, leaves alone; and one that init runs."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.integration.box import Box, eventually, kill, supervisors


def kept(box: Box, name: str) -> dict[str, Any]:
    """The registry's record of a service."""
    try:
        with closing(sqlite3.connect(f"file:{box.state}/registry.db?mode=rw", uri=True)) as database:
            rows = dict(database.execute("SELECT name, value FROM kept WHERE kind = 'service'").fetchall())
    except sqlite3.OperationalError:  # it has just been made
        return {}
    return dict(json.loads(rows.get(name, "{}")))


def kill_supervisor(box: Box) -> None:
    for pid in supervisors(box):
        kill(pid)
    eventually(lambda: not supervisors(box), what="the supervisor to be gone")


@contextmanager
def by_init(box: Box) -> Iterator[subprocess.Popen[bytes]]:
    """The unit that we print, run as systemd would: its command, its environment and nothing else."""
    text = box.run("unit", "--kind", "systemd").out
    argv = re.findall(r'"([^"]*)"', next(line for line in text.splitlines() if line.startswith("ExecStart=")))
    environ = dict(re.findall(r'^Environment="([^=]*)=(.*)"$', text, re.MULTILINE))
    assert environ["CC_HOME"] == box.env["CC_HOME"]
    process = subprocess.Popen(
        argv, cwd=box.dir, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_another_path_is_no_reason_for_another_supervisor(box: Box) -> None:
    box.ask("up", "--no-docker")
    before = supervisors(box)
    box.env["PATH"] += ":/nowhere"
    again = box.ask("up", "--no-docker")
    assert (again.json["counts"]["changed"], again.step("supervisor")["rung"]) == (0, 1)
    assert supervisors(box) == before


def test_the_registry_says_which_process_a_service_is(box: Box) -> None:
    box.ask("up", "--no-docker")
    found = box.service("dashboard")
    eventually(lambda: kept(box, "dashboard").get("pid") == found["pid"], what="its pid in the registry")
    record = kept(box, "dashboard")
    with open(f"/proc/{found['pid']}/stat") as file:
        started = int(file.read().rpartition(")")[2].split()[19])
    assert (record["start_time"], record["port"], record["desired"]) == (started, found["port"], "running")
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert record["boot_id"] == file.read().strip()


def test_run_by_init_it_is_known_as_ours_adopts_and_is_the_one_that_up_connects_to(box: Box) -> None:
    box.ask("up", "--no-docker")
    dashboard = box.service("dashboard")["pid"]
    kill_supervisor(box)
    with by_init(box) as process:
        eventually(lambda: box.ask("status").json["supervisor"]["pid"] == process.pid, what="it to answer")
        up = box.ask("up", "--no-docker")
        assert (up.json["counts"]["changed"], up.step("supervisor")["rung"]) == (0, 1), up.out
        assert box.service("dashboard")["pid"] == dashboard
        assert supervisors(box) == [process.pid]
        assert box.ask("down").code == 0
        assert process.wait(20) == 0  # so that systemd does not start it again
    assert box.processes() == []


def test_run_by_init_it_brings_back_what_was_up_when_the_machine_went_down(box: Box) -> None:
    box.ask("up", "--no-docker")
    before = box.service("dashboard")["pid"]
    kill_supervisor(box)
    os.killpg(before, signal.SIGKILL)
    with by_init(box):
        eventually(lambda: box.service("dashboard")["health"] == "healthy", within=40, what="the dashboard to be back")
        assert box.ask("down").code == 0
    assert box.processes() == []


def test_run_by_init_it_leaves_what_was_stopped_on_purpose_alone(box: Box) -> None:
    box.ask("up", "--no-docker")
    box.ask("down", "--service", "dashboard")
    kill_supervisor(box)
    with by_init(box) as process:
        eventually(lambda: box.ask("status").json["supervisor"]["pid"] == process.pid, what="it to answer")
        eventually(lambda: box.ask("status").json["supervisor"]["uptime_s"] > 3, what="it to have looked")
        assert box.service("dashboard")["state"] == "stopped"


def test_what_the_watchdog_counted_goes_on_counting_in_the_next_supervisor(box: Box) -> None:
    box.ask("up", "--no-docker")
    first = box.service("dashboard")["pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: kept(box, "dashboard").get("tries") == 1, what="the restart to be counted")
    at = kept(box, "dashboard")["restarted_at"]
    kill_supervisor(box)
    with by_init(box):
        second = eventually(lambda: box.service("dashboard")["pid"], what="the dashboard")
        os.kill(second, signal.SIGKILL)
        eventually(lambda: len(kept(box, "dashboard")["restarted_at"]) == 2, what="the second restart")
        assert kept(box, "dashboard")["restarted_at"][0] == at[0]
        assert box.ask("down").code == 0


def test_a_service_that_a_lost_registry_does_not_know_is_adopted_and_that_is_told(box: Box) -> None:
    box.ask("up", "--no-docker")
    before = box.service("dashboard")["pid"]
    kill_supervisor(box)
    (box.state / "registry.db").unlink()
    with by_init(box):
        eventually(lambda: kept(box, "dashboard").get("pid") == before, what="it to be adopted")
        assert "watched from now on" in (box.state / "journal.jsonl").read_text()
        os.kill(before, signal.SIGKILL)
        eventually(lambda: box.service("dashboard")["pid"] not in (None, before), within=40, what="it to be back")
        assert box.ask("down").code == 0


def test_a_log_that_grows_is_rotated_while_its_service_runs(box: Box) -> None:
    box.ask("up", "--no-docker")
    log = box.state / "logs" / "dashboard.log"
    with log.open("a") as file:
        for number in range(60_000):
            file.write(f"line {number} of a service that has much to tell, and tells it again and again\n")
    eventually(lambda: log.stat().st_size < 1_000_000, within=40, what="the log to be cut")
    assert (log.parent / "dashboard.log.1").read_text().splitlines()[-1].startswith("line 59999 ")
    assert box.service("dashboard")["health"] == "healthy"
