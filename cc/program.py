"""`context-cleaner`: the console program that the package installs. The tasks of tasks.py as words of its own.

Invoke's Program, with one difference: words that the parser refuses exit 2, as every other wrong usage does.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, NoReturn

from invoke.collection import Collection
from invoke.exceptions import ParseError
from invoke.program import Program

from cc import __version__
from cc.services.stack import stack_root

USAGE = 2


class ContextCleaner(Program):
    """Invoke's Program with our exit code for wrong words."""

    def parse_core(self, argv: list[str] | None) -> None:
        try:
            super().parse_core(argv)
        except ParseError as error:
            _refuse(error)

    def parse_tasks(self) -> None:
        try:
            super().parse_tasks()
        except ParseError as error:
            _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    sys.stderr.write(f"error: {error}\n  -> context-cleaner --list\n")
    sys.exit(USAGE)


def _tasks() -> Any:
    """tasks.py by its path: `import tasks` would find the one of whatever project the user stands in."""
    path = os.path.join(stack_root(), "tasks.py")
    spec = importlib.util.spec_from_file_location("cc_tasks", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no tasks at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the words of the command line."""
    ContextCleaner(
        namespace=Collection.from_module(_tasks()),
        name="context-cleaner",
        binary="context-cleaner",
        version=__version__,
    ).run()
