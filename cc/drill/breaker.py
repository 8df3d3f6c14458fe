"""L12 circuit breaker: a dashboard whose store is away. What the page asks, nobody typed."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from cc.drill.exercise import DOCKER, Drill, expect
from cc.drill.stage import Stage, ok
from cc.resources.breakers import NOT_WELL, Breakers
from cc.resources.kept import Changes, Kept, Rows
from cc.resources.port import accepts

FAILURES = 5  # in a row: they open it
COOLDOWN_S = 60.0
REFUSED = "breaker_open"
ASKED_S = 20.0


def _page(stage: Stage, url: str, project: str) -> dict[str, Any]:
    """What the store's part in a page came to: {} if it gave all. Of another project each time, as an answer is shared
    for a moment."""
    with urllib.request.urlopen(f"{url}/api/usage?project={project}", timeout=ASKED_S) as answer:  # noqa: S310 - our own
        tried = json.loads(answer.read())["tried"]
    return next((dict(each) for each in tried if each["name"] == "clickhouse"), {})


def _away(stage: Stage) -> str:
    """A dashboard whose store is not there, and nobody who would mend that; the store's URL."""
    stage.environ["CC_CLICKHOUSE_URL"] = f"http://127.0.0.1:{stage.ports[9]}"
    ok(stage.up("--no-supervisor"))
    return stage.environ["CC_CLICKHOUSE_URL"]


def _opened(stage: Stage) -> str:
    """The dashboard, after five pages; it is asked for before, as a look of `status` says what it has seen well."""
    url = str(stage.service("dashboard")["url"])
    for number in range(FAILURES):
        told = _page(stage, url, f"p{number}")
        expect(told.get("error") == "connection_refused", f"question {number + 1} to be asked", told)
    return url


def _later(stage: Stage) -> None:
    """As if it had opened a minute ago: to wait for that would prove no more."""

    def older(rows: Rows) -> Changes:
        changes: dict[tuple[str, str], str | None] = {}
        for key, text in rows.items():
            if key[0] == NOT_WELL:
                breaker = json.loads(text)
                past = {name: breaker[name] - COOLDOWN_S for name in ("opened_at", "changed_at")}
                changes[key] = json.dumps(breaker | past)
        return changes

    Kept(stage.state.path).revise(older)


def _refused(told: dict[str, Any], what: str) -> str:
    """The seconds are those of this moment: nearly all sixty of them, as it has only just opened."""
    said = f"Service unavailable: {what}, next try in "
    holds = told.get("error") == REFUSED and told["reason"].startswith(said)
    seconds = told["reason"].removeprefix(said).split(" ")[0] if holds else ""
    expect(seconds.isdecimal() and COOLDOWN_S / 2 < int(seconds) <= COOLDOWN_S, f"'{said}<n> s'", told)
    return str(told["reason"])


def fails_fast(stage: Stage) -> str:
    store = _away(stage)
    url = _opened(stage)
    return _refused(_page(stage, url, "fast"), f"clickhouse at {store}")


def survives(stage: Stage) -> str:
    store = _away(stage)
    for _ in range(FAILURES):
        expect(stage.type("usage").code == 0, "usage without the store", "another exit code")
    told = stage.type("status").document["breakers"]
    expect([each["state"] for each in told] == ["open"], "one open breaker", told)
    url = str(stage.service("dashboard")["url"])
    _refused(_page(stage, url, "survives"), f"clickhouse at {store}")
    return f"five commands opened it, status and the dashboard know: {told[0]['reason']}"[:150]


def closes(stage: Stage) -> str:
    ok(stage.up("docker", "--no-supervisor", "--service", "clickhouse,dashboard"))
    stage.docker("stop", "-t", "2", stage.container("clickhouse"))
    url = _opened(stage)
    stage.docker("start", stage.container("clickhouse"))
    stage.until("ClickHouse", lambda: _pings(stage))
    _refused(_page(stage, url, "early"), "clickhouse")
    _later(stage)
    _page(stage, url, "probe")
    troubled = Breakers(stage.state.path).troubled()
    expect(not troubled, "a closed breaker", troubled)
    told = _page(stage, url, "after")
    expect(told.get("error") != REFUSED, "the next page to ask it", told)
    return "refused for a minute although it answered, then one probe: closed"


def _pings(stage: Stage) -> bool:
    """Whether it answers, asked so that no breaker hears of it."""
    return accepts("127.0.0.1", stage.ports[0]) and _answers(f"http://127.0.0.1:{stage.ports[0]}/ping")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ASKED_S) as answer:  # noqa: S310 - the drill's own store
            return bool(answer.status == 200)
    except OSError:
        return False


def opens_again(stage: Stage) -> str:
    store = _away(stage)
    url = _opened(stage)
    _later(stage)
    probe = _page(stage, url, "probe")
    expect(probe.get("error") == "connection_refused", "one probe", probe)
    return _refused(_page(stage, url, "again"), f"clickhouse at {store}")


def typed(stage: Stage) -> str:
    _away(stage)
    url = _opened(stage)
    said = str(stage.type("usage").document["reason"])
    expect("connection refused" in said, "a typed command to try all the same", said)
    told = _page(stage, url, "background")
    expect(told.get("error") == REFUSED, "the dashboard to wait", told)
    return said[:150]


DRILLS = (
    Drill(
        "L12",
        0,
        "five pages ask for a store that refuses connections",
        "Service unavailable: <what>, next try in <n> s",
        "the sixth is told at once",
        fails_fast,
    ),
    Drill(
        "L12",
        1,
        "five commands ask for a store that refuses connections",
        "an open breaker in status",
        "the dashboard asks no more either",
        survives,
    ),
    Drill(
        "L12",
        2,
        "a store that was away answers again after a minute",
        "the next page asks it",
        "closed",
        closes,
        DOCKER,
    ),
    Drill(
        "L12",
        3,
        "a store that was away is so after a minute too",
        "one page asks it",
        "open for another minute",
        opens_again,
    ),
    Drill(
        "L12",
        4,
        "a command is typed while the breaker is open",
        "it asks at once",
        "pages go on waiting",
        typed,
    ),
)
