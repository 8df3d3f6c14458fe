"""The edge of every command: the flags that all share, signals, where output goes, and what an error ends with.

    tasks.py declares a command -> `perform` -> Session -> the command's body -> what it returns is printed -> exit code

Text for people goes to stdout; with `--json` stdout is one JSON document and nothing else, and people's text goes to
stderr. May import everything below tasks.py.
"""

from __future__ import annotations

import json as jsonlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cc.clock import Cancel, SystemClock, timestamp
from cc.engine.events import Event, Listener
from cc.engine.outcome import Recap
from cc.errors import CcError, Interrupted, InterruptedRunError, RunDeadlineError, UsageError
from cc.report.console import Console, wants_colour
from cc.report.exit_code import SIGNALS, exit_code
from cc.settings import Settings, load

UNREAD_S = 2.0
NAMES = len("clickhouse password")  # room for the names of steps, until a run tells its own: the longest of the stack
"""How long an answer may take to be read before a signal ends the process all the same."""


@dataclass(frozen=True, slots=True)
class Options:
    """The flags that all commands share, as they were typed (CLI.md, "For all"). Times in seconds."""

    json: bool = False
    events: str | None = None
    junit: str | None = None
    strict: bool = False
    timeout: str | None = None
    lock_timeout: str | None = None
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    detailed_exitcode: bool = False  # of `plan` alone

    def timeout_s(self) -> float | None:
        return None if self.timeout is None else seconds(self.timeout, "--timeout", least=0.001)

    def lock_timeout_s(self) -> float:
        return 0.0 if self.lock_timeout is None else seconds(self.lock_timeout, "--lock-timeout")


def seconds(text: str, flag: str, *, least: float = 0.0) -> float:
    """A number of seconds as typed. Raises UsageError naming the flag."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not least <= value < 10**9:
        raise UsageError(f"{flag} must be a number of seconds, not {text!r}", field=flag)
    return value


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reading command returns: the document for `--json`, the text for people, and the exit code."""

    document: Mapping[str, Any]
    text: str
    exit_code: int = 0


@dataclass(slots=True)
class Session:
    """One command on its way: its options and settings, its cancellation, its listeners."""

    name: str
    options: Options
    settings: Settings
    console: Console
    cancel: Cancel = field(default_factory=Cancel)
    clock: SystemClock = field(default_factory=SystemClock)
    lost: dict[str, OSError] = field(default_factory=dict)
    """Where something could not be written on the way, and why."""

    def listeners(self, journal: Callable[[dict[str, Any]], None] | None = None) -> Iterator[Listener]:
        """Who hears what happens: the person, the `--events` file, the journal."""
        yield self.console
        if self.options.events is not None:
            yield _events_listener(self.options.events, self.lost, json=self.options.json)
        if journal is not None:
            yield lambda event: journal(event.as_dict())


Body = Callable[[Session], "Answer | Recap | None"]
"""None: what it had to say is said (feed.py)."""


class LostError(Exception):
    """What should have gone to stdout could not be written. `code` is what the process ends with all the same."""

    def __init__(self, error: OSError, code: int = 1) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code


def perform(name: str, options: Options, body: Body, *, reads: bool = False) -> NoReturn:
    """Run one command and end the process with its code. `reads`: it changes nothing, so Ctrl-C may end it at once."""
    _fill_closed_streams()
    people = sys.stderr if options.json else sys.stdout
    colour = wants_colour(people, os.environ, refused=options.no_color)
    console = Console(people, colour=colour, quiet=options.quiet, verbose=options.verbose, names=NAMES)
    lost: dict[str, OSError] = {}
    code = 1
    try:
        code = _perform(name, options, body, console, lost, reads=reads)
    except LostError as raised:
        code, lost["stdout"] = raised.code, raised.error
    if console.lost is not None and people is sys.stdout:
        lost["stdout"] = console.lost
    end(code, lost)


def refuse(error: CcError, *, json: bool) -> NoReturn:
    """End the process with an error that was found before there was a command to run."""
    _settle_signals()
    _fill_closed_streams()
    try:
        code, lost = _print_error(error, Options(json=json)), {}
    except LostError as raised:
        code, lost = raised.code, {"stdout": raised.error}
    end(code, lost)


def end(code: Any, lost: Mapping[str, OSError] | None = None) -> NoReturn:
    """End the process. What could not be written (`lost`: to where, and why) makes a success none, and is said.

    A reader that has seen enough (`| head`) is told nothing. Nor does a signal change the code any more: by now the
    answer is printed.
    """
    _fill_closed_streams()
    lost = dict(lost or {})
    try:
        sys.stdout.flush()
    except OSError as error:
        lost["stdout"] = error
    for number in SIGNALS:  # not a handler of ours: Python takes those away before it ends, and the default would kill
        signal.signal(signal.Signals[number], signal.SIG_IGN)
    if "stdout" in lost:  # what is left in its buffer goes nowhere, also by Python's own flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for where, why in lost.items():
        if isinstance(why, BrokenPipeError):
            code = code or 128 + signal.SIGPIPE
        else:
            _complain(f"error: cannot write to {where}: {why.strerror}\n")
            code = code or 1
    sys.exit(code)


