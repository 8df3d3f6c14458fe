"""`drill` at its edge: which drills, played, listed, or blow after blow at random.

May import everything below tasks.py; each function imports what it needs when it is called.
"""

from __future__ import annotations

import os

from cc.command_line import Answer, Session
from cc.engine.outcome import Recap
from cc.errors import UsageError


def drill(session: Session, only: str | None, *, listing: bool) -> Answer | Recap:
    """Play the drills, or name them."""
    from cc.drill.catalogue import chosen as drills_of
    from cc.drill.catalogue import title
    from cc.drill.rehearsal import rehearse

    drills = drills_of(only)
    if not listing:
        timeout = session.options.timeout_s()
        return rehearse(drills, os.environ, session.clock, session.cancel, list(session.listeners()), timeout)
    from cc.report.table import table

    rows = [(title(each), each.fault, each.seen, each.after or "-", each.needs or "-") for each in drills]
    names = ("drill", "fault", "seen", "after", "needs")
    return Answer({"drills": [dict(zip(names, row, strict=True)) for row in rows]}, table(names, rows))


def drill_at_random(
    session: Session, only: str | None, minutes: str | None, seed: str | None, *, asked: bool, listing: bool
) -> Recap:
    """Blows at random, on a stack beside the user's."""
    if not asked:
        flag = "--minutes" if minutes is not None else "--seed"
        raise UsageError(f"{flag} is for --random", field=flag, hint="context-cleaner drill --random")
    if only is not None or listing:
        flag = "--only" if only is not None else "--list"
        raise UsageError(f"{flag} and --random are two things", field=flag, hint="give one of them")
    import random

    from cc.drill.chaos import Chaos
    from cc.drill.rehearsal import why_no_docker
    from cc.engine.events import RunFinished

    lasts = 60 * _number(minutes or "2", "--minutes", 0.05, 1440)
    number = int(_number(seed or str(random.randrange(10**6)), "--seed", 0, 10**9))  # noqa: S311 - to be repeated
    missing = why_no_docker(os.environ, session.cancel)
    told = f"seed {number}, {lasts / 60:g} minutes" + (f", without containers: {missing}" if missing else "")
    session.console.say(told)
    listeners = list(session.listeners())
    chaos = Chaos(os.environ, session.clock, session.cancel, number, docker=not missing)
    recap = chaos.run(lasts, listeners)
    for listener in listeners:
        listener(RunFinished(recap))
    return recap


def _number(text: str, flag: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise UsageError(f"{flag} must be a number from {least:g} to {most:g}, not {text!r}", field=flag)
    return value
