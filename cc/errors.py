"""Every error that cc raises on purpose, one tree. A leaf: imports nothing of cc.

    CcError                     code, message, hint, evidence, exit_code
    |- UsageError               bad_usage, exit 2: a flag or a word that the command does not take
    |- ConfigError              bad_config, exit 2: a file or a variable, with file, line, column and field
    |- LockHeldError            lock_held, exit 4: another run operates this project
    |- InterruptedRunError      interrupted, exit 130 / 143
    |- RunDeadlineError         deadline, exit 124: the whole command's time is up
    `- Failure                  what a rung can fail with, and what a lower rung may declare in `when_failed`
       |- CommandFailure        one that a finished or ended command tells; carries its `result`
       |  |- ToolMissing        tool_missing
       |  |- PermissionDenied   permission_denied
       |  |- NonZeroExit        non_zero_exit
       |  |- DeadlineExceeded   deadline
       |  `- Interrupted        interrupted
       `- (any other code)      Failure("...", code="port_in_use") and so on; FAILURE_CODES is the list

A failure code is one snake_case word, the same in JSON, in `when_failed` and in messages (CLI.md, "JSON").
"""

from __future__ import annotations

from typing import Any

FAILURE_CODES = frozenset(
    {
        "bad_answer",  # something answered, and not as its protocol says
        "bad_config",  # the tool refused its configuration; no other way of starting it helps
        "breaker_open",
        "connection_refused",
        "daemon_down",
        "daemon_hung",
        "deadline",
        "disk_full",
        "image_missing",
        "internal_error",  # a bug of ours: stops a ladder loudly
        "interrupted",
        "non_zero_exit",
        "not_ours",  # it belongs to a stranger, and is left alone
        "not_satisfied",  # the act ended well and the probe after it still says no
        "permission_denied",
        "port_in_use",
        "tool_missing",
        "unhealthy",  # it runs and never became ready
    }
)


class CcError(Exception):
    """An error with a code, a hint of what to type next, and the evidence for it.

    `hint` is a sentence or a command, or None. `evidence` is lines of log or the last answer of a probe.
    `exit_code` is what the process ends with when nothing handles the error (DESIGN.md, "Exit codes").
    """

    code = "internal_error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = evidence

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of CLI.md: type, message, hint, file, line, field."""
        return {
            "type": self.code,
            "message": self.message,
            "hint": self.hint,
            "file": getattr(self, "file", None),
            "line": getattr(self, "line", None),
            "field": getattr(self, "field", None),
        }


class UsageError(CcError):
    """A flag or a word that the command does not take."""

    code = "bad_usage"
    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class ConfigError(CcError):
    """A configuration or a playbook that cannot be used. `line` and `column` count from 1; None where there is none."""

    code = "bad_config"
    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.column = column
        self.field = field

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        field = f" ({self.field})" if self.field else ""
        return f"{place}: {self.message}{field}" if place else f"{self.message}{field}"


class LockHeldError(CcError):
    """Another run holds the operation lock of this project; the message names it."""

    code = "lock_held"
    exit_code = 4


class InterruptedRunError(CcError):
    """The person or the system asked the whole command to stop: `exit_code` 130 for INT, 143 for TERM, 129 for HUP."""

    code = "interrupted"

    def __init__(self, message: str, *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RunDeadlineError(CcError):
    """The time given to the whole command (`--timeout`) is over."""

    code = "deadline"
    exit_code = 124


class Failure(CcError):  # noqa: N818 - the word of DESIGN.md, and the base of words like ToolMissing
    """One way to reach a goal did not work. `code` is one of FAILURE_CODES: ladders descend by it."""

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, evidence: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint, evidence=evidence)
        if code is not None:
            if code not in FAILURE_CODES:
                raise ValueError(f"unknown failure code {code!r}")
            self.code = code


class CommandFailure(Failure):
    """A command that did not do its work. `result` is what is known of it (shell.command.Result), secrets masked."""

    def __init__(
        self,
        message: str,
        *,
        result: Any = None,
        code: str | None = None,
        hint: str | None = None,
        evidence: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code, hint=hint, evidence=evidence)
        self.result = result


class ToolMissing(CommandFailure):
    """The program is not on PATH, or the file does not exist."""

    code = "tool_missing"


class PermissionDenied(CommandFailure):
    """The program exists and may not be run, or the directory may not be entered."""

    code = "permission_denied"


class NonZeroExit(CommandFailure):
    """The command ran and ended with another code than 0, or by a signal."""

    code = "non_zero_exit"


class DeadlineExceeded(CommandFailure):
    """The command did not end in time and was ended, with everything that it had started."""

    code = "deadline"


class Interrupted(CommandFailure):
    """The run was cancelled while the command ran; the command was ended."""

    code = "interrupted"
