"""What a command that went wrong is called: errno, exit code or deadline -> a typed error with its evidence.

    errno at exec            error
    ENOENT, ENOTDIR ...      ToolMissing, exit code 127 (as a shell has it)
    EACCES, EPERM, ENOEXEC   PermissionDenied, 126: it exists and may not be run, or is no program
    E2BIG                    bad_config, 126
    at chdir                 EACCES: PermissionDenied; else bad_config, since no other way of starting it helps
    anything else            internal_error: the machine is out of processes, descriptors or memory

Pure but for asking whether a file exists. Every text here is masked by its caller or made of what is masked already.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
from typing import TYPE_CHECKING

from cc.errors import (
    CommandFailure,
    DeadlineExceeded,
    Interrupted,
    NonZeroExit,
    PermissionDenied,
    ToolMissing,
)
from cc.shell.command import Result
from cc.shell.mask import MASK, Mask

if TYPE_CHECKING:
    from cc.shell.command import Command

MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.ENOEXEC})
SHOWN = 120  # characters of a command in a message


def show(argv: tuple[str, ...]) -> str:
    """A command as a person would type it, shortened. Takes masked words."""
    text = " ".join(shlex.quote(word) for word in argv).replace(f"'{MASK}'", MASK).replace("\n", " ")
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def signal_name(number: int) -> str:
    """SIGKILL for 9; a real-time signal has a number only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cannot_enter(command: Command, error: int) -> CommandFailure:
    """The working directory could not be entered."""
    where = Mask(command.secrets).text(command.cwd or "")
    message = f"cannot run `{show(command.masked_argv)}` in {where}: {os.strerror(error)}"
    result = Result(command.masked_argv, 126)
    if error in (errno.EACCES, errno.EPERM):
        return PermissionDenied(message, result=result)
    hint = f"mkdir -p {shlex.quote(where)}" if error == errno.ENOENT else None
    return CommandFailure(message, result=result, code="bad_config", hint=hint)


def cannot_start(command: Command, error: int, *, searched: str, exists: bool) -> CommandFailure:
    """The program could not be executed. `searched` is the PATH, empty when argv[0] has a slash; `exists` says
    whether a file of that name was there."""
    argv = command.masked_argv
    what = f"cannot run `{show(argv)}`"
    why = os.strerror(error)
    if error in MISSING or (error == errno.EACCES and searched and not exists):
        result = Result(argv, 127)
        if exists:
            message = f"{what}: {argv[0]} is there and the interpreter that it names is not ({why})"
            return ToolMissing(message, result=result)
        if searched:
            message = f"{what}: {argv[0]} is not on PATH ({os.strerror(errno.ENOENT)})"
            hint = f"install {argv[0]}, or add its directory to PATH"
            return ToolMissing(message, result=result, hint=hint, evidence=(f"PATH={searched}",))
        return ToolMissing(f"{what}: {why}", result=result)
    result = Result(argv, 126)
    if error in DENIED:
        advice = "a script begins with a line such as #!/bin/sh" if error == errno.ENOEXEC else None
        return PermissionDenied(f"{what}: {why}", result=result, hint=advice)
    if error == errno.E2BIG:
        return CommandFailure(f"{what}: {why}", result=result, code="bad_config")
    return CommandFailure(f"{what}: {why}", result=result)


def cannot_log(command: Command, path: str, error: int) -> CommandFailure:
    """The file that takes the output of a spawned child could not be opened."""
    where = Mask(command.secrets).text(path)
    message = f"cannot start `{show(command.masked_argv)}`: its log {where}: {os.strerror(error)}"
    result = Result(command.masked_argv, 126)
    if error in (errno.EACCES, errno.EPERM):
        return PermissionDenied(message, result=result)
    hint = f"mkdir -p {shlex.quote(os.path.dirname(where))}" if error == errno.ENOENT else None
    code = "disk_full" if error == errno.ENOSPC else "bad_config"
    return CommandFailure(message, result=result, code=code, hint=hint)


def unusable(command: Command, why: str) -> CommandFailure:
    """The command can't be given to the system at all: a zero byte in a word, a name with `=` in it."""
    message = f"cannot run `{show(command.masked_argv)}`: {why}"
    return CommandFailure(message, result=Result(command.masked_argv, 126), code="bad_config")


def non_zero(result: Result) -> NonZeroExit:
    """It ran and ended badly. The message carries the last line that it wrote."""
    if result.exit_code < 0:
        how = f"was ended by {signal_name(-result.exit_code)}"
    else:
        how = f"exited with {result.exit_code}"
    evidence = result.tail()
    errors = result.tail(1)
    last = f": {errors[-1]}" if errors else ""
    hint = "something outside ended it: out of memory?" if result.exit_code == -signal.SIGKILL else None
    return NonZeroExit(f"`{show(result.argv)}` {how}{last}", result=result, hint=hint, evidence=evidence)


def unknown(result: Result) -> CommandFailure:
    """It ended, and somebody else of this process took its exit code: not to be told as a success."""
    message = f"`{show(result.argv)}` ended and its exit code is unknown: SIGCHLD is ignored, or waitpid(-1) took it"
    return CommandFailure(message, result=result, evidence=result.tail())


def too_late(command: Command, result: Result, alive: tuple[str, ...]) -> DeadlineExceeded:
    """The deadline passed, and the command with all that it had started was ended; `alive` could not be."""
    message = f"`{show(result.argv)}` did not end within {command.deadline:g} s{_ended(alive)}"
    return DeadlineExceeded(message, result=result, evidence=result.tail())


def cancelled(command: Command, result: Result | None, reason: str, alive: tuple[str, ...] = ()) -> Interrupted:
    """Somebody asked to stop while it ran, or before it could start (`result` is None)."""
    if result is None:
        message = f"`{show(command.masked_argv)}` was not started: interrupted ({reason})"
        return Interrupted(message, result=Result(command.masked_argv, 126))
    message = f"`{show(result.argv)}` was interrupted ({reason}){_ended(alive)}"
    return Interrupted(message, result=result, evidence=result.tail())


def _ended(alive: tuple[str, ...]) -> str:
    if not alive:
        return " and was ended"
    return f"; what could not be ended still lives: {', '.join(alive)}"
