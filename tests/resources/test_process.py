"""Real processes: started once, found again without their pid file, awaited, described."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cc.engine.outcome import Status
from cc.engine.step import Context
from cc.errors import ConfigError, Failure, Interrupted, ToolMissing
from cc.resources import process
from cc.resources.process_stop import OWNER, PROCESS, find_ours, is_alive, mark, matching, ours, stop_group
from cc.resources.process_table import Identity, command_line, describe, environment, identify, own_line, table
from cc.shell import Command
from tests.resources.processes import RETURNED, SLEEPS, STUBBORN, ensure, start, stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from cc.resources.host import Host

    Eventually = Callable[[Callable[[], object]], bool]


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
    with pytest.raises(Failure, match=r"web ended before it was ready \(SIGKILL\)"):
        ensure(host, context, pidfile="web", start=("sh", "-c", "sleep 0.1; kill -9 $$"), ready=str(unused()))


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


@pytest.mark.parametrize("pattern", ["", ".*", "x?", "^", "a|"])
def test_a_pattern_that_finds_every_process_is_a_configuration_error(host: Host, pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        process.VERB.make(host, {"pattern": pattern, "state": "stopped"})
    assert (caught.value.field, "every process" in caught.value.message) == ("pattern", True)


def test_neither_init_nor_what_has_no_command_line_is_ever_found() -> None:
    found = matching("(?s).")
    assert found
    assert [one.pid for one in found if one.pid <= 1 or not command_line(one.pid)] == []
