"""What a good playbook becomes: values of their kinds, variables put in, steps chosen."""

from __future__ import annotations

from typing import Any

import pytest

from cc.engine import playbook
from cc.engine.graph import circle
from cc.engine.retry import TRANSIENT, RetryPolicy
from cc.engine.spec import ChangedWhen, Field, Playbook, StepSpec, VerbSpec
from cc.errors import UsageError

VERBS = {
    spec.name: spec
    for spec in (
        VerbSpec(
            "compose",
            (
                Field("file", "path", default="docker-compose.yml", doc="the compose file"),
                Field("state", "string", required=True, choices=("up", "down"), doc="what to ensure"),
                Field("services", "strings"),
                Field("volumes", "bool", default=False),
            ),
        ),
        VerbSpec(
            "container",
            (
                Field("from", "path"),
                Field("image", "string"),
                Field("state", "string", required=True, choices=("running", "stopped", "absent")),
            ),
            exactly_one=(("from", "image"),),
        ),
        VerbSpec("docker_engine", (Field("state", "string", required=True, choices=("running",)),)),
        VerbSpec(
            "http",
            (
                Field("url", "string", required=True),
                Field("status", "int", default=200, minimum=100, maximum=599),
                Field("within", "duration", default=0.0),
                Field("contains", "regex"),
            ),
            positional="url",
        ),
        VerbSpec(
            "port",
            (Field("port", "port", required=True), Field("state", "string", choices=("free", "listening"))),
            positional="port",
        ),
        VerbSpec("dash", (Field("ports", "range", default=(1, 2)), Field("share", "number"))),
        VerbSpec(
            "command",
            (
                Field("run", "words", required=True),
                Field("creates", "path"),
                Field("env", "mapping"),
                Field("unless", "string"),
            ),
            positional="run",
            probed=False,
        ),
        VerbSpec(
            "script",
            (Field("path", "path"), Field("text", "text"), Field("unless", "string")),
            positional="path",
            exactly_one=(("path", "text"),),
            probed=False,
        ),
    )
}

EXAMPLE = """\
version: 1
vars: {PORT: 8110}
steps:
  - name: containers
    ladder:
      - compose: {file: docker-compose.yml, state: up}
      - container: {from: docker-compose.yml, state: running}
        when_failed: [tool_missing]           # the failures that lead here
      - docker_engine: {state: running}
        when_failed: [daemon_down, daemon_hung]
        then: again                           # a repair: from rung 0 once more
      - without: "Docker unavailable, using file-based analytics"
        when_failed: [tool_missing, daemon_down, daemon_hung]
    retry: {attempts: 3, wait: 1s, max_wait: 15s, within: 60s}
  - name: dashboard answers
    needs: [containers]
    http: {url: "http://127.0.0.1:${PORT}/healthz", status: 200, within: 10s}
  - name: old logs are gone
    script: {path: scripts/prune-logs.sh, unless: "test ! -d logs"}
    changed_when: {stdout_matches: "^removed"}
    timeout: 30s
    always: true
"""


ONE_STEP = "  - {name: s, command: x}\n"


def read(text: str, *, sets: dict[str, str] | None = None, environ: dict[str, str] | None = None) -> Playbook:
    return playbook.parse(text, file="x.yml", verbs=VERBS, set_vars=sets or {}, environ=environ or {})


def one(step: str, **variables: str) -> StepSpec:
    """The only step of a playbook: `step` is what stands under its name."""
    return read(f"version: 1\nsteps:\n  - name: s\n    {step}\n", environ=variables).steps[0]


def args(step: str, **variables: str) -> Any:
    return one(step, **variables).rungs[0].args


def test_the_example_of_the_contract_is_read_whole() -> None:
    book = read(EXAMPLE)
    containers, answers, logs = book.steps
    assert [(rung.verb, sorted(rung.when_failed), rung.again, rung.line) for rung in containers.rungs] == [
        ("compose", [], False, 6),
        ("container", ["tool_missing"], False, 7),
        ("docker_engine", ["daemon_down", "daemon_hung"], True, 9),
        ("without", ["daemon_down", "daemon_hung", "tool_missing"], False, 12),
    ]
    assert containers.ladder
    assert containers.rungs[1].args["from"] == "docker-compose.yml"
    assert containers.rungs[3].args == {"text": "Docker unavailable, using file-based analytics"}
    assert containers.retry == RetryPolicy(on=TRANSIENT, attempts=3, wait=1.0, max_wait=15.0, within=60.0)
    assert answers.needs == ("containers",)
    assert answers.rungs[0].args["url"] == "http://127.0.0.1:8110/healthz"
    assert answers.rungs[0].args["within"] == 10.0
    assert logs.changed_when == ChangedWhen(stdout_matches="^removed")
    assert (logs.timeout, logs.always, logs.line) == (30.0, True, 18)
    assert dict(book.vars) == {"PORT": "8110"}


