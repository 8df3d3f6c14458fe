"""What docker and compose say when they refuse, brought to failure codes: ladders descend by them.

Texts of Docker 20.10 to 29, of compose v2 and of the legacy `docker-compose` in Python. Pure.
"""

from __future__ import annotations

import re

from cc.errors import CommandFailure, DeadlineExceeded, Failure, ToolMissing
from cc.resources.docker_socket import RIGHT_HINT, START_HINT
from cc.shell import Result

SAID = tuple(
    (code, "(?i)" + "|".join(patterns))
    for code, patterns in (
        ("permission_denied", (r"permission denied while trying to connect", r"PermissionError\(13")),
        ("daemon_hung", (r"HTTPConnectionPool\(.*Read timed out", r"An HTTP request took too long")),
        (
            "daemon_down",
            (
                r"cannot connect to the docker daemon",
                r"failed to connect to the docker api",
                r"is the docker daemon running",
                r"error during connect",
                r"couldn't connect to docker daemon",
                r"error while fetching server api version",
                r"failed to dial",
                r"unable to parse docker host",
                r"protocol not available",  # DOCKER_HOST=npipe://, where there are no named pipes
                r"has exited with exit status \d+, (?:please )?make sure the url is valid",  # ssh://
            ),
        ),
        (
            "tool_missing",
            (
                r"is not a docker command",
                r"unknown command: docker compose",
                r"unknown shorthand flag",
                r"unknown docker command",
            ),
        ),
        (
            "port_in_use",
            (
                r"port is already allocated",
                r"address already in use",
                r"ports are not available",
                r"failed to bind host port",
            ),
        ),
        ("disk_full", (r"no space left on device",)),
        (
            "image_missing",
            (
                r"no such image",
                r"pull access denied",
                r"manifest unknown",
                r"manifest for .* not found",
                r"no matching manifest",
                r"repository .* not found",
                r"failed to resolve reference",
                r"error pulling image",
                r"unable to find image",
                r"toomanyrequests",
                r"requested access to the resource is denied",
                r"no basic auth credentials",
                r"unauthorized: ",
                r"get \"?https?://[^\"\s]+/v2/",  # the registry could not be asked: no name, no route, no time
            ),
        ),
        ("not_ours", (r"the container name .* is already in use",)),
        (
            "unhealthy",
            (r"dependency failed to start", r"didn't complete successfully", r"container .* is unhealthy"),
        ),
        (
            "bad_config",
            (
                r"yaml: ",
                r"yaml\.\w+\.\w+error",
                r"services\.\S+ ",
                r"additional propert",
                r"undefined (service|volume|network)",
                r"no such service",
                r"is not valid",
                r"invalid compose",
                r"empty compose file",
                r"is missing a value",
                r"missing mandatory value",
                r"top level object in",
                r"invalid interpolation",
                r"invalid project name",
                r"invalid reference format",
                r"file '.*' is invalid",
                r"is unsupported",
                r"unsupported config option",
                r"context not found",
                r"unable to resolve docker endpoint",
                r"no configuration file provided",
                r"(?:open|stat) .+\.ya?ml: no such file",
                r"no such file or directory: '\S+\.ya?ml'",
            ),
        ),
    )
)
"""The first that matches counts. Compiled when docker has complained of something, which it seldom does."""

OUTGROWN = r"(?i)not supported url scheme http\+docker|unexpected keyword argument '(?:chunked|ssl_version)'"
"""The legacy program beside libraries that are too new for it. It can tell its version, and do nothing."""

DOCKER_HINT = "install Docker: https://docs.docker.com/get-docker/"
COMPOSE_HINT = "install it: https://docs.docker.com/compose/install/"
HINTS = {
    "daemon_down": START_HINT,
    "permission_denied": RIGHT_HINT,
    "tool_missing": COMPOSE_HINT,
}
INSTEAD = {
    "daemon_down": "the Docker daemon is not running",
    "permission_denied": "no right to talk to the Docker daemon",
    "tool_missing": "docker compose is not installed",
}
"""Said instead of docker's own line, where that says less."""
COMPOSE_REFUSES = (14, 15)
"""Compose's own exit codes for a file that is not there and for one that it cannot use."""


def classified(failure: CommandFailure) -> Failure:
    """The failure that docker's words mean; the given one where they are unknown."""
    if isinstance(failure, ToolMissing):
        return _missing(failure)
    if isinstance(failure, DeadlineExceeded):
        return Failure(f"docker does not answer: {failure.message}", code="daemon_hung", evidence=failure.evidence)
    if failure.result is None or failure.code != "non_zero_exit":
        return failure
    return _by_its_words(failure, failure.result)


def _by_its_words(failure: CommandFailure, result: Result) -> CommandFailure:
    text = result.stderr + "\n" + result.stdout
    evidence = failure.evidence or result.tail()
    if re.search(OUTGROWN, text):
        why = f"docker-compose is broken: {_line(text, OUTGROWN)}"
        return ToolMissing(why, result=result, hint=COMPOSE_HINT, evidence=evidence)
    for code, pattern in SAID:
        if re.search(pattern, text):
            message = INSTEAD.get(code) or _line(text, pattern)
            return CommandFailure(message, result=result, code=code, hint=HINTS.get(code), evidence=evidence)
    if result.exit_code in COMPOSE_REFUSES and "compose" in " ".join(result.argv[:2]):
        said = next((line.strip() for line in result.stderr.splitlines() if line.strip()), failure.message)
        return CommandFailure(said, result=result, code="bad_config", evidence=evidence)
    return failure


def _missing(failure: ToolMissing) -> ToolMissing:
    program = "docker" if failure.result is None else failure.result.argv[0]
    broken = "the interpreter that it names" in failure.message  # which is what is missing then
    return ToolMissing(
        f"{program} is broken: {failure.message}" if broken else f"{program} is not installed (no `{program}` on PATH)",
        result=failure.result, hint=DOCKER_HINT if program == "docker" else COMPOSE_HINT, evidence=failure.evidence,
    )  # fmt: skip


def _line(text: str, pattern: str) -> str:
    """The line that says it, with the next one where that gives the reason; or what was found across lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.search(pattern, line):
            return f"{line} {following}".strip() if line.endswith("because:") else line
    across = re.search(pattern, text)
    return across[0].strip() if across else ""
