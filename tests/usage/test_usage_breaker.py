"""A store that is out of reach, and who asks it all the same (LADDERS.md, L12)."""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING

import pytest

from cc.dashboard.sources import EnvironmentSources
from cc.errors import Failure
from cc.resources.breakers import Breakers
from cc.resources.state import StateDir
from cc.settings import load
from cc.usage.clickhouse import ClickHouse
from cc.usage.model import UsageQuery
from cc.usage.reader import read_usage
from cc.usage.sources import sources
from tests.answering import Server, say
from tests.usage.rows import answer, event

if TYPE_CHECKING:
    from pathlib import Path

    from cc.settings import Settings
    from cc.usage.model import Reading

QUERY = UsageQuery(tz=timezone.utc)
GOOD = answer([event("r1"), event("r2")])


@pytest.fixture
def environ(tmp_path: Path, port: int) -> dict[str, str]:
    made = {"HOME": str(tmp_path), "CC_HOME": str(tmp_path / "state"), "CC_CLICKHOUSE_PORT": str(port)}
    StateDir(made["CC_HOME"], "context-cleaner").ensure()
    return made


def settings(environ: dict[str, str]) -> Settings:
    return load(environ, environ["HOME"])


def page(worker: EnvironmentSources) -> Reading:
    (reading,) = worker.read([QUERY])
    return reading


def typed(environ: dict[str, str]) -> Reading:
    return read_usage(QUERY, sources(settings(environ), environ))


def codes(reading: Reading) -> list[str]:
    return [attempt.error for attempt in reading.tried if attempt.rung == 0]


def test_the_workers_of_a_dashboard_stop_asking_together_and_a_typed_command_does_not(environ: dict[str, str]) -> None:
    workers = [EnvironmentSources(settings(environ), environ) for _ in range(4)]
    seen = [codes(page(workers[number % 4])) for number in range(9)]
    assert seen == [["connection_refused"]] * 5 + [["breaker_open"]] * 4
    reason = page(workers[0]).reason or ""
    assert reason.startswith("Service unavailable: clickhouse, next try in ")
    assert "connection refused at http://127.0.0.1:" in reason
    assert codes(typed(environ)) == ["connection_refused"]


def test_a_store_that_is_back_is_read_as_soon_as_somebody_saw_it_ready(environ: dict[str, str], server: Server) -> None:
    server.reply = say(200, GOOD)
    worker = EnvironmentSources(settings(environ), environ)
    for _ in range(6):
        page(worker)
    environ["CC_CLICKHOUSE_PORT"] = server.url.rpartition(":")[2]  # it is back
    worker = EnvironmentSources(settings(environ), environ)
    assert codes(page(worker)) == ["breaker_open"]
    Breakers(StateDir(environ["CC_HOME"], "context-cleaner").path).mended("clickhouse")  # as the watchdog does
    reading = page(worker)
    assert (reading.source, codes(reading)) == ("clickhouse", [])


def test_a_typed_command_that_gets_an_answer_closes_it_for_the_dashboard(
    environ: dict[str, str], server: Server
) -> None:
    server.reply = say(200, GOOD)
    worker = EnvironmentSources(settings(environ), environ)
    for _ in range(6):
        page(worker)
    environ["CC_CLICKHOUSE_PORT"] = server.url.rpartition(":")[2]
    assert typed(environ).source == "clickhouse"
    assert page(EnvironmentSources(settings(environ), environ)).source == "clickhouse"


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_store_that_answers_badly_is_in_reach(environ: dict[str, str], server: Server, status: int) -> None:
    server.reply = say(status, b"Code: 60. DB::Exception: no")
    environ["CC_CLICKHOUSE_PORT"] = server.url.rpartition(":")[2]
    worker = EnvironmentSources(settings(environ), environ)
    for _ in range(7):
        assert codes(page(worker)) not in ([], ["breaker_open"])
    assert len(server.asked) == 7


def test_stores_of_other_urls_have_a_breaker_of_their_own_whose_name_keeps_their_password(
    environ: dict[str, str], port: int
) -> None:
    worker = EnvironmentSources(settings(environ), environ)
    for _ in range(6):
        page(worker)
    environ["CC_CLICKHOUSE_URL"] = f"http://me:s3cret@127.0.0.1:{port}"
    other = EnvironmentSources(settings(environ), environ)
    for expected in ["connection_refused"] * 5 + ["breaker_open"]:
        reading = page(other)
        assert codes(reading) == [expected]
        assert "s3cret" not in (reading.reason or "")


def test_one_replica_that_answers_is_enough_to_be_in_reach(port: int, server: Server) -> None:
    server.reply = say(500, b"no")
    breakers = Breakers()
    store = ClickHouse((f"http://127.0.0.1:{port}", server.url), guard=lambda: breakers.guarding("store"))
    for _ in range(7):
        with pytest.raises(Failure) as caught:
            store.rows("SELECT 1", "one")
        assert caught.value.code == "connection_refused"  # the first that was asked
    assert breakers.troubled() == ()
