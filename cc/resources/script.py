"""A script, by path or as text: run by the interpreter that its first line names, by `sh` where it names none.

The playbook's variables reach it as environment, and its text is never rewritten (`${f}` is the shell's). Text goes
through a file of its own in the run directory, removed afterwards: as `sh -s` it would be its own input, and any
command in it that reads (ssh, read, cat) would swallow the rest; as `sh -c` it would stand in `ps`. So `$0` and the
line numbers of error messages are those of a file. A script that may not be executed is run by the interpreter that it
names all the same: `sh` reading Python does harm (`import` is a program of ImageMagick's).
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cc.engine.spec import Field, VerbSpec
from cc.errors import Failure
from cc.files import os_failure
from cc.resources.command import COMMON, CommandAction, common
from cc.resources.file import encoded
from cc.resources.host import Host, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cc.engine.step import Acted, Action, Context, Probe

HEAD_BYTES = 256  # what Linux reads of a file to know its interpreter


class ScriptAction(CommandAction):
    """Runs a script where it is needed; `creates`, `unless` and `changed_when` as for a command."""

    def __init__(
        self, host: Host, *, path: str | None = None, text: str | None = None, args: tuple[str, ...] = (), **shared: Any
    ) -> None:
        name = f"script {path}" if path is not None else "script"
        variables = {**host.environ, **host.variables}
        super().__init__(replace(host, environ=variables), (path or "script",), name=name, **shared)
        self._path = path
        self._text = encoded(text or "", "text")
        self._args = args

    def check(self, context: Context, before: Probe) -> None:
        if self._path is not None and os.path.lexists(self._path):  # in a plan, an earlier step may be what makes it
            self._words(self._path)

    def act(self, context: Context, before: Probe) -> Acted:
        if self._path is not None:
            return self.run(context, self._words(self._path))
        path = self._written()
        try:
            return self.run(context, self._words(path))
        finally:
            _remove(path)

    def _written(self) -> str:
        """The text in a file that only we may read."""
        directory = self._host.run_dir or None
        path = ""
        try:
            descriptor, path = tempfile.mkstemp(prefix="script-", dir=directory)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._text)
        except OSError as error:
            if path:
                _remove(path)
            raise os_failure(error, f"cannot write the script into {directory or tempfile.gettempdir()}") from error
        return path

    def _words(self, path: str) -> tuple[str, ...]:
        """How to run that file. Raises Failure bad_config if there is none, permission_denied if it can't be read."""
        try:
            with open(path, "rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError as error:
            failure = os_failure(error, f"cannot run the script {path}")
            code = "permission_denied" if failure.code == "permission_denied" else "bad_config"
            raise Failure(failure.message, code=code, hint=f"ls -l {path}") from error
        by = interpreter(head)
        if not by and b"\0" in head:
            return (path, *self._args)  # a program
        return (*(by or ("sh",)), path, *self._args)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # it removed itself


def interpreter(head: bytes) -> tuple[str, ...]:
    """The words of a #! line, () without one. As the kernel reads it: all that follows the program is one argument."""
    line, _, _ = head.partition(b"\n")
    if not line.startswith(b"#!"):
        return ()
    return tuple(os.fsdecode(word) for word in line[2:].strip().split(None, 1))


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    return ScriptAction(
        host,
        path=None if args.get("path") is None else host.path(args["path"]),
        text=args.get("text"),
        args=tuple(args.get("args") or ()),
        **common(host, args),
    )


VERB = Verb(
    VerbSpec(
        "script",
        (
            Field("path", "path", doc="the script's file"),
            Field("text", "text", doc="the script itself; left as it is written"),
            Field("args", "strings", doc="its arguments"),
            *COMMON,
        ),
        "a script that runs each time, unless something says that it is not needed",
        positional="path",
        exactly_one=(("path", "text"),),
        probed=False,
    ),
    _make,
)
