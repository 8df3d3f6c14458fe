"""What each command does: from its words to an Answer or a Recap. One function a command; tasks.py calls them.
That of `drill` is in drill_command.py.

May import everything below tasks.py; each imports what it needs when it is called, so that `status` stays instant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cc.command_line import Answer, Session
from cc.errors import UsageError

if TYPE_CHECKING:
    from cc.engine.outcome import Recap
    from cc.services.orchestrator import Operation
    from cc.services.stack import Stack


def stack_of(session: Session) -> Stack:
    """This project's stack, with the real seam behind it."""
    from cc.services.stack import stack_for

    return stack_for(session.settings, dict(os.environ), clock=session.clock, cancel=session.cancel)


def _operate(session: Session, operation: Operation, *, supervised: bool = True) -> Recap:
    """The stack's own operations: by its supervisor where that is possible (LADDERS.md, L1)."""
    from cc.resources.state import Journal
    from cc.supervisor.control import Control

    stack = stack_of(session)
    heard = list(session.listeners())
    journal = Journal(stack.state.journal)
    direct = [*heard, lambda event: journal.append(event.as_dict())]
    return Control(stack, heard, direct, os.getcwd()).run(operation, supervised=supervised)


def _operation(session: Session, command: str, service: str | None = None, **more: Any) -> Operation:
    from cc.services.orchestrator import Operation
    from cc.services.stack import chosen, stack_root

    return Operation(
        command=command,
        file=os.path.join(stack_root(), "playbooks", f"{command}.yml"),
        services=chosen(service),
        timeout=session.options.timeout_s(),
        lock_timeout=session.options.lock_timeout_s(),
        **more,
    )


def up(session: Session, service: str | None, *, docker: bool, wait: bool, supervised: bool) -> Recap:
    """Bring the stack up."""
    return _operate(session, _operation(session, "up", service, docker=docker, wait=wait), supervised=supervised)


def down(session: Session, service: str | None, *, volumes: bool) -> Recap:
    """Stop all that is ours. Bounded to 2 minutes unless `--timeout` says otherwise (DESIGN.md, "Deadlines")."""
    import dataclasses

    operation = _operation(session, "down", service, volumes=volumes)
    if volumes and not operation.everything:
        raise UsageError(
            "--volumes removes all data, --service stops a part", field="--volumes", hint="give one of them"
        )
    if operation.timeout is None:
        operation = dataclasses.replace(operation, timeout=120.0)
    return _operate(session, operation)


def restart(session: Session, service: str | None) -> Recap:
    """Stop and start services."""
    return _operate(session, _operation(session, "restart", service))


def plan(session: Session, of: str, service: str | None, *, docker: bool, supervised: bool, diff: bool) -> Recap:
    """What `of` would do: up, down, restart, or a playbook file; `docker` and `supervised` are an up's.

    Raises UsageError for a flag that `of` does not have, and for a `diff` that nobody would see.
    """
    import dataclasses

    from cc.services.orchestrator import PLAYBOOKS
    from cc.supervisor.control import Control

    flags = {
        "--service": service is not None and of not in PLAYBOOKS,
        "--no-docker": not docker and of != "up",
        "--no-supervisor": not supervised and of != "up",
    }
    for flag in (flag for flag, wrong in flags.items() if wrong):
        raise UsageError(f"{flag} is not for a plan of {of}", field=flag)
    if diff and session.options.quiet and not session.options.json:
        raise UsageError("--diff shows something, and --quiet would leave nothing of it", field="--diff")
    operation = _operation(session, of if of in PLAYBOOKS else "up", service, docker=docker)
    if of not in PLAYBOOKS:
        operation = dataclasses.replace(operation, command="play", file=_playbook(of, "--of"))
    heard = list(session.listeners())
    return Control(stack_of(session), heard, heard, os.getcwd()).plan(operation, supervised=supervised)


def play(session: Session, file: str, *, tags: str | None, start_at: str | None, given: Sequence[str]) -> Recap:
    """Run any playbook."""
    import dataclasses

    from cc.resources.state import Journal
    from cc.services.orchestrator import Orchestrator

    operation = dataclasses.replace(
        _operation(session, "up"),
        command="play",
        file=_playbook(file, "FILE"),
        set_vars=_variables(given),
        tags=tuple(word.strip() for word in (tags or "").split(",") if word.strip()),
        start_at=start_at,
    )
    stack = stack_of(session)
    return Orchestrator(stack, list(session.listeners(Journal(stack.state.journal).append))).run(operation)


