"""Every drill, in the order of the ladders; and the rungs of the contract that each ladder must have one for."""

from __future__ import annotations

from cc.drill import analytics, containers, control, dashboard, scenarios, stop, watch
from cc.drill.exercise import Drill
from cc.errors import UsageError

LADDERS = {
    "L1": ("control path", 4), "L2": ("supervisor start", 4), "L3": ("containers start", 4),
    "L4": ("dashboard start", 4), "L5": ("services stop", 5), "L6": ("containers stop", 4), "L7": ("analytics", 4),
    "L9": ("IPC connection", 4), "L10": ("health of one service", 4), "L11": ("watchdog", 1),
    "L12": ("circuit breaker", 1), "scenario": ("end to end", 4),
}  # fmt: skip
"""By ladder: what it is for, and how many rungs it has. L8, tokens, is not built yet."""


def _order(drill: Drill) -> tuple[int, int]:
    return list(LADDERS).index(drill.ladder), drill.rung


CATALOGUE: tuple[Drill, ...] = tuple(
    sorted(
        (
            *control.DRILLS, *containers.DRILLS, *dashboard.DRILLS, *stop.DRILLS, *analytics.DRILLS, *watch.DRILLS,
            *scenarios.DRILLS,
        ),
        key=_order,
    )
)  # fmt: skip


def chosen(words: str | None) -> tuple[Drill, ...]:
    """The drills of these ladders (L3) and rungs (L3.1), separated by commas; all for None. Raises UsageError."""
    if words is None:
        return CATALOGUE
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted or ("",):
        if not any(word.lower() in (drill.ladder.lower(), drill.name.lower()) for drill in CATALOGUE):
            raise UsageError(
                f"there is no drill {word!r}", field="--only", hint="context-cleaner drill --list names them all"
            )
    lower = {word.lower() for word in wanted}
    return tuple(drill for drill in CATALOGUE if {drill.ladder.lower(), drill.name.lower()} & lower)
