"""The edge of every command: the flags that all share, signals, where output goes, and what an error ends with.

    tasks.py declares a command -> `perform` -> Session -> the command's body -> what it returns is printed -> exit code

Text for people goes to stdout; with `--json` stdout is one JSON document and nothing else, and people's text goes to
stderr. May import everything below tasks.py.
"""

from __future__ import annotations

import gc
import json as jsonlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cc.clock import Cancel, SystemClock, timestamp
from cc.errors import CcError, Interrupted, InterruptedRunError, UsageError
from cc.report.console import Console, wants_colour
from cc.report.exit_code import SIGNALS, exit_code
from cc.settings import Settings, load
from cc.signals import deadline, heeded, settle

if TYPE_CHECKING:
    from cc.engine.events import Event, Listener
    from cc.engine.outcome import Recap


class Options(NamedTuple):
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


class Answer(NamedTuple):
    """What a reading command returns: the document for `--json`, the text for people, and the exit code."""

    document: Mapping[str, Any]
    text: str
    exit_code: int = 0


class Session:
    """One command on its way: its options and settings, its cancellation, its listeners."""

    def __init__(
        self,
        name: str,
        options: Options,
        settings: Settings,
        console: Console,
        cancel: Cancel,
        lost: dict[str, OSError],
    ) -> None:
        self.name = name
        self.options = options
        self.settings = settings
        self.console = console
        self.cancel = cancel
        self.clock = SystemClock()
        self.lost = lost
        """Where something could not be written on the way, and why."""

    def listeners(self, journal: Callable[[dict[str, Any]], None] | None = None) -> Iterator[Listener]:
        """Who hears what happens: the person, the `--events` file, the journal."""
        from cc.report.run_listener import RunListener

        yield RunListener(self.console)
        if self.options.events is not None:
            yield _events_listener(self.options.events, self.lost, json=self.options.json)
        if journal is not None:
            yield lambda event: journal(event.as_dict())


Body = Callable[[Session], "Answer | Recap | None"]
"""None: what it had to say is said (feed.py)."""


class LostError(Exception):
    """What should have gone to stdout could not be written. `code` is what the process would have ended with."""

    def __init__(self, error: OSError, code: int = 0) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = code


class Manner(NamedTuple):
    """What the edge has to know of a command.

    `reads`: it changes nothing, so Ctrl-C may end it at once. `follows`: it goes on until somebody ends it, which is
    then nothing to complain of. `shows`: what it prints is all that it is for, so that `--quiet` would leave nothing.
    """

    reads: bool = False
    follows: bool = False
    shows: bool = False


CHANGES = Manner()


def perform(name: str, options: Options, body: Body, manner: Manner = CHANGES) -> NoReturn:
    """Run one command and end the process with its code."""
    fill_closed_streams()
    people = sys.stderr if options.json else sys.stdout
    colour = wants_colour(people, os.environ, refused=options.no_color)
    console = Console(people, colour=colour, quiet=options.quiet, verbose=options.verbose)
    lost: dict[str, OSError] = {}
    code = 1
    try:
        code = _perform(name, options, body, console, lost, manner)
    except LostError as raised:
        code, lost["stdout"] = raised.code, raised.error
    if console.lost is not None and people is sys.stdout:
        lost["stdout"] = console.lost
    end(code, lost)


def refuse(error: CcError, *, json: bool) -> NoReturn:
    """End the process with an error that was found before there was a command to run."""
    settle()
    fill_closed_streams()
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
    fill_closed_streams()
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
            complain(f"error: cannot write to {where}: {why.strerror}\n")
            code = code or 1
    gc.freeze()  # at its end Python looks three times for garbage among all that there is, which ends with it anyway
    sys.exit(code)


