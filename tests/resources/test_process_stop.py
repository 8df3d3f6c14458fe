"""The end of real processes: some ignore TERM, flee their group, are stopped, lose their leader, or are strangers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cc.clock import Cancel
from cc.engine.outcome import Status
from cc.engine.step import Context
from cc.errors import Failure
from cc.resources import process
from cc.resources.process_stop import find_ours, is_alive, mark, matching, stop_group
from cc.resources.process_table import identify, own_line
from tests.resources.processes import RETURNED, SLEEPS, STRANGE, STUBBORN, ensure, family, start, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cc.resources.host import Host

    Eventually = Callable[[Callable[[], object]], bool]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that carries no mark, in a group of its own."""
    with subprocess.Popen(STRANGE.split(), start_new_session=True) as child:
        yield child
        child.kill()


def test_stopping_what_does_not_run_changes_nothing(host: Host, context: Context) -> None:
    assert stop(host, context).status is Status.OK


def test_a_stop_ends_it_and_removes_its_pid_file(host: Host, context: Context) -> None:
    found = start(host, context, *SLEEPS)
    done = stop(host, context)
    assert done.status is Status.CHANGED
    assert done.acted is not None
    assert done.acted.reason == "stopped 1 process"
    assert not is_alive(found)
    assert not Path(host.run_dir, "web.pid").exists()
    assert stop(host, context).status is Status.OK


def test_one_that_ignores_the_signal_is_killed_after_its_grace(host: Host, context: Context) -> None:
    found = start(host, context, *STUBBORN)
    began = time.monotonic()
    done = stop(host, context, grace=0.3)
    assert 0.3 <= time.monotonic() - began < RETURNED
    assert done.acted is not None
    assert done.acted.reason.endswith("by KILL")
    assert not is_alive(found)


def test_the_signal_is_the_one_that_was_asked_for(host: Host, context: Context) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('told to quit', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGQUIT, end)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\ntime.sleep(1000)"
    )
    start(host, context, sys.executable, "-c", code)
    ensure(host, context, pidfile="web", state="stopped", stop_signal="QUIT", grace=RETURNED)
    assert Path(host.log_dir, "web.log").read_text() == "up\ntold to quit\n"


@pytest.mark.parametrize(
    "flees",
    [
        "sleep 1000 & exec sleep 1000",
        "setsid sleep 1000 & exec sleep 1000",
        "(setsid sh -c 'trap \"\" TERM; setsid sleep 1000 & wait' &) ; exec sleep 1000",
        "setsid env -i sleep 1000 & exec sleep 1000",
        "trap '' TERM; (sh -c 'trap \"\" TERM; sleep 1000' &); (setsid sleep 1000 &); exec sleep 1000",
    ],
    ids=["group", "setsid", "double fork", "without mark", "stubborn"],
)
def test_what_it_started_ends_with_it_wherever_it_fled(
    host: Host, context: Context, flees: str, eventually: Eventually
) -> None:
    found = start(host, context, "sh", "-c", flees)
    assert eventually(lambda: len(family(found)) > 1)
    members = family(found)
    stop(host, context, grace=0.3)
    assert not any(is_alive(member) for member in members)
    assert find_ours(host.owner) == ()


def test_what_a_dead_leader_left_behind_is_stopped_too(host: Host, context: Context, eventually: Eventually) -> None:
    found = start(host, context, "sh", "-c", "sleep 1000 & setsid sleep 1000 & exec sleep 1000")
    assert eventually(lambda: len(find_ours(host.owner)) == 3)
    os.kill(found.pid, signal.SIGKILL)
    assert eventually(lambda: not is_alive(found))
    assert len(find_ours(host.owner)) == 2
    assert stop(host, context).status is Status.CHANGED
    assert find_ours(host.owner) == ()


def test_the_mark_finds_what_left_group_session_and_parent(
    host: Host, context: Context, eventually: Eventually
) -> None:
    found = start(host, context, "sh", "-c", "(setsid sleep 1000 &); exec sleep 1000")
    assert eventually(lambda: len(find_ours(host.owner, "web")) == 2)
    assert stop_group(found, grace=RETURNED, context=context).count == 2
    assert find_ours(host.owner) == ()


def test_with_its_leader_dead_the_mark_alone_finds_them(host: Host, context: Context, eventually: Eventually) -> None:
    found = start(host, context, "sh", "-c", "(setsid sleep 1000 &); exec sleep 1000")
    assert eventually(lambda: len(find_ours(host.owner, "web")) == 2)
    os.kill(found.pid, signal.SIGKILL)
    assert eventually(lambda: not is_alive(found))
    assert stop_group(found, grace=RETURNED, context=context).count == 0
    assert stop_group(found, grace=RETURNED, context=context, marked=mark(host.owner, "web")).count == 1


def test_a_stopped_process_is_woken_to_end_well_and_killed_if_it_does_not(
    host: Host, context: Context, eventually: Eventually
) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('ended well', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(1000)"
    )
    polite = start(host, context, sys.executable, "-c", code, name="polite")
    stubborn = start(host, context, *STUBBORN, name="stubborn")
    log = Path(host.log_dir, "polite.log")
    assert eventually(lambda: log.read_text() == "up\n")
    for one in (polite, stubborn):
        os.kill(one.pid, signal.SIGSTOP)
    stop(host, context, name="polite", grace=RETURNED)
    stop(host, context, name="stubborn", grace=0.3)
    assert log.read_text() == "up\nended well\n"
    assert not is_alive(polite)
    assert not is_alive(stubborn)


