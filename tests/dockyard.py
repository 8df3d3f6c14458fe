"""A project of one's own on the real engine, with images from a registry of one's own; nothing of it stays."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cc.clock import Cancel, SystemClock
from cc.engine.outcome import Status
from cc.engine.step import Context, Judged, run_action
from cc.errors import Failure
from cc.resources.host import Host, Verb
from cc.shell import Faults, SystemShell

OWNER = "cc.owner"
PROJECT = "com.docker.compose.project"


def docker(*words: str) -> str:
    """What docker says; it must go well."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Yard:
    """`ensure` a verb with arguments in a directory, as a project that nobody else has."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.project = f"ccyard-{uuid.uuid4().hex[:10]}"
        self.owner = f"{self.project}:test"
        self.by = "docker compose"
        self.cancel = Cancel()
        self.said: list[str] = []
        self.notes: list[str] = []

    def host(self, *, faults: str = "", environ: Mapping[str, str] | None = None, wait: bool = True) -> Host:
        shell = SystemShell(cancel=self.cancel, faults=Faults.parse(faults) if faults else None)
        return Host(
            shell, str(self.dir), {**os.environ, **(environ or {})}, project=self.project, owner=self.owner,
            run_dir=str(self.dir), log_dir=str(self.dir), wait=wait,
        )  # fmt: skip

    @property
    def context(self) -> Context:
        return Context(
            SystemClock(), self.cancel, say=lambda what, elapsed, within: self.said.append(what), note=self.notes.append
        )

    def ensure(self, verb: Verb, args: Mapping[str, Any], **host: Any) -> Judged:
        """As a step would; fields that are left out have their defaults."""
        fields = {field.name: field.default for field in verb.spec.fields}
        return run_action(verb.make(self.host(**host), {**fields, **args}), self.context)

    def status(self, verb: Verb, args: Mapping[str, Any], **host: Any) -> str:
        """The status, or the code of the failure."""
        try:
            return self.ensure(verb, args, **host).status.value
        except Failure as failure:
            return failure.code

    def containers(self, *, running: bool = False) -> dict[str, str]:
        """Of this project: service or name, and id."""
        listed = docker(
            "ps", "-aq" if not running else "-q", "--no-trunc", "--filter", f"label={PROJECT}={self.project}"
        )
        found = {}
        for each in listed.split():
            told = json.loads(docker("inspect", each))[0]
            found[told["Config"]["Labels"]["com.docker.compose.service"]] = each
        return found

    def clean(self) -> None:
        self.cancel.close()
        for label in (f"{PROJECT}={self.project}", f"{OWNER}={self.owner}"):
            for kind, listed, remove in (
                ("container", ("-aq",), ("rm", "-fv")),
                ("network", ("-q",), ("rm",)),
                ("volume", ("-q",), ("rm", "-f")),
            ):
                found = docker(kind, "ls", *listed, "--filter", f"label={label}").split()
                volumes = (
                    docker("inspect", "--format", VOLUMES, *found).split() if found and kind == "container" else []
                )
                if found:
                    docker(kind, *remove, *found)
                # One without a name that went on to another container is known by its name there: `-v` leaves it.
                for left in set(volumes) & set(docker("volume", "ls", "-q").split()):
                    docker("volume", "rm", "-f", left)


VOLUMES = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'


@contextmanager
def yard(directory: Path) -> Iterator[Yard]:
    made = Yard(directory)
    try:
        yield made
    finally:
        made.clean()


CHANGED, OK = Status.CHANGED.value, Status.OK.value
