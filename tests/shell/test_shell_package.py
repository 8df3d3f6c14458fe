"""What the package promises to those who import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cc.shell
from cc.shell import Command, Result

ROOT = Path(__file__).resolve().parents[2]


def test_importing_it_loads_neither_sh_nor_other_heavy_things() -> None:
    heavy = {"sh", "psutil", "asyncio", "subprocess", "json", "logging"}
    code = f"import sys, cc.shell; print(sorted({heavy} & {{*sys.modules}}))"
    run = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert run.stdout == "[]\n"


def test_only_the_seam_imports_sh() -> None:
    importing = [
        path.name
        for path in sorted((ROOT / "cc" / "shell").glob("*.py"))
        if any(line.split()[:2] in (["import", "sh"], ["from", "sh"]) for line in path.read_text().splitlines())
    ]
    assert importing == ["seam.py"]


def test_the_public_names_are_these() -> None:
    assert sorted(cc.shell.__all__) == [
        "Child",
        "Command",
        "Fault",
        "Faults",
        "Result",
        "ScriptedShell",
        "Shell",
        "SystemShell",
        "UnscriptedCommand",
        "is_alive",
        "start_time",
    ]


def test_the_tail_is_errors_first_and_output_while_there_is_room() -> None:
    result = Result((), 1, stdout="a\nb\nc\n", stderr="x\n\n  \ny\n")
    assert result.tail(3) == ("x", "y", "c")
    assert result.tail(1) == ("y",)
    assert result.tail(0) == ()
    assert len(Result((), 1, stdout="m" * 10_000).tail()[0]) < 600


def test_a_result_is_true_when_it_exited_with_zero() -> None:
    assert Result((), 0)
    assert not Result((), 1)
    assert not Result((), -9)


def test_lists_of_words_become_tuples() -> None:
    assert Command(["a", "b"]).argv == ("a", "b")  # type: ignore[arg-type]