def test_other_services_of_the_same_project_live_on(host: Host, context: Context) -> None:
    web, worker = start(host, context, *SLEEPS), start(host, context, *SLEEPS, name="worker")
    stop(host, context)
    assert not is_alive(web)
    assert is_alive(worker)
    stop(host, context, name="worker")


def test_what_a_supervisor_started_as_a_service_outlives_it(
    host: Host, context: Context, eventually: Eventually
) -> None:
    service = f"CC_PROCESS={host.owner}/service setsid sleep 1000 & sleep 1000 & wait"
    supervisor = start(host, context, "sh", "-c", service, name="supervisor")
    assert eventually(lambda: find_ours(host.owner, "service"))
    stop(host, context, name="supervisor")
    assert not is_alive(supervisor)
    assert len(find_ours(host.owner)) == len(find_ours(host.owner, "service")) == 1
    stop(host, context, name="service")


def test_a_cancelled_stop_still_stops_and_soon(host: Host, context: Context) -> None:
    found = start(host, context, *STUBBORN)
    gone = Cancel()
    gone.request("SIGINT")
    began = time.monotonic()
    done = stop_group(found, grace=600.0, context=context._replace(cancel=gone))
    gone.close()
    assert done.killed
    assert time.monotonic() - began < RETURNED
    assert not is_alive(found)


def test_a_stop_whose_time_is_over_still_stops(host: Host, context: Context) -> None:
    found = start(host, context, *STUBBORN)
    stop_group(found, grace=600.0, context=context.until(0.1))
    assert not is_alive(found)


def test_a_pid_that_was_reused_is_never_signalled(
    host: Host, context: Context, stranger: subprocess.Popen[bytes]
) -> None:
    now = identify(stranger.pid)
    assert now is not None
    path = f"{host.run_dir}/web.pid"
    process.write_pidfile(path, now._replace(start_time=now.start_time - 1))
    assert stop(host, context).status is Status.OK
    assert stop_group(now._replace(start_time=1), grace=0.0, context=context).count == 0
    assert stranger.poll() is None
    assert ensure(host, context, pidfile="web", start=SLEEPS).status is Status.CHANGED
    stop(host, context)
    assert stranger.poll() is None


def test_a_stranger_that_matches_counts_as_running_and_is_not_stopped(
    host: Host, context: Context, stranger: subprocess.Popen[bytes]
) -> None:
    pattern = f"^{STRANGE}$"
    running = ensure(host, context, pattern=pattern, start=SLEEPS)
    assert running.status is Status.OK
    assert "not started by us" in running.probe.reason
    with pytest.raises(Failure) as caught:
        ensure(host, context, pattern=pattern, state="stopped")
    assert caught.value.code == "not_ours"
    assert f"pid {stranger.pid} ({STRANGE})" in caught.value.message
    assert stranger.poll() is None


def test_a_pattern_stops_what_is_ours(host: Host, context: Context) -> None:
    found = start(host, context, *STRANGE.split())
    assert ensure(host, context, pattern=f"^{STRANGE}$", state="stopped").status is Status.CHANGED
    assert not is_alive(found)


def test_neither_ourselves_nor_our_parents_are_ever_found_or_stopped(host: Host, context: Context) -> None:
    myself, parent = identify(os.getpid()), identify(os.getppid())
    assert myself is not None
    assert parent is not None
    assert {myself.pid, parent.pid} <= own_line()
    for one in (myself, parent):
        assert one not in matching(".")
        with pytest.raises(Failure, match="this program itself") as caught:
            stop_group(one, grace=0.0, context=context)
        assert caught.value.code == "not_ours"


def test_another_users_process_is_refused(host: Host, context: Context) -> None:
    code = "import os, time; os.setgid(65534); os.setuid(65534); print(flush=True); time.sleep(1000)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        start_new_session=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "CC_OWNER": host.owner},
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = identify(child.pid)
        assert found is not None
        assert find_ours(host.owner) == ()
        with pytest.raises(Failure, match="another user") as caught:
            stop_group(found, grace=0.0, context=context)
        child.kill()
    assert caught.value.code == "not_ours"


def test_one_that_leads_no_group_is_stopped_without_its_group(host: Host, context: Context) -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:  # in our own group
        found = identify(child.pid)
        assert found is not None
        assert os.getpgid(child.pid) == os.getpgrp()
        reaper = threading.Thread(target=child.wait)
        reaper.start()
        stop_group(found, grace=RETURNED, context=context)
        reaper.join()
    assert child.returncode == -signal.SIGTERM


def test_one_that_is_stopped_without_its_kin_leaves_children_and_others_with_its_mark_be(
    host: Host, context: Context, eventually: Eventually
) -> None:
    environ = {**os.environ, "CC_PROCESS": f"{host.owner}/twin"}
    parent = ["sh", "-c", "setsid sleep 600 & exec sleep 600"]
    twins = [subprocess.Popen(parent, env=environ, start_new_session=True) for _ in range(2)]
    try:
        found = identify(twins[0].pid)
        assert found is not None
        assert eventually(lambda: len(find_ours(host.owner, "twin")) == 4)
        stop_group(found, grace=1.0, context=context, kin=False)
        twins[0].wait(10)
        assert len(find_ours(host.owner, "twin")) == 3
    finally:
        for each in find_ours(host.owner, "twin"):
            os.kill(each.pid, signal.SIGKILL)
        for twin in twins:
            twin.wait(10)
