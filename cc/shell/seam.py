"""The seam: the one place that starts a process, and the one module that imports `sh`.

`run`: a command in a session of its own. It ends by itself, at its deadline, or when the run is cancelled, and what it
leaves behind dies with it:
- after its own end, all that is left in its session (a shell's background jobs) is ended; a process that went to a
  session of its own did what daemons do and is left alone (`service docker start` is meant to leave dockerd);
- at the deadline and on cancel everything goes, daemons too: by session, by mark, by parent (family.py).
`spawn`: a child that is meant to stay. Its output is appended to a file, never a pipe, which would die with us.

`sh` only forks: it gets our descriptors, and a preexec function that executes the real program (launch.py), so that
argv, environment and input never pass through its logging or its exceptions, and errors come back as errno. Its
`_timeout` polls (100 ms a call) and ends the leader only; its readers keep all that they read. May import cc.errors,
cc.clock and cc.shell.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cc.clock import Cancel, Clock, SystemClock
from cc.errors import CommandFailure
from cc.shell import failures
from cc.shell.child import Child
from cc.shell.command import Command, Result
from cc.shell.conversation import Conversation, Ending, Streams
from cc.shell.family import Family
from cc.shell.identity import read_start_time
from cc.shell.launch import SEAM, Launch, inheritable, prepare
from cc.shell.mask import Mask
from cc.shell.output import Output
from cc.shell.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cc.shell.faults import Faults
    from cc.shell.watch import Verdict

_HANDED_OVER = 10_000  # no exit code: tells sh's threads that there is nothing left to wait for
_HANDLED = frozenset(  # those that programs have handlers for; holding all 64 costs 0.1 ms
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM", "PROF", "CHLD", "WINCH", "TSTP", "CONT")
)


class Shell(Protocol):
    """What starts commands: SystemShell, or ScriptedShell in tests."""

    def run(self, command: Command) -> Result:
        """Run to the end. Raises ToolMissing, PermissionDenied, NonZeroExit, DeadlineExceeded, Interrupted."""
        ...

    def spawn(self, command: Command, *, log: str) -> Child:
        """Start what is to stay. Raises as `run` does if it can't be executed."""
        ...