@pytest.mark.parametrize(
    ("step", "field", "value"),
    [
        ("command: make test", "run", ("make", "test")),
        ("command: [make, test]", "run", ("make", "test")),
        ("command: {run: \"sh -c 'a  b' ''\"}", "run", ("sh", "-c", "a  b", "")),
        ("command: {run: [echo, 1.10, true, 010]}", "run", ("echo", "1.10", "true", "010")),
        ("command: [true]", "run", ("true",)),
        ("command: 'echo ${V} end'", "run", ("echo", "two words", "end")),
        ("command: \"echo '${N:-a b}'\"", "run", ("echo", "a b")),
        ("command: {run: x, env: {A: 1, B: '${V}', C: ''}}", "env", {"A": "1", "B": "two words", "C": ""}),
        ("command: {run: x, creates: /tmp/x}", "creates", "/tmp/x"),
        ("command: x", "creates", None),
        ("http: 'http://x/'", "status", 200),
        ("http: {url: x, status: '${STATUS}'}", "status", 503),
        ("http: {url: x, within: 500ms}", "within", 0.5),
        ("http: {url: x, within: 1m30s}", "within", 90.0),
        ("http: {url: x, within: 2}", "within", 2.0),
        ("http: {url: x, within: '1.5'}", "within", 1.5),
        ("http: {url: x, within: 0.25h}", "within", 900.0),
        ("port: 8110", "port", 8110),
        ("port: {port: '8110', state: free}", "state", "free"),
        ("compose: {state: up, services: a}", "services", ("a",)),
        ("compose: {state: up, services: [a, '${STATUS}']}", "services", ("a", "503")),
        ("compose: {state: up, volumes: '${YES}'}", "volumes", True),
        ("script: {text: 'echo ${f} $$ ${V}'}", "text", "echo ${f} $$ ${V}"),
        ("script:\n      text: |\n        a\n        b\n", "text", "a\nb\n"),
        ("dash: {ports: 8110-8120}", "ports", (8110, 8120)),
        ("dash: {ports: 8110}", "ports", (8110, 8110)),
        ("dash: {}", "ports", (1, 2)),
        ("dash:", "ports", (1, 2)),
    ],
)
def test_values_become_what_their_fields_say(step: str, field: str, value: object) -> None:
    found = args(step, V="two words", STATUS="503", YES="true")[field]
    assert found == value
    assert type(found) is type(value)


def test_set_wins_over_vars_and_vars_over_the_environment() -> None:
    text = "version: 1\nvars: {A: file, B: file}\nsteps:\n  - {name: s, command: 'x ${A} ${B} ${C} ${D:-none}'}\n"
    book = read(text, sets={"A": "set", "D": "set"}, environ={"A": "env", "B": "env", "C": "env"})
    assert book.steps[0].rungs[0].args["run"] == ("x", "set", "file", "env", "set")
    assert dict(book.vars) == {"A": "set", "B": "file", "D": "set"}


def test_vars_may_use_the_environment_and_those_above_them() -> None:
    text = "version: 1\nvars:\n  PORT: ${PORT:-8110}\n  URL: http://x:${PORT}\n  ON: true\nsteps:\n" + ONE_STEP
    assert dict(read(text).vars) == {"PORT": "8110", "URL": "http://x:8110", "ON": "true"}
    assert read(text, environ={"PORT": "1"}).vars["URL"] == "http://x:1"
    assert read(text, sets={"PORT": "2"}).vars["URL"] == "http://x:2"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("{name: s, command: x, when: '${V}'}", None),
        ("{name: s, command: x, when: '${NO}'}", "when: ${NO} is False"),
        ("{name: s, command: x, when: '${NONE:-}'}", "when: ${NONE:-} is empty"),
        ("{name: s, command: x, when: 0}", "when: 0 is 0"),
        ("{name: s, command: x, when: true}", None),
        ("{name: s, command: x, unless: '${V}'}", "unless: ${V} is yes"),
        ("{name: s, command: x, unless: '${NO}'}", None),
    ],
)
def test_a_condition_leaves_a_step_out_and_says_so(step: str, reason: str | None) -> None:
    book = read(f"version: 1\nsteps:\n  - {step}\n", environ={"V": "yes", "NO": "False"})
    assert book.steps[0].left_out == reason


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("3", RetryPolicy(on=TRANSIENT, attempts=3)),
        ("", RetryPolicy(on=TRANSIENT)),
        ("{wait: 20s}", RetryPolicy(on=TRANSIENT, wait=20.0, max_wait=20.0)),
        ("{on: [port_in_use], jitter: 0}", RetryPolicy(on=frozenset({"port_in_use"}), jitter=0.0)),
        ("{on: deadline, attempts: '${N}'}", RetryPolicy(on=frozenset({"deadline"}), attempts=7)),
        ("{wait: 90s, within: 10m, max_wait: 2m}", RetryPolicy(on=TRANSIENT, wait=90.0, max_wait=120.0, within=600.0)),
    ],
)
def test_a_retry_is_always_bounded(written: str, policy: RetryPolicy) -> None:
    assert one(f"command: x\n    retry: {written}", N="7").retry == policy