def _perform(
    name: str, options: Options, body: Body, console: Console, lost: dict[str, OSError], manner: Manner
) -> int:
    cancel = Cancel()
    try:
        with heeded(cancel, reads=manner.reads), deadline(options.timeout_s() if manner.reads else None):
            _refuse_flags(name, options, manner)
            session = Session(name, options, load(os.environ), console, cancel, lost)
            _refuse_bad_faults(os.environ)
            came = body(session)
        if came is not None and not isinstance(came, Answer):
            return _print_recap(came, session)
        if came is not None:
            _print_answer(came, options)
        return 0 if came is None else came.exit_code
    except (KeyboardInterrupt, Interrupted) as error:  # before there was a runner that would say so
        code = SIGNALS.get(cancel.requested or "", SIGNALS["SIGINT"])
        return _print_error(InterruptedRunError(str(error) or "interrupted", exit_code=code), options)
    except CcError as error:
        if manner.follows and isinstance(error, InterruptedRunError):
            return error.exit_code  # so it ends: nothing to complain of
        return _print_error(error, options)
    except LostError:
        raise
    except Exception as error:  # noqa: BLE001 - the outermost edge of the process: a bug of ours has no traceback for users
        return _print_error(_bug(error), options)


def _refuse_flags(name: str, options: Options, manner: Manner) -> None:
    """Raise UsageError for a flag with a value that is none, or that would do nothing here."""
    options.timeout_s()
    options.lock_timeout_s()
    for flag, given in (("--junit", options.junit), ("--events", options.events)):
        if given is not None and manner.reads:
            raise UsageError(f"{name} has no steps to report", field=flag, hint="--json tells all of it")
    if options.quiet and manner.shows and not options.json:
        raise UsageError(
            f"{name} shows something, and --quiet would leave nothing of it", field="--quiet", hint="leave it out"
        )
    if options.junit is not None:
        _refuse_unwritable(options.junit, "--junit")


def _bug(error: Exception) -> CcError:
    """A bug of ours as an error for people. The traceback goes into a file, for the report that we ask for."""
    import tempfile
    import traceback

    lines = traceback.format_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"a bug in cc: {type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno})"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="context-cleaner-", suffix=".log", delete=False) as file:
            file.writelines(lines)
    except OSError:  # nowhere to put it
        return CcError(what, hint="please report it with this", evidence=tuple("".join(lines).splitlines()))
    return CcError(what, hint=f"please report it with {file.name}")


def fill_closed_streams() -> None:
    """With stdin, stdout or stderr closed, the next file opened would take its number and get our output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", closefd=False))


def _refuse_bad_faults(environ: Mapping[str, str]) -> None:
    """Also where none of them would be met: a drill that breaks nothing misleads. Raises ConfigError."""
    if environ.get("CC_FAULTS"):  # the seam is imported by those who need it
        from cc.shell.faults import Faults

        Faults.from_environment(environ)


def _print_recap(recap: Recap, session: Session) -> int:
    options = session.options
    code = exit_code(recap, strict=options.strict, detailed=options.detailed_exitcode)
    if options.junit is not None:
        from cc.report.junit import junit

        try:
            _write(options.junit, junit(recap))
        except UsageError as error:  # what was run has been run, and is told all the same
            recap, code = recap._replace(warnings=(*recap.warnings, error.message)), code or 1
            complain(f"error: {error}\n")
    from cc.report.annotations import annotation_lines

    for line in annotation_lines(recap, os.environ):
        session.console.say(line)
    if options.json:
        _print_json(recap.as_dict(code), code)
    return code


def _print_answer(answer: Answer, options: Options) -> None:
    """With `--quiet` nothing for people: as with `grep -q` the exit code is the answer."""
    if options.json:
        _print_json(answer.document, answer.exit_code)
    elif answer.text and not options.quiet:
        encoding = sys.stdout.encoding or "utf-8"
        write_out((answer.text + "\n").encode(encoding, "replace"), answer.exit_code)


def _print_json(document: Mapping[str, Any], code: int) -> None:
    text = jsonlib.dumps(document, ensure_ascii=False, indent=None if not sys.stdout.isatty() else 2)
    write_out(text.encode("utf-8", "replace") + b"\n", code)


def write_out(data: bytes, code: int = 0) -> None:
    """Write to stdout, at once. Raises LostError with this code."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        raise LostError(error, code) from error


def complain(text: str) -> None:
    """Write to stderr, if anybody still reads it."""
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
    complain("\n".join(lines) + "\n")
    if options.json:
        _print_json({"error": error.as_dict()}, error.exit_code)
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