class SystemShell:
    """The real one. Safe to use from several threads at once.

    `cancel` ends running commands and keeps others from starting. `marker` (name, value) goes into the environment of
    what is started, so that it is known as ours. `faults` breaks commands on purpose.
    """

    def __init__(
        self,
        *,
        cancel: Cancel | None = None,
        clock: Clock | None = None,
        faults: Faults | None = None,
        marker: tuple[str, str] | None = None,
    ) -> None:
        _learn_exit_codes()
        self._cancel = cancel
        self._clock = clock or SystemClock()
        self._faults = faults
        self._marker = marker

    def run(self, command: Command) -> Result:
        """Run to the end, at most `deadline` + `grace` seconds. Errors carry `result` and the last lines as evidence.

        Raises ToolMissing, PermissionDenied, NonZeroExit (unless `check` is False), DeadlineExceeded, Interrupted, and
        CommandFailure for what can't be started at all (a missing directory, a machine out of processes). What
        `on_line` raises ends the command and comes through.
        """
        self._refuse_when_cancelled(command)
        call = os.urandom(8).hex()
        nested = os.environ.get(SEAM)  # inside another call: that one's deadline must find us too
        launch, injected = self._prepare(command, {SEAM: f"{nested}:{call}" if nested else call})
        started = self._clock.now()
        with _evidence(injected):
            verdict, code, outputs = self._to_the_end(launch, call, started)
            known = -signal.SIGKILL if code is None else code
            result = _result(command, known, verdict, outputs, self._clock.now() - started)
            if verdict.cause == "deadline":
                raise failures.too_late(command, result, verdict.alive)
            if verdict.cause == "cancelled":
                reason = self._cancel.requested if self._cancel else None
                raise failures.cancelled(command, result, reason or "cancelled", verdict.alive)
            if code is None:
                raise failures.unknown(result)
            if command.check and not result:
                raise failures.non_zero(result)
        return result

    def spawn(self, command: Command, *, log: str) -> Child:
        """Start what is to stay: detached, in a session of its own, nothing inherited but /dev/null and the log, and
        not ended when we end. `deadline`, `input`, `on_line` and `keep` have no meaning here.

        Raises ToolMissing, PermissionDenied or CommandFailure if it can't be executed or the log can't be opened.
        What happens after exec is for the caller to probe.
        """
        self._refuse_when_cancelled(command)
        launch, injected = self._prepare(command, {SEAM: None})  # no run's deadline may end it
        with _evidence(injected), _opened(command, os.devnull, os.O_RDONLY) as nothing:
            with _opened(command, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as appended, _signals_held():
                process = _fork(launch, (nothing, appended, appended))
            started = read_start_time(process.pid) or 0
            if process.exit_code is None:
                process.exit_code = _HANDED_OVER  # or sh's thread would poll for it as long as it lives

        def reaped() -> int | None:  # that thread may have been quicker
            return None if process.exit_code == _HANDED_OVER else process.exit_code

        return Child(process.pid, started, command.masked_argv, reaped=reaped)

    def _refuse_when_cancelled(self, command: Command) -> None:
        reason = self._cancel.requested if self._cancel and not command.despite_cancel else None
        if reason is not None:
            raise failures.cancelled(command, None, reason)

    def _prepare(self, command: Command, add: dict[str, str | None]) -> tuple[Launch, str | None]:
        if self._marker is not None:
            add[self._marker[0]] = self._marker[1] if command.owned else None
        found = self._faults.find(command) if self._faults else None
        if found is None:
            return prepare(command, add=add), None
        who, fault = found
        return prepare(command, add=add, stand_in=fault.stand_in(command)), f"fault on purpose: {who}={fault.kind}"

    def _to_the_end(
        self, launch: Launch, call: str, started: float
    ) -> tuple[Verdict, int | None, tuple[Output, Output]]:
        command = launch.command
        outputs = _outputs(command)
        streams = _streams(command)
        process: Any = None
        ending: Ending | None = None
        watch: Watch | None = None
        try:
            with _signals_held():
                process = _fork(launch, streams.child)
                ending = Ending(process.pid)
                talk = Conversation(
                    streams,
                    command.input,
                    outputs,
                    is_alive=lambda: bool(process.is_alive()[0]),
                    ending=ending,
                    clock=self._clock,
                )
                cancel = None if command.despite_cancel else self._cancel
                watch = Watch(command, talk, Family(process.pid, call), clock=self._clock, cancel=cancel)
            streams.close_child()
            verdict = watch.to_the_end(started + command.deadline)
            return verdict, _reap(process, ended=talk.ended), outputs
        except BaseException:
            for output in outputs:
                output.mute()
            if watch is not None:
                watch.abandon()
                _reap(process, ended=talk.ended)
            raise
        finally:
            streams.close()
            if ending is not None:
                ending.close()


def _outputs(command: Command) -> tuple[Output, Output]:
    mask, tell = Mask(command.secrets), command.on_line
    if tell is None:
        return Output(mask, command.keep), Output(mask, command.keep)
    return (
        Output(mask, command.keep, functools.partial(tell, "stdout")),
        Output(mask, command.keep, functools.partial(tell, "stderr")),
    )


def _result(command: Command, code: int, verdict: Verdict, outputs: tuple[Output, Output], duration_s: float) -> Result:
    stdout, stderr = outputs
    mask = Mask(command.secrets)
    return Result(
        argv=command.masked_argv,
        exit_code=code,
        stdout=stdout.text,
        stderr=stderr.text,
        duration_s=duration_s,
        stdout_bytes=stdout.total,
        stderr_bytes=stderr.total,
        undecodable=stdout.undecodable or stderr.undecodable,
        left_out=stdout.left_out + stderr.left_out,
        left_behind=tuple(mask.text(name) for name in verdict.left_behind),
    )


def _streams(command: Command) -> Streams:
    try:
        _standard_descriptors()
        return Streams(with_input=bool(command.input))
    except OSError as error:
        raise failures.cannot_start(command, error.errno or 0, searched="", exists=True) from None


@contextmanager
def _opened(command: Command, path: str, flags: int) -> Iterator[int]:
    try:
        _standard_descriptors()
        number = os.open(path, flags, 0o600)  # a log may tell more than its readers should know
    except OSError as error:
        raise failures.cannot_log(command, path, error.errno or 0) from None
    try:
        yield number
    finally:
        os.close(number)


@contextmanager
def _evidence(injected: str | None) -> Iterator[None]:
    """An error made on purpose says so, for the reader who forgot that CC_FAULTS is set."""
    try:
        yield
    except CommandFailure as failure:
        if injected is not None:
            failure.evidence = (injected, *failure.evidence)
        raise


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait while we fork: a handler that raises in there left the command alive in 56 of 150 tries, and in 6
    a forked copy went on running our code. Threads that sh starts meanwhile inherit this, so that no signal reaches us
    through them. The child lets them in again once its handlers are gone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _standard_descriptors() -> None:
    """Whoever closed 0, 1 or 2 gets /dev/null there: a pipe of ours under such a number would be the child's output."""
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _fork(launch: Launch, streams: tuple[int, int, int]) -> Any:
    """A running `sh` process that has become the program. Raises CommandFailure with the child's own errno."""
    carrier, failed = _carrier()
    collecting = gc.isenabled()
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        stdin, stdout, stderr = streams
        process = carrier(
            _in=stdin,
            _out=stdout,
            _err=stderr,
            _preexec_fn=functools.partial(launch.become, writing, inheritable()),
            _log_msg=_log_name,
            _bg=True,
            _bg_exc=False,
            _new_session=True,
            _close_fds=False,  # launch.become sees to that, without losing the pipe that it reports on
            _no_pipe=True,
            _no_out=True,
            _no_err=True,
        ).process
        try:
            report = os.read(reading, 64)  # sh waited for exec: what there is to report is there
        except BlockingIOError:
            report = b""
    except OSError as error:  # fork or pipe: out of processes, descriptors, memory
        if collecting:
            gc.enable()  # sh turns it off around its fork
        raise failures.cannot_start(launch.command, error.errno or 0, searched="", exists=True) from None
    except (failed, ValueError):  # ended from outside before exec: sh reads less than it expects
        raise failures.unusable(launch.command, "it was ended before it could start") from None
    finally:
        os.close(reading)
        os.close(writing)
    if report:
        _reap(process, ended=True)
        raise launch.failure(report)
    return process


@functools.cache
def _carrier() -> tuple[Any, type[Exception]]:
    """What `sh` believes it starts, and what it raises if it can't. The import costs 60 ms, hence here."""
    # Python 3.12 warns of every fork beside threads, and sh has threads; what runs in our child is safe there
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    import sh

    return sh.Command("/bin/sh"), sh.ForkException


def _log_name(*_: object) -> str:
    return "cc"


def _reap(process: Any, *, ended: bool) -> int | None:
    """The exit code, negative for a signal; None if nobody can know it. Also joins sh's threads, which keep what
    can't die."""
    if not ended:
        return None
    with _signals_held():  # sh starts a timer thread: it must not be the one that a signal wakes, see there
        try:
            code: int | None = process.wait()
        except ChildProcessError:  # SIGCHLD is ignored in this process, or somebody waits for any pid
            code = process.exit_code
    return code


def _learn_exit_codes() -> None:
    """SIGCHLD is ignored where whoever started us ignored it, and then the system throws exit codes away."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
