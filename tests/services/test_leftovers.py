"""What is left of ours is found, named and ended; what is meant to stay, and what is not ours, is not touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from cc.engine.step import Judged, run_action
from cc.errors import Failure
from cc.resources.process_stop import find_ours
from cc.services.leftovers import VERB, end_commands_of, remains
from cc.shell import Command
from tests.integration.box import eventually
from tests.services.conftest import Yard

ROOT = Path(__file__).resolve().parents[2]


def ensure(yard: Yard) -> Judged:
    return run_action(VERB.make(yard.stack.host(), {}), yard.context)


@contextmanager
def sleeping(environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"], env={**os.environ, **environ}, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_nothing_left_is_ok(yard: Yard) -> None:
    with yard.docker():
        judged = ensure(yard)
    assert (judged.status.value, judged.probe.reason) == ("ok", "nothing of ours is left")


def test_a_process_with_our_mark_is_named_and_ended_and_a_strangers_is_not(yard: Yard) -> None:
    owner = yard.stack.state.owner
    with sleeping({"CC_OWNER": owner}) as ours, sleeping({"CC_OWNER": f"{owner}x"}) as theirs, yard.docker():
        before = VERB.make(yard.stack.host(), {}).probe(yard.context)
        assert before.reason == f"left: sleep (pid {ours.pid})"
        assert ensure(yard).status.value == "changed"
        assert ours.wait(30) == -signal.SIGTERM
        assert theirs.poll() is None


def test_a_container_that_is_left_is_named(yard: Yard) -> None:
    with yard.docker(yard.container()):
        found = VERB.make(yard.stack.host(), {}).probe(yard.context)
    assert (found.satisfied, found.reason) == (False, "left: p-clickhouse-otel is running")


def test_without_docker_the_containers_are_said_not_to_be_looked_at(yard: Yard) -> None:
    judged = ensure(yard)
    assert judged.status.value == "ok"
    assert judged.probe.reason.startswith("containers not looked at: ")


RUN = """
import sys
from cc.shell import Command, SystemShell
shell = SystemShell(marker=("CC_OWNER", sys.argv[1]))
shell.run(Command(("sh", "-c", "echo > " + sys.argv[2] + "; exec sleep 600")))
"""


def test_the_commands_of_a_killed_run_are_ended_and_what_was_started_to_stay_is_not(yard: Yard) -> None:
    owner, begun = yard.stack.state.owner, yard.dir / "begun"
    stays = yard.stack.shell.spawn(Command(("sleep", "600"), env={"CC_OWNER": owner}), log=str(yard.dir / "log"))
    run = subprocess.Popen([sys.executable, "-c", RUN, owner, str(begun)], cwd=ROOT)
    eventually(begun.exists, what="the command")
    run.kill()
    run.wait()
    assert len(find_ours(owner)) == 2
    assert end_commands_of(owner, yard.context) == 1
    assert [identity.pid for identity in find_ours(owner)] == [stays.pid]
    assert end_commands_of(owner, yard.context) == 0
    try:
        ensure(yard)
    except Failure:
        raise AssertionError from None
    assert not stays.alive()


def test_what_is_younger_than_the_command_is_another_runs_and_no_remainder(yard: Yard) -> None:
    old = yard.container("p-a", State={"Status": "running", "StartedAt": "2026-11-24T10:00:00.5Z"})
    new = yard.container("p-b", State={"Status": "running", "StartedAt": "2026-11-24T10:00:02.123456789Z"})
    gone = yard.container("p-c", State={"Status": "exited", "StartedAt": "0001-01-01T00:00:00Z"})
    since = datetime(2026, 11, 24, 10, 0, 1, tzinfo=timezone.utc).timestamp()
    with yard.docker(old, new, gone):
        found, others = remains(yard.stack.host()).of_before(since)
    assert ([each.name for each in found.containers], others) == (["p-a", "p-c"], True)
    with yard.docker(old, gone):
        found, others = remains(yard.stack.host()).of_before(since)
    assert ([each.name for each in found.containers], others) == (["p-a", "p-c"], False)
