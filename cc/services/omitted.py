"""What the user has left out (`up --no-docker`), so that `status` and `health` call it that, and not degraded.

    left-out.json   {NAME: "left out" | "reached"}

    up, restart reached it     reached
    up --no-docker             left out, unless it was reached: to leave alone what runs is not to do without it
    up, restart in vain; down  nothing is known of it

Only of what does not run is it asked. A file that is lost costs that word, and nothing else.
"""

from __future__ import annotations

import json
import os

from cc.engine.outcome import Recap, Status
from cc.errors import Failure
from cc.files import write_whole
from cc.resources.state import StateDir
from cc.services.selection import BY_FLAG, NO_DOCKER
from cc.services.stack import BY_NAME

FILE = "left-out.json"
LARGEST = 4096
LEFT_OUT, REACHED = "left out", "reached"


def left_out(state: StateDir, name: str) -> str:
    """Why the user does without this service, "" if he does not."""
    return NO_DOCKER if _known(state).get(name) == LEFT_OUT else ""


def note(state: StateDir, command: str, services: tuple[str, ...], recap: Recap) -> str | None:
    """Keep what this run says of it. Returns why it could not be kept, for people."""
    before = _known(state)
    now = {name: word for name, word in before.items() if command != "down" or name not in services}
    for step in recap.steps if command in ("up", "restart") else ():
        if step.name not in BY_NAME:
            continue
        if step.outcome.status in (Status.OK, Status.CHANGED):
            now[step.name] = REACHED
        elif step.outcome.reason == NO_DOCKER:
            now.setdefault(step.name, LEFT_OUT)
        elif step.outcome.reason != BY_FLAG:
            now.pop(step.name, None)
    if now == before:
        return None
    try:
        write_whole(os.path.join(state.path, FILE), json.dumps(now).encode(), durable=False)
    except Failure as failure:
        return failure.message
    return None


def _known(state: StateDir) -> dict[str, str]:
    try:
        with open(os.path.join(state.path, FILE), "rb") as file:
            told = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
