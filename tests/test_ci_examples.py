"""The examples for other projects' pipelines name commands and flags that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cc import document

CI = Path(__file__).resolve().parents[1] / "docs" / "ci"
PIPELINES = ("github-actions.yml", "gitlab-ci.yml")
TARGETS = ("stack-up", "stack-down", "stack-restart", "stack-status", "stack-logs", "stack-drill")


def commands(text: str) -> list[list[str]]:
    """The words after each `context-cleaner` that is run."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = (re.search(r"(?:^|[ /])context-cleaner ([a-z].*)$", line) for line in lines)
    return [match[1].split() for match in found if match is not None]


def known(command: str) -> str:
    asked = [sys.executable, "-c", "from cc.program import main; main()", "--help", command]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_is_yaml_and_types_what_there_is(name: str) -> None:
    text = (CI / name).read_text()
    document.load(text.encode(), file=name)
    typed = commands(text)
    assert {"up", "down", "events"} <= {words[0] for words in typed}
    for words in typed:
        told = known(words[0])
        for flag in (word for word in words if word.startswith("--")):
            assert flag in told, (words[0], flag)


def test_the_makefile_types_what_there_is() -> None:
    given = ("CONTEXT_CLEANER=echo", "CC_FLAGS=--strict", "SERVICE=clickhouse")
    made = ["make", "-f", str(CI / "context-cleaner.mk"), *given, *TARGETS]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # `make test`
    done = subprocess.run(made, env=own, capture_output=True, text=True, check=True, timeout=60)
    said = [line.split() for line in done.stdout.splitlines() if not line.startswith("echo ")]
    assert [words[0] for words in said] == [target.removeprefix("stack-") for target in TARGETS]
    for words in said:
        known(words[0])
