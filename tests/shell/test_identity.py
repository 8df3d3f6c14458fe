"""Who a process is, and of which start of the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cc.shell.identity import LINUX, is_alive, read_boot_id, read_stat


def test_the_boot_id_is_the_same_throughout_a_boot() -> None:
    assert read_boot_id() == read_boot_id() != ""


@pytest.mark.skipif(not LINUX, reason="threads are told by /proc")
def test_a_process_whose_main_thread_has_ended_lives_as_long_as_another_thread_does() -> None:
    code = (
        "import ctypes, sys, threading\n"
        "threading.Thread(target=sys.stdin.read).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        stat = read_stat(process.pid)
        while stat is not None and stat.state != "Z":
            stat = read_stat(process.pid)
        assert stat is not None
        assert is_alive(process.pid, stat.start_time)
        assert process.stdin is not None
        process.stdin.close()
        while is_alive(process.pid, stat.start_time):
            pass
        assert process.wait() == 0
