"""The journal in words: what happened, one line an entry. Of entries that this version does not know, as they stand.

2026-11-24 14:02:55  changed    clickhouse          look-clickhouse-otel running and ready (1.63 s)
2026-11-24 14:09:12  down       dashboard           gunicorn: port 8110 is held by python3 (pid 4711); trying rung 2
2026-11-24 14:11:40  backoff    clickhouse          was running: it ended; again in 1.0 s
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cc.report.console import painted
from cc.report.printable import one_line

WORD, NAME = 10, 19  # columns: `interrupted` is rare, `clickhouse password` is the longest name of the stack

Told = Mapping[str, Any]
Words = tuple[str, str, str]
"""A word for what it is, whom it is about, and the rest."""


def words(told: Told) -> Words:
    """What an entry says, in words; of a kind or a shape that is not known, the entry itself."""
    say = KINDS.get(str(told.get("event")))
    if say is not None:
        try:
            return say(told)
        except (LookupError, TypeError, ValueError, AttributeError):
            pass  # of another version, or written by somebody else
    rest = {key: value for key, value in told.items() if key not in ("time", "event")}
    return str(told.get("event", "?")), "", json.dumps(rest, ensure_ascii=False)


def line(told: Told, time: datetime | None, *, colour: bool = False) -> str:
    """The whole line, in the zone of `time`."""
    when = "-" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"
    word, name, text = (one_line(part) for part in words(told))
    shown = (painted(_tone(told, word), word) if colour else word) + " " * (WORD - len(word))
    return f"{when:19}  {shown} {name:{NAME}} {text}".rstrip()


def _tone(told: Told, word: str) -> str:
    """The console's word whose colour this takes."""
    if told.get("degraded") is True:
        return "degraded"
    return {"alert": "failed", "fatal": "failed", "down": "degraded", "restarted": "changed"}.get(word, word)


def _run_started(told: Told) -> Words:
    return "run", told["command"], "began: " + ", ".join(told["steps"])


def _run_finished(told: Told) -> Words:
    counts = "  ".join(f"{key}={value}" for key, value in told["counts"].items())
    text = f"{told['status']}{', degraded' * bool(told['degraded'])}   {counts}   {told['duration_s']:.2f} s"
    if told["stopped"]:
        text += f"   stopped by {'the deadline' if told['stopped'] == 'deadline' else told['stopped']}"
    for fallback in told["fallbacks"]:
        text += f"; fallback of {fallback['what']}, rung {fallback['rung']}: {fallback['reason']}"
    return "run", told["command"], text


def _step_started(told: Told) -> Words:
    return "begins", told["step"], ""


def _step_finished(told: Told) -> Words:
    text = f"degraded: {told['reason']}" if told["degraded"] else told["reason"]
    text += f" ({told['duration_s']:.2f} s)" if told["attempts"] else ""
    for warning in told["warnings"]:
        text += f"; warning: {warning}"
    return told["status"], told["step"], text


def _waiting(told: Told) -> Words:
    of = "" if told["within_s"] is None else f" of {told['within_s']:g} s"
    return "waits", told["step"], f"for {told['what']} ({told['elapsed_s']:.0f} s{of})"


def _attempt_failed(told: Told) -> Words:
    text = f"attempt {told['attempt']}: {told['reason']} ({told['error']}); again in {told['retry_in_s']:.1f} s"
    return "again", told["step"], text


def _rung_failed(told: Told) -> Words:
    if told["next_rung"] is None:
        what = "no way is left"
    else:
        what = f"{'done without' if told['gives_up'] else 'trying'}, rung {told['next_rung']}"
    return "down", told["step"], f"rung {told['rung']}, {told['rung_name']}: {told['reason']} ({told['error']}); {what}"


def _note(told: Told) -> Words:
    return "note", told["step"], str(told["text"])


def _service_changed(told: Told) -> Words:
    reason = f": {told['reason']}" if told["reason"] else ""
    again = "" if told["retry_in_s"] is None else f"; again in {told['retry_in_s']:.1f} s"
    return told["after"], told["service"], f"was {told['before']}{reason}{again}"


def _service_restarted(told: Told) -> Words:
    tries = f", try {told['tries']}" if told["tries"] else ""
    error = f" ({told['error']})" if told["error"] else ""
    reason = f": {told['reason']}" if told["reason"] else ""
    return "restarted", told["service"], f"{'ready' if told['ready'] else 'not ready'}{tries}{reason}{error}"


def _alert(told: Told) -> Words:
    return "alert", told["service"], f"given up: {told['reason']} -> {told['hint']}"


KINDS: Mapping[str, Callable[[Told], Words]] = {
    "run_started": _run_started,
    "run_finished": _run_finished,
    "step_started": _step_started,
    "step_finished": _step_finished,
    "waiting": _waiting,
    "attempt_failed": _attempt_failed,
    "rung_failed": _rung_failed,
    "note": _note,
    "service_changed": _service_changed,
    "service_restarted": _service_restarted,
    "alert": _alert,
}
