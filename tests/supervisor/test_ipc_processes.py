"""Client and supervisor in processes of their own, and one of them is killed, stopped, robbed or flooded."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.errors import Failure
from cc.shell.identity import is_alive
from cc.supervisor import protocol
from cc.supervisor.client import Client
from cc.supervisor.listener import AlreadyServed, remove_stale
from cc.supervisor.transport import SOCKET, is_held, read_owner
from tests.supervisor.ipc_support import HANG, ROOT, Other, answer, eventually, listen, other, raw

BOUND = 10.0  # seconds; what takes longer hangs. What is promised is 2 and 3.


@pytest.fixture
def supervisor(run: Path) -> Iterator[Other]:
    with other(str(run)) as one:
        assert one.said == "ready"
        yield one


def test_client_and_supervisor_talk_and_the_pid_file_says_who_it_is(run: Path, supervisor: Other) -> None:
    with Client.connect(str(run)) as client:
        assert client.call("ping").result == {"pid": supervisor.pid}
    owner = read_owner(str(run))
    assert owner is not None
    assert owner.pid == supervisor.pid
    assert is_alive(*owner)


def test_a_supervisor_killed_during_a_call_is_noticed_at_once(run: Path, supervisor: Other) -> None:
    with Client.connect(str(run)) as client, pytest.raises(Failure) as caught:
        client.call("until_cancelled", on_event=lambda event: supervisor.kill())
    assert caught.value.code == "connection_refused"


def test_after_a_kill_nobody_waits_and_the_next_supervisor_takes_the_place(run: Path, supervisor: Other) -> None:
    supervisor.kill()
    assert (run / SOCKET).is_socket()
    before = time.monotonic()
    with pytest.raises(Failure) as caught:
        Client.connect(str(run), again=(HANG, HANG))
    assert time.monotonic() - before < BOUND
    assert caught.value.code == "connection_refused"
    with other(str(run)) as following:
        assert following.said == "ready"
        with Client.connect(str(run)) as client:
            assert client.call("ping").result == {"pid": following.pid}


def test_a_supervisor_stopped_by_a_signal_is_noticed_by_its_first_byte(run: Path, supervisor: Other) -> None:
    os.kill(supervisor.pid, signal.SIGSTOP)
    before = time.monotonic()
    with Client.connect(str(run)) as client, pytest.raises(Failure) as caught:
        client.call("ping")
    assert 1.9 < time.monotonic() - before < BOUND
    assert caught.value.code == "deadline"


def test_a_supervisor_stopped_during_a_call_is_noticed_by_its_silence(run: Path, supervisor: Other) -> None:
    with Client.connect(str(run)) as client, pytest.raises(Failure) as caught:
        client.call("until_cancelled", on_event=lambda event: os.kill(supervisor.pid, signal.SIGSTOP))
    assert caught.value.code == "deadline"


def test_a_supervisor_that_is_stopped_keeps_its_place(run: Path, supervisor: Other) -> None:
    os.kill(supervisor.pid, signal.SIGSTOP)
    with pytest.raises(AlreadyServed) as caught:
        listen(run)
    assert caught.value.owner is not None
    assert caught.value.owner.pid == supervisor.pid
    with pytest.raises(AlreadyServed):
        remove_stale(str(run), is_alive)
    os.kill(supervisor.pid, signal.SIGCONT)
    with Client.connect(str(run)) as client:
        assert client.call("ping").result == {"pid": supervisor.pid}


def test_a_client_that_was_stopped_for_longer_than_the_silence_allowed_goes_on(run: Path, supervisor: Other) -> None:
    code = (
        "import sys; from cc.supervisor.client import Client\n"
        "client = Client.connect(sys.argv[1])\n"
        "heard = lambda event: print('on', flush=True)\n"
        "answer = client.call('until_cancelled', silence=0.3, deadline=1.5, on_event=heard)\n"
        "print(answer.result['reason'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "on\n"
        os.kill(client.pid, signal.SIGSTOP)
        # The deadline passes at the supervisor, its answer lies there, and the client is far beyond its own times.
        with raw(run) as watch:
            watch.sendall(protocol.request(1, "until_cancelled", {}, 2.0))
            assert answer(watch)["result"]
        os.kill(client.pid, signal.SIGCONT)
        assert client.stdout.readline() == "its deadline passed\n"


def test_a_client_killed_during_a_call_cancels_it(run: Path, supervisor: Other) -> None:
    code = (
        "import sys; from cc.supervisor.client import Client\n"
        "Client.connect(sys.argv[1]).call('until_cancelled', on_event=lambda e: print('on', flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "on\n"
        threads = thread_count(supervisor.pid)
        client.kill()
        assert eventually(lambda: thread_count(supervisor.pid) < threads)


def test_a_socket_deleted_while_it_runs_comes_back(run: Path, supervisor: Other) -> None:
    (run / SOCKET).unlink()
    # A client does not wait for nothing meanwhile: one lives that could come back.
    with Client.connect(str(run), again=(1.0, 2.0, 4.0)) as client:
        answered = client.call("ping")
    assert answered.result == {"pid": supervisor.pid}
    assert answered.fallbacks[0].code == "connection_refused"


def test_a_run_directory_deleted_while_it_runs_comes_back(run: Path, supervisor: Other) -> None:
    shutil.rmtree(run)
    assert eventually((run / SOCKET).exists)
    with Client.connect(str(run)) as client:
        assert client.call("ping").result == {"pid": supervisor.pid}
    assert is_held(str(run))


def test_a_supervisor_that_ends_leaves_no_socket(run: Path, supervisor: Other) -> None:
    supervisor._to.close()
    assert supervisor.process.wait(HANG) == 0
    assert not (run / SOCKET).exists()
    assert not is_held(str(run))


def test_the_second_supervisor_of_a_place_says_that_there_is_one(run: Path, supervisor: Other) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.supervisor.ipc_support", str(run)], cwd=ROOT, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL, timeout=HANG,
    )  # fmt: skip
    assert f"a supervisor runs already (pid {supervisor.pid})" in done.stderr


def thread_count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def flood(run: Path, number: int) -> None:
    try:
        with raw(run) as connection:
            if number % 4 == 0:
                connection.sendall(b"x" * 2_000_000)
            elif number % 4 == 1:
                connection.sendall(os.urandom(100_000))
            elif number % 4 == 2:
                connection.sendall(b'{"v":1,"id":1,"method":"echo","params":{"x":"' + b"y" * 900_000)
            else:
                connection.sendall(protocol.request(1, "count", {"events": 500, "bytes": 2000}))
    except OSError:
        pass  # dropped, as it should be


def test_a_supervisor_that_is_flooded_stays_small_and_answers_all_the_same(run: Path, supervisor: Other) -> None:
    sizes = []
    for _ in range(4):
        threads = [threading.Thread(target=flood, args=(run, number)) for number in range(200)]
        for thread in threads:
            thread.start()
        with Client.connect(str(run), deadline=HANG) as client:
            assert client.call("ping", first_byte=HANG).result == {"pid": supervisor.pid}
        for thread in threads:
            thread.join(HANG)
        with raw(run) as connection:
            connection.sendall(protocol.request(1, "ping", {}))
            assert "result" in answer(connection)
        assert eventually(lambda: thread_count(supervisor.pid) == 2)
        sizes.append(resident_mb(supervisor.pid))
    assert max(sizes) < 40
    assert sizes[-1] - sizes[1] < 8


def test_a_supervisor_over_tcp_answers_who_knows_the_token(run: Path, port: int) -> None:
    with other(str(run), str(port)) as supervisor:
        assert supervisor.said == "ready"
        (run / SOCKET).unlink()
        with Client.connect(str(run), ("127.0.0.1", port)) as client:
            answered = client.call("ping")
    assert (answered.via, answered.result) == ("tcp", {"pid": supervisor.pid})
