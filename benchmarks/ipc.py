"""What a question to the supervisor costs.

ipc               a `ping` over the Unix socket, there and back, on a connection that stands: the median of single calls
ipc-supervisord   the same against what `supervisorctl status` asks supervisord, `supervisor.getAllProcessInfo` of three
                  programs, over its own Unix socket by its own client, on a connection that stands too (supervisorctl
                  has asked for the version on it). They take turns of 20 calls. Without a target, like against like:
                  -empty   `ping` against `getState`: two that have nothing to tell
                  -status  three services' status (a method with a thread of its own) against `getAllProcessInfo`
                  -run     as a command does it, with a connection of its own each time: connect and `status`, against
                           connect, `getVersion` and `getAllProcessInfo`
                  supervisord is installed for this, into a directory that is removed again
ipc-idle          how much processor a server takes that nobody asks anything, and how much memory it holds: the IPC
                  alone, in a Python of its own (Linux)
"""

from __future__ import annotations

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
from benchmarks.measure import Figure, NotMeasured, processor_s, resident_mb, seconds
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
pong = {"version": "1.2.3", "fingerprint": "0" * 64, "pid": os.getpid(), "project": "cc-benchmark", "repaired": None}
methods = {"ping": lambda params, call: pong, "status": lambda params, call: {"services": [service] * 3}}
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
# For each line on stdin, "TIMES anew|kept METHOD ...": so often these methods, and how many seconds each time took.
THEIR_CLIENT = """
import sys, time, xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport
def connect():
    transport = SupervisorTransport("", "", serverurl="unix://" + sys.argv[1])
    return transport, xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
kept = connect()
for line in sys.stdin:
    times, how, *methods = line.split()
    took = []
    for _ in range(int(times)):
        began = time.perf_counter()
        transport, supervisor = kept if how == "kept" else connect()
        for method in methods:
            getattr(supervisor, method)()
        if how == "anew":
            transport.close()
        took.append(time.perf_counter() - began)
    print(*took, flush=True)
"""
Turn = Callable[..., list[float]]


def ipc(runs: int = 5000) -> Iterator[Figure]:
    with _serving() as (run, _), Client.connect(run) as client:
        client.call("ping")
        took = [seconds(lambda: client.call("ping")) for _ in range(runs)]
    middle, late = median(took), quantiles(took, n=100)[98] if runs > 1 else took[0]
    said = f"{middle * 1000:.3f} ms there and back (99 of 100 within {late * 1000:.2f} ms)"
    yield Figure("ipc", middle * 1000, "ms", said, PING_S * 1000, f"<= {PING_S * 1000:g} ms", runs, {"p99_s": late})


def ipc_supervisord(runs: int = 1000) -> Iterator[Figure]:
    with _serving() as (run, _), Client.connect(run) as client, _supervisord() as theirs:

        def anew() -> None:
            with Client.connect(run) as another:
                another.call("status")

        pairs: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
            "": (lambda: client.call("ping"), ("kept", "getAllProcessInfo")),
            "-empty": (lambda: client.call("ping"), ("kept", "getState")),
            "-status": (lambda: client.call("status"), ("kept", "getAllProcessInfo")),
            "-run": (anew, ("anew", "getVersion", "getAllProcessInfo")),
        }
        took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in pairs}
        for number in range(-(-runs // TURN) + 1):
            for name, (call, methods) in pairs.items():
                both = [seconds(call) for _ in range(TURN)], theirs(*methods)
                if number:  # the first counts for nothing: caches
                    took[name][0].extend(both[0])
                    took[name][1].extend(both[1])
    words = {"": "ping", "-empty": "ping", "-status": "status", "-run": "connect and status"}
    for name, (ours, others) in took.items():
        one, other = median(ours), median(others)
        asked = " and ".join(pairs[name][1][1:])
        faster = f"{other / one:.1f} x faster"
        said = f"{words[name]} {one * 1000:.3f} ms, supervisord's {asked} {other * 1000:.2f} ms: {faster}"
        limit, target = (None, "-") if name else (1 / FASTER, f">= {FASTER} x faster")
        data = {"ours_s": one, "supervisord_s": other}
        yield Figure(f"ipc-supervisord{name}", one / other, "x", said, limit, target, len(ours), data)


def ipc_idle(runs: int = 1) -> Iterator[Figure]:
    """`runs` says nothing here: it is watched for 20 seconds."""
    with _serving() as (_, pid):
        before, began = processor_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        percent = 100 * (processor_s(pid) - before) / (time.monotonic() - began)
        memory = resident_mb(pid)
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
def _supervisord() -> Iterator[Turn]:
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
        client = [python, "-c", THEIR_CLIENT, str(home / "s.sock")]
        started.append(subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        yield lambda *words: _turn(started[1], *words)
    finally:
        for one in reversed(started):
            one.terminate()  # supervisord takes its programs along
            one.communicate()
        shutil.rmtree(home, ignore_errors=True)


def _turn(client: subprocess.Popen[str], *words: str) -> list[float]:
    if client.stdin is None or client.stdout is None:
        raise NotMeasured("supervisord's client has no pipes")
    client.stdin.write(f"{TURN} {' '.join(words)}\n")
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
