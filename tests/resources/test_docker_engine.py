"""Starting the engine by whatever the machine starts it with: machines made of a PATH of small programs."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cc.clock import Cancel, SystemClock
from cc.engine.step import Acted, Context, Probe, run_action
from cc.errors import Failure, Interrupted
from cc.resources import docker_engine as module
from cc.resources.docker_engine import VERB, DockerEngine
from cc.resources.host import Host
from cc.shell import SystemShell

ROOT = os.geteuid() == 0
ENGINE = """\
import os, socket, sys
place = os.environ["ENGINE_PLACE"]
with open(place + "/pid", "w") as file: file.write(str(os.getpid()))
with open(place + "/environ", "w") as file: file.write("\\n".join(f"{k}={v}" for k, v in os.environ.items()))
server = socket.socket(socket.AF_UNIX)
server.bind(place + "/d.sock")
server.listen(8)
body = b'{"Version": "27.1"}'
while True:
    client = server.accept()[0]
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    client.close()
"""
SERVE = f'exec {sys.executable} "$ENGINE_PLACE/engine.py"'
# As an init script leaves it: a session of its own, nothing of its parent's open.
DETACH = f'/usr/bin/setsid {sys.executable} "$ENGINE_PLACE/engine.py" </dev/null >/dev/null 2>&1 &'


@dataclass
class Machine:
    """`has` puts a program on its PATH that notes its words and then does what the script says."""

    place: Path
    cancel: Cancel = field(default_factory=Cancel)

    def has(self, name: str, script: str) -> None:
        path = self.place / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "$ENGINE_PLACE/ran"\n{script}\n')
        path.chmod(0o755)

    @property
    def host(self) -> Host:
        environ = {
            "PATH": str(self.place / "bin"), "ENGINE_PLACE": str(self.place), "DOCKER_HOST": f"unix://{self.place}/d.sock",
            "CC_OWNER": "p:1", "CC_HOME": "/h", "CC_PROCESS": "p:1/x",
        }  # fmt: skip
        shell = SystemShell(cancel=self.cancel, marker=("CC_OWNER", "p:1"))
        return Host(shell, str(self.place), environ, log_dir=str(self.place))

    @property
    def context(self) -> Context:
        return Context(SystemClock(), self.cancel)

    def action(self, within: float = 20.0) -> DockerEngine:
        made = VERB.make(self.host, {"state": "running", "within": within})
        assert isinstance(made, DockerEngine)
        return made

    def ran(self) -> list[str]:
        path = self.place / "ran"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """One that has nothing yet, in a short path (a socket's has 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="ccmach-") as directory:
        place = Path(directory)
        (place / "bin").mkdir()
        (place / "engine.py").write_text(ENGINE)
        monkeypatch.setattr(module, "SYSTEMD", str(place / "systemd"))
        monkeypatch.setattr(module, "INIT_SCRIPT", str(place / "init-docker"))
        monkeypatch.setattr(module, "SYSTEM_SOCKETS", (str(place / "d.sock"),))
        made = Machine(place)
        yield made
        made.cancel.close()
        if (place / "pid").exists():
            os.kill(int((place / "pid").read_text()), signal.SIGKILL)


def systemd(machine: Machine) -> None:
    (machine.place / "systemd").mkdir()


def init(machine: Machine) -> None:
    (machine.place / "init-docker").touch()


def nothing(machine: Machine) -> None:
    pass


SYSTEMCTL = ("systemctl", "start", "docker") if ROOT else ("systemctl", "--user", "start", "docker")
WAYS = [
    (nothing, (), []),
    (nothing, ("systemctl", "service"), []),  # installed, and not what runs this machine
    (systemd, ("systemctl",), [SYSTEMCTL]),
    (systemd, (), []),
    (init, ("service",), [("service", "docker", "start")]),
    (systemd, ("systemctl", "service", "colima", "dockerd"), [SYSTEMCTL, ("colima", "start"), ("dockerd",)]),
    (init, ("service", "dockerd"), [("service", "docker", "start"), ("dockerd",)]),
    (nothing, ("colima",), [("colima", "start")]),
    (nothing, ("dockerd",), [("dockerd",)]),
]


@pytest.mark.parametrize(("runs", "programs", "ways"), WAYS)
def test_the_ways_that_a_machine_has_in_their_order(
    machine: Machine, runs: Callable[[Machine], None], programs: tuple[str, ...], ways: list[tuple[str, ...]]
) -> None:
    runs(machine)
    for name in programs:
        machine.has(name, "exit 0")
    roots = {"service", "dockerd"}
    assert machine.action()._ways() == [way for way in ways if ROOT or way[0] not in roots]


def test_an_engine_that_answers_is_left_alone(machine: Machine) -> None:
    machine.has("colima", DETACH)
    assert run_action(machine.action(), machine.context).status.value == "changed"
    machine.has("colima", "exit 1")
    again = run_action(machine.action(), machine.context)
    assert (again.status.value, again.probe.reason) == ("ok", "Docker 27.1 answers")
    assert machine.ran() == ["colima start"]


def test_a_machine_that_has_none_of_them_says_what_to_do(machine: Machine) -> None:
    with pytest.raises(Failure) as caught:
        run_action(machine.action(), machine.context)
    assert caught.value.code == "daemon_down"
    assert "nothing here can start it" in caught.value.message
    assert "start it" in (caught.value.hint or "")


def test_what_a_service_program_leaves_running_stays_and_carries_no_mark_of_ours(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_OWNER", "p:1")
    monkeypatch.setenv("CC_SEAM_TEST", "1")
    machine.has("colima", DETACH)
    judged = run_action(machine.action(), machine.context)
    assert (judged.status.value, judged.acted) == ("changed", Acted("Docker started by `colima start`"))
    environ = (machine.place / "environ").read_text().splitlines()
    assert [line for line in environ if line.startswith("CC_") and not line.startswith("CC_SEAM=")] == []
    assert run_action(machine.action(), machine.context).status.value == "ok"  # it still lives


@pytest.mark.skipif("not ROOT", reason="dockerd is for root to start")
def test_dockerd_itself_is_started_detached_with_a_log_and_without_our_mark(machine: Machine) -> None:
    machine.has("dockerd", f"echo starting; {SERVE}")
    judged = run_action(machine.action(), machine.context)
    assert judged.acted == Acted("Docker started by `dockerd`")
    pid = int((machine.place / "pid").read_text())
    assert os.getsid(pid) == pid
    environ = (machine.place / "environ").read_text().splitlines()
    assert [line for line in environ if line.startswith("CC_")] == []
    assert (machine.place / "dockerd.log").read_text() == "starting\n"


def test_a_way_that_fails_leads_to_the_next(machine: Machine) -> None:
    systemd(machine)
    machine.has("systemctl", "echo no such unit >&2; exit 5")
    machine.has("colima", DETACH)
    assert run_action(machine.action(), machine.context).acted == Acted("Docker started by `colima start`")
    assert machine.ran() == [" ".join(SYSTEMCTL), "colima start"]


def refused(machine: Machine, within: float = 20.0) -> Failure:
    with pytest.raises(Failure) as caught:
        run_action(machine.action(within), machine.context)
    return caught.value


def test_when_every_way_fails_each_is_told_with_its_reason(machine: Machine) -> None:
    systemd(machine)
    machine.has("systemctl", "echo no such unit >&2; exit 5")
    machine.has("colima", "exit 0")
    error = refused(machine, within=0.3)
    assert error.code == "daemon_down"
    assert f"`{' '.join(SYSTEMCTL)}`: " in error.message
    assert "no such unit" in error.message
    assert "`colima start`: no engine answered within 0.3 s" in error.message
    assert "start it" in (error.hint or "")


@pytest.mark.skipif("not ROOT", reason="dockerd is for root to start")
def test_a_dockerd_that_ends_at_once_is_not_waited_for_and_its_last_words_are_told(machine: Machine) -> None:
    machine.has("dockerd", "echo failed to start containerd; exit 1")
    error = refused(machine, within=1e6)
    assert error.message.endswith("`dockerd`: it ended at once")
    assert error.evidence == ("failed to start containerd",)


def test_a_cancellation_is_no_failure_of_a_way_and_nothing_else_is_tried(machine: Machine) -> None:
    systemd(machine)
    machine.has("systemctl", ': > "$ENGINE_PLACE/begun"; exec /bin/sleep 600')
    machine.has("colima", DETACH)

    def cancel() -> None:
        while not (machine.place / "begun").exists():
            machine.cancel.wait(0.01)
        machine.cancel.request("SIGINT")

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    assert isinstance(refused(machine), Interrupted)
    thread.join()
    assert machine.ran() == [" ".join(SYSTEMCTL)]


def test_what_else_is_wrong_with_the_engine_is_not_mended_by_starting_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.has("colima", DETACH)
    action = machine.action()

    def no_right() -> str:
        raise Failure("no right to the socket", code="permission_denied")

    monkeypatch.setattr(action._docker, "version", no_right)
    with pytest.raises(Failure) as caught:
        action.probe(machine.context)
    assert caught.value.code == "permission_denied"
    assert machine.ran() == []


def test_a_probe_that_says_no_says_why(machine: Machine) -> None:
    found = machine.action().probe(machine.context)
    assert isinstance(found, Probe)
    assert (found.satisfied, "not running" in found.reason) == (False, True)


def test_the_machines_own_daemon_is_not_started_for_an_endpoint_that_it_does_not_serve(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYSTEM_SOCKETS", ("/var/run/docker.sock",))
    systemd(machine)
    for name in ("systemctl", "service", "dockerd"):
        machine.has(name, SERVE)
    with pytest.raises(Failure, match="nothing here can start it") as caught:
        run_action(machine.action(), machine.context)
    assert (caught.value.code, machine.ran()) == ("daemon_down", [])
    machine.has("colima", DETACH)
    assert run_action(machine.action(), machine.context).status.value == "changed"
    assert machine.ran() == ["colima start"]
