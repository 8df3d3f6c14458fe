"""The recap in the words of the CI system that runs us: failures as errors, degradations as warnings.

GitHub Actions: workflow commands (`::error title=...::message`), https://docs.github.com/actions (Workflow commands).
GitLab draws none from a log: there the same lines begin with ERROR and WARNING, so that they can be found.
"""

from __future__ import annotations

from collections.abc import Mapping

from cc.engine.outcome import Recap, Status
from cc.report.printable import one_line


def annotation_lines(recap: Recap, environ: Mapping[str, str]) -> list[str]:
    """Lines to print after the recap, [] outside of a known CI system."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return [
            f"::{'error' if step.outcome.status is Status.FAILED else 'warning'} "
            f"title={_property(f'{recap.command}: {step.name}')}::{_data(step.outcome.reason)}"
            for step in recap.steps
            if step.outcome.status is Status.FAILED or step.outcome.degraded
        ]
    if environ.get("GITLAB_CI") == "true":
        words = {Status.FAILED: "ERROR"}
        return [
            one_line(
                f"{words.get(step.outcome.status, 'WARNING')}: {recap.command}: {step.name}: {step.outcome.reason}"
            )
            for step in recap.steps
            if step.outcome.status is Status.FAILED or step.outcome.degraded
        ]
    return []


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
