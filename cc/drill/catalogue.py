"""Every drill, in the order of the contract's ladders."""

from __future__ import annotations

from itertools import takewhile

from cc.drill import analytics, breaker, containers, control, dashboard, health, scenarios, stop, tokens, watch
from cc.drill.contract import BY_NAME
from cc.drill.exercise import Drill
from cc.errors import UsageError


def _order(drill: Drill) -> tuple[int, int]:
    return list(BY_NAME).index(drill.ladder), drill.rung


CATALOGUE: tuple[Drill, ...] = tuple(
    sorted(
        (
            *control.DRILLS, *containers.DRILLS, *dashboard.DRILLS, *stop.DRILLS, *analytics.DRILLS, *tokens.DRILLS,
            *health.DRILLS, *watch.DRILLS, *breaker.DRILLS, *scenarios.DRILLS,
        ),
        key=_order,
    )
)  # fmt: skip


def title(drill: Drill) -> str:
    """Its own name: the rung's, and of several of one rung a letter for all but the first."""
    before = takewhile(lambda each: each is not drill, (each for each in CATALOGUE if each.name == drill.name))
    place = sum(1 for _ in before) if drill in CATALOGUE else 0
    return drill.name + ("abcdefgh"[place] if place else "")


def chosen(words: str | None) -> tuple[Drill, ...]:
    """The drills of these ladders (L3) and rungs (L3.1), separated by commas; all for None. Raises UsageError."""
    if words is None:
        return CATALOGUE
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted or ("",):
        if not any(word.lower() in _names(drill) for drill in CATALOGUE):
            raise UsageError(
                f"there is no drill {word!r}", field="--only", hint="context-cleaner drill --list names them all"
            )
    lower = {word.lower() for word in wanted}
    return tuple(drill for drill in CATALOGUE if _names(drill) & lower)


def _names(drill: Drill) -> set[str]:
    """Of its ladder, its rung and its own."""
    return {drill.ladder.lower(), drill.name.lower(), title(drill).lower()}
