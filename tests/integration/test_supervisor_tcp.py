"""L9 rung 1: TCP on a loopback address, only where it is configured."""

from __future__ import annotations

import os

from tests.integration.box import Box
from tests.integration.test_supervisor import supervisors


def test_with_its_unix_socket_gone_the_supervisor_is_asked_over_tcp(box: Box) -> None:
    box.env["CC_IPC_TCP"] = f"127.0.0.1:{box.env['CC_OTLP_GRPC_PORT']}"
    assert box.ask("up", "--no-docker").code == 0
    os.unlink(box.state / "run" / "supervisor.sock")
    told = box.ask("status").json["supervisor"]
    assert (told["state"], [told["pid"]]) == ("running", supervisors(box))
    assert told["via"] in ("tcp", "unix")  # the supervisor makes its socket anew within two seconds
    assert box.ask("down").code == 0
    assert box.processes() == []
