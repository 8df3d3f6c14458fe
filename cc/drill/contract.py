"""The contract as data: every ladder, its rungs, and for each the way, when it is taken and what the user sees.

Drills are held against it, and so are the stack's own playbooks: `playbook` names a rung as they write it. What counts
as one rung by itself (the watchdog, the breaker) is told by its rules, each with a number as if it were a rung.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """One way, or one rule. `playbook`: the rungs that are it in the stack's own playbooks (see `written`)."""

    way: str
    when: str = ""
    seen: str = ""
    playbook: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ladder:
    """`more`: what holds for all of its rungs. `first`: the number of the first one."""

    name: str
    what: str
    rungs: tuple[Rung, ...]
    more: str = ""
    first: int = 0
    rules: bool = False

    def numbered(self) -> Iterator[tuple[int, Rung]]:
        return enumerate(self.rungs, self.first)


_WITHOUT_DOCKER = "without: Docker unavailable, using file-based analytics"

LADDERS: tuple[Ladder, ...] = (
    Ladder(
        "L1", "control path", more="Every command that manages services.",
        rungs=(
            Rung("supervisor over IPC: feature-complete, streaming progress, registry", "", "progress per service"),
            Rung(
                "orchestrator in the command's own process: the playbook by the same runner, direct process management",
                "IPC fails (L9 exhausted)", "supervisor unavailable: <why>; managing services directly",
            ),
            Rung(
                "direct control of one service at a time, from the built-in table of services: its own command, "
                "docker, PID",
                "playbook, registry or orchestrator fails", "which service, by which means",
            ),
            Rung(
                "manual cleanup: scripts/stop-context-cleaner.sh, kill, docker", "all automation failed",
                "to stop: the script's output, then instructions; to start: the commands to type",
            ),
        ),
    ),
    Ladder(
        "L2", "supervisor start",
        more="A live socket is never removed: only a refused connection whose recorded owner is dead makes it stale. A "
        "supervisor that holds the socket and does not answer within its deadline is ended by identity first.",
        rungs=(
            Rung("start a fresh supervisor"),
            Rung("connect to the one that runs", "one is running already"),
            Rung("repair: remove the stale socket, start again", "socket exists, nobody answers"),
            Rung(
                "without: orchestrator only", "it can't be started",
                "running without a supervisor: <why>; nobody restarts what crashes, and status says so",
            ),
        ),
    ),
    Ladder(
        "L3", "containers start",
        more="Fallback and rollback are per service; healthy ones stay. A failed container's last log lines are kept "
        "before it is removed. A daemon that hangs is a dead daemon after its deadline. What an interrupted run "
        "created is removed again; what was there before is not touched.",
        rungs=(
            Rung("`docker compose up -d`, then legacy `docker-compose`", playbook=("compose by docker compose",)),
            Rung(
                "`docker run` for each service, as docker-compose.yml says", "no compose",
                playbook=("compose by docker run",),
            ),
            Rung(
                "repair: start the daemon, then again from rung 0", "daemon not running",
                playbook=("docker_engine, again",),
            ),
            Rung(
                "without: the files alone, or all but the one service", "docker not installed, or it could not be "
                "started; an image that can't be pulled, a port that a stranger holds",
                "Docker unavailable, using file-based analytics; <service> unavailable: <cause, naming image or "
                "holder>",
                playbook=(_WITHOUT_DOCKER, "without: <service> unavailable"),
            ),
        ),
    ),
    Ladder(
        "L4", "dashboard start",
        rungs=(
            Rung("gunicorn, 4 workers, 127.0.0.1:8110", playbook=("dashboard by gunicorn",)),
            Rung("Flask's own server, 8110", "no gunicorn", playbook=("dashboard by flask",)),
            Rung(
                "first free of 8111-8120, with gunicorn if there is one", "port in use",
                "Dashboard running on http://localhost:8112, and who holds the others", playbook=("dashboard by any",),
            ),
            Rung(
                "without: CLI only", "none free", "Dashboard unavailable",
                playbook=("without: Dashboard unavailable",),
            ),
        ),
    ),
    Ladder(
        "L5", "services stop",
        more="Success means: every process group, container, socket and port of ours is gone, probed. Leftovers make a "
        "rung fail and the next one run. Anything left at the end is `failed`, naming what is left.",
        rungs=(
            Rung("supervisor shutdown, in reverse dependency order", "", "streamed"),
            Rung("orchestrator stops all", "no supervisor answers"),
            Rung("process discovery (ours, by marker): terminate, 5 s, kill", "something of ours is left"),
            Rung("scripts/stop-context-cleaner.sh", "something of ours is still left"),
            Rung("by hand", "the script fails too", "printed instructions that work when pasted"),
        ),
    ),
    Ladder(
        "L6", "containers stop",
        rungs=(
            Rung("`docker compose down --timeout 10`", playbook=("compose by docker compose",)),
            Rung("`docker stop` and remove each", "compose is missing or fails", playbook=("containers_gone by stop",)),
            Rung("`docker kill` and remove each", "stop fails", playbook=("containers_gone by kill",)),
            Rung(
                "accept", "already stopped, or the daemon is provably not running; a daemon that hangs proves nothing",
                "ok, Containers not running; failed, saying what may still run",
                playbook=("containers_gone by accept",),
            ),
        ),
    ),
    Ladder(
        "L7", "analytics",
        more="A missing table, an empty or a younger store is a reason to descend or to add, never to show less: files "
        "and telemetry are united by request id, and a store that covers less than the files never hides them.",
        rungs=(
            Rung("ClickHouse"),
            Rung("local cache of the last answer (atomic, checksummed)", "no store answers", "with its age"),
            Rung("parse the session files", "no cache, or a corrupt one, which is rebuilt"),
            Rung("empty", "nothing to read", "with the reason"),
        ),
    ),
    Ladder(
        "L8", "tokens",
        more="No key, no network, rate limit, time-out, bad answer: each leads down, each named.",
        rungs=(
            Rung("Anthropic count_tokens"),
            Rung(
                "heuristic, offline, at least 90 % accurate, per tokenizer family", "count_tokens can't be had",
                "with its error stated",
            ),
            Rung("characters / 4", "the heuristic fails", "labelled rough"),
        ),
    ),
    Ladder(
        "L9", "IPC connection",
        more="A connection that cannot come back (no socket file, no supervisor process) does not wait 7 s for "
        "nothing: never block the user.",
        rungs=(
            Rung("Unix socket"),
            Rung("TCP on loopback, default port 5555 (only if configured)", "the socket gives no connection"),
            Rung("the Unix socket again after 1, 2, 4 s", "neither gives one, and it could come back"),
            Rung("direct calls (L1 rung 1)", "it did not come back, or could not"),
        ),
    ),
    Ladder(
        "L10", "health of one service", more="Each bounded in time; what failed above is kept as the reason.",
        rungs=(
            Rung("full check with metrics", "", "`healthy`, or `degraded` when the service says so of itself"),
            Rung("ping answers", "the full check fails", "`degraded`, no restart"),
            Rung("no answer, but the process or container exists", "ping fails", "`unhealthy`"),
            Rung(
                "nothing can be known", "Docker out of reach, no rights",
                "`unknown`, treated as not healthy in what is shown",
            ),
        ),
    ),
    Ladder(
        "L11", "watchdog", rules=True,
        rungs=(
            Rung("restart after 1, 5, 15 s", "a service died, killed by anybody but `down`", "back by itself"),
            Rung("restart", "unhealthy twice in a row", "unhealthy 2 times in a row: <why>, then healthy"),
            Rung(
                "alert and give up; a manual `up` re-arms",
                "the third restart does not bring it to ready within its start deadline", "state `fatal`",
            ),
            Rung("alert and give up", "ten restarts in ten minutes", "state `fatal`"),
            Rung("the count begins anew", "healthy for 10 s"),
            Rung("nothing: it stays stopped", "stopped by `down` on purpose", "`stopped`"),
            Rung(
                "L3's repair, and nothing is counted", "Docker itself is out of reach",
                "`unknown`, then healthy with no restart counted",
            ),
        ),
    ),
    Ladder(
        "L12", "circuit breaker", rules=True,
        rungs=(
            Rung(
                "CLOSED to OPEN: fail fast, and ladders descend", "5 failures",
                "Service unavailable: <what>, next try in <n> s",
            ),
            Rung("the state survives from one command to the next", "OPEN, and another command"),
            Rung("HALF_OPEN, one probe, CLOSED", "60 s later, and it answers again"),
            Rung("HALF_OPEN, one probe, OPEN for 60 s more", "60 s later, and it does not answer"),
            Rung("a typed command is a probe; background callers wait", "OPEN, and somebody types"),
        ),
    ),
    Ladder(
        "scenario", "end to end", first=1,
        rungs=(
            Rung(
                "`up`: dashboard with file-based analytics", "Docker not installed",
                "Docker unavailable, using file-based analytics; exit 0, `--strict` exit 3",
            ),
            Rung("`down`: socket removed, services stopped", "supervisor socket stale", "exit 0"),
            Rung(
                "the next free port; the strangers live on", "8110 and 8111 taken by strangers",
                "Dashboard running on http://localhost:8112",
            ),
            Rung(
                "the watchdog restarts the container and verifies it",
                "ClickHouse killed while the dashboard is in use",
                "every request answers, first from the cache with its age; fresh data again, with no hand laid on",
            ),
        ),
    ),
)  # fmt: skip

BY_NAME = {ladder.name: ladder for ladder in LADDERS}
