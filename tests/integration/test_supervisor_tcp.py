"""L9's rungs 1 and 2: TCP on a loopback address, only where it is configured; the Unix socket again, after a wait."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.integration.box import Box, supervisors


def test_with_its_unix_socket_gone_the_supervisor_is_asked_over_tcp(box: Box) -> None:
    box.env["CC_IPC_TCP"] = f"127.0.0.1:{box.env['CC_OTLP_GRPC_PORT']}"
    assert box.ask("up", "--no-docker").code == 0
    path = box.state / "run" / "supervisor.sock"
    path.unlink()
    path.write_text("a stranger's file, which the supervisor leaves alone")
    told = box.ask("status").json["supervisor"]
    assert (told["state"], [told["pid"]], told["via"]) == ("running", supervisors(box), "tcp")
    again, down = box.ask("up", "--no-docker"), box.ask("down")
    for done in (again, down):
        assert done.code == 0
        assert [told["rung"] for told in done.json["fallbacks"] if told["what"] == "IPC connection"] == [1]
    assert box.processes() == []


def test_a_socket_that_comes_back_after_a_while_is_waited_for_and_that_is_told(box: Box) -> None:
    assert box.ask("up", "--no-docker").code == 0
    (pid,) = supervisors(box)
    os.kill(pid, signal.SIGSTOP)
    (box.state / "run" / "supervisor.sock").unlink()
    waker = subprocess.Popen(["sh", "-c", f"sleep 1.5; kill -CONT {pid}"])
    down = box.ask("down")
    waker.wait(10)
    assert (down.code, box.processes()) == (0, [])
    told = {each["what"]: each["rung"] for each in down.json["fallbacks"]}
    assert (told.get("IPC connection"), told.get("control path")) == (2, None)
