"""What a person reads: lines as things happen, a recap, in any width, colour, encoding."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cc.engine.events import (
    AttemptFailed,
    Event,
    Note,
    RunFinished,
    RungFailed,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status, Tried
from cc.report.console import Console, wants_colour
from cc.report.run_listener import RunListener

OK = Outcome(Status.OK, "it was so", duration_s=0.5)
CHANGED = Outcome(Status.CHANGED, "made so", duration_s=1.234)
SKIPPED = Outcome(Status.SKIPPED, "requires 'a', which was skipped", attempts=0)
FAILED = Outcome(
    Status.FAILED, "it broke", duration_s=2, evidence=tuple(f"line {n}" for n in range(15)), error="unhealthy",
    hint="docker logs x",
)  # fmt: skip
DEGRADED = Outcome(
    Status.SKIPPED, "Docker unavailable: docker is not installed", degraded=True, duration_s=0.01, rung=1,
    rung_name="without", tried=(Tried(0, "docker compose", "tool_missing", "docker is not installed"),),
    fallbacks=(Fallback("clickhouse", 1, "docker is not installed"),), hint="install Docker",
)  # fmt: skip
NAMES = 12  # columns for the names of steps
RUN = (("a", OK), ("b", CHANGED), ("c", SKIPPED), ("d", FAILED), ("e", DEGRADED))


def recap(*steps: tuple[str, Outcome], **more: Any) -> Recap:
    named = tuple(NamedOutcome(name, outcome) for name, outcome in steps)
    return Recap("up", named, duration_s=3.5, **more)


def told(*events: Event, encoding: str = "utf-8", **options: Any) -> str:
    """What a pipe gets."""
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding=encoding, newline="\n"), **options)
    listen = RunListener(console, NAMES)
    for event in events:
        listen(event)
    return raw.getvalue().decode(encoding)


def shown(columns: int, *events: Event, **options: Any) -> str:
    """What a terminal of that width gets."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts: list[bytes] = []
    reader = threading.Thread(target=lambda: parts.extend(read_all(master)))
    reader.start()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        listen = RunListener(Console(stream, **options), NAMES)
        for event in events:
            listen(event)
    reader.join()
    os.close(master)
    return b"".join(parts).decode().replace("\r\n", "\n")


def read_all(descriptor: int) -> Iterator[bytes]:
    try:
        while part := os.read(descriptor, 65536):
            yield part
    except OSError:  # how Linux says that nobody has the terminal open any more
        return


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (OK, "ok       a              0.50 s  it was so"),
        (CHANGED, "changed  a              1.23 s  made so"),
        (SKIPPED, "skipped  a                      requires 'a', which was skipped"),
        (DEGRADED, "skipped  a              0.01 s  degraded: Docker unavailable: docker is not installed"),
        (Outcome(Status.OK), "ok       a              0.00 s"),
    ],
)
def test_a_step_is_one_line(outcome: Outcome, line: str) -> None:
    assert told(StepFinished("a", outcome)) == line + "\n"


def test_names_are_in_a_column_as_wide_as_the_longest_of_the_run() -> None:
    lines = told(RunStarted("up", ("a", "a long name")), StepFinished("a", OK), StepFinished("a long name", OK))
    assert {line.index("it was so") for line in lines.splitlines()} == {31}


def test_a_failed_step_shows_its_last_words_and_all_of_them_with_verbose() -> None:
    failed = StepFinished("d", FAILED)
    assert told(failed).splitlines()[1:] == [f"    | line {n}" for n in range(5, 15)]
    assert told(failed, verbose=True).count("    | line") == 15


def test_evidence_and_differences_of_what_went_well_are_for_verbose_alone() -> None:
    outcome = Outcome(Status.CHANGED, "first\nsecond", evidence=("seen",), diff="-a\n+b\n")
    plain = told(StepFinished("a", outcome))
    assert plain.count("\n") == 1
    assert told(StepFinished("a", outcome), verbose=True).splitlines()[1:] == [
        "    second", "    | seen", "    -a", "    +b",
    ]  # fmt: skip


