"""When a container counts as up: it runs, its own health check (if it has one) is content, and its URL answers 200.

One that was just started and has neither must have run for a second: a program that can't work mostly says so at once.

Shared by `compose` and `container`. May import what resources may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cc.engine.step import Context
from cc.engine.waiting import wait_for
from cc.errors import Failure
from cc.resources import http
from cc.resources.docker import Container

READY_S = 60.0
ANSWER_S = 2.0
SETTLE_S = 1.0
LINE = 160  # characters of a container's last line


def why_not_ready(container: Container, url: str | None) -> str:
    """ "" for a container that is ready; else what is awaited."""
    if not container.running or container.health in ("starting", "unhealthy"):
        return container.describe()
    if url is None:
        return ""
    try:
        answer = http.get(url, timeout=ANSWER_S)
    except Failure as failure:
        return failure.message
    return "" if answer.status == 200 else f"{url} answers {answer.status}"


def await_ready(
    context: Context,
    log_tail: Callable[[str], tuple[str, ...]],
    read: Callable[[], Mapping[str, Container | None]],
    *,
    url: str | None,
    within: float,
    finished: Callable[[str, Container], bool | None] = lambda name, container: None,
) -> None:
    """Wait until all that `read` gives (by what it is called) are ready, at most `within` seconds.

    One that ended is not waited for. `finished` is True for one that has done its work and need not run, False for one
    that has yet to, None for all others. `log_tail` gives the last lines of a container by its name. Raises Failure
    `unhealthy` with those.
    """
    last = ""
    seen: dict[tuple[str, str], float] = {}  # each start of a container, and since when we see it run

    def look() -> str | None:
        nonlocal last
        now = context.clock.now()
        for name, container in read().items():
            done = None if container is None else finished(name, container)
            if done:
                continue
            if container is not None and done is False:
                last = f"{container.name} has not finished yet"
                return None
            if container is None or container.state in ("exited", "dead"):
                last = container.describe() if container else f"{name} has no container any more"
                return "ended"
            if last := why_not_ready(container, url):
                return None
            since = seen.setdefault((container.id, container.started_at), now)
            if not (url or container.health) and now - since < SETTLE_S:
                last = f"{container.name} has only just started"
                return None
        return "ready"

    names = ", ".join(read())
    found = wait_for(context, lambda: _awaited(names, last, log_tail, read()), look, within=within)
    if found == "ready":
        return
    late = "" if found == "ended" else f" within {within:g} s"
    there = [container.name for container in read().values() if container is not None]
    evidence = tuple(line for name in there for line in log_tail(name))
    raise Failure(f"{names} did not become ready{late}: {last}", code="unhealthy", evidence=evidence)


def _awaited(
    names: str, last: str, log_tail: Callable[[str], tuple[str, ...]], there: Mapping[str, Container | None]
) -> str:
    """What is awaited, why it is not so yet, and the last words of those that are to answer."""
    tails = [(container.name, log_tail(container.name)) for container in there.values() if container is not None]
    words = [f"{name} says: {lines[-1].strip()[:LINE]}" for name, lines in tails if lines and lines[-1].strip()]
    return "; ".join((f"{names} to answer" + (f": {last}" if last else ""), *words))
