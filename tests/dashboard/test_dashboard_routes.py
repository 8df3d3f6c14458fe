"""The routes, on real session files."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from cc import __version__
from cc.dashboard.app import create_app
from cc.errors import Failure
from tests.dashboard.conftest import ME
from tests.dashboard.sessions import HAIKU, SONNET, UNPRICED, Sessions, Store, event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    from tests.fakes import FakeClock

HOSTILE = [
    "/home/<script>alert(1)</script>",
    "/home/\"onmouseover='alert(1)' x=\"",
    "/home/{{ 7*7 }}{% raw %}",
    "/home/&lt;b&gt;",
    "javascript:alert(1)",
    "/home/\u202egnp.exe",
    "/home/" + "x" * 5000,
]


class Seen(HTMLParser):
    """What a browser would make of the page: its elements, its addresses, its handlers, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.styles = 0
        self.words: list[str] = []
        self.inline_scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        given = dict(attributes)
        self.addresses += [given[name] or "" for name in ("href", "src", "action") if name in given]
        self.handlers += [name for name in given if name.startswith("on")]
        self.styles += "style" in given
        self.inline_scripts += tag == "script" and "src" not in given

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


def error_of(answer: Any) -> dict[str, Any]:
    document = answer.get_json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"type", "message", "hint", "file", "line", "field"}
    error: dict[str, Any] = document["error"]
    return error


def test_healthz_says_who_answers_and_touches_no_source() -> None:
    def never(_: Any) -> Any:
        raise AssertionError("healthz read usage")

    answer = create_app(never, ME).test_client().get("/healthz")
    document = answer.get_json()
    assert answer.status_code == 200
    assert document.pop("pid") > 1
    assert document == {
        "service": "context-cleaner-dashboard",
        "owner": "context-cleaner:0123",
        "project": "context-cleaner",
        "version": __version__,
        "server": "flask",
        "bound": "127.0.0.1:8110",
    }


def test_the_page_shows_totals_days_models_projects_and_where_they_come_from(
    client: FlaskClient, sessions: Sessions
) -> None:
    sessions.message(model=SONNET, tokens=(1_000_000, 2000, 300, 40))
    sessions.message(model=HAIKU, project="/home/ada/notes", days_ago=3)
    sessions.line("/home/ada/notes", '{"type":"assistant","cut in the mid')
    answer = client.get("/")
    seen = Seen(answer.text)
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    for words in (
        "session files",
        "2 files, 3 lines",
        "1 line skipped",
        "connection refused",
        "context-cleaner status",
    ):
        assert words in seen.text
    for words in ("1,001,000", "2,200", SONNET, HAIKU, "/home/ada/engine", "/home/ada/notes", "Cost by day", "$6.05"):
        assert words in seen.text
    assert seen.elements.count("table") == 3
    assert answer.text.count('class="bar"') == 2


def test_the_page_needs_nothing_from_elsewhere_and_no_inline_script_or_style(
    client: FlaskClient, sessions: Sessions
) -> None:
    sessions.message()
    seen = Seen(client.get("/").text)
    assert all(address.startswith(("/", "#")) and not address.startswith("//") for address in seen.addresses)
    assert seen.inline_scripts == 0
    assert seen.handlers == []
    assert seen.styles == 0
    static = {address for address in seen.addresses if address.startswith("/static/")}
    assert len(static) == 3
    assert {client.get(address).status_code for address in static} == {200}