def test_warnings_of_a_step_stand_below_it() -> None:
    outcome = Outcome(Status.CHANGED, "so", warnings=("it is so, although: exit 1",))
    assert told(StepFinished("a", outcome)).splitlines()[1].split() == [
        "warn", "a", "it", "is", "so,", "although:", "exit", "1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Waiting("a", "x to answer", 4.2, 60), "waiting for x to answer (4 s of 60 s)"),
        (Waiting("a", "x to answer", 4.2, None), "waiting for x to answer (4 s)"),
        (RungFailed("a", 0, "gunicorn", "port_in_use", "taken", 1), "gunicorn: taken; trying the next way"),
        (AttemptFailed("a", 2, "deadline", "too late", 1.5), "attempt 2: too late; again in 1.5 s"),
        (Note("a", "look"), "look"),
        (RungFailed("a", 0, "compose", "tool_missing", "none", 1, gives_up=True), None),  # its step says the same
        (RungFailed("a", 0, "compose", "bad_config", "none", None), None),
        (StepStarted("a"), None),
    ],
)
def test_what_happens_meanwhile_is_a_line_that_quiet_leaves_out(event: Event, said: str | None) -> None:
    assert (said in told(event)) if said else (told(event) == "")
    assert told(event, quiet=True) == ""


def test_the_recap_counts_and_names_each_trouble_with_its_reason_and_what_to_type() -> None:
    text = told(RunFinished(recap(*RUN, fallbacks=DEGRADED.fallbacks, warnings=("a listener failed",))))
    assert text == (
        "\n"
        "up: failed, degraded   ok=1  changed=1  skipped=2  failed=1  degraded=1   3.50 s\n"
        "  failed    d: it broke\n"
        "            -> docker logs x\n"
        "  degraded  e: Docker unavailable: docker is not installed\n"
        "            -> install Docker\n"
        "  fallback  clickhouse, rung 1: docker is not installed\n"
        "  warning   a listener failed\n"
    )


def test_a_fallback_of_a_step_that_is_told_already_is_not_told_twice() -> None:
    text = told(RunFinished(recap(("clickhouse", DEGRADED), fallbacks=DEGRADED.fallbacks)))
    assert "fallback" not in text
    text = told(RunFinished(recap(("a", OK), fallbacks=(Fallback("operation lock", 0, "`up` was killed"),))))
    assert "  fallback  operation lock, rung 0: `up` was killed" in text


@pytest.mark.parametrize(
    ("stopped", "said"),
    [("deadline", "stopped by the deadline"), ("SIGINT", "stopped by SIGINT"), (None, "")],
)
def test_a_run_that_ended_early_says_by_what(stopped: str | None, said: str) -> None:
    line = told(RunFinished(recap(("a", OK), stopped=stopped))).splitlines()[1]
    assert ("stopped" in line) is bool(said)
    assert said in line


@pytest.mark.parametrize(
    ("steps", "more", "lines"),
    [
        ((("a", OK), ("b", CHANGED), ("c", SKIPPED)), {}, 0),
        ((), {}, 0),
        ((("a", OK),), {"stopped": "SIGINT"}, 2),
        ((("a", DEGRADED),), {}, 4),
        ((("a", FAILED),), {}, 4),
    ],
)
def test_quiet_says_only_what_went_wrong(
    steps: Sequence[tuple[str, Outcome]], more: dict[str, Any], lines: int
) -> None:
    assert told(RunFinished(recap(*steps, **more)), quiet=True).count("\n") == lines
    assert told(*(StepFinished(name, outcome) for name, outcome in RUN[:2]), quiet=True) == ""
    assert "it broke" in told(StepFinished("d", FAILED), quiet=True)


def everything() -> list[Event]:
    long = Outcome(Status.FAILED, "a reason that goes on for quite a while " * 4, hint="type this long command " * 4)
    steps = (*RUN, ("a name that is long", long))
    return [
        RunStarted("up", tuple(name for name, _ in steps)),
        Waiting("a", "something that takes its time to answer", 4, 60),
        *(StepFinished(name, outcome) for name, outcome in steps),
        RunFinished(recap(*steps, fallbacks=DEGRADED.fallbacks, warnings=("w " * 60,))),
    ]


