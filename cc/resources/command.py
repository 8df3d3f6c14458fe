"""A command, and what tells whether it is needed: `creates`, `unless`, `changed_when`.

none of them                no probe: it always runs and says `changed`
creates, unless             the probe, before and after; any of them that holds is enough
changed_when                no probe: it runs, and what it ended with says ok or changed
creates, unless, and        the probe before; after the command, what it ended with says ok or changed.
  changed_when              (`unless` is then a guard - "there is nothing to prune" - and no goal.)
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from cc.engine.spec import ChangedWhen, Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.errors import ToolMissing
from cc.resources.host import Host, Verb
from cc.shell import Command
from cc.shell.failures import non_zero, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cc.shell import Result

COMMAND_S = 600.0
PROBE_S = 5.0


class CommandAction:
    """Runs a command across the seam, where it is needed."""

    def __init__(
        self,
        host: Host,
        argv: tuple[str, ...],
        *,
        name: str | None = None,
        creates: str | None = None,
        unless: str | None = None,
        changed_when: ChangedWhen | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = COMMAND_S,
    ) -> None:
        self.name = name or show(Command(argv, secrets=host.secrets).masked_argv)
        self.probed = creates is not None or unless is not None
        self._host = host
        self._argv = argv
        self._creates = creates
        self._unless = unless
        self._changed_when = changed_when
        self._cwd = cwd or host.base or None
        self._env = env or {}
        self._deadline = deadline
        self._ended: Acted | None = None  # between the act and the probe after it

    def probe(self, context: Context) -> Probe:
        ended, self._ended = self._ended, None
        # An answer is told only where `changed_when` decides: elsewhere, needed before and not after is a change.
        answer = None if self._changed_when is None else "as before"
        if ended is not None and self._changed_when is not None:
            return Probe(True, ended.reason, "changed" if ended.changed else answer, evidence=ended.evidence)
        if self._creates is not None and os.path.lexists(self._creates):
            return Probe(True, f"{self._creates} exists", answer)
        reason = "" if self._creates is None else f"{self._creates} does not exist"
        if self._unless is None:
            return Probe(False, reason, answer)
        result = self._host.shell.run(self._command(("sh", "-c", self._unless), context.left(PROBE_S), check=False))
        if result:
            return Probe(True, f"`{result.argv[-1]}` holds", answer)
        reason = " and ".join(filter(None, (reason, f"`{result.argv[-1]}` exits with {result.exit_code}")))
        hint = None if ended is None else "if `unless` only says when to leave it out, add `changed_when`"
        return Probe(False, reason, answer, evidence=result.tail(), hint=hint)

    def check(self, context: Context, before: Probe) -> None:
        pass

    def rehearse(self, context: Context) -> None:
        """Whether there is such a program (engine/plan.py); faults are met by trying only. Raises ToolMissing."""
        path = {**os.environ, **self._host.environ, **self._env}.get("PATH")
        program = self._argv[0]
        if "/" not in program and shutil.which(program, path=path) is None:
            raise ToolMissing(f"{program} is not installed (not on PATH)")

    def act(self, context: Context, before: Probe) -> Acted:
        return self.run(context, self._argv)

    def run(self, context: Context, argv: tuple[str, ...]) -> Acted:
        """Run it, and judge its end by `changed_when`. Raises what the seam raises."""
        judge = self._changed_when or ChangedWhen()
        matches = _Matches(judge.stdout_matches)
        command = self._command(argv, context.left(self._deadline), check=judge.exit_code is None, matches=matches)
        result = self._host.shell.run(command)
        if result.exit_code not in (0, judge.exit_code):
            raise non_zero(result)
        reason, changed = f"`{self.name}` ended well", True
        if judge.exit_code is not None and result.exit_code != judge.exit_code:
            reason, changed = f"exit code {result.exit_code}, which is not the {judge.exit_code} of a change", False
        elif judge.stdout_matches is not None and not matches.found_in(result):
            reason, changed = f"its output does not match {judge.stdout_matches!r}", False
        acted = Acted(reason, changed, result.tail())
        self._ended = acted
        return acted

    def _command(
        self, argv: tuple[str, ...], deadline: float, *, check: bool, matches: _Matches | None = None
    ) -> Command:
        return Command(
            argv,
            env={**self._host.environ, **self._env},
            cwd=self._cwd,
            deadline=deadline,
            secrets=self._host.secrets,
            check=check,
            on_line=matches.look if matches is not None and matches.wanted is not None else None,
        )


class _Matches:
    """Looks for a regular expression in each line as it comes, since a long output is not kept whole."""

    def __init__(self, pattern: str | None) -> None:
        self.wanted = None if pattern is None else re.compile(pattern, re.MULTILINE)
        self._found = False

    def look(self, stream: str, line: str) -> None:
        if not self._found and stream == "stdout" and self.wanted is not None:
            self._found = self.wanted.search(line) is not None

    def found_in(self, result: Result) -> bool:
        """In a line, or across lines in what was kept."""
        return self._found or (self.wanted is not None and self.wanted.search(result.stdout) is not None)


def common(host: Host, args: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `command` and `script` share, as CommandAction takes them."""
    return {
        "creates": None if args.get("creates") is None else host.path(args["creates"]),
        "unless": args.get("unless"),
        "changed_when": args.get("changed_when"),
        "cwd": None if args.get("cwd") is None else host.path(args["cwd"]),
        "env": args.get("env"),
        "deadline": COMMAND_S if args.get("deadline") is None else args["deadline"],
    }


COMMON = (
    Field("creates", "path", doc="it is not needed once this exists"),
    Field("unless", "string", doc="a line of sh: it is not needed while this exits with 0"),
    Field("cwd", "path", doc="working directory; the playbook's where it is left out"),
    Field("env", "mapping", doc="environment, added to the run's"),
    Field("deadline", "duration", default=COMMAND_S, doc="how long it may take"),
)


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    return CommandAction(host, tuple(args["run"]), **common(host, args))


VERB = Verb(
    VerbSpec(
        "command",
        (
            Field(
                "run", "words", required=True, doc='[argv], or "words" split as a shell would, without its expansions'
            ),
            *COMMON,
        ),
        "a command that runs each time, unless something says that it is not needed",
        positional="run",
        probed=False,
    ),
    _make,
)
