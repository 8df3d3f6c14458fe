"""A generated secret in a file of its own (0600): read back from a running container before a new one is made.

The verb `secret`. The value is never shown, and nowhere else than in that file and in the container that uses it.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from typing import Any

from cc.engine.outcome import Fallback
from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure
from cc.files import os_failure, write_whole
from cc.resources.docker import Docker
from cc.resources.host import Host, Verb
from cc.resources.secret_file import is_strong, read_secret

LENGTH = 32  # bytes of randomness; 43 characters of URL-safe base64


class Secret:
    """The file holds one line of at least 8 printable characters (or what was given), which only its owner can read."""

    probed = True

    def __init__(self, host: Host, args: Mapping[str, Any], given: str | None) -> None:
        self._path = host.path(args["path"])
        self._docker = Docker(host)
        self._container: str | None = args.get("container")
        self._variable: str | None = args.get("variable")
        self._given = given
        self.name = f"secret {os.path.basename(self._path)}"

    def probe(self, context: Context) -> Probe:
        if self._given is not None and (self._given != self._given.strip() or not self._given.isprintable()):
            what = "the password that you set has white space around it, or what cannot be printed in it"
            raise Failure(what, code="bad_config", hint="set CC_CLICKHOUSE_PASSWORD to one line without them")
        try:
            mode = os.lstat(self._path).st_mode
            value = read_secret(self._path)
        except FileNotFoundError:
            return Probe(False, f"{self._path} is not there")
        except OSError as error:
            raise os_failure(error, f"cannot read {self._path}") from error
        if stat.S_IMODE(mode) & 0o077:
            return Probe(False, f"{self._path} can be read by others ({stat.S_IMODE(mode):04o})")
        if self._given is None and not is_strong(value):
            return Probe(False, f"{self._path} does not hold a password")
        if self._given is not None and value != self._given:
            return Probe(False, f"{self._path} holds another password than the one given")
        return Probe(True, "kept")

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        value = self._given
        fallbacks: tuple[Fallback, ...] = ()
        if value is None and before.reason.endswith(")"):  # readable by others, and good otherwise
            value = read_secret(self._path)
        if self._given is None and (value is None or not is_strong(value)):
            value, fallbacks = self._read_back()
        write_whole(self._path, (value or secrets.token_urlsafe(LENGTH)).encode() + b"\n", mode=0o600)
        return Acted("read back from the running container" if fallbacks else "written", fallbacks=fallbacks)

    def _read_back(self) -> tuple[str | None, tuple[Fallback, ...]]:
        """The value that the container was given, None where there is none or Docker can't say."""
        if self._container is None or self._variable is None:
            return None, ()
        try:
            container = self._docker.container(self._container)
        except Failure:
            return None, ()  # no Docker, no container to agree with
        value = container.environ.get(self._variable) if container is not None else None
        if not value or not is_strong(value):
            return None, ()
        why = f"{os.path.basename(self._path)} was lost and read back from {self._container}"
        return value, (Fallback("password", 1, why),)


def verb(given: str | None) -> Verb:
    """The verb, knowing the password that the user set (`CC_CLICKHOUSE_PASSWORD`), if any."""
    return Verb(
        VerbSpec(
            "secret",
            (
                Field("path", "path", required=True, doc="the file that holds it"),
                Field("container", "string", doc="where to read it back from if the file is lost"),
                Field("variable", "string", doc="the environment variable of that container"),
            ),
            "a generated secret in a file of its own",
        ),
        lambda host, args: Secret(host, args, given),
    )
