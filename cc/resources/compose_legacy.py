"""The program `docker-compose`: by which words it is asked, and what its first, legacy kind (1.x, in Python) needs.

Compose v2 has that name too, and is the plugin. The legacy one knows nothing that was added to the format after 2021:

    `name:` at the top   as every command says the project's name (-p), it is given the file without that line
    anything else new    is a file that this compose cannot use: as good as no compose, and said so (tool_missing). The
                         next rung reads the file itself, and tells a file that is wrong from one that is only new
    config --format      is not known: what it resolved is read from its YAML, with published ports as short text
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cc import document
from cc.errors import ConfigError, Failure, ToolMissing
from cc.resources.compose_project import Project
from cc.resources.docker_said import COMPOSE_HINT

PROGRAM = "docker-compose"
NAME = re.compile(rb"^name[ \t]*:.*$", re.MULTILINE)
LEGACY_VERSION = re.compile(r"1\.\d+\S*")


def run(project: Project, args: tuple[str, ...], options: dict[str, Any]) -> Any:
    """`docker-compose ARGS` on the project's file. Raises Failure."""
    key = ("compose file without its name", project.file)
    if not project.host.memo.get(key):
        try:
            return _run(project, project.file, args, options)
        except Failure as refusal:
            if refusal.code != "bad_config" or (version := _legacy_version(project)) is None:
                raise
            if not NAME.search(_content(project.file)):
                raise _too_old(project, version, refusal) from refusal
    try:
        with _without_name(project.file) as path:
            result = _run(project, path, args, options)
    except Failure as refusal:
        if refusal.code != "bad_config" or (version := _legacy_version(project)) is None:
            raise
        raise _too_old(project, version, refusal) from refusal
    project.host.memo[key] = True
    return result


def _run(project: Project, file: str, args: tuple[str, ...], options: dict[str, Any]) -> Any:
    where = ("--project-directory", os.path.dirname(project.file)) if file != project.file else ()
    return project.docker.program(PROGRAM, "-f", file, *where, "-p", project.name, *args, **options)


def _legacy_version(project: Project) -> str | None:
    """The version of a legacy program, None for a newer one."""
    said = project.docker.program(PROGRAM, "version", "--short").stdout.strip()
    return said if LEGACY_VERSION.fullmatch(said) else None


def _too_old(project: Project, version: str, refusal: Failure) -> ToolMissing:
    why = refusal.message.partition("is invalid because: ")[2] or refusal.message  # without the name of a copy
    return ToolMissing(
        f"docker-compose {version} cannot use {project.file}: {why}", hint=COMPOSE_HINT, evidence=refusal.evidence
    )


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(document.MAX_BYTES)
    except OSError:
        return b""  # gone since it was refused, or not ours to read: there is nothing to leave out


@contextmanager
def _without_name(file: str) -> Iterator[str]:
    """A copy whose lines stand where they stood. By standard input it would not do: `config --hash` reads it twice."""
    with tempfile.NamedTemporaryFile(prefix="cc-compose-", suffix=".yml") as copy:
        copy.write(NAME.sub(b"", _content(file), count=1))
        copy.flush()
        yield copy.name


def services(project: Project, active: frozenset[str]) -> dict[str, dict[str, Any]]:
    """What it resolved, without services whose profile nobody asked for, which stand in its print too.

    It is not given the secrets: masked, they would be no YAML. Raises Failure bad_answer for what is no such print.
    """
    text = run(project, ("config",), {"environ": dict.fromkeys(project.secrets, "hidden")}).stdout
    from cc.resources.compose_file.port import ports  # with its package 21 ms, which only the legacy program costs
    from cc.resources.compose_file.tree import grown

    try:
        root = grown(document.load(text, file="docker-compose config").root, "docker-compose config", str)
        found = {}
        for name, item in root.value["services"].value.items():
            if name in active:
                found[name] = {**item.plain(), "ports": ports(item.value["ports"]) if item.value.get("ports") else None}
    except (ConfigError, AttributeError, KeyError, TypeError) as error:
        raise Failure("docker-compose config did not answer with services", code="bad_answer") from error
    return found
