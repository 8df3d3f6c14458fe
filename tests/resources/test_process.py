"""Real processes: ones that ignore TERM, flee their group, are stopped, die at once, or are not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cc.clock import Cancel
from cc.engine.outcome import Status
from cc.engine.step import Context, Judged, run_action
from cc.errors import ConfigError, Failure, Interrupted, ToolMissing
from cc.resources import process
from cc.resources.process_stop import OWNER, PROCESS, find_ours, is_alive, mark, matching, ours, stop_group
from cc.resources.process_table import Identity, describe, environment, identify, own_line, table
from cc.shell import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cc.resources.host import Host

    Eventually = Callable[[Callable[[], object]], bool]

SLEEPS = ("sleep", "1000")
STRANGE = f"sleep {1_000_000 + uuid.uuid4().int % 10**9}"  # a command line that no other run of these tests has
STUBBORN = ("sh", "-c", 'trap "" TERM INT HUP; while :; do sleep 0.1; done')
RETURNED = 20.0  # seconds: tells a stop that came back from one that hung


def ensure(here: Host, context: Context, **args: Any) -> Judged:
    return run_action(process.VERB.make(here, args), context)


def start(here: Host, context: Context, *argv: str, name: str = "web") -> Identity:
    assert ensure(here, context, pidfile=name, start=argv).status is Status.CHANGED
    found = process.read_pidfile(f"{here.run_dir}/{name}.pid")
    assert found is not None
    return found


def stop(here: Host, context: Context, name: str = "web", grace: float = 10.0) -> Judged:
    return ensure(here, context, pidfile=name, state="stopped", grace=grace)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this user that carries no mark, in a group of its own."""
    with subprocess.Popen(STRANGE.split(), start_new_session=True) as child:
        yield child
        child.kill()


# Starting


def test_a_process_is_started_once_with_its_pid_file_its_mark_and_its_log(host: Host, context: Context) -> None:
    code = "import sys, time; print('hello', flush=True); time.sleep(1000)"
    found = start(host, context, sys.executable, "-c", code)
    path = Path(host.run_dir, "web.pid")
    assert path.read_text() == f"{found.pid} {found.start_time}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = environment(found.pid)
    assert f"CC_OWNER={host.owner}".encode() in lines
    assert f"CC_PROCESS={host.owner}/web".encode() in lines
    assert Path(host.log_dir, "web.log").read_text() == "hello\n"
    again = ensure(host, context, pidfile="web", start=SLEEPS)
    assert again.status is Status.OK
    assert str(found.pid) in again.probe.reason
    assert find_ours(host.owner) == (found,)
    stop(host, context)


def test_plain_sh_can_read_a_pid_file_and_see_that_it_is_still_that_process(host: Host, context: Context) -> None:
    start(host, context, *SLEEPS)
    script = (
        'read -r pid started < "$1" && stat=$(cat "/proc/$pid/stat") && set -- ${stat##*) } && '
        'shift 19 && [ "$1" = "$started" ]'
    )
    subprocess.run(["sh", "-c", script, "sh", f"{host.run_dir}/web.pid"], check=True)
    stop(host, context)


def test_a_lost_or_corrupt_pid_file_starts_no_second_process(host: Host, context: Context) -> None:
    found = start(host, context, *SLEEPS)
    path = Path(host.run_dir, "web.pid")
    for content in (None, b"", b"junk", b"\0\xff", b"12", b"-1 5", b"1 1", b"1 2 3", b"9" * 5000):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert ensure(host, context, pidfile="web", start=SLEEPS).status is Status.OK
    assert find_ours(host.owner) == (found,)
    assert stop(host, context).status is Status.CHANGED
    assert not is_alive(found)


def test_one_that_ends_at_once_is_unhealthy_with_its_last_words_and_no_others(host: Host, context: Context) -> None:
    Path(host.log_dir, "web.log").write_text("of an earlier run\n")
    with pytest.raises(Failure) as caught:
        ensure(host, context, pidfile="web", start=("sh", "-c", "echo no config >&2; exit 3"))
    failure = caught.value
    assert failure.code == "unhealthy"
    assert failure.message == "web ended right after its start (exit code 3)"
    assert failure.evidence == ("no config",)
    assert failure.hint == f"less {host.log_dir}/web.log"


def test_a_program_that_does_not_exist_is_tool_missing(host: Host, context: Context) -> None:
    with pytest.raises(ToolMissing):
        ensure(host, context, pidfile="web", start=("no-such-program-anywhere",))


