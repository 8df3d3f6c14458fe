"""The commands: parse, call, report, exit code; nothing else. Each is a task of Invoke, a word of `context-cleaner`."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from cc.bytecode import keep_bytecode

UNDER_INVOKE = os.path.basename(sys.argv[0]) in ("inv", "invoke") or sys.argv[0].endswith("invoke/__main__.py")
if UNDER_INVOKE:
    keep_bytecode()

from cc.program import heed_signals, refuse_more_than_one  # noqa: E402

if UNDER_INVOKE:  # `context-cleaner` does it earlier; who only imports this module keeps the handlers that it has
    heed_signals()

from invoke import Collection, task  # noqa: E402
from invoke.parser import Parser  # noqa: E402
from invoke.program import Program  # noqa: E402

from cc.command_line import Manner, Options, end, fill_closed_streams, perform, refuse  # noqa: E402, F401 - for cc.program too
from cc.errors import UsageError  # noqa: E402

COMMON: tuple[tuple[str, Any, str], ...] = (
    ("json", False, "one JSON document on stdout, and nothing else there"),
    ("events", None, "JSON lines as things happen, to this file (- is stdout)"),
    ("junit", None, "write a JUnit report to this file"),
    ("strict", False, "exit 3 when degraded"),
    ("timeout", None, "seconds that the whole command may take"),
    ("lock_timeout", None, "seconds to wait for another run (default 0)"),
    ("quiet", False, "say only what went wrong"),
    ("verbose", False, "say more: evidence, differences"),
    ("no_color", False, "no colour (also: NO_COLOR)"),
)
FLAGS = {
    name: inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
    for name, default, _ in COMMON
}
HELPS = {name.replace("_", "-"): text for name, _, text in COMMON}


def command(body: Callable[..., Any] | None = None, **about: Any) -> Any:
    """A task that has the common flags besides its own. Its body gets Options and its own flags."""
    if body is None:
        return lambda given: command(given, **about)
    own = {name: parameter for name, parameter in inspect.signature(body).parameters.items() if name != "options"}
    ours = {name: flag for name, flag in FLAGS.items() if name not in own}

    def run(context: Any, **given: Any) -> None:
        options = Options(**{name: given.pop(name) for name in ours if name in given})
        if UNDER_INVOKE:
            try:
                _refuse_what_invoke_takes(context)
            except UsageError as error:
                refuse(error, json=options.json)
        body(options, **given)

    run.__name__, run.__doc__, run.__module__ = body.__name__, body.__doc__, body.__module__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD), *own.values(), *ours.values()]
    )
    helps = HELPS | about.pop("help", {})
    return task(run, help=helps, auto_shortflags=False, **about)


def _refuse_what_invoke_takes(context: Any) -> None:
    """Words of `invoke` that our commands would pass over in silence. Raises UsageError."""
    if context.config.run.dry:
        raise UsageError("--dry is not for these commands", field="--dry", hint="invoke plan says what would change")
    tasks = Collection.from_module(sys.modules[__name__])
    names = {*tasks.task_names, *tasks.tasks.aliases}
    if sum(word in names for word in sys.argv[1:]) < 2:
        return  # to parse it once more would take as long as all the rest of a short command
    parser = Parser(initial=Program().initial_context, contexts=tasks.to_contexts())
    refuse_more_than_one([asked.name or "" for asked in parser.parse_argv(sys.argv[1:])[1:]], "invoke")


READS = Manner(reads=True)
LOOKS = {
    "events": "refused: no steps are run",
    "junit": "refused: no steps are run",
    "lock-timeout": "of no matter: no other run is waited for",
    "quiet": "nothing on stdout: the exit code speaks (the document of --json stays)",
}
BESIDE = {"quiet": "the lines alone: nothing beside them on stderr"}
SHOWS = {"quiet": "refused: nothing would be left"}
SERVICE = {"service": "only these: clickhouse, collector, dashboard (separated by commas)"}


@command(
    aliases=("run",),
    help={
        **SERVICE,
        "no-docker": "leave the containers out",
        "no-wait": "do not wait until what was started answers",
        "no-supervisor": "manage the services from this process",
    },
)
def up(options: Options, service=None, no_docker=False, no_wait=False, no_supervisor=False):  # type: ignore[no-untyped-def]
    """Bring the stack up; fall back where it must, and say so."""
    from cc.operations import up as operate

    perform(
        "up",
        options,
        lambda session: operate(session, service, docker=not no_docker, wait=not no_wait, supervised=not no_supervisor),
    )


@command(aliases=("stop",), help={**SERVICE, "volumes": "remove the stored data too"})
def down(options: Options, service=None, volumes=False):  # type: ignore[no-untyped-def]
    """Stop all that is ours, and prove it."""
    from cc.operations import down as operate

    perform("down", options, lambda session: operate(session, service, volumes=volumes))


@command(help=SERVICE)
def restart(options: Options, service=None):  # type: ignore[no-untyped-def]
    """Stop and start services."""
    from cc.operations import restart as operate

    perform("restart", options, lambda session: operate(session, service))


@command(
    help={
        **LOOKS,
        "watch": "again every two seconds, until Ctrl-C; with --json one document a line",
    }
)
def status(options: Options, watch=False):  # type: ignore[no-untyped-def]
    """Services, their health, who holds what, what is degraded and why."""
    from cc.operations import status as operate

    manner = Manner(reads=True, follows=watch, shows=watch)
    perform("status", options, lambda session: operate(session, watch=watch), manner)


@command(
    help={
        **LOOKS,
        **SERVICE,
        "json": "one JSON document: each service with its rung, took_ms, metrics and reason",
        "strict": "exit 3 when a service is degraded (without it 0; 1 when one is unhealthy or unknown)",
    }
)
def health(options: Options, service=None):  # type: ignore[no-untyped-def]
    """Ask each service for its health now: which check answered, how fast, its metrics. Exit 1 unless all answer."""
    from cc.operations import health as operate

    perform("health", options, lambda session: operate(session, service), READS)


@command(
    positional=["service"],
    help={
        **LOOKS,
        **BESIDE,
        "service": "clickhouse, collector, dashboard or supervisor",
        "lines": "how many of the last lines (default 100; 0: none)",
        "follow": "go on with what comes, also when the file is rotated or the container started again; Ctrl-C ends it",
        "json": 'a JSON object a line: {"service", "stream", "line"}; stream is stdout, stderr, or log for a process',
    },
)
def logs(options: Options, service, lines="100", follow=False):  # type: ignore[no-untyped-def]
    """What a service wrote, container or process."""
    from cc.operations import logs as operate

    manner = Manner(reads=True, follows=follow)
    perform("logs", options, lambda session: operate(session, service, lines=lines, follow=follow), manner)


@command(
    help={
        **LOOKS,
        **BESIDE,
        "lines": "how many of the last entries (default 50, with --since all; 0: none)",
        "since": "only entries from then on: 10m, 2h, 7d, or a time such as 2026-01-31T14:00",
        "service": "only these: clickhouse, collector, dashboard, supervisor (separated by commas)",
        "follow": "go on with what happens; Ctrl-C ends it",
        "json": "JSON lines, as they are in the journal",
    }
)
def events(options: Options, lines=None, since=None, service=None, follow=False):  # type: ignore[no-untyped-def]
    """What happened: runs, steps, fallbacks, restarts, alerts."""
    from cc.operations import events as operate

    asked = {"lines": lines, "since": since, "service": service, "follow": follow}
    perform("events", options, lambda session: operate(session, **asked), Manner(reads=True, follows=follow))


@command(
    help={
        **LOOKS,
        "quiet": "no table: the exit code speaks (JSON and CSV stay)",
        "strict": "exit 3 when ClickHouse could not be asked, or when what `ingest` wrote there, a file or a directory"
        " could not be read (a line that was skipped is no reason)",
        "by": "day, week, month, model, project, session or block (of five hours)",
        "since": "first day: 2026-01-31, yesterday or 7d; or a time, or 36h",
        "until": "last day, or a time",
        "model": "only this model, or a pattern such as '*haiku*'",
        "project": "only this project, or a pattern",
        "source": "auto, clickhouse, cache or files",
        "tz": "time zone of the days: Europe/Berlin, UTC, +02:00 (default: this machine's)",
        "limit": "rows of the table, the rest added up in one (default 40 on a terminal; 0: all)",
        "csv": "the rows as CSV",
        "explain": "which requests files, telemetry or both know, by model, and what files under-reported",
    }
)
def usage(
    options: Options,
    by="day",
    since=None,
    until=None,
    model=None,
    project=None,
    source="auto",
    tz=None,
    limit=None,
    csv=False,
    explain=False,
):  # type: ignore[no-untyped-def]
    """Tokens and cost of Claude Code sessions."""
    from cc.operations import usage as operate

    asked = {"by": by, "since": since, "until": until, "model": model, "project": project, "source": source, "tz": tz}
    perform("usage", options, lambda session: operate(session, asked, csv=csv, explain=explain, limit=limit), READS)


@command(
    iterable=["path"],
    help={
        **LOOKS,
        "path": "a file, a directory, or - for stdin (the default); may be given again",
        "model": "whose tokens (default claude-opus-5)",
        "by": "file: a table of the files, the largest first",
        "budget": "tokens of a context: what of it is taken, and whether all fit (exit 1 if they do not)",
        "strict": "exit 3 when a better count failed, or when the texts may or may not fit into the budget",
        "offline": "estimate; without it, and only where ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN is set, the texts"
        " are sent to Anthropic to be counted (at most 20 texts and 4,000,000 characters)",
        "exact": "estimate from all of a text past 1 MB, not from samples of it",
    },
)
def tokens(  # type: ignore[no-untyped-def]
    options: Options, path=None, model=None, by=None, budget=None, offline=False, exact=False
):
    """How many tokens texts are: counted by Anthropic, or estimated with the error stated."""
    from cc.operations import tokens as operate

    asked = {"path": path or (), "model": model, "by": by, "budget": budget, "offline": offline, "exact": exact}
    perform("tokens", options, lambda session: operate(session, asked), READS)


@command(
    help={
        **LOOKS,
        "json": "one JSON document: what was read, what was written, what was there already",
        "strict": "exit 3 when a file or directory could not be read: the store may lack what it tells (--follow"
        " goes on)",
        "follow": "and then what is new in them every two seconds, until Ctrl-C; with --json one document a line",
    }
)
def ingest(options: Options, follow=False):  # type: ignore[no-untyped-def]
    """Load what the session files tell into ClickHouse; twice is once."""
    from cc.operations import ingest as operate

    perform("ingest", options, lambda session: operate(session, following=follow), Manner(reads=True, follows=follow))


@command(
    help={
        "of": "up, down, restart, or a playbook file",
        **SERVICE,
        "no-docker": "of an up that leaves the containers out",
        "no-supervisor": "of an up that manages the services from its own process",
        "diff": "show what would change in files",
        "detailed-exitcode": "exit 5 when changes are pending",
    }
)
def plan(
    options: Options, of="up", service=None, no_docker=False, no_supervisor=False, diff=False, detailed_exitcode=False
):  # type: ignore[no-untyped-def]
    """What would change, and which rung would be taken; touches nothing."""
    from cc.operations import plan as operate

    options = options._replace(verbose=options.verbose or diff, detailed_exitcode=detailed_exitcode)
    perform(
        "plan",
        options,
        lambda session: operate(session, of, service, docker=not no_docker, supervised=not no_supervisor, diff=diff),
    )


@command(
    positional=["file"],
    iterable=["set"],
    help={
        "file": "the playbook",
        "tags": "only steps with one of these tags (separated by commas)",
        "start-at": "begin at this step",
        "set": "KEY=VALUE, a variable of the playbook; may be given again",
    },
)
def play(options: Options, file, tags=None, start_at=None, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Run any playbook."""
    from cc.operations import play as operate

    given = tuple(set or ())
    perform("play", options, lambda session: operate(session, file, tags=tags, start_at=start_at, given=given))


