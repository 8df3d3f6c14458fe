"""Time that never goes back, and the wish to stop."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.clock import Cancel, SystemClock, wall_time

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cancel() -> Iterator[Cancel]:
    made = Cancel()
    yield made
    made.close()


def readable(cancel: Cancel) -> bool:
    return bool(select.select([cancel], [], [], 0)[0])


def test_nobody_asked_yet(cancel: Cancel) -> None:
    assert cancel.requested is None
    assert not readable(cancel)
    assert cancel.wait(0) is False


def test_the_first_reason_stays_and_the_descriptor_is_readable_for_ever(cancel: Cancel) -> None:
    cancel.request("SIGINT")
    cancel.request("deadline")
    assert cancel.requested == "SIGINT"
    for _ in range(3):
        assert readable(cancel)
        assert cancel.wait(1000) is True


def test_a_request_ends_the_waits_of_every_thread(cancel: Cancel) -> None:
    ended = []
    clock = SystemClock()
    threads = [threading.Thread(target=lambda: ended.append(clock.wait(1000, cancel))) for _ in range(5)]
    for thread in threads:
        thread.start()
    cancel.request("enough")
    for thread in threads:
        thread.join(30)
    assert ended == [False] * 5


def test_a_wait_without_a_request_takes_its_whole_time_and_says_so(cancel: Cancel) -> None:
    clock = SystemClock()
    before = clock.now()
    assert clock.wait(0.05, cancel) is True
    assert clock.wait(0.05) is True
    assert clock.now() - before >= 0.1
    assert clock.wait(-1, cancel) is True
    assert clock.wait(-1) is True


@pytest.mark.parametrize("seconds", [1e7, 1e300, float("inf")])
def test_a_wait_of_a_year_or_without_an_end_is_possible_and_can_be_ended(cancel: Cancel, seconds: float) -> None:
    ended = threading.Event()

    def wait() -> None:
        if cancel.wait(seconds):
            ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    cancel.request("enough")
    assert ended.wait(30)
    thread.join()


def test_a_signal_handler_may_ask_and_nothing_is_raised_in_the_middle_of_things() -> None:
    code = """
import os, signal
from cc.clock import Cancel, SystemClock
cancel = Cancel()
signal.signal(signal.SIGTERM, lambda number, frame: cancel.request(signal.Signals(number).name))
print("waiting", flush=True)
print(SystemClock().wait(1000, cancel), cancel.requested, flush=True)
"""
    waiting = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waiting\n"
    waiting.send_signal(signal.SIGTERM)
    assert waiting.communicate(timeout=30)[0] == "False SIGTERM\n"
    assert waiting.returncode == 0


def test_signals_without_number_neither_block_nor_raise(cancel: Cancel) -> None:
    """The pipe holds 64 KiB; only the first request writes to it."""
    for _ in range(100_000):
        cancel.request("SIGINT")
    assert cancel.requested == "SIGINT"


def test_after_close_a_request_writes_to_nobody(tmp_path: Path) -> None:
    cancel = Cancel()
    before = set(os.listdir("/dev/fd"))
    cancel.close()
    cancel.close()
    files = [(tmp_path / str(number)).open("wb") for number in range(4)]  # takes the two numbers again
    assert set(os.listdir("/dev/fd")) >= before
    cancel.request("late")
    assert (cancel.requested, cancel.wait(1000)) == ("late", True)
    for file in files:
        file.close()
        assert Path(file.name).read_bytes() == b""


def test_what_we_start_does_not_inherit_it(cancel: Cancel) -> None:
    code = f"import os\ntry: os.fstat({cancel.fileno()})\nexcept OSError: print('closed')"
    asked = [sys.executable, "-c", code]
    assert subprocess.run(asked, close_fds=False, capture_output=True, text=True, check=True).stdout == "closed\n"


def test_the_clock_is_monotonic_and_the_wall_time_is_the_systems() -> None:
    clock = SystemClock()
    times = [clock.now() for _ in range(1000)]
    assert times == sorted(times)
    assert abs(wall_time() - time.time()) < 60