@pytest.mark.parametrize("columns", [200, 80, 40, 20, 10, 5])
@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_lines_of_its_width_and_loses_no_word(columns: int, colour: bool) -> None:
    text = re.sub("\x1b\\[[0-9;]*m", "", shown(columns, *everything(), colour=colour))
    too_long = [line for line in text.splitlines() if len(line) > max(columns, 10)]
    heads = ("ok", "changed", "skipped", "failed", "degraded", "...", "up:", "|")
    assert all(line.lstrip().startswith(heads) for line in too_long)  # names are never broken
    if columns >= 40:
        in_pipe = told(*everything())
        assert sorted(text.split()) == sorted(in_pipe.split())


def test_the_terminal_that_is_written_to_gives_the_width_whatever_else_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert max(map(len, shown(40, StepFinished("a", Outcome(Status.OK, "word " * 40))).splitlines())) <= 40


def test_a_terminal_that_does_not_know_its_width_counts_as_80() -> None:
    assert 60 < max(map(len, shown(0, StepFinished("a", Outcome(Status.OK, "word " * 60))).splitlines())) <= 80


def test_a_pipe_gets_each_on_one_line_whatever_its_length() -> None:
    assert told(StepFinished("a", Outcome(Status.OK, "word " * 400))).count("\n") == 1


@pytest.mark.parametrize("word", ["ok", "changed", "skipped", "failed"])
def test_colours_paint_the_word_alone(word: str) -> None:
    line = told(StepFinished("a", Outcome(Status(word), "so")), colour=True)
    assert re.match(rf"\x1b\[3\dm{word} *\x1b\[0m a", line)
    assert told(StepFinished("a", Outcome(Status(word), "so"))).count("\x1b") == 0


def test_the_hint_is_painted_and_its_own_escapes_are_not_kept() -> None:
    outcome = Outcome(Status.FAILED, "x", hint="type \x1b[31mthis")
    assert "-> \x1b[1mtype this\x1b[0m\n" in told(RunFinished(recap(("a", outcome))), colour=True)


@pytest.mark.parametrize(
    "hostile", ["\x1b]0;title\x07", "\x1b[2J", "\r", "\x08\x08", "\x9b31m", "\u202e", "\x00", "\x1b[31mred", "\ud800"]
)
def test_what_a_container_wrote_moves_no_cursor_and_sets_no_title(hostile: str) -> None:
    outcome = Outcome(
        Status.FAILED, f"reason {hostile}!", evidence=(f"log {hostile}!",), hint=f"hint {hostile}!",
        warnings=(f"warn {hostile}!",), diff=f"diff {hostile}!",
    )  # fmt: skip
    done = recap(("a", outcome), fallbacks=(Fallback("b", 1, hostile),), warnings=(hostile,))
    text = told(StepFinished("a", outcome), Note("a", hostile), RunFinished(done), verbose=True)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    for word in ("reason", "log", "hint", "warn", "diff"):
        assert re.search(f"{word} .*!", text)


def test_a_reason_of_several_lines_keeps_the_recap_in_its_columns() -> None:
    outcome = Outcome(Status.FAILED, "first\nsecond", hint="a\nb")
    assert told(RunFinished(recap(("a", outcome)))).splitlines()[2:] == [
        "  failed    a: first second", "            -> a b",
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_no_encoding_is_too_poor_to_say_it(encoding: str) -> None:
    text = told(StepFinished("größe", Outcome(Status.OK, "日本語 – ü")), encoding=encoding)
    assert text.startswith("ok ")
    assert ("?" in text) is (encoding != "utf-8")


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environ", "refused", "colour"),
    [
        (True, {}, False, True),
        (True, {"TERM": "xterm"}, False, True),
        (False, {}, False, False),
        (True, {}, True, False),
        (True, {"NO_COLOR": "1"}, False, False),
        (True, {"NO_COLOR": ""}, False, True),  # no-color.org: only when it is not empty
        (True, {"TERM": "dumb"}, False, False),
    ],
)
def test_colour_is_for_a_terminal_that_wants_it(
    terminal: bool, environ: dict[str, str], refused: bool, colour: bool
) -> None:
    assert wants_colour(Stream(terminal=terminal), environ, refused=refused) is colour