@command(
    help={
        "only": "only these ladders or rungs: L3,L5.3 (separated by commas)",
        "list": "name the drills, and play none",
        "random": "blow after blow at random instead, and what must hold after each",
        "minutes": "for so long (with --random, default 2)",
        "seed": "which blows, to repeat them (with --random)",
    }
)
def drill(options: Options, only=None, list=False, random=False, minutes=None, seed=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Break things on purpose, in a stack beside yours, and show that each fallback holds."""
    from cc.drill_command import drill as operate
    from cc.drill_command import drill_at_random

    if random or minutes is not None or seed is not None:
        perform(
            "drill", options, lambda session: drill_at_random(session, only, minutes, seed, asked=random, listing=list)
        )
    perform("drill", options, lambda session: operate(session, only, listing=list), Manner(reads=list, shows=list))


@command(help={**LOOKS, **SHOWS})
def env(options: Options):  # type: ignore[no-untyped-def]
    """The lines to `eval` so that Claude Code sends its telemetry here."""
    from cc.operations import env as operate

    perform("env", options, operate, Manner(reads=True, shows=True))


@command(help={**LOOKS, **SHOWS, "kind": "systemd or launchd (default: what this machine has)"})
def unit(options: Options, kind=None):  # type: ignore[no-untyped-def]
    """Print a unit that lets systemd or launchd start the supervisor."""
    from cc.operations import unit as operate

    perform("unit", options, lambda session: operate(session, kind), Manner(reads=True, shows=True))


@command(
    help={
        **LOOKS,
        "quiet": "do not say where it is",
        "port": "where to listen (default: the first of CC_DASHBOARD_PORTS)",
    }
)
def dashboard(options: Options, port=None):  # type: ignore[no-untyped-def]
    """Serve the dashboard in the foreground."""
    from cc.operations import dashboard as operate

    perform("dashboard", options, lambda session: operate(session, port), Manner(reads=True, follows=True))
