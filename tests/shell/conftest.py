"""Real processes, watched from outside by `ps`: what a test started carries a word of its own in its arguments."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cc.shell import SystemShell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]


class Word:
    """A word that only this test's processes have in their arguments."""

    def __init__(self) -> None:
        self.text = f"word{uuid.uuid4().hex}"

    def alive(self) -> list[int]:
        listing = subprocess.run(["ps", "-Awwo", "pid=,stat=,args="], capture_output=True, check=True, text=True)
        rows = [line.split(None, 2) for line in listing.stdout.splitlines() if self.text in line]
        return [int(row[0]) for row in rows if not row[1].startswith("Z")]

    @property
    def stays(self) -> str:
        """Shell words for a process that stays and can be seen."""
        return f"sh -c 'while :; do sleep 1; done' {self.text}"

    @property
    def stays_whatever(self) -> str:
        """The same, and it ignores all that can be ignored."""
        return f"sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' {self.text}"


@pytest.fixture
def word() -> Iterator[Word]:
    """Afterwards whatever carries it is killed, so that a failed test leaves nothing."""
    made = Word()
    yield made
    for pid in made.alive():
        subprocess.run(["kill", "-KILL", str(pid)], check=False)


@pytest.fixture
def shell() -> SystemShell:
    return SystemShell()


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Start a Python of its own that has the project on its path."""

    def start(code: str) -> subprocess.Popen[str]:
        script = tmp_path / "script.py"
        script.write_text(code)
        return subprocess.Popen(
            [sys.executable, str(script)],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
