"""State files in whose place something else lies: a pipe, a device, a directory, a link that leads nowhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cc.engine.step import Context
from cc.errors import Failure
from cc.resources.state import Journal, StateDir, open_regular, take_lock


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has 107 bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def leads_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "gone" / "away")


def leads_to_itself(path: Path) -> None:
    path.symlink_to(path)


def full_directory(path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("somebody's")


INSTEAD = [os.mkfifo, device, a_socket, os.mkdir, leads_nowhere, leads_to_itself]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(str(tmp_path / "home"), "p")
    made.ensure()
    return made


@pytest.mark.parametrize("make", INSTEAD)
def test_what_lies_in_the_locks_place_is_replaced(
    state: StateDir, context: Context, make: Callable[[Path], None]
) -> None:
    path = Path(state.run) / "operation.lock"
    make(path)
    lock = take_lock(state, "up", context)
    assert path.is_file()
    assert not path.is_symlink()
    assert '"up"' in path.read_text()
    lock.release()


def test_a_full_directory_in_the_locks_place_stays_and_is_named_with_what_to_type(
    state: StateDir, context: Context
) -> None:
    path = Path(state.run) / "operation.lock"
    full_directory(path)
    with pytest.raises(Failure) as caught:
        take_lock(state, "up", context)
    assert (caught.value.code, str(path) in caught.value.message) == ("bad_config", True)
    assert caught.value.hint == f"mv {path} {path}.old   # then again"
    assert (path / "kept").read_text() == "somebody's"


@pytest.mark.parametrize("make", [*INSTEAD, full_directory])
def test_what_lies_in_the_journals_place_is_named_and_nobody_waits(
    state: StateDir, make: Callable[[Path], None]
) -> None:
    make(Path(state.journal))
    with pytest.raises(Failure) as caught:
        Journal(state.journal).append({"event": "x"})
    assert (caught.value.code, state.journal in caught.value.message) == ("bad_config", True)
    assert state.journal in (caught.value.hint or "")


@pytest.mark.parametrize("make", [os.mkfifo, device, a_socket, os.mkdir])
def test_reading_never_waits_for_what_is_no_file(state: StateDir, make: Callable[[Path], None]) -> None:
    make(Path(state.password))
    with pytest.raises(Failure) as caught:
        open_regular(state.password, os.O_RDONLY)
    assert caught.value.code == "bad_config"
