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

import errno
import functools
import gc
import os
import signal
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from cc.clock import Cancel, Clock, SystemClock
from cc.errors import CommandFailure
from cc.shell import failures
from cc.shell.child import Child
from cc.shell.command import Command, Result
from cc.shell.conversation import Conversation, Ending, Streams
from cc.shell.family import Family
from cc.shell.identity import read_stat
from cc.shell.launch import SEAM, Launch, inheritable, prepare
from cc.shell.mask import Mask
from cc.shell.output import Output
from cc.shell.surroundings import fill_standard_descriptors, learn_exit_codes, signals_held
from cc.shell.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cc.shell.faults import Faults
    from cc.shell.watch import Verdict

_HANDED_OVER = 10_000  # no exit code: tells sh's threads that there is nothing left to wait for
_SH_DESCRIPTORS = frozenset(
    [f"_{stream}_child_fd" for stream in ("stdin", "stdout", "stderr")]
    + [f"{pipe}_pipe_{end}" for pipe in ("session", "exc") for end in ("read", "write")]
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
        learn_exit_codes()
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
            with _opened(command, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as appended, signals_held():
                process = _fork(launch, (nothing, appended, appended))
            stat = read_stat(process.pid)  # it may be a zombie by now, or reaped by a thread of sh
            if process.exit_code is None:
                process.exit_code = _HANDED_OVER  # or that thread would poll for it as long as it lives

        def reaped() -> int | None:
            return None if process.exit_code == _HANDED_OVER else process.exit_code

        return Child(process.pid, stat.start_time if stat else 0, command.masked_argv, reaped=reaped)

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
            with signals_held():
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
    mask, alive = Mask(command.secrets), verdict.alive
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
        left_behind=tuple(mask.text(f"{name}{' (alive)' * (name in alive)}") for name in verdict.left_behind),
    )


def _streams(command: Command) -> Streams:
    try:
        fill_standard_descriptors()
        return Streams(with_input=bool(command.input))
    except OSError as error:
        raise _exhausted(command, error.errno) from None


@contextmanager
def _opened(command: Command, path: str, flags: int) -> Iterator[int]:
    try:
        fill_standard_descriptors()
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


def _fork(launch: Launch, streams: tuple[int, int, int]) -> Any:
    """A running `sh` process that has become the program. Raises CommandFailure with the child's own errno."""
    carrier = _carrier()
    collecting = gc.isenabled()
    with _report_pipe(launch.command) as (reading, writing):
        stdin, stdout, stderr = streams
        try:
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
        except BaseException as error:
            if collecting:
                gc.enable()  # sh turns it off around its fork
            _undo(error)
            if isinstance(error, OSError):  # fork or pipe: out of processes, descriptors, memory
                raise _exhausted(launch.command, error.errno) from None
            if isinstance(error, (RuntimeError, ValueError)):  # no thread to be had; ended from outside before exec
                raise _exhausted(launch.command, errno.EAGAIN) from None
            raise
        report = _read_now(reading)  # sh waited for exec: what there is to report is there
    if report:
        _reap(process, ended=True)
        raise launch.failure(report)
    return process


@contextmanager
def _report_pipe(command: Command) -> Iterator[tuple[int, int]]:
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise _exhausted(command, error.errno) from None
    try:
        os.set_blocking(reading, False)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def _read_now(number: int) -> bytes:
    try:
        return os.read(number, 64)
    except BlockingIOError:
        return b""


def _exhausted(command: Command, error: int | None) -> CommandFailure:
    return failures.cannot_start(command, error or errno.EIO, searched="", exists=True)


def _undo(error: BaseException) -> None:
    """sh raised half-way, and leaves what it opened when it can't fork, and a child when it can't start its threads.
    A supervisor that tries again for an hour on a machine that is out of processes would end with no descriptor."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame.f_locals
        process = frame.get("self")
        trace = trace.tb_next
        if type(process).__name__ != "OProc":
            continue
        pid = getattr(process, "pid", None)
        if pid is None:  # not forked, so all of these are open still
            for name, number in (*vars(process).items(), *frame.items()):
                if name in _SH_DESCRIPTORS:
                    os.close(number)
        else:
            os.killpg(pid, signal.SIGKILL)
            with suppress(ChildProcessError):  # a thread of sh was quicker
                os.waitpid(pid, 0)
        return


@functools.cache
def _carrier() -> Any:
    """What `sh` believes it starts. The import costs 60 ms, hence here."""
    # Python 3.12 warns of every fork beside threads, and sh has threads; what runs in our child is safe there
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    import sh

    return sh.Command("/bin/sh")


def _log_name(*_: object) -> str:
    return "cc"


def _reap(process: Any, *, ended: bool) -> int | None:
    """The exit code, negative for a signal; None if nobody can know it. Also joins sh's threads, which keep what
    can't die."""
    if not ended:
        return None
    with signals_held():  # sh starts a timer thread: it must not be the one that a signal wakes, see there
        try:
            code: int | None = process.wait()
        except ChildProcessError:  # SIGCHLD is ignored in this process, or somebody waits for any pid
            code = process.exit_code
    return code
