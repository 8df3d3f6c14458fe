"""A shell for tests: answers what it was told to, and raises on a command that nobody scripted. Starts nothing.

Its methods have the signatures of SystemShell (a test compares them), and a scripted non-zero exit raises what the
real one raises, so that what passes here is not surprised by a system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cc.shell import failures
from cc.shell.child import Child
from cc.shell.command import Command, Result
from cc.shell.mask import Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Match: TypeAlias = "Sequence[str] | Callable[[Command], bool]"
Answer: TypeAlias = "Result | Child | BaseException | Callable[[Command], Result | Child | BaseException]"


class UnscriptedCommand(AssertionError):  # noqa: N818 - it fails the test, as an assertion does
    """A command crossed the seam that the test did not expect."""


class ScriptedChild(Child):
    """A child that does not exist. Set `exit_code` and it has ended."""

    def __init__(self, pid: int, argv: tuple[str, ...]) -> None:
        super().__init__(pid, pid, argv)
        self.exit_code: int | None = None

    def poll(self) -> int | None:
        return self.exit_code

    def alive(self) -> bool:
        return self.exit_code is None


class ScriptedShell:
    """`on` scripts, `calls` and `spawned` tell what came, in order."""

    def __init__(self) -> None:
        self.calls: list[Command] = []
        self.spawned: list[tuple[Command, str]] = []
        self._script: list[tuple[Match, list[Answer]]] = []

    def on(
        self, match: Match, *answers: Answer, stdout: str = "", stderr: str = "", exit_code: int = 0
    ) -> ScriptedShell:
        """Answer commands that begin with these words, or for which the function says yes. The latest script wins.

        Several answers are given one after the other, and the last one from then on. An error is raised, a function
        is called; with no answer it is a Result (for spawn: a ScriptedChild) made of the keywords. Returns itself.
        """
        if isinstance(match, str):
            raise TypeError("words, not a string")
        made = Result((), exit_code, stdout, stderr, 0.0, len(stdout.encode()), len(stderr.encode()))
        self._script.insert(0, (match, list(answers) or [made]))
        return self

    @property
    def ran(self) -> list[tuple[str, ...]]:
        """The words of each command, spawned ones too."""
        return [command.argv for command in self.calls]

    def run(self, command: Command) -> Result:
        """The scripted answer. Raises UnscriptedCommand, the scripted error, or NonZeroExit as the real shell does."""
        answer = self._answer(command)
        if not isinstance(answer, Result):
            raise TypeError(f"scripted for spawn, not for run: {command!r}")
        mask = Mask(command.secrets)
        result = _with(answer, command.masked_argv, mask.text(answer.stdout), mask.text(answer.stderr))
        if command.on_line is not None:
            for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
                for line in text.splitlines():
                    command.on_line(stream, line)
        if command.check and not result:
            raise failures.non_zero(result)
        return result

    def spawn(self, command: Command, *, log: str) -> Child:
        """The scripted child. Raises UnscriptedCommand or the scripted error."""
        answer = self._answer(command)
        self.spawned.append((command, log))
        if isinstance(answer, Child):
            return answer
        return ScriptedChild(1_000_000_000 + len(self.spawned), command.masked_argv)  # above any real pid

    def _answer(self, command: Command) -> Result | Child:
        self.calls.append(command)
        for match, answers in self._script:
            fits = match(command) if callable(match) else command.argv[: len(match)] == tuple(match)
            if not fits:
                continue
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if callable(answer) and not isinstance(answer, BaseException):
                answer = answer(command)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        raise UnscriptedCommand(f"nobody scripted {failures.show(command.masked_argv)!r}")


def _with(result: Result, argv: tuple[str, ...], stdout: str, stderr: str) -> Result:
    return Result(
        argv,
        result.exit_code,
        stdout,
        stderr,
        result.duration_s,
        result.stdout_bytes,
        result.stderr_bytes,
        result.undecodable,
        result.left_out,
        result.left_behind,
    )
