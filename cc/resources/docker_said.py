"""What docker and compose say when they refuse, brought to failure codes: ladders descend by them.

Texts of Docker 20.10 to 29, of compose v2 and of the legacy `docker-compose` in Python. Pure.
"""

from __future__ import annotations

import re

from cc.errors import CommandFailure, DeadlineExceeded, Failure, ToolMissing
from cc.resources.docker_socket import RIGHT_HINT, START_HINT

SAID = tuple(
    (code, re.compile("|".join(patterns), re.IGNORECASE))
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
"""The first that matches counts."""

HINTS = {
    "daemon_down": START_HINT,
    "permission_denied": RIGHT_HINT,
    "tool_missing": "install it: https://docs.docker.com/compose/install/",
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
        return ToolMissing(
            "docker is not installed (no `docker` on PATH)",
            result=failure.result,
            hint="install Docker: https://docs.docker.com/get-docker/",
        )
    if isinstance(failure, DeadlineExceeded):
        return Failure(f"docker does not answer: {failure.message}", code="daemon_hung", evidence=failure.evidence)
    result = failure.result
    if result is None or failure.code != "non_zero_exit":
        return failure
    text = result.stderr + "\n" + result.stdout
    for code, pattern in SAID:
        found = pattern.search(text)
        if found:
            line = next((each for each in text.splitlines() if pattern.search(each)), found[0]).strip()
            message = INSTEAD.get(code, line)
            return CommandFailure(
                message, result=result, code=code, hint=HINTS.get(code), evidence=failure.evidence or result.tail()
            )
    if result.exit_code in COMPOSE_REFUSES and "compose" in " ".join(result.argv[:2]):
        said = next((line.strip() for line in result.stderr.splitlines() if line.strip()), failure.message)
        return CommandFailure(said, result=result, code="bad_config", evidence=failure.evidence or result.tail())
    return failure
