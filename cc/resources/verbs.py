"""Every verb that a playbook may use, and how a playbook becomes steps on a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cc.engine.ladder import Ladder, Rung
from cc.engine.runner import Step
from cc.engine.spec import Playbook, RungSpec, StepSpec, VerbSpec
from cc.errors import ConfigError
from cc.resources import command, compose, container, containers_gone, docker_engine, file, http, port, process, script
from cc.resources.host import Host, Verb

VERBS: tuple[Verb, ...] = (
    command.VERB,
    script.VERB,
    file.VERB,
    http.VERB,
    port.VERB,
    process.VERB,
    compose.VERB,
    containers_gone.VERB,
    container.VERB,
    docker_engine.VERB,
)


def specs(verbs: Sequence[Verb]) -> dict[str, VerbSpec]:
    """By name, for the parser."""
    return {verb.spec.name: verb.spec for verb in verbs}


def bind(
    playbook: Playbook,
    host: Host,
    verbs: Sequence[Verb],
    left_out: Callable[[StepSpec], str | None] = lambda step: None,
) -> list[Step]:
    """The playbook's steps, bound to a host. `left_out` gives the reason why a flag leaves a step out, or None."""
    by_name = {verb.spec.name: verb for verb in verbs}
    return [_step(spec, playbook.file, host, by_name, left_out(spec)) for spec in playbook.steps]


def _step(spec: StepSpec, file: str, host: Host, verbs: Mapping[str, Verb], left_out: str | None) -> Step:
    rungs = tuple(_placed(rung, spec, file, host, verbs) for rung in spec.rungs)
    first = rungs[0].action
    goal = Ladder(rungs, reads=spec.reads) if spec.ladder or first is None else first
    return Step(
        name=spec.name,
        goal=goal,
        needs=spec.needs,
        requires=spec.requires,
        retry=spec.retry,
        timeout=spec.timeout,
        always=spec.always,
        left_out=left_out or spec.left_out,
    )


def _placed(rung: RungSpec, step: StepSpec, file: str, host: Host, verbs: Mapping[str, Verb]) -> Rung:
    """The rung. A verb knows what is wrong with its arguments; where they were written is known here."""
    try:
        return _rung(rung, step, host, verbs)
    except ConfigError as error:
        if error.file is not None:
            raise
        field = (error.field or "").removeprefix(f"{rung.verb}.")
        path = ".".join(filter(None, (step.name, rung.verb, field)))
        raise ConfigError(error.message, file=file, line=rung.line or step.line, field=path, hint=error.hint) from error


def _rung(rung: RungSpec, step: StepSpec, host: Host, verbs: Mapping[str, Verb]) -> Rung:
    if rung.verb == "without":
        return Rung(rung.name or "without", message=str(rung.args["text"]), when_failed=rung.when_failed)
    args = {**rung.args, "changed_when": step.changed_when} if step.changed_when is not None else rung.args
    action = verbs[rung.verb].make(host, args)
    return Rung(
        rung.name or action.name,
        action,
        when_failed=rung.when_failed,
        again=rung.again,
        lesser=rung.degraded is not False,
    )
