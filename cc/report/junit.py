"""A recap as JUnit XML, for CI systems that draw test reports: a step is a test case, a failed one its failure."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from cc.engine.outcome import NamedOutcome, Recap, Status

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2 "Characters"


def junit(recap: Recap) -> str:
    """The document. Degraded steps pass, with the reason in system-out; `--strict` is the exit code's affair."""
    counts = recap.counts
    head = (
        f'<testsuite name={_attribute("cc " + recap.command)} tests="{len(recap.steps)}" failures="{counts["failed"]}" '
        f'skipped="{counts["skipped"]}" errors="0" time="{recap.duration_s:.3f}">'
    )
    cases = "\n".join(_case(recap.command, step) for step in recap.steps)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n{head}\n{cases}\n</testsuite>\n</testsuites>\n'


def _case(command: str, step: NamedOutcome) -> str:
    outcome = step.outcome
    inner = ""
    if outcome.status is Status.FAILED:
        evidence = _text("\n".join((outcome.reason, *outcome.evidence)))
        kind = _attribute(outcome.error or "failed")
        inner += f"<failure type={kind} message={_attribute(outcome.reason)}>{evidence}</failure>"
    elif outcome.status is Status.SKIPPED:
        inner += f"<skipped message={_attribute(outcome.reason)}/>"
    if outcome.degraded:
        inner += f"<system-out>degraded: {_text(outcome.reason)}</system-out>"
    name, suite = _attribute(step.name), _attribute("cc." + command)
    return f'<testcase classname={suite} name={name} time="{outcome.duration_s:.3f}">{inner}</testcase>'


def _attribute(text: str) -> str:
    return quoteattr(NOT_XML.sub("\ufffd", text))


def _text(text: str) -> str:
    return escape(NOT_XML.sub("\ufffd", text))
