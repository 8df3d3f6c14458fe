"""Which program cannot be used, and why: docker or compose is not installed, or it is there and broken.

A tool that cannot start is a tool that is missing: ladders go on to the next one. How one command ended does not tell
(a container's own exit code may be 127, a build may print a traceback), so the program is asked for its version, which
needs no engine and no file. Only one that cannot even tell that is broken.

    docker --version          docker, and every plugin depends on it
    docker compose version    the plugin. One that docker itself found to be no plugin is to docker as if it weren't
                              there, and it says why only in `docker --help`
    docker-compose version    the program of compose's own name
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from cc.errors import (
    CommandFailure,
    Failure,
    Interrupted,
    NonZeroExit,
    PermissionDenied,
    ToolMissing,
)
from cc.resources.docker_said import COMPOSE_HINT, DOCKER_HINT
from cc.shell import Result

Ask = Callable[..., Result]
"""Run a program of these words. Raises CommandFailure."""

DOCKER, PLUGIN, LEGACY = "docker", "docker compose", "docker-compose"
VERSION = {DOCKER: ("docker", "--version"), PLUGIN: ("docker", "compose", "version"), LEGACY: (LEGACY, "version")}
HINTS = {DOCKER: DOCKER_HINT, PLUGIN: COMPOSE_HINT, LEGACY: COMPOSE_HINT}
INVALID = re.compile(r"^Invalid Plugins:\n(?:.+\n)*?[ \t]+compose\*?[ \t]+(.+)", re.MULTILINE)
FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})
"""Signals by which somebody else, or a machine out of memory, ends a program that is well."""


def explained(failure: Failure, argv: tuple[str, ...], ask: Ask) -> Failure:
    """The failure of this command; where its program cannot be used, one of tool_missing that says which and how."""
    program = _program(argv)
    if isinstance(failure, ToolMissing):
        if program == PLUGIN and why_broken(DOCKER, ask) is None:
            return ToolMissing(
                "docker compose is not installed", result=failure.result, hint=COMPOSE_HINT, evidence=failure.evidence
            )
        return failure
    if failure.code == "tool_missing":
        return _plugin(failure, ask) if program == PLUGIN else failure
    if failure.code == "non_zero_exit" or isinstance(failure, PermissionDenied):
        for each in (DOCKER, PLUGIN) if program == PLUGIN else (program,):
            if (why := why_broken(each, ask)) is not None:
                return _broken(each, why, failure)
    return failure


def why_broken(program: str, ask: Ask) -> str | None:
    """What its attempt to tell its version ended with; None where it told it, and where nobody can know."""
    try:
        ask(*VERSION[program])
    except Interrupted:
        raise
    except CommandFailure as wrong:
        known = isinstance(wrong, (NonZeroExit, PermissionDenied, ToolMissing))
        from_outside = wrong.result is not None and wrong.result.exit_code in FROM_OUTSIDE
        return wrong.message if known and not from_outside else None
    return None


def _program(argv: tuple[str, ...]) -> str:
    return PLUGIN if argv[:2] == ("docker", "compose") else argv[0]


def _plugin(failure: Failure, ask: Ask) -> Failure:
    try:
        help_ = ask("docker", "--help")
    except Interrupted:
        raise
    except CommandFailure:
        return failure
    found = INVALID.search(f"{help_.stdout}\n{help_.stderr}")
    return failure if found is None else _broken(PLUGIN, found[1].strip(), failure)


def _broken(program: str, why: str, failure: Failure) -> Failure:
    result = failure.result if isinstance(failure, CommandFailure) else None
    evidence = failure.evidence if isinstance(failure, CommandFailure) else ()
    return ToolMissing(f"{program} is broken: {why}", result=result, hint=HINTS[program], evidence=evidence)
