"""Bytecode on disk for all that is imported after this. A leaf that is imported before all others: imports nothing."""

from __future__ import annotations

import sys


def keep_bytecode() -> None:
    """Undo what Invoke does when it starts: without bytecode on disk every command would compile all its modules anew,
    which takes longer than most of them. Who set PYTHONDONTWRITEBYTECODE or `python -B` still gets none."""
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