def test_a_ladder_that_reads_needs_no_declared_failures() -> None:
    text = "reads: true\n    ladder: [{http: a}, {http: b, name: files, degraded: false}, {without: nothing to show}]"
    step = one(text)
    assert step.reads
    assert [(rung.name, rung.degraded) for rung in step.rungs] == [(None, None), ("files", False), (None, None)]


def test_a_ladder_may_end_in_one_without_for_each_kind_of_failure() -> None:
    text = (
        "ladder:\n      - http: a\n      - {without: no tool, when_failed: tool_missing}"
        "\n      - {without: no rights, when_failed: [permission_denied]}"
    )
    assert [sorted(rung.when_failed) for rung in one(text).rungs] == [[], ["tool_missing"], ["permission_denied"]]


def test_an_anchor_serves_several_steps() -> None:
    text = """
version: 1
steps:
  - &base {name: a, http: {url: x, within: 1s}}
  - <<: *base
    name: b
    needs: a
"""
    assert [(step.name, step.rungs[0].args["within"], step.needs) for step in read(text).steps] == [
        ("a", 1.0, ()),
        ("b", 1.0, ("a",)),
    ]


def test_hundreds_of_steps_in_a_chain_are_read() -> None:
    lines = "".join(f"  - {{name: s{at}, command: x, needs: [s{at - 1}]}}\n" for at in range(1, 2000))
    book = read(f"version: 1\nsteps:\n  - {{name: s0, command: x}}\n{lines}")
    assert len(book.steps) == 2000


def test_verbs_come_in_and_the_engine_knows_none() -> None:
    verb = VerbSpec("brew", (Field("what", "string", required=True),), positional="what")
    book = playbook.parse(
        "version: 1\nsteps: [{name: s, brew: tea}]", file="x", verbs={"brew": verb}, set_vars={}, environ={}
    )
    assert book.steps[0].rungs[0].args == {"what": "tea"}


CHAIN = """
version: 1
steps:
  - {name: a, command: x, tags: [net, all]}
  - {name: b, command: x, needs: [a]}
  - {name: c, command: x, requires: [b], tags: net}
  - {name: d, command: x, needs: [b, c], requires: [a], tags: all}
"""


@pytest.mark.parametrize(
    ("tags", "start_at", "left"),
    [
        ((), None, [("a", (), ()), ("b", ("a",), ()), ("c", (), ("b",)), ("d", ("b", "c"), ("a",))]),
        (("net",), None, [("a", (), ()), ("c", ("a",), ())]),
        (("all",), None, [("a", (), ()), ("d", (), ("a",))]),
        (("net", "all"), None, [("a", (), ()), ("c", ("a",), ()), ("d", ("c",), ("a",))]),
        ((), "c", [("c", (), ()), ("d", ("c",), ())]),
        (("all",), "b", [("d", (), ())]),
    ],
)
def test_chosen_steps_keep_their_order_and_lose_what_is_left_out(
    tags: tuple[str, ...], start_at: str | None, left: list[tuple[str, tuple[str, ...], tuple[str, ...]]]
) -> None:
    chosen = playbook.select(read(CHAIN), tags, start_at)
    assert [(step.name, step.needs, step.requires) for step in chosen.steps] == left


@pytest.mark.parametrize(
    ("tags", "start_at", "said", "hint"),
    [
        (("nett",), None, "no step has the tag 'nett'", "did you mean 'net'?"),
        ((), "e", "there is no step 'e' to start at", "known: a, b, c, d"),
        (("net",), "d", "no step from 'd' on has the tag net", None),
    ],
)
def test_a_choice_of_nothing_names_what_there_is(
    tags: tuple[str, ...], start_at: str | None, said: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        playbook.select(read(CHAIN), tags, start_at)
    assert (caught.value.message, caught.value.hint) == (said, hint)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ({}, []),
        ({"a": ["b"], "b": []}, []),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, []),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        ({"a": ["b", "c"], "b": [], "c": ["d"], "d": ["c"]}, ["c", "d", "c"]),
    ],
)
def test_a_circle_is_found_wherever_it_begins(after: dict[str, list[str]], found: list[str]) -> None:
    assert circle(after) == found
