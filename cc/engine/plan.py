"""What a run would do, from probes and checks alone. Touches nothing.

A planned action is asked as a real one is, and where the real one would act it says so instead. Ladders and the runner
need not know: a rung whose check fails leads down exactly as it would, and after a repair that would act the rungs are
taken for what the repair is there for: nobody can ask them how they would find the world then. What no probe can tell
(a pull, a daemon's start) an action says itself (`Uncertain`), and it stands in the plan as "known by trying".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cc.engine.ladder import Ladder, Rung
from cc.engine.runner import Step
from cc.engine.step import Acted, Action, Context, Probe


@runtime_checkable
class Uncertain(Protocol):
    """An action of whose act something can only be known by trying."""

    def known_by_trying(self, context: Context) -> str:
        """What, as the rest of a sentence ("whether ..."); "" if nothing is."""
        ...


@runtime_checkable
class Rehearsed(Protocol):
    """An action that can find out without acting that its tool is not there."""

    def rehearse(self, context: Context) -> None:
        """Raise the Failure that the act would begin with. Asked only where it would act, and only in a plan."""
        ...


@dataclass(slots=True)
class _Foretold:
    """What the planned rungs of one ladder know of each other: the repair that would have acted."""

    repaired_by: str | None = None


class Planned:
    """An action that is never carried out."""

    def __init__(self, action: Action, foretold: _Foretold | None = None, *, repairs: bool = False) -> None:
        self._action = action
        self._foretold = foretold or _Foretold()
        self._repairs = repairs
        self._before: Probe | None = None
        self._open = ""
        self.name = action.name
        self.probed = action.probed

    @property
    def _after(self) -> str | None:
        return None if self._repairs else self._foretold.repaired_by

    def probe(self, context: Context) -> Probe:
        if self._before is not None:
            said = ": ".join(filter(None, ("would change", self._before.reason)))
            said += f"; known by trying: {self._open}" if self._open else ""
            return Probe(True, said, diff=self._before.diff)
        return Probe(False, f"after {self._after}") if self._after else self._action.probe(context)

    def check(self, context: Context, before: Probe) -> None:
        if not self._after:
            self._action.check(context, before)
            if isinstance(self._action, Rehearsed):
                self._action.rehearse(context)

    def act(self, context: Context, before: Probe) -> Acted:
        self._before = before
        if isinstance(self._action, Uncertain) and not self._after:
            self._open = self._action.known_by_trying(context)
        if self._repairs:
            self._foretold.repaired_by = self.name
        return Acted("" if self.probed else "would run")


def planned(step: Step) -> Step:
    """The same step, foretold. Retries are left out: what a probe says now is all there is to know."""
    goal = step.goal
    if isinstance(goal, Ladder):
        foretold = _Foretold()
        rungs = tuple(_rung(rung, foretold) for rung in goal.rungs)
        return step._replace(goal=goal._replace(rungs=rungs), retry=None)
    return step._replace(goal=Planned(goal), retry=None)


def _rung(rung: Rung, foretold: _Foretold) -> Rung:
    return rung if rung.action is None else rung._replace(action=Planned(rung.action, foretold, repairs=rung.again))