def test_a_pid_file_that_cannot_be_written_leaves_nothing_running(host: Host, context: Context) -> None:
    with pytest.raises(Failure):
        ensure(replace(host, run_dir=f"{host.run_dir}/missing"), context, pidfile="web", start=SLEEPS)
    assert find_ours(host.owner) == ()


def test_a_process_that_is_wanted_and_not_described_is_a_mistake(host: Host, context: Context) -> None:
    with pytest.raises(Failure, match="`start` does not say how") as caught:
        ensure(host, context, pidfile="web")
    assert caught.value.code == "bad_config"


def serving(number: int, delay: float = 0.0) -> tuple[str, ...]:
    """A web server that takes its time before it listens."""
    code = (
        "import http.server, sys, time; time.sleep(float(sys.argv[2]));"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    return (sys.executable, "-c", code, str(number), str(delay))


def unused() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        number: int = listening.getsockname()[1]
        return number


@pytest.mark.parametrize("form", ["{}", "127.0.0.1:{}", "http://127.0.0.1:{}/"])
def test_ready_is_awaited(host: Host, context: Context, form: str) -> None:
    number = unused()
    ready = form.format(number)
    args = {"pidfile": "web", "start": serving(number, 0.5), "ready": ready, "within": 20.0}
    assert ensure(host, context, **args).status is Status.CHANGED
    assert process.readiness(ready)(context) is None
    assert ensure(host, context, **args).status is Status.OK
    stop(host, context)
    assert process.readiness(ready)(context) is not None


def test_one_that_runs_and_is_not_ready_yet_is_awaited_and_not_started_twice(host: Host, context: Context) -> None:
    number = unused()
    found = start(host, context, *serving(number, 0.5))
    done = ensure(host, context, pidfile="web", start=SLEEPS, ready=str(number), within=20.0)
    assert done.status is Status.CHANGED
    assert find_ours(host.owner) == (found,)
    stop(host, context)


def test_what_does_not_become_ready_is_not_left_half_standing(host: Host, context: Context) -> None:
    argv = ("sh", "-c", "echo waiting for a database; setsid sleep 1000 & exec sleep 1000")
    with pytest.raises(Failure) as caught:
        ensure(host, context, pidfile="web", start=argv, ready=str(unused()), within=0.3)
    assert caught.value.code == "unhealthy"
    assert "did not become ready within 0.3 s: nobody listens" in caught.value.message
    assert caught.value.evidence == ("waiting for a database",)
    assert find_ours(host.owner) == ()


def test_no_wait_starts_and_asks_nothing(host: Host, context: Context) -> None:
    hurried = replace(host, wait=False)
    args = {"pidfile": "web", "start": SLEEPS, "ready": str(unused())}
    assert ensure(hurried, context, **args).status is Status.CHANGED
    assert ensure(hurried, context, **args).status is Status.OK
    stop(host, context)


def test_cancelling_a_start_takes_back_what_it_started(host: Host, context: Context) -> None:
    timer = threading.Timer(0.5, context.cancel.request, ("SIGINT",))
    timer.start()
    with pytest.raises(Interrupted):
        ensure(host, context, pidfile="web", start=STUBBORN, ready=str(unused()), within=60.0)
    timer.join()
    assert find_ours(host.owner) == ()


# Stopping


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


def family(leader: Identity) -> set[Identity]:
    """Everybody below it or with its mark, by the test's own means."""
    rows = table()
    found = {leader.pid}
    marked = next(line for line in environment(leader.pid) if line.startswith(b"CC_PROCESS="))
    for _ in range(5):
        found |= {row.pid for row in rows if row.parent in found or marked in environment(row.pid)}
    return {Identity(row.pid, row.start_time) for row in rows if row.pid in found}


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
    done = stop_group(found, grace=600.0, context=replace(context, cancel=gone))
    gone.close()
    assert done.killed
    assert time.monotonic() - began < RETURNED
    assert not is_alive(found)


def test_a_stop_whose_time_is_over_still_stops(host: Host, context: Context) -> None:
    found = start(host, context, *STUBBORN)
    stop_group(found, grace=600.0, context=context.until(0.1))
    assert not is_alive(found)


# Never a stranger


def test_a_pid_that_was_reused_is_never_signalled(
    host: Host, context: Context, stranger: subprocess.Popen[bytes]
) -> None:
    now = identify(stranger.pid)
    assert now is not None
    path = f"{host.run_dir}/web.pid"
    process.write_pidfile(path, replace(now, start_time=now.start_time - 1))
    assert stop(host, context).status is Status.OK
    assert stop_group(replace(now, start_time=1), grace=0.0, context=context).count == 0
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


# Reading


def test_a_zombie_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert identify(pid) is None
    assert describe(pid) is None
    assert pid not in {row.pid for row in table()}
    os.waitpid(pid, 0)


def test_a_process_is_described(host: Host, context: Context) -> None:
    found = start(host, context, *SLEEPS)
    (fact,) = ours(host.owner)
    assert fact.identity == found
    assert (fact.program, fact.command, fact.user) == ("sleep", "sleep 1000", "root")
    assert 0 <= fact.uptime_s < 60
    assert fact.rss_bytes > 100_000
    stop(host, context)
    assert describe(found.pid) is None


def test_the_mark_of_one_owner_is_not_that_of_another_whose_name_begins_so(host: Host, context: Context) -> None:
    longer = replace(host, owner=f"{host.owner}0")
    found = start(longer, context, *SLEEPS)
    assert find_ours(host.owner) == ()
    assert find_ours(longer.owner, "we") == ()
    assert find_ours(longer.owner, "web") == (found,)
    assert mark(longer.owner, "web").encode() in environment(found.pid)
    stop(longer, context)


def test_what_psutil_tells_elsewhere_is_what_proc_tells_here(
    host: Host, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = start(host, context, *SLEEPS)
    in_proc = next(row for row in table() if row.pid == found.pid)
    line, words = own_line(), environment(found.pid)
    monkeypatch.setattr("cc.resources.process_table.LINUX", False)
    by_psutil = next(row for row in table() if row.pid == found.pid)
    assert (by_psutil.name, by_psutil.parent, by_psutil.group, by_psutil.session) == (
        in_proc.name,
        in_proc.parent,
        in_proc.group,
        in_proc.session,
    )
    assert set(words) - {b""} == set(environment(found.pid))
    assert own_line() == line
    assert [one.pid for one in find_ours(host.owner)] == [found.pid]
    monkeypatch.undo()
    stop(host, context)


def test_a_probe_of_what_runs_loads_no_psutil(host: Host, context: Context) -> None:
    start(host, context, *SLEEPS)
    code = (
        "import sys\nfrom cc.clock import Cancel, SystemClock\nfrom cc.engine.step import Context\n"
        "from cc.resources import process\nfrom cc.resources.host import Host\nfrom cc.shell import ScriptedShell\n"
        "host = Host(ScriptedShell(), '/', {}, owner=sys.argv[1], run_dir=sys.argv[2], log_dir='/')\n"
        "action = process.VERB.make(host, {'pidfile': sys.argv[3]})\n"
        "print(action.probe(Context(SystemClock(), Cancel())).satisfied, 'psutil' in sys.modules, 'sh' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    for name, says in (("web", "True False False"), ("other", "False False False")):
        done = subprocess.run(
            [sys.executable, "-c", code, host.owner, host.run_dir, name],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == says
    stop(host, context)


@pytest.mark.parametrize(
    ("args", "field"),
    [({"stop_signal": "NONSENSE"}, "stop_signal"), ({"ready": "soon"}, "ready"), ({"ready": "x:0"}, "ready")],
)
def test_words_that_mean_nothing_are_refused(host: Host, args: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        process.VERB.make(host, {"pidfile": "web", **args})
    assert caught.value.field == field


def test_a_name_is_taken_from_what_was_given(host: Host) -> None:
    cases = (
        ({"pidfile": "web"}, "process web"),
        ({"pidfile": "web.pid"}, "process web"),
        ({"pidfile": "run/web.pid"}, "process web"),
        ({"pattern": "my app.*--port=80", "start": ("/usr/bin/my app",)}, "process my-app"),
        ({"pattern": "^redis"}, "process redis"),
    )
    for args, name in cases:
        assert process.VERB.make(host, args).name == name


def test_a_child_spawned_otherwise_is_known_by_the_same_mark(host: Host, context: Context) -> None:
    words = {OWNER: host.owner, PROCESS: f"{host.owner}/dashboard"}
    child = host.shell.spawn(Command(SLEEPS, env=words), log=f"{host.log_dir}/x.log")
    found = Identity(child.pid, child.start_time)
    assert find_ours(host.owner, "dashboard") == (found,)
    stop_group(found, grace=RETURNED, context=context)
    assert child.poll() == -signal.SIGTERM
