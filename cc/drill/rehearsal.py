"""Runs drills by the engine's own runner: each is a step, what it saw is its reason, and the recap is the answer.

Two play at a time, one of those with containers and one of the others: more would only wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cc.clock import Cancel, Clock
from cc.drill.exercise import Drill
from cc.drill.stage import Stage
from cc.engine.events import Event, Listener, Waiting
from cc.engine.outcome import Recap
from cc.engine.runner import Runner, Step
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure
from cc.resources.docker import Docker
from cc.resources.host import Host
from cc.shell import SystemShell


@dataclass(slots=True)
class _Playing:
    """One drill as an action."""

    name: str
    drill: Drill
    number: int
    environ: Mapping[str, str]
    probed: bool = False

    def probe(self, context: Context) -> Probe:
        return Probe(False)

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        stage = Stage(self.environ, context.clock, context.cancel, self.number)
        try:
            return Acted(self.drill.play(stage), changed=False)
        finally:
            stage.clear()


def rehearse(
    drills: Sequence[Drill], environ: Mapping[str, str], clock: Clock, cancel: Cancel, listeners: Sequence[Listener]
) -> Recap:
    """Play them all, and say how each went: ok, failed (expected and seen), or skipped for want of something."""
    no_docker = "" if not any(drill.needs for drill in drills) else why_no_docker(environ, cancel)
    lanes: dict[str, tuple[str, ...]] = {}  # the last step of each: the next one of the lane waits for it
    steps = []
    for number, drill in enumerate(drills):
        title, why = _title(drill, number, drills), f"needs {drill.needs}: {no_docker}"
        playing = _Playing(drill.name, drill, number, environ)
        left_out = why if drill.needs and no_docker else None
        steps.append(Step(title, playing, lanes.get(drill.needs, ()), always=True, left_out=left_out))
        lanes[drill.needs] = (title,)
    runner = Runner(clock=clock, cancel=cancel, listeners=[_unhurried(listener) for listener in listeners])
    return runner.run("drill", steps)


def _title(drill: Drill, number: int, drills: Sequence[Drill]) -> str:
    before = sum(each.name == drill.name for each in drills[:number])
    return f"{drill.name}{'abcdefgh'[before] if before else ''} {drill.fault}"


def _unhurried(listener: Listener) -> Listener:
    """Most drills wait for most of the time: that need not be said."""

    def listen(event: Event) -> None:
        if not isinstance(event, Waiting):
            listener(event)

    return listen


def why_no_docker(environ: Mapping[str, str], cancel: Cancel) -> str:
    """Why the drills with containers cannot play here, "" if they can."""
    docker = Docker(Host(SystemShell(cancel=cancel), os.getcwd(), dict(environ)))
    try:
        docker.version()
        docker.cli("compose", "version")
        for name, otherwise in _images(environ).items():
            if docker.image_id(otherwise) is None:
                return f"image {otherwise} is not here: docker pull {otherwise}, or set {name}"
    except Failure as failure:
        return failure.message
    return ""


def _images(environ: Mapping[str, str]) -> dict[str, str]:
    """The images of the stack, by the variable that names another."""
    from cc.resources.compose_file import read
    from cc.services.stack import stack_root

    services = read(os.path.join(stack_root(), "docker-compose.yml"), environ, "cc-drill")["services"]
    return {
        "CC_CLICKHOUSE_IMAGE": services["clickhouse"]["image"],
        "CC_COLLECTOR_IMAGE": services["collector"]["image"],
    }
