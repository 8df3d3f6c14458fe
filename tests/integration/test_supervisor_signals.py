"""INT, TERM and HUP in every phase of `up` and `down` with a supervisor: their exit codes, and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cc.resources.process_stop import OWNER, PROCESS
from cc.resources.state import StateDir
from tests.integration.box import Box, eventually, masters, supervisors

PYTHON = os.path.basename(sys.executable)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def waited_for(box: Box) -> set[int]:
    """Programs that CC_FAULTS makes slow: what holds a phase open."""
    return {pid for pid, words in box.processes() if 'exec "$@"' in words}


def lock_is_free(box: Box) -> bool:
    path = box.state / "run" / "operation.lock"
    if not path.exists():
        return True
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def interrupted(process: subprocess.Popen[str], number: signal.Signals, phase: Callable[[], object], what: str) -> None:
    """The signal once the command is in that phase; it ends with its code and says by what it was stopped."""
    eventually(phase, within=60, what=what)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == CODES[number], err
    assert "Traceback" not in err
    assert isinstance(json.loads(out), dict)


def clean_afterwards(box: Box) -> None:
    """The lock is free, the next `up` and `down` are as ever, and then nothing of ours is left."""
    eventually(lambda: lock_is_free(box), what="the lock to be free")
    up = box.ask("up", "--no-docker")
    assert (up.code, len(supervisors(box)), len(masters(box)), waited_for(box)) == (0, 1, 1, set()), up.err
    assert up.json["degraded"] is False
    down = box.ask("down")
    assert (down.code, box.processes()) == (0, []), down.err


@pytest.mark.parametrize(
    ("slow", "what"),
    [
        ("-m cc.supervisor", "the supervisor to answer"),
        ("-m gunicorn --version", "gunicorn's version"),
        ("-m gunicorn -c", "the dashboard to answer"),
    ],
    ids=["the supervisor", "gunicorn's version", "the dashboard"],
)
def test_while_up_waits_for(box: Box, slow: str, what: str) -> None:
    """The one after it comes as far: the lock is free, and what the one before it started is in nobody's way."""
    environ = {"CC_FAULTS": f"{PYTHON} {slow}=slow:60"}
    for number in CODES:
        before = waited_for(box)
        process = box.start("up", "--no-docker", "--json", env=environ)
        interrupted(process, number, lambda: waited_for(box) - before, what)  # noqa: B023 - called here and now
        if slow != "-m cc.supervisor":
            eventually(lambda: [pid for pid, _ in box.processes()] == supervisors(box), what="what it started to end")
    clean_afterwards(box)


def test_while_down_waits_for_a_supervisor_that_is_stopped_by_a_signal(box: Box) -> None:
    box.ask("up", "--no-docker")
    os.kill(supervisors(box)[0], signal.SIGSTOP)
    process = box.start("down", "--json")
    interrupted(process, signal.SIGINT, lambda: sockets(box) > 1, "a connection that waits")
    clean_afterwards(box)


def sockets(box: Box) -> int:
    """The supervisor's: the one that listens, and its side of each connection."""
    run = f"{box.state}/run/"
    return sum(line.split()[-1].startswith(run) for line in Path("/proc/net/unix").read_text().splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_while_down_waits_for_the_dashboard_to_end(box: Box, number: signal.Signals) -> None:
    """Half a stop helps nobody: what is being ended is ended, only sooner."""
    box.ask("up", "--no-docker")
    with stubborn(box) as one:
        process = box.start("down", "--json")
        interrupted(process, number, lambda: not masters(box), "the dashboard's end")
        eventually(lambda: one.poll() is not None, what="the stubborn one to be ended")
    clean_afterwards(box)


@contextmanager
def stubborn(box: Box) -> Iterator[subprocess.Popen[bytes]]:
    """A part of the dashboard's that ignores TERM."""
    owner = StateDir(box.env["CC_HOME"], box.project).owner
    environ = {**box.env, OWNER: owner, PROCESS: f"{owner}/dashboard"}
    words = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]
    with subprocess.Popen(words, env=environ, start_new_session=True, stdout=subprocess.PIPE) as one:
        try:
            assert one.stdout is not None
            assert one.stdout.readline() == b"ready\n"
            yield one
        finally:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)


@pytest.mark.parametrize("command", [("up", "--no-docker"), ("down",)], ids=["up", "down"])
def test_at_any_moment(box: Box, command: tuple[str, ...]) -> None:
    """Also before it can handle signals, which the system then does for it, and after its answer, which stays 0."""
    for number, code in CODES.items():
        if command[0] == "down":
            assert box.ask("up", "--no-docker").code == 0
        process = box.start(*command)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=random.uniform(0.05, 0.5))  # noqa: S311 - no secret
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, code, -number), err
        assert "Traceback" not in err
    clean_afterwards(box)
