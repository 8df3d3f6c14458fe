"""When all that runs by itself has failed: the clean-up script, and the lines to type (L1 rung 3, L5 rungs 3 and 4).

    prove        the end of a `down`: nothing of ours is left, or the next rung of L5
    to_start, to_stop    the lines

The lines are made to be pasted into a shell as they are. They name what is there now, by pid, name and path.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Sequence

from cc.engine.events import Event, Listener, Note, StepFinished
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status, Tried
from cc.engine.step import Acted, Context, Probe, outcome_of, run_action
from cc.errors import Failure, Interrupted
from cc.services.leftovers import Remains, remains
from cc.services.stack import BY_NAME, SERVICES, Stack
from cc.shell import Command

STOP = "services stop"
SILENT = frozenset({"daemon_hung", "breaker_open"})
SCRIPT = os.path.join("scripts", "stop-context-cleaner.sh")
SCRIPT_S = 150.0
SAID = 20  # lines of the script's that are kept


def prove(
    stack: Stack, recap: Recap, context: Context, listeners: Sequence[Listener], *, volumes: bool, since: float
) -> Recap:
    """The recap of a `down` of everything, once it is known what is left; if anything, by the next rungs of L5.

    `since` is when the command began, in seconds since 1970: what is younger was made by another run, which waited for
    this one to let go, and is left alone. Then the script, which knows no age, is not run either.
    A step that failed is no failure of the whole once all that is ours is proven gone: it is told as what was tried.
    """
    failed = [step for step in recap.steps if step.outcome.status is Status.FAILED]
    silent = next((step.outcome for step in failed if step.outcome.error in SILENT), None)
    unseen = None if silent is None else Failure(silent.reason, code=silent.error or "daemon_hung")
    found, others = remains(stack.host(), stack.published_ports(), volumes=volumes, unseen=unseen).of_before(since)
    if not found and (others or not failed):
        return recap
    if recap.stopped is not None:
        return recap._replace(by_hand=to_stop(stack, found))
    tried = [Tried(step.outcome.rung or 0, step.name, step.outcome.error or "", step.outcome.reason) for step in failed]
    if not failed:
        tried.append(Tried(2, "leftovers", "not_satisfied", "; ".join(found.words())))
    began, last = context.clock.now(), None

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    if not others and (silent is None or found):
        tell(Note(STOP, f"running {SCRIPT}"))
        last = _by_script(stack, context, tuple(tried), volumes=volumes)
    if last is not None and last.status is not Status.FAILED:
        steps = [step for step in recap.steps if step not in failed]
    else:
        found, _ = remains(stack.host(), stack.published_ports(), volumes=volumes, unseen=unseen).of_before(since)
        last, steps = _given_up(last, tried, found), list(recap.steps)
        recap = recap._replace(by_hand=to_stop(stack, found))
    last = last._replace(duration_s=context.clock.now() - began)
    tell(StepFinished(STOP, last))
    fallbacks = (*recap.fallbacks, *last.fallbacks)
    return recap._replace(steps=(*steps, NamedOutcome(STOP, last)), fallbacks=fallbacks)


def _by_script(stack: Stack, context: Context, tried: tuple[Tried, ...], *, volumes: bool) -> Outcome:
    """L5 rung 3."""
    why = "; ".join(f"{each.name}: {each.reason}" for each in tried)
    try:
        outcome = outcome_of(run_action(ByScript(stack, volumes=volumes), context), 1)
    except Interrupted:
        raise
    except Failure as failure:
        return Outcome(
            Status.FAILED, failure.message, evidence=failure.evidence, error=failure.code,
            tried=(*tried, Tried(3, SCRIPT, failure.code, failure.message)),
        )  # fmt: skip
    fallbacks = () if outcome.status is Status.OK else (Fallback(STOP, 3, why),)
    return outcome._replace(rung=3, rung_name=SCRIPT, tried=tried, fallbacks=fallbacks)


def _given_up(last: Outcome | None, tried: Sequence[Tried], found: Remains) -> Outcome:
    """L5 rung 4."""
    tried = tuple(tried) if last is None else last.tried
    unseen = () if found.unseen is None else (f"containers may still run: {found.unseen.message}",)
    left = "; ".join((*found.words(), *unseen)) or tried[-1].reason
    return Outcome(
        Status.FAILED, f"left: {left}", evidence=() if last is None else last.evidence, error=tried[-1].error,
        hint="type the lines below", rung=4, rung_name="by hand", tried=tuple(tried),
        fallbacks=(Fallback(STOP, 4, f"left: {left}"),),
    )  # fmt: skip


class ByScript:
    """Nothing of ours is left, by scripts/stop-context-cleaner.sh: plain sh, which needs neither Python nor us."""

    probed = True
    name = SCRIPT

    def __init__(self, stack: Stack, *, volumes: bool = False) -> None:
        self._host = stack.host()
        self._ports = stack.published_ports()
        self._volumes = volumes  # it keeps them: while one is left that is to go, it has not done enough
        self._path = os.path.join(stack.root, SCRIPT)

    def probe(self, context: Context) -> Probe:
        found = remains(self._host, self._ports, volumes=self._volumes)
        if found.unseen is not None and found.unseen.code not in ("daemon_down", "tool_missing"):
            return Probe(False, f"containers may still run: {found.unseen.message}", found.words())
        return Probe(not found, "; ".join(found.words()) or "nothing of ours is left", found.words())

    def check(self, context: Context, before: Probe) -> None:
        if not os.path.isfile(self._path):
            raise Failure(f"{self._path} is not there", code="tool_missing")

    def act(self, context: Context, before: Probe) -> Acted:
        host = self._host
        left = context.left(SCRIPT_S)
        said = host.shell.run(Command(("sh", self._path), env=host.environ, deadline=left, check=False, cwd=host.base))
        lines = tuple((said.stdout + said.stderr).splitlines()[-SAID:])
        if said.exit_code:
            raise Failure(f"{SCRIPT} ended with code {said.exit_code}", code="non_zero_exit", evidence=lines)
        return Acted(f"stopped by {SCRIPT}", evidence=lines)


def to_stop(stack: Stack, found: Remains) -> tuple[str, ...]:
    """What to type to end what is there."""
    lines = []
    if found.processes:
        pids = " ".join(str(fact.identity.pid) for fact in found.processes)
        lines.append(f"kill -KILL {pids}   # {', '.join(fact.program for fact in found.processes)}")
    names = [container.name for container in found.containers]
    if found.unseen is not None and found.unseen.code != "daemon_down":
        names = [name for service in SERVICES if (name := stack.container_name(service))]
        lines.append(f"docker version   # {found.unseen.message}: it has to answer before the next line can work")
    if names:
        lines.append(f"docker rm -fv {' '.join(map(shlex.quote, names))}")
    for kind, left in (("network", found.networks), ("volume", found.volumes)):
        lines += [f"docker {kind} rm {shlex.quote(name)}" for name in left]
    return tuple(lines)


def to_start(stack: Stack, services: Collection[str]) -> tuple[str, ...]:
    """What to type to start these services."""
    return tuple(_start_line(stack, name) for name in BY_NAME if name in services)


def _start_line(stack: Stack, name: str) -> str:
    environ = stack.environ()
    ours = [name for name in sorted(environ) if name.startswith("CC_") and name != "CC_CLICKHOUSE_PASSWORD"]
    words = " ".join(f"{name}={shlex.quote(environ[name])}" for name in ours)
    if BY_NAME[name].container is None:
        port = str(stack.settings.dashboard_ports[0])
        serve = (sys.executable, "-m", "cc.dashboard", "--host", stack.settings.dashboard_host, "--port", port)
        return f"cd {shlex.quote(stack.root)} && env {words} {shlex.join(serve)}"
    password = f'CC_CLICKHOUSE_PASSWORD="$(cat {shlex.quote(stack.state.password)})"'
    file = os.path.join(stack.root, "docker-compose.yml")
    run = ("docker", "compose", "-f", file, "-p", stack.settings.project, "up", "-d", name)
    return f"env {words} {password} {shlex.join(run)}"
