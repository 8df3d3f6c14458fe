"""What a run would do, from probes and checks alone. Touches nothing.

A planned action is asked as a real one is, and where the real one would act it says so instead. Ladders and the runner
need not know: a rung whose check fails leads down exactly as it would.
"""

from __future__ import annotations

from dataclasses import replace

from cc.engine.ladder import Ladder, Rung
from cc.engine.runner import Step
from cc.engine.step import Acted, Action, Context, Probe


class Planned:
    """An action that is never carried out."""

    def __init__(self, action: Action) -> None:
        self._action = action
        self._before: Probe | None = None
        self.name = action.name
        self.probed = action.probed

    def probe(self, context: Context) -> Probe:
        if self._before is not None:
            reason = self._before.reason
            return Probe(True, f"would change: {reason}" if reason else "would change", diff=self._before.diff)
        return self._action.probe(context)

    def check(self, context: Context, before: Probe) -> None:
        self._action.check(context, before)

    def act(self, context: Context, before: Probe) -> Acted:
        self._before = before
        return Acted("" if self.probed else "would run")


def planned(step: Step) -> Step:
    """The same step, foretold. Retries are left out: what a probe says now is all there is to know."""
    goal = step.goal
    if isinstance(goal, Ladder):
        rungs = tuple(_rung(rung) for rung in goal.rungs)
        return replace(step, goal=replace(goal, rungs=rungs), retry=None)
    return replace(step, goal=Planned(goal), retry=None)


def _rung(rung: Rung) -> Rung:
    return rung if rung.action is None else replace(rung, action=Planned(rung.action))