def _perform(
    name: str, options: Options, body: Body, console: Console, lost: dict[str, OSError], *, reads: bool
) -> int:
    cancel = Cancel()
    try:
        with _signals(cancel, reads=reads), _alarm(options.timeout_s() if reads else None):
            session = Session(name, options, load(os.environ), console, cancel, lost=lost)
            if options.junit is not None and reads:
                raise UsageError(f"{name} has no steps to report", field="--junit", hint="--json tells all of it")
            if options.junit is not None:
                _refuse_unwritable(options.junit, "--junit")
            came = body(session)
        if isinstance(came, Recap):
            return _print_recap(came, session)
        if came is not None:
            print_answer(came, options)
        return 0 if came is None else came.exit_code
    except KeyboardInterrupt:
        return _print_error(InterruptedRunError("interrupted", exit_code=SIGNALS["SIGINT"]), options)
    except Interrupted as error:  # before there was a runner that would say so: while another run was waited for
        code = SIGNALS.get(cancel.requested or "", SIGNALS["SIGINT"])
        return _print_error(InterruptedRunError(error.message, exit_code=code), options)
    except CcError as error:
        return _print_error(error, options)
    except LostError:
        raise
    except Exception as error:  # noqa: BLE001 - the outermost edge of the process: a bug of ours has no traceback for users
        return _print_error(_bug(error), options)


def _bug(error: Exception) -> CcError:
    """A bug of ours as an error for people. The traceback goes into a file, for the report that we ask for."""
    import tempfile
    import traceback

    lines = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile("w", prefix="context-cleaner-", suffix=".log", delete=False) as file:
        file.write(lines)
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"
    return CcError(f"a bug in cc: {type(error).__name__}: {error} ({where})", hint=f"please report it with {file.name}")


def _fill_closed_streams() -> None:
    """With stdin, stdout or stderr closed, the next file opened would take its number and get our output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", closefd=False))


def _print_recap(recap: Recap, session: Session) -> int:
    options = session.options
    code = exit_code(recap, strict=options.strict, detailed=options.detailed_exitcode)
    if options.junit is not None:
        from cc.report.junit import junit

        _write(options.junit, junit(recap))
    from cc.report.annotations import annotation_lines

    for line in annotation_lines(recap, os.environ):
        session.console.say(line)
    if options.json:
        _print_json(recap.as_dict(code))
    return code


def print_answer(answer: Answer, options: Options) -> None:
    if options.json:
        _print_json(answer.document)
    elif answer.text:
        encoding = sys.stdout.encoding or "utf-8"
        write_out((answer.text + "\n").encode(encoding, "replace"))


def _print_json(document: Mapping[str, Any]) -> None:
    text = jsonlib.dumps(document, ensure_ascii=False, indent=None if not sys.stdout.isatty() else 2)
    write_out(text.encode("utf-8", "replace") + b"\n")


def write_out(data: bytes) -> None:
    """Write to stdout, at once. Raises LostError."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        raise LostError(error) from error


def _complain(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # there is nobody left to tell


def _print_error(error: CcError, options: Options) -> int:
    """The error, what to type next, and its exit code; with `--json` as a document of its own."""
    lines = [f"error: {error}", *(f"  | {line}" for line in error.evidence[-10:])]
    if error.hint:
        lines.append(f"  -> {error.hint}")
    _complain("\n".join(lines) + "\n")
    if options.json:
        try:
            _print_json({"error": error.as_dict()})
        except LostError as lost:
            raise LostError(lost.error, error.exit_code) from lost
    return error.exit_code


def _refuse_unwritable(path: str, flag: str) -> None:
    """Raise UsageError unless the file could be written. It is not there afterwards if it was not before."""
    existed = os.path.exists(path)
    if existed and not (os.path.isfile(path) or os.path.isdir(path)):
        return  # to open a pipe or a device does something to it
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
        if not existed:
            os.unlink(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", field=flag) from error


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", field=path) from error


def _events_listener(target: str, lost: dict[str, OSError], *, json: bool) -> Listener:
    """JSON lines as they happen, to a file or (`-`) to stdout. What could not be written is noted in `lost`."""
    if target == "-":
        if json:
            raise UsageError("--events - and --json both want stdout", field="--events", hint="give --events a file")
        descriptor = os.dup(1)
    else:
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}", field="--events") from error

    def listen(event: Event) -> None:
        line = jsonlib.dumps({"time": timestamp(), **event.as_dict()}, ensure_ascii=False) + "\n"
        try:
            os.write(descriptor, line.encode("utf-8", "replace"))
        except OSError as error:
            lost["stdout" if target == "-" else target] = error

    return listen


@contextmanager
def _signals(cancel: Cancel, *, reads: bool) -> Iterator[None]:
    """INT, TERM and HUP ask for the stop and do nothing else (see Cancel). A command that only reads just ends.

    Afterwards they do nothing, since what was done is done and only has to be said: nobody shall read a whole answer
    and be told by the exit code that there is none. Unless it can't be said, as nobody reads.
    """
    heard = False

    def end_reading(number: int, frame: object) -> None:
        nonlocal heard
        name = signal.Signals(number).name
        if heard:  # the first one's way out takes too long; raised again, it would disturb that
            os._exit(SIGNALS[name])
        heard = True
        raise InterruptedRunError(f"interrupted ({name})", exit_code=SIGNALS[name])

    def ask(number: int, frame: object) -> None:
        cancel.request(signal.Signals(number).name)

    _handle(end_reading if reads else ask)
    try:
        yield
    finally:
        _settle_signals()


def _settle_signals() -> None:
    ended = time.monotonic()

    def late(number: int, frame: object) -> None:
        if time.monotonic() - ended > UNREAD_S:
            os._exit(128 + number)

    _handle(late)


def _handle(handler: Callable[[int, Any], None]) -> None:
    for name in SIGNALS:
        number = signal.Signals[name]
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` said that hanging up means nothing
            signal.signal(number, handler)


@contextmanager
def _alarm(after: float | None) -> Iterator[None]:
    """The deadline of a command that only reads, which has no runner to keep it."""
    if after is None:
        yield
        return

    def late(number: int, frame: object) -> None:
        raise RunDeadlineError(f"the deadline of {after:g} s passed")

    was = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
