"""A playbook's text, read and checked: YAML in, a Playbook of frozen data out, or one ConfigError that says it all.

    parse    text + verbs + variables -> Playbook      every value of its kind, every name known, no circle
    select   Playbook + --tags + --start-at -> Playbook

Variables: `--set` over `vars` over the environment (DESIGN.md, "Decisions"). An entry of `vars` may use the environment
and the entries above it; `X: "${X:-1}"` is the environment's X. Keys are taken as they are, values not.

Pure: reads no file, starts nothing. Knows the shape of a file; which fields there are is spec.py's, and which verbs,
the caller's. Every error has file, line, column, the path of the field from 0 (`steps[2].ladder[1].compose.state`: rung 0
is `ladder[0]`), what was expected and what was found, and the nearest known word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cc import document
from cc.document import Node
from cc.engine.graph import circle
from cc.engine.reading import Reader, near
from cc.engine.retry import TRANSIENT, RetryPolicy
from cc.engine.spec import CHANGED_WHEN, RETRY, RUNG, STEP, WITHOUT, ChangedWhen, Playbook, RungSpec, StepSpec, VerbSpec
from cc.engine.variables import NAME, Variables
from cc.errors import UsageError
