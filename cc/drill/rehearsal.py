"""Runs drills by the engine's own runner: each is a step, what it saw is its reason, and the recap is the answer.

Two play at a time, one of those with containers and one of the others: more would only wait for each other. One that
was interrupted has proven nothing and failed nothing: it is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cc.clock import Cancel, Clock
from cc.drill.catalogue import title
from cc.drill.exercise import COMPOSE, DOCKER, SOCKET, Drill
from cc.drill.stage import Stage, machine
from cc.engine.events import Event, Listener, RunFinished, StepFinished, Waiting
from cc.engine.outcome import Outcome, Recap, Status
from cc.engine.runner import Runner, Step
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure, Interrupted
from cc.resources.docker import Docker
from cc.resources.docker_socket import local_socket
from cc.resources.host import Host
from cc.shell import SystemShell
from cc.shell.faults import Faults


@dataclass(slots=True)
class _Playing:
    """One drill as an action."""

    name: str
    drill: Drill
    machine: Mapping[str, str]
    probed: bool = False

    def probe(self, context: Context) -> Probe:
        return Probe(False)

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        stage = Stage(self.machine, context.clock, context.cancel)
        try:
            return Acted(self.drill.play(stage), changed=False)
        except Failure as failure:
            if context.cancel.requested:  # whatever it expected: it did not come to see it
                raise Interrupted(failure.message) from failure
            raise
        finally:
            stage.clear()


def rehearse(
    drills: Sequence[Drill],
    environ: Mapping[str, str],
    clock: Clock,
    cancel: Cancel,
    listeners: Sequence[Listener],
    deadline_s: float | None = None,
) -> Recap:
    """Play them all, and say how each went: ok, failed (expected and seen), or skipped for want of something.

    `deadline_s` is for all of them together; the one under way at its end is cleaned up, the rest are not begun.
    Raises ConfigError for an environment that the commands would refuse.
    """
    here = machine(environ)
    lacking = _lacking(here, {drill.needs for drill in drills}, cancel)
    lanes: dict[bool, tuple[str, ...]] = {}  # the last step of each: the next one of the lane waits for it
    steps = []
    for drill in drills:
        name, why = f"{title(drill)} {drill.fault}", lacking.get(drill.needs)
        left_out = f"needs {drill.needs}: {why}" if why else None
        playing = _Playing(drill.name, drill, here)
        lane = bool(drill.needs)
        steps.append(Step(name, playing, lanes.get(lane, ()), always=True, left_out=left_out))
        lanes[lane] = (name,)
    runner = Runner(
        clock=clock, cancel=cancel, listeners=[_heard(listener) for listener in listeners], deadline_s=deadline_s
    )
    return _told(runner.run("drill", steps))


def _heard(listener: Listener) -> Listener:
    """Most drills wait for most of the time: that need not be said. The rest as the recap tells it."""

    def listen(event: Event) -> None:
        if isinstance(event, StepFinished):
            event = replace(event, outcome=unless_interrupted(event.outcome))
        elif isinstance(event, RunFinished):
            event = replace(event, recap=_told(event.recap))
        if not isinstance(event, Waiting):
            listener(event)

    return listen


def _told(recap: Recap) -> Recap:
    steps = (step._replace(outcome=unless_interrupted(step.outcome)) for step in recap.steps)
    return recap._replace(steps=tuple(steps))


def unless_interrupted(outcome: Outcome) -> Outcome:
    """As it is, but skipped if somebody asked for the end while it was played."""
    if outcome.error != Interrupted.code:
        return outcome
    return Outcome(Status.SKIPPED, "interrupted", duration_s=outcome.duration_s, error=outcome.error)


def why_no_docker(environ: Mapping[str, str], cancel: Cancel) -> str:
    """Why nothing with containers can play here, "" if it can. Raises ConfigError."""
    return _lacking(machine(environ), {DOCKER}, cancel).get(DOCKER, "")


def _lacking(here: Mapping[str, str], needs: set[str], cancel: Cancel) -> dict[str, str]:
    """Of what is needed, what this machine lacks, and why. What it is broken by already (CC_FAULTS) is broken here too.

    Raises ConfigError for faults that are none.
    """
    shell = SystemShell(cancel=cancel, faults=Faults.from_environment(here))
    docker = Docker(Host(shell, os.getcwd(), dict(here)))
    if not any(needs):
        return {}
    if why := _failure_of(lambda: _use_docker(docker, here)):
        return dict.fromkeys((DOCKER, COMPOSE, SOCKET), why)
    remote = "" if local_socket(here) else "the engine is another machine's"
    return {COMPOSE: _failure_of(lambda: _use_compose(docker)) if COMPOSE in needs else "", SOCKET: remote}


def _failure_of(use: Callable[[], None]) -> str:
    try:
        use()
    except Failure as failure:
        return failure.message
    return ""


def _use_docker(docker: Docker, here: Mapping[str, str]) -> None:
    docker.version()
    docker.cli("version")  # the engine may be read without the program, and drills need both
    for name, image in _images(here).items():
        if docker.image_id(image) is None:
            raise Failure(f"image {image} is not here: docker pull {image}, or set {name}", code="image_missing")


def _use_compose(docker: Docker) -> None:
    """The plugin or the program of its own name: either is rung 0."""
    try:
        docker.cli("compose", "version")
    except Failure as missing:
        try:
            docker.program("docker-compose", "version")
        except Failure as failure:
            raise missing from failure


def _images(environ: Mapping[str, str]) -> dict[str, str]:
    """The images of the stack, by the variable that names another."""
    from cc.resources.compose_file import read
    from cc.services.stack import stack_root

    services = read(os.path.join(stack_root(), "docker-compose.yml"), environ, "cc-drill")["services"]
    return {
        "CC_CLICKHOUSE_IMAGE": services["clickhouse"]["image"],
        "CC_COLLECTOR_IMAGE": services["collector"]["image"],
    }