def test_every_row_leads_to_itself_alone(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message(project="/home/ada/a b&c=d", tokens=(77, 0, 0, 0))
    sessions.message(project="/home/ada/other", tokens=(11, 0, 0, 0))
    link = next(
        address for address in Seen(client.get("/").text).addresses if "project=" in address and "b%26c" in address
    )
    document = client.get("/api/usage" + link[1:]).get_json()
    assert document["total"]["input_tokens"] == 77


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_project_name_is_text_and_nothing_else(client: FlaskClient, sessions: Sessions, name: str) -> None:
    sessions.message(project="/home/ada/engine")
    plain = Seen(client.get("/").text)
    sessions.message(project=name)
    seen = Seen(client.get("/?source=files").text)
    assert name in seen.words
    assert set(seen.elements) == set(plain.elements) | {"ul", "li", "b"}
    assert seen.handlers == []
    assert all(address.startswith(("/", "#")) for address in seen.addresses)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_name_and_a_hostile_filter_are_text(client: FlaskClient, sessions: Sessions, name: str) -> None:
    sessions.message(model=name)
    for address in ("/", "/?model=nothing"):
        assert Seen(client.get(address).text).handlers == []
    filtered = Seen(client.get("/", query_string={"project": name}).text)
    assert filtered.handlers == []
    assert filtered.inline_scripts == 0


def test_a_cost_that_is_unknown_is_a_dash_with_the_model_and_never_zero(
    client: FlaskClient, sessions: Sessions
) -> None:
    sessions.message(model=UNPRICED)
    page = client.get("/").text
    assert f"unknown model: {UNPRICED}" in page
    assert "$0.00" not in page
    assert "Tokens by day" in page
    assert client.get("/api/usage").get_json()["total"]["cost_usd"] is None


def test_without_any_session_the_page_says_where_it_looked_and_what_to_do(
    client: FlaskClient, sessions: Sessions, silent_port: int
) -> None:
    seen = Seen(client.get("/").text)
    for words in (
        "no data",
        str(sessions.root),
        "does not exist",
        f"http://127.0.0.1:{silent_port}",
        "CLAUDE_CONFIG_DIR",
    ):
        assert words in seen.text
    assert "table" not in seen.elements


def test_a_filter_that_matches_nothing_is_not_an_empty_machine(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message()
    text = Seen(client.get("/?model=nothing").text).text
    assert "No request matches" in text
    assert "1 file" in text


def test_the_api_answers_the_document_of_the_command(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message(days_ago=1)
    sessions.message(model=HAIKU)
    document = client.get("/api/usage?by=model&since=7d").get_json()
    assert list(document)[:8] == ["source", "as_of", "stale", "reason", "coverage", "total", "by", "rows"]
    assert document["by"] == "model"
    assert {row["key"] for row in document["rows"]} == {SONNET, HAIKU}
    assert document["total"]["messages"] == 2
    assert document["source"] == "files"


def test_a_span_of_time_limits_what_is_counted(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message(days_ago=20)
    sessions.message(days_ago=1)
    assert client.get("/api/usage?since=7d").get_json()["total"]["messages"] == 1
    assert client.get("/api/usage?since=").get_json()["total"]["messages"] == 2


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("by=fortnight", "by"),
        ("since=tomorrow", "since"),
        ("until=2026-13-01", "until"),
        ("since=2026-02-02&until=2026-02-01", "since"),
        ("source=oracle", "source"),
        ("tz=Mars/Olympus", "tz"),
        ("bye=day", "bye"),
        ("by=day&by=model", "by"),
        ("since=99999999999d", "since"),
        ("since=%00", "since"),
        ("since=%ff%fe", "since"),
    ],
)
def test_a_bad_query_is_refused_with_the_field_that_is_bad(client: FlaskClient, words: str, field: str) -> None:
    answer = client.get(f"/api/usage?{words}")
    assert answer.status_code == 400
    assert error_of(answer)["field"] == field
    assert error_of(answer)["type"] == "bad_usage"
    assert "--" not in error_of(answer)["message"].partition("later")[0]
    if not words.startswith("by="):
        page = client.get(f"/?{words}")
        assert page.status_code == 400
        assert page.mimetype == "text/html"


def test_an_unknown_address_is_not_found_as_json_under_api(client: FlaskClient) -> None:
    for path in ("/api/nothing", "/api/", "/api/usage/../../etc/passwd"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "there is nothing at" in error_of(answer)["message"]
    page = client.get("/<script>")
    assert page.status_code == 404
    assert page.mimetype == "text/html"
    assert "<script>" not in page.text
    assert client.get("/static/../app.py").status_code == 404


def test_only_reading_is_allowed(client: FlaskClient) -> None:
    for path in ("/", "/healthz", "/api/usage"):
        answer = client.post(path)
        assert answer.status_code == 405
        assert "GET" in answer.headers["Allow"]


def test_head_answers_without_a_body(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message()
    for path in ("/", "/healthz", "/api/usage"):
        answer = client.head(path)
        assert answer.status_code == 200
        assert answer.data == b""


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/usage", "/nothing", "/?since=x", "/static/page.css"])
def test_every_answer_is_kept_by_nobody_and_framed_by_nobody(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8110", "127.0.0.1.evil.example", "10.1.2.3", 'a"b', ""])
def test_a_strange_host_is_refused_without_a_word_about_what_is_here(
    client: FlaskClient, sessions: Sessions, host: str
) -> None:
    sessions.message(project="/home/ada/secret")
    for path in ("/", "/api/usage", "/healthz", "/nothing"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert "ada" not in answer.text
        assert "0123" not in answer.text


@pytest.mark.parametrize("host", ["localhost:8110", "127.0.0.1:8110", "[::1]:8110", "LOCALHOST", "127.0.0.1"])
def test_the_machines_own_names_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_source_that_fails_costs_its_numbers_and_not_the_page() -> None:
    def fails(_: Any) -> Any:
        raise Failure("the disk is on fire", code="bad_answer", hint="call somebody")

    client = create_app(fails, ME).test_client()
    answer = client.get("/")
    assert answer.status_code == 200
    assert "the disk is on fire (call somebody)" in answer.text
    document = client.get("/api/usage").get_json()
    assert (document["source"], document["degraded"]) == ("empty", True)


def test_a_bug_is_a_page_without_its_traceback() -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("secret path")

    client = create_app(broken, ME).test_client()
    page = client.get("/")
    assert page.status_code == 500
    assert "Traceback" not in page.text
    assert "secret path" not in page.text
    assert error_of(client.get("/api/usage"))["type"] == "internal_error"


def test_a_source_that_is_forced_and_silent_says_so(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message()
    answer = client.get("/?source=clickhouse")
    assert answer.status_code == 200
    assert "connection refused" in answer.text


def test_a_store_that_goes_away_leaves_its_last_answer_with_its_age(
    connect: Callable[[], FlaskClient], environ: dict[str, str], sessions: Sessions, clock: FakeClock
) -> None:
    sessions.message(tokens=(10, 1, 0, 0))  # req_1, its output still growing when it was written
    store = Store([event("req_1", output_tokens=900), event("req_only_here", output_tokens=100)])
    environ["CC_CLICKHOUSE_PORT"] = str(store.port)
    try:
        client = connect()
        fresh = client.get("/").text
        assert "ClickHouse + session files" in fresh
        assert "1,000" in fresh
        assert "Telemetry&#39;s final numbers added 899 output tokens" in fresh
    finally:
        store.stop()
    clock.pass_by(60.0)
    later = client.get("/").text
    assert "cached answer + session files" in later
    assert '<strong class="badge stale">stale</strong>' in later
    assert "1,000" in later
    assert "connection refused" in later
    document = client.get("/api/usage").get_json()
    assert (document["source"], document["stale"], document["total"]["output_tokens"]) == ("cache", True, 1000)


def test_a_password_that_appears_later_is_used_at_the_next_look(
    connect: Callable[[], FlaskClient], environ: dict[str, str], clock: FakeClock, tmp_path: Path
) -> None:
    store = Store([event("req_1")], password="made-at-the-first-up")
    environ["CC_CLICKHOUSE_PORT"] = str(store.port)
    try:
        client = connect()
        assert "refuses the user" in client.get("/api/usage").get_json()["reason"]
        state = tmp_path / "state" / "context-cleaner"
        state.mkdir(parents=True, exist_ok=True)
        (state / "clickhouse.password").write_text("made-at-the-first-up\n")
        clock.pass_by(60.0)
        answer = client.get("/api/usage")
        assert answer.get_json()["source"] == "clickhouse"
        assert "made-at-the-first-up" not in answer.text + client.get("/").text
    finally:
        store.stop()


def test_the_page_and_the_api_tell_the_same_numbers(client: FlaskClient, sessions: Sessions) -> None:
    sessions.message(tokens=(1234, 5678, 91011, 121314))
    total = client.get("/api/usage").get_json()["total"]
    page = client.get("/").text
    for name in ("input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens"):
        assert f"{total[name]:,}" in page
    assert json.dumps(total)  # plain numbers, as the command prints them
