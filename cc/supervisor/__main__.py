"""`python -m cc.supervisor`: the daemon in the foreground. Started detached by reach.py, or by init as it is."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from cc.errors import CcError
from cc.resources.process_stop import OWNER, PROCESS
from cc.resources.state import StateDir, open_regular
from cc.settings import load
from cc.supervisor.daemon import Daemon
from cc.supervisor.listener import AlreadyServed
from cc.supervisor.reach import NAME
from cc.supervisor.request import DECISIVE, FINGERPRINT, NEVER, fingerprint


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


def _as_started_by_us() -> None:
    """If init or a person started this process: write where `logs supervisor` looks, unless somebody watches, and
    become a process that is known as ours: others read the environment that exec was given. Raises CcError.
    """
    settings = load(os.environ)
    state = StateDir(settings.home, settings.project)
    marks = {OWNER: state.owner, PROCESS: f"{state.owner}/{NAME}"}
    if all(os.environ.get(name) == value for name, value in marks.items()):
        return
    state.ensure()
    if not os.isatty(2):
        log = open_regular(os.path.join(state.logs, f"{NAME}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(log, number)
    environ = {**os.environ, **marks, FINGERPRINT: fingerprint(settings, os.environ)}
    os.execve(sys.executable, [sys.executable, "-m", "cc.supervisor"], environ)  # noqa: S606 - no shell between


def _forget_the_callers_own() -> None:
    """Every command gets the environment of the operation that it is part of, on top of this process's own: what that
    operation's caller has not set (DOCKER_HOST, say) must not come from whoever started the supervisor."""
    for name in [name for name in os.environ if name.startswith(DECISIVE) and name not in NEVER]:
        del os.environ[name]


def main() -> int:
    """Serve until asked to end."""
    sys.stderr = ForgivingLog(sys.stderr)
    try:
        _as_started_by_us()
        environ = dict(os.environ)
        _forget_the_callers_own()
        return Daemon(environ, os.getcwd()).serve()
    except AlreadyServed as served:
        sys.stderr.write(f"{served.message}\n")
        return 0
    except CcError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