def _playbook(path: str, field: str) -> str:
    if not os.path.exists(path):
        raise UsageError(f"there is no playbook {path}", field=field, hint="give the path of a YAML file")
    return path


def _variables(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--set wants KEY=VALUE, not {word!r}", field="--set")
        pairs[key] = value
    return pairs


def status(session: Session, *, watch: bool) -> Answer | None:
    """Services and their health now: by the supervisor, which answers at once, or looked at from here."""
    from cc.report.status import status_document, status_text
    from cc.supervisor.standing import standing

    stack = stack_of(session)

    def look(*, typed: bool = True) -> Answer:
        document = status_document(*standing(stack, typed=typed))
        text = "" if session.options.json else status_text(document)
        return Answer(document, text, 3 if session.options.strict and document["degraded"] else 0)

    if not watch:
        return look()
    _watch(session, look)
    return None


def _watch(session: Session, look: Callable[..., Answer]) -> None:
    """Again every two seconds, until interrupted or unread: a line of JSON, or a table and an empty line."""
    import json

    from cc.errors import Interrupted
    from cc.feed import Feed

    feed = Feed(session)
    typed = True  # the first round is; whoever looks at the others has time, and need not wait for one that is silent
    with feed.until_unread():
        while session.cancel.requested is None:
            answer = look(typed=typed)
            told = json.dumps(answer.document, ensure_ascii=False) if session.options.json else answer.text
            feed.line(told if session.options.json else f"{told}\n")
            typed = False
            session.clock.wait(2.0, session.cancel)
        raise Interrupted("nobody watches any more")


def usage(session: Session, asked: Mapping[str, Any], *, csv: bool, explain: bool, limit: str | None) -> Answer:
    """Tokens and cost of Claude Code sessions."""
    from cc.usage_command import answer

    shown = None if limit is None else _count(limit, "--limit")
    return answer(session, asked, csv=csv, explain=explain, limit=shown)


def tokens(session: Session, asked: Mapping[str, Any]) -> Answer:
    """How many tokens texts are. Exit code 1 if one that was to be counted could not be read (the total lacks it) or if
    all do not fit into the budget; 3, with --strict, if the count is degraded or it is not sure that they fit.
    """
    from cc.resources.breakers import Breakers
    from cc.resources.state import StateDir
    from cc.tokens.api import Account, Counter
    from cc.tokens.ladder import count
    from cc.tokens.model import parse
    from cc.tokens.pieces import FILE

    state = StateDir(session.settings.home, session.settings.project)
    account = Account.of(os.environ, session.settings.tokens_timeout)
    counter = Counter(account, Breakers(state.path, clock=session.clock), session.clock, session.cancel, _aside)
    counted = count(parse(**asked), counter, session.settings.tokens_data or FILE)
    text = ""
    if not session.options.json:
        from cc.report.tokens import tokens_text

        text = tokens_text(counted, session.console.width)
    fits = "yes" if counted.budget is None else counted.budget["fits"]
    code = 3 if session.options.strict and (counted.degraded or fits == "unsure") else 0
    return Answer(counted.as_dict(), text, 1 if counted.coverage.unreadable or fits == "no" else code)


def _aside(line: str) -> None:
    """For a person who waits at a terminal, and nobody else."""
    if sys.stderr.isatty():
        sys.stderr.write(line + "\n")


def ingest(session: Session, *, following: bool) -> Answer | None:
    """The session files' requests into the store, once or until interrupted."""
    from cc.ingest_command import answer, follow

    if not following:
        return answer(session)
    follow(session)
    return None


def env(session: Session) -> Answer:
    """What Claude Code needs in its environment to send its telemetry here: lines for `eval`."""
    variables = {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{session.settings.otlp_http_port}",
    }
    text = "\n".join(f"export {name}={value}" for name, value in variables.items())
    return Answer({"env": variables}, text)


def unit(session: Session, kind: str | None) -> Answer:
    """The file that lets the machine's own init start the supervisor, and how to install it; nothing is installed."""
    from cc.supervisor.unit import KINDS
    from cc.supervisor.unit import unit as make

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind must be one of {', '.join(KINDS)}, not {kind!r}", field="--kind")
    made = make(session.settings, os.environ, os.getcwd(), kind)
    hint = "\n".join(
        ("to install it:", f"  context-cleaner unit > {made.path}", *(f"  {line}" for line in made.commands))
    )
    if sys.stdout.isatty() and not session.options.json:
        sys.stderr.write(hint + "\n")
    return Answer(made.as_dict(), made.text.rstrip("\n"))


def dashboard(session: Session, port: str | None) -> Answer:
    """Serve the dashboard from this process until it is interrupted."""
    from cc.dashboard.__main__ import listen, serve
    from cc.errors import Failure
    from cc.resources.port import refuse_if_held

    host, number = session.settings.dashboard_host, session.settings.dashboard_ports[0]
    if port is not None:
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
            raise UsageError(f"--port must be a port from 1 to 65535, not {port!r}", field="--port")
        number = int(port)
    refuse_if_held(host, number)
    try:
        listener = listen(host, number)
    except OSError as error:
        raise Failure(f"cannot listen on {host}:{number}: {error.strerror}", code="permission_denied") from error
    with listener:
        if not session.options.quiet:
            session.console.say(f"dashboard on http://localhost:{number}, Ctrl-C ends it")
        return Answer({}, "", serve(listener, host, number))


def health(session: Session, service: str | None) -> Answer:
    """The health ladder of each service once, looked at from here, all at the same time.

    Where a container can't be found, it may be behind the Docker that the supervisor means, and not the caller: asked.
    """
    from cc.report.console import wants_colour
    from cc.report.health import health_code, health_document, health_text
    from cc.services.health import read_all
    from cc.services.stack import chosen
    from cc.supervisor.standing import ask, docker_of

    stack = stack_of(session)
    found = read_all(stack, chosen(service))
    if service is not None:  # what is asked for by name is to answer, left out or not
        found = [each._replace(left_out="") for each in found]
    lost = any(each.kind == "container" and each.health == "unknown" for each in found)
    docker = docker_of(stack, ask(stack, "ping") if lost else None)
    colour = wants_colour(sys.stdout, os.environ, refused=session.options.no_color)
    text = "" if session.options.json else health_text(found, docker, colour=colour, width=session.console.width)
    return Answer(health_document(found, docker), text, health_code(found, strict=session.options.strict))


def logs(session: Session, service: str, *, lines: str, follow: bool) -> None:
    """What a service wrote: its last lines, and with `follow` those to come."""
    import json
    import re

    from cc.feed import Feed
    from cc.report.printable import CONTROLS, one_line
    from cc.services.logs import LOGGED, tell_log
    from cc.services.stack import refuse_unknown

    refuse_unknown(service, LOGGED, "SERVICE")
    feed, count = Feed(session), _count(lines)

    def tell(stream: str, line: str) -> None:
        if session.options.json:
            told = {"service": service, "stream": stream, "line": line}
            feed.line(json.dumps(told, ensure_ascii=bool(re.search(CONTROLS, line))))
        else:
            feed.line(one_line(line))

    with feed.until_unread():
        tell_log(stack_of(session), service, count, tell, feed.aside, follow=follow)


def _count(text: str, flag: str = "--lines") -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise UsageError(f"{flag} must be a whole number, 0 or more, not {text!r}", field=flag)
    return int(text)


EVENT_LINES = 50


def events(session: Session, *, lines: str | None, since: str | None, service: str | None, follow: bool) -> None:
    """The journal: what happened, and with `follow` what happens from now on."""
    from cc.feed import Feed
    from cc.report.console import wants_colour
    from cc.report.events import line
    from cc.resources.journal import Entry
    from cc.services.history import Wanted, tell_history
    from cc.services.logs import LOGGED
    from cc.services.stack import chosen

    wanted = Wanted.asked(since, None if service is None else chosen(service, LOGGED))
    count = EVENT_LINES if since is None else None
    count = count if lines is None else _count(lines)
    feed = Feed(session)
    colour = wants_colour(sys.stdout, os.environ, refused=session.options.no_color)

    def tell(entry: Entry) -> None:
        when = entry.time
        if session.options.json:
            feed.line(entry.line)
        else:
            feed.line(line(entry.told, None if when is None else when.astimezone(), colour=colour))

    with feed.until_unread():
        tell_history(stack_of(session), wanted, count, tell, feed.aside, follow=follow)
