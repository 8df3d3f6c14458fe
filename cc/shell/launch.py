"""From a Command to a running program: everything decided before the fork, and what the forked child does until exec.

The child reports (stage, errno) on a close-on-exec pipe when it fails, which is how errors come out exact. It runs
between fork and exec of a process that may have other threads: no imports, no locks, no logging in `become`.
May import cc.errors and its neighbours in cc.shell; knows nothing of `sh`.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cc.shell import failures
from cc.shell.mask import Mask

if TYPE_CHECKING:
    from cc.errors import CommandFailure
    from cc.shell.command import Command
    from cc.shell.faults import StandIn

SEAM = "CC_SEAM"  # in the environment of all that a `run` starts: its call, inside the calls that it is part of
_AT_DIRECTORY, _AT_EXEC = 1, 2
_REPORT = struct.Struct("=BiH")  # stage, errno, which of the candidates
_REST = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *range(1, 32)}))
_CHANGEABLE = (*range(1, 32), *(number for number in _REST if signal.getsignal(number) is signal.SIG_IGN))


@dataclass(frozen=True, slots=True, repr=False)
class Launch:
    """What exec gets, as bytes. No repr: it holds the secrets."""

    command: Command
    argv: tuple[bytes, ...]
    environment: dict[bytes, bytes]
    candidates: tuple[bytes, ...]  # the files to try, in order, as execvp(3) does
    searched: bytes  # PATH, or empty if argv[0] has a slash
    directory: bytes | None
    changed: tuple[int, ...]  # signals that don't have their default action here

    def become(self, report: int, not_inherited: tuple[int, ...]) -> NoReturn:
        """In the forked child: turn into the program, or write why not to `report` and end."""
        stage, error, which = _AT_DIRECTORY, errno.EINVAL, 0
        try:
            for number in self.changed:  # exec takes handlers away, and not before signals are let in; nor SIG_IGN ever
                signal.signal(number, signal.SIG_DFL)
            for number in not_inherited:
                _close_on_exec(number)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            if self.directory is not None:
                os.chdir(self.directory)
            stage = _AT_EXEC
            error, which = self._exec()
        except OSError as failure:
            error = failure.errno or errno.EIO
        finally:  # nothing may come back from here: our own code would go on in two processes
            os.write(report, _REPORT.pack(stage, error, which))
            os._exit(126)

    def _exec(self) -> tuple[int, int]:
        """Returns only when no candidate could be executed: the errno worth telling, and whose it is."""
        told = (errno.ENOENT, 0)
        for which, file in enumerate(self.candidates):
            error = self._attempt(file)
            if self.searched and error in failures.MISSING and not os.path.exists(file):
                continue
            if error != errno.EACCES or not self.searched:
                return error, which
            if told[0] != errno.EACCES or not os.path.isfile(self.candidates[told[1]]):
                told = (error, which)  # a directory that may not be entered hides nothing that is found further on
        return told

    def _attempt(self, file: bytes) -> int:
        try:
            os.execve(file, self.argv, self.environment)  # noqa: S606 - a shell is what must not come between
        except OSError as failure:
            return failure.errno or errno.EIO

    def failure(self, report: bytes) -> CommandFailure:
        """The typed error for what the child reported."""
        stage, error, which = _REPORT.unpack(report)
        if stage == _AT_DIRECTORY:
            return failures.cannot_enter(self.command, error)
        file = self.candidates[which] if self.candidates else b""
        if self.directory is not None:
            file = os.path.join(self.directory, file)
        exists = bool(file) and os.path.exists(file) and not (self.searched and os.path.isdir(file))
        searched = Mask(self.command.secrets).text(os.fsdecode(self.searched))
        return failures.cannot_start(self.command, error, searched=searched, exists=exists)


def prepare(command: Command, *, add: dict[str, str | None], stand_in: StandIn | None = None) -> Launch:
    """Decide all that exec needs. `add` comes last into the environment (None removes). Raises CommandFailure
    (bad_config) for what the system can't take."""
    environment = _environment(command, add)
    words = command.argv if stand_in is None or stand_in.argv is None else stand_in.argv
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise failures.unusable(command, f"the environment variable {name!r} can't be set")
    try:
        argv = tuple(os.fsencode(word) for word in words)
        encoded = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
        directory = None if command.cwd is None else os.fsencode(command.cwd)
    except UnicodeEncodeError as error:
        raise failures.unusable(command, f"a character has no bytes ({error.reason})") from None
    if any(b"\0" in word for word in (*argv, directory or b"")):
        raise failures.unusable(command, "a word holds a zero byte")
    if not argv[0]:
        raise failures.cannot_start(command, errno.ENOENT, searched="", exists=False)
    if b"/" in argv[0]:
        searched, candidates = b"", argv[:1]
    else:
        searched = encoded.get(b"PATH", os.fsencode(os.defpath)) or b"."
        candidates = tuple(os.path.join(entry or b".", argv[0]) for entry in searched.split(b":"))
    if stand_in is not None and stand_in.program is not None:
        candidates = (os.fsencode(stand_in.program),)
    # found here and not in the child, where each page that is touched costs a copy; sh itself ignores SIGHUP there
    changed = [number for number in _CHANGEABLE if signal.getsignal(number) not in (signal.SIG_DFL, None)]
    return Launch(command, argv, encoded, candidates, searched, directory, (*changed, signal.SIGHUP))


def _environment(command: Command, add: dict[str, str | None]) -> dict[str, str]:
    environment = dict(os.environ)
    for name in command.env_remove:
        environment.pop(name, None)
    environment.update(command.env or {})
    for name, value in add.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def inheritable() -> tuple[int, ...]:
    """Descriptors above 2 that would survive exec: what our own parent or a C library left open, none of Python's.
    Asked just before the fork: listing them in the child costs 4 % of a whole call in copied pages."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        numbers = list(range(256))
    return tuple(number for number in numbers if number > 2 and _survives_exec(number))


def _close_on_exec(number: int) -> None:
    try:
        os.set_inheritable(number, False)
    except OSError:
        pass  # another thread closed it meanwhile


def _survives_exec(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False  # the descriptor of the listing itself
