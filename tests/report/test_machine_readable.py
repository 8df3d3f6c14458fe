"""Exit codes, JUnit and the annotations of CI systems: what scripts and machines read."""

from __future__ import annotations

from itertools import product
from xml.etree import ElementTree as ET

import pytest

from cc.engine.outcome import NamedOutcome, Outcome, Recap, Status
from cc.report.annotations import annotation_lines
from cc.report.exit_code import exit_code
from cc.report.junit import junit


def recap(*outcomes: Outcome, stopped: str | None = None, names: tuple[str, ...] = ()) -> Recap:
    named = (names or tuple(f"s{number}" for number in range(len(outcomes))))[: len(outcomes)]
    return Recap("up", tuple(map(NamedOutcome, named, outcomes)), stopped=stopped, duration_s=1.5)


OK = Outcome(Status.OK)
CHANGED = Outcome(Status.CHANGED)
SKIPPED = Outcome(Status.SKIPPED, "left out by --service")
FAILED = Outcome(Status.FAILED, "it broke", error="unhealthy", evidence=("last words",))
DEGRADED = Outcome(Status.SKIPPED, "gave up", degraded=True)
LESS = Outcome(Status.OK, "on another port", degraded=True)

# status, degraded -> plain, strict, detailed, strict and detailed
CODES = [
    ((), (0, 0, 0, 0)),
    ((OK,), (0, 0, 0, 0)),
    ((SKIPPED,), (0, 0, 0, 0)),
    ((CHANGED,), (0, 0, 5, 5)),
    ((OK, CHANGED, SKIPPED), (0, 0, 5, 5)),
    ((LESS,), (0, 3, 0, 3)),
    ((DEGRADED, OK), (0, 3, 0, 3)),
    ((DEGRADED, CHANGED), (0, 3, 5, 5)),
    ((FAILED,), (1, 1, 1, 1)),
    ((FAILED, CHANGED, DEGRADED), (1, 1, 1, 1)),
]
STOPS = {None: None, "deadline": 124, "SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@pytest.mark.parametrize(("outcomes", "codes"), CODES)
@pytest.mark.parametrize("stopped", STOPS)
def test_the_exit_code_of_every_end(outcomes: tuple[Outcome, ...], codes: tuple[int, ...], stopped: str | None) -> None:
    ways = [(False, False), (True, False), (False, True), (True, True)]
    found = tuple(
        exit_code(recap(*outcomes, stopped=stopped), strict=strict, detailed=detailed) for strict, detailed in ways
    )
    assert found == (codes if STOPS[stopped] is None else (STOPS[stopped],) * 4)


def test_junit_has_a_case_for_each_step_with_its_end() -> None:
    document = junit(recap(OK, SKIPPED, FAILED, DEGRADED, LESS))
    suite = ET.fromstring(document)[0]  # noqa: S314 - our own
    assert dict(suite.attrib) == {
        "name": "cc up", "tests": "5", "failures": "1", "skipped": "2", "errors": "0", "time": "1.500",
    }  # fmt: skip
    told = [(case.get("name"), [child.tag for child in case]) for case in suite]
    assert told == [
        ("s0", []), ("s1", ["skipped"]), ("s2", ["failure"]), ("s3", ["skipped", "system-out"]), ("s4", ["system-out"]),
    ]  # fmt: skip
    failure = suite[2][0]
    assert (failure.get("type"), failure.get("message"), failure.text) == (
        "unhealthy", "it broke", "it broke\nlast words",
    )  # fmt: skip
    assert suite[4][0].text == "degraded: on another port"
    assert {case.get("classname") for case in suite} == {"cc.up"}


HOSTILE = [
    "<&>\"'", "]]>", "\x00\x01\x1b[31m\x08", "\ud800\udfff", "\ufffe\uffff", "a\nb\r\tc", "<!--", "--", "&amp;",
    "日本語", "\U0001f600", "\x7f\x85",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_is_well_formed_whatever_names_and_logs_hold(text: str) -> None:
    broken = Outcome(Status.FAILED, text, error="non_zero_exit", evidence=(text, text), degraded=True)
    skipped = Outcome(Status.SKIPPED, text, degraded=True)
    document = junit(recap(broken, skipped, names=(text, "other"))).encode("utf-8")
    suite = ET.fromstring(document)[0]  # noqa: S314 - our own
    assert len(suite) == 2
    name = suite[0].get("name") or ""
    if text.isprintable():
        assert name == text
        assert (suite[0][0].text or "").startswith(text)
    assert len(name) == len(text)


def test_junit_of_a_run_without_steps_is_a_document_too() -> None:
    assert len(ET.fromstring(junit(Recap("up")))[0]) == 0  # noqa: S314 - our own


ENVIRONMENTS = ({"GITHUB_ACTIONS": "true"}, {"GITLAB_CI": "true"})


def test_outside_of_a_known_ci_system_there_are_no_annotations() -> None:
    for environ in ({}, {"CI": "true"}, {"GITHUB_ACTIONS": "false"}, {"GITLAB_CI": ""}):
        assert annotation_lines(recap(FAILED, DEGRADED), environ) == []


@pytest.mark.parametrize(("environ", "outcome"), list(product(ENVIRONMENTS, (OK, CHANGED, SKIPPED))))
def test_what_went_well_needs_no_annotation(environ: dict[str, str], outcome: Outcome) -> None:
    assert annotation_lines(recap(outcome), environ) == []


def test_github_gets_workflow_commands() -> None:
    assert annotation_lines(recap(FAILED, DEGRADED, LESS), ENVIRONMENTS[0]) == [
        "::error title=up%3A s0::it broke",
        "::warning title=up%3A s1::gave up",
        "::warning title=up%3A s2::on another port",
    ]


def test_a_reason_cannot_begin_another_workflow_command() -> None:
    hostile = Outcome(Status.FAILED, "100%\r\n::set-output name=x::y")
    (line,) = annotation_lines(recap(hostile, names=("a,b:c\nd",)), ENVIRONMENTS[0])
    assert line == "::error title=up%3A a%2Cb%3Ac%0Ad::100%25%0D%0A::set-output name=x::y"


def test_gitlab_gets_lines_that_can_be_found_each_on_one_line() -> None:
    several = Outcome(Status.FAILED, "first\nsecond")
    assert annotation_lines(recap(several, DEGRADED), ENVIRONMENTS[1]) == [
        "ERROR: up: s0: first second",
        "WARNING: up: s1: gave up",
    ]
