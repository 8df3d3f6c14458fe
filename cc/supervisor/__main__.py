"""`python -m cc.supervisor`: the daemon in the foreground. control.py starts it detached."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from cc.errors import CcError
from cc.supervisor.daemon import Daemon
from cc.supervisor.listener import AlreadyServed


class ForgivingLog:
    """Standard error, which is a file: on a full disk a line is lost, and nobody who writes one is stopped by that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            pass  # it is tried again with the next line


def main() -> int:
    """Serve until asked to end."""
    sys.stderr = ForgivingLog(sys.stderr)
    try:
        return Daemon(os.environ, os.getcwd()).serve()
    except AlreadyServed as served:
        sys.stderr.write(f"{served.message}\n")
        return 0
    except CcError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
