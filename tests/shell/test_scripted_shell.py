"""The shell for tests behaves like the real one, and refuses what nobody scripted."""

from __future__ import annotations

import inspect

import pytest

from cc.errors import DeadlineExceeded, NonZeroExit, ToolMissing
from cc.shell import Child, Command, Result, ScriptedShell, Shell, SystemShell, UnscriptedCommand


@pytest.mark.parametrize("method", ["run", "spawn"])
def test_its_methods_have_the_real_ones_signatures(method: str) -> None:
    signatures = {inspect.signature(getattr(kind, method)) for kind in (Shell, SystemShell, ScriptedShell)}
    assert len(signatures) == 1


def test_a_command_nobody_scripted_fails_the_test_and_names_it_masked() -> None:
    shell = ScriptedShell().on(("docker", "ps"))
    with pytest.raises(UnscriptedCommand, match=r"docker rm \*\*\*"):
        shell.run(Command(("docker", "rm", "hunter2"), secrets=("hunter2",)))
    with pytest.raises(AssertionError):
        shell.spawn(Command(("dockerd",)), log="log")
    assert shell.ran == [("docker", "rm", "hunter2"), ("dockerd",)]


def test_the_latest_script_that_fits_answers() -> None:
    shell = ScriptedShell().on(("docker",), stdout="any").on(lambda command: "ps" in command.argv, stdout="ps")
    assert shell.run(Command(("docker", "info"))).stdout == "any"
    assert shell.run(Command(("docker", "ps"))).stdout == "ps"


def test_answers_come_one_after_the_other_and_the_last_one_stays() -> None:
    shell = ScriptedShell().on(("ps",), Result((), 0, "one"), Result((), 0, "two"))
    assert [shell.run(Command(("ps",))).stdout for _ in range(3)] == ["one", "two", "two"]


def test_errors_are_raised_and_functions_called() -> None:
    def answer(command: Command) -> Result | BaseException:
        return DeadlineExceeded("late") if "slow" in command.argv else Result((), 0, command.argv[-1])

    shell = ScriptedShell().on(("gone",), ToolMissing("gone")).on(("f",), answer)
    with pytest.raises(ToolMissing):
        shell.run(Command(("gone",)))
    with pytest.raises(DeadlineExceeded):
        shell.run(Command(("f", "slow")))
    assert shell.run(Command(("f", "quick"))).stdout == "quick"


def test_a_bad_exit_raises_what_the_real_shell_raises() -> None:
    shell, real = ScriptedShell().on(("sh",), stderr="no\n", exit_code=3), SystemShell()
    command = Command(("sh", "-c", "echo no >&2; exit 3"))
    told = []
    for each in (shell, real):
        with pytest.raises(NonZeroExit) as caught:
            each.run(command)
        told.append((str(caught.value), caught.value.evidence, caught.value.result.stderr_bytes))
    assert told[0] == told[1]
    assert shell.run(Command(command.argv, check=False)).exit_code == 3


def test_results_are_masked_and_lines_are_heard_as_from_the_real_shell() -> None:
    heard: list[tuple[str, str]] = []
    shell = ScriptedShell().on(("x",), stdout="a hunter2\nb\n", stderr="c\n")
    result = shell.run(Command(("x",), secrets=("hunter2",), on_line=lambda *line: heard.append(line)))
    assert result.stdout == "a ***\nb\n"
    assert heard == [("stdout", "a ***"), ("stdout", "b"), ("stderr", "c")]


def test_a_spawned_child_lives_until_the_test_ends_it() -> None:
    shell = ScriptedShell().on(("dockerd",))
    child = shell.spawn(Command(("dockerd",)), log="/log")
    assert (child.poll(), child.alive()) == (None, True)
    child.exit_code = 2  # type: ignore[attr-defined]
    assert (child.poll(), child.alive()) == (2, False)
    assert [log for _, log in shell.spawned] == ["/log"]
    mine = Child(1, 1, ("x",))
    assert shell.on(("x",), mine).spawn(Command(("x",)), log="/log") is mine
