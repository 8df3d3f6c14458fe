"""What a question to the supervisor costs.

ipc               a `ping` over the Unix socket, there and back, on a connection that stands: the median of single calls
ipc-supervisord   the same against supervisord's `supervisor.getState` over its own Unix socket, by its own client; they
                  take turns of 20 calls. And, without a target, three services' status (a method with a thread of its
                  own) against `getAllProcessInfo` of three programs, which is the call of `supervisorctl status`.
                  supervisord is installed for this, into a directory that is removed again
ipc-idle          how much processor a server takes that nobody asks anything, and how much memory it holds: the IPC
                  alone, in a Python of its own (Linux)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from benchmarks.box import ROOT
from benchmarks.measure import Figure, NotMeasured, seconds
from cc.supervisor.client import Client

PING_S = 0.0003
FASTER = 10
TURN = 20  # calls
IDLE_PERCENT = 0.1
IDLE_S = 20.0
INSTALL_S = 300.0
START_S = 10.0
SERVER = """
import os, sys
from cc.shell.identity import is_alive, start_time
from cc.supervisor.listener import listen_unix
from cc.supervisor.server import Server
from cc.supervisor.transport import Owner
owner = Owner(os.getpid(), start_time(os.getpid()))
service = {
    "name": "dashboard", "kind": "process", "state": "running", "health": "healthy", "reason": "it answers", "pid": 1,
    "container": None, "port": 8110, "url": "http://localhost:8110", "uptime_s": 1.5, "restarts": 0, "rss_bytes": 1,
}
methods = {"ping": lambda params, call: {}, "status": lambda params, call: {"services": [service] * 3}}
listener = listen_unix(sys.argv[1], owner=owner, alive=is_alive)
server = Server([listener], methods, quick={"ping"})
server.start()
print("ready", flush=True)
sys.stdin.read()
server.close()
"""
THEIR_CONFIGURATION = """[unix_http_server]
file={home}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
nodaemon=true
logfile={home}/log
pidfile={home}/pid
identifier=cc-benchmark
[program:one]
command=sleep 1000
[program:two]
command=sleep 1000
[program:three]
command=sleep 1000
"""
# For each line on stdin: so many calls, and how many seconds each took.
THEIR_CLIENT = """
import sys, time, xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport
transport = SupervisorTransport("", "", serverurl="unix://" + sys.argv[1])
ask = getattr(xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor, sys.argv[2])
for line in sys.stdin:
    took = []
    for _ in range(int(line)):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    print(*took, flush=True)
"""


def ipc(runs: int = 5000) -> Iterator[Figure]:
    with _serving() as (run, _), Client.connect(run) as client:
        client.call("ping")
        took = [seconds(lambda: client.call("ping")) for _ in range(runs)]
    middle, late = median(took), quantiles(took, n=100)[98] if runs > 1 else took[0]
    said = f"{middle * 1000:.3f} ms there and back (99 of 100 within {late * 1000:.2f} ms)"
    yield Figure("ipc", middle * 1000, "ms", said, PING_S * 1000, f"<= {PING_S * 1000:g} ms", runs, {"p99_s": late})


def ipc_supervisord(runs: int = 1000) -> Iterator[Figure]:
    yield _against("ipc-supervisord", "getState", "ping", runs, 1 / FASTER)
    yield _against("ipc-supervisord-status", "getAllProcessInfo", "status", runs, None)


def _against(name: str, theirs: str, ours: str, runs: int, limit: float | None) -> Figure:
    took: tuple[list[float], list[float]] = [], []
    with _serving() as (run, _), Client.connect(run) as client, _supervisord(theirs) as their_turn:
        for turn in range(runs // TURN + 2):
            both = [seconds(lambda: client.call(ours)) for _ in range(TURN)], their_turn()
            if turn:  # the first counts for nothing: caches
                took[0].extend(both[0])
                took[1].extend(both[1])
    one, other = (median(each) for each in took)
    said = f"{ours} {one * 1000:.3f} ms, supervisord's {theirs} {other * 1000:.2f} ms: {other / one:.1f} x faster"
    data = {"ours_s": one, "supervisord_s": other}
    target = "-" if limit is None else f">= {FASTER} x faster"
    return Figure(name, one / other, "x", said, limit, target, len(took[0]), data)


def ipc_idle(runs: int = 1) -> Iterator[Figure]:
    """`runs` says nothing here: it is watched for 20 seconds."""
    with _serving() as (_, pid):
        before, began = _processor_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        percent = 100 * (_processor_s(pid) - before) / (time.monotonic() - began)
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    said = f"{percent:.3f} % of a processor, {memory:.0f} MB resident"
    yield Figure("ipc-idle", percent, "%", said, IDLE_PERCENT, f"<= {IDLE_PERCENT} %", 1, {"resident_mb": memory})


@contextmanager
def _serving() -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its run directory and its pid."""
    run = tempfile.mkdtemp(prefix="ccbench-")
    argv = [sys.executable, "-c", SERVER, run]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None or server.stdout.readline() != "ready\n":
                raise SystemExit("the server did not start")
            yield run, server.pid
        finally:
            server.kill()
            shutil.rmtree(run, ignore_errors=True)


@contextmanager
def _supervisord(method: str) -> Iterator[Callable[[], list[float]]]:
    """A supervisord that supervises three programs; a turn of calls to it, in seconds each. Raises NotMeasured."""
    home = Path(tempfile.mkdtemp(prefix="ccbench-"))
    started: list[subprocess.Popen[str]] = []
    try:
        python = _install(home)
        configuration = home / "supervisord.conf"
        configuration.write_text(THEIR_CONFIGURATION.format(home=home))
        server = [python, "-m", "supervisor.supervisord", "-c", str(configuration)]
        started.append(subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True))
        until = time.monotonic() + START_S
        while not (home / "s.sock").exists():
            if time.monotonic() > until or started[0].poll() is not None:
                raise NotMeasured("supervisord did not start")
            time.sleep(0.05)
        client = [python, "-c", THEIR_CLIENT, str(home / "s.sock"), method]
        started.append(subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        yield lambda: _turn(started[1])
    finally:
        for one in reversed(started):
            one.terminate()  # supervisord takes its programs along
            one.communicate()
        shutil.rmtree(home, ignore_errors=True)


def _turn(client: subprocess.Popen[str]) -> list[float]:
    if client.stdin is None or client.stdout is None:
        raise NotMeasured("supervisord's client has no pipes")
    client.stdin.write(f"{TURN}\n")
    client.stdin.flush()
    return [float(word) for word in client.stdout.readline().split()]


def _install(home: Path) -> str:
    """A Python with supervisord in a virtual environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True, timeout=INSTALL_S)
    python = str(home / "venv" / "bin" / "python")
    # It imports pkg_resources where importlib.metadata does not do, so setuptools comes along.
    install = [python, "-m", "pip", "--disable-pip-version-check", "-q", "install", "supervisor", "setuptools<81"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        raise NotMeasured(f"pip install supervisor: {done.stderr.strip()[-200:]}")
    return python


def _processor_s(pid: int) -> float:
    """Time on a processor so far, all threads together. Raises NotMeasured where there is no /proc."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError as error:
        raise NotMeasured(f"no /proc/PID/schedstat: {error.strerror}") from error
