"""The state directory: one home, a folder for each project in it, and who may operate it now.

    CC_HOME/PROJECT/run/            0700: operation.lock, NAME.pid, sockets
    CC_HOME/PROJECT/journal.jsonl   append only, one write a line, rotated
    CC_HOME/PROJECT/cache/  logs/
    CC_HOME/PROJECT/clickhouse.password   0600

Any file in it may be deleted or corrupt at any time: that costs speed, never correctness.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from cc.clock import timestamp, wall_time
from cc.engine.step import Context
from cc.engine.waiting import wait_for
from cc.errors import ConfigError, Failure, LockHeldError
from cc.files import os_failure

JOURNAL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StateDir:
    """Where one project's state lives."""

    home: str
    project: str

    @property
    def path(self) -> str:
        return os.path.join(self.home, self.project)

    @property
    def run(self) -> str:
        return os.path.join(self.path, "run")

    @property
    def logs(self) -> str:
        return os.path.join(self.path, "logs")

    @property
    def cache(self) -> str:
        return os.path.join(self.path, "cache")

    @property
    def journal(self) -> str:
        return os.path.join(self.path, "journal.jsonl")

    @property
    def password(self) -> str:
        return os.path.join(self.path, "clickhouse.password")

    @property
    def owner(self) -> str:
        """The marker on all that this home's runs start: `<project>:<id>`.

        The id is derived from the home's real path and not kept in a file: a state directory that was deleted must
        not turn what still runs into strangers.
        """
        digest = hashlib.sha256(os.path.realpath(self.home).encode()).hexdigest()[:12]
        return f"{self.project}:{digest}"

    def ensure(self) -> None:
        """Make the directories, 0700. Raises ConfigError if the home cannot be one, Failure disk_full."""
        for path in (self.home, self.path, self.run, self.logs, self.cache):
            try:
                os.makedirs(path, mode=0o700, exist_ok=True)
                if path == self.run and os.stat(path).st_mode & 0o077:
                    os.chmod(path, 0o700)
            except OSError as error:
                raise self._unusable(path, error) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self._unusable(self.path, PermissionError(errno.EACCES, "Permission denied"))

    def _unusable(self, path: str, error: OSError) -> ConfigError | Failure:
        failure = os_failure(error, f"the state directory {path} cannot be made or written")
        if failure.code == "disk_full":
            return failure
        return ConfigError(failure.message, field="CC_HOME", hint="set CC_HOME to a directory that you may write to")


@dataclass(slots=True)
class OperationLock:
    """Held by whoever operates the project: one operation at a time (DESIGN.md, "Who does it").

    A flock: it goes with its holder, however that one dies. The text in the file is only there to name the holder,
    and tells the next run that a holder died in the middle (`interrupted`).
    """

    descriptor: int
    interrupted: dict[str, Any] | None = None

    def release(self) -> None:
        """Let go. The file stays: removing it would let two runs hold two files of one name."""
        if self.descriptor >= 0:
            try:
                os.ftruncate(self.descriptor, 0)
            finally:
                os.close(self.descriptor)
                self.descriptor = -1


def take_lock(state: StateDir, command: str, context: Context, *, timeout: float = 0.0) -> OperationLock:
    """Take the operation lock, waiting `timeout` seconds at most.

    Raises LockHeldError naming the holder, ConfigError or Failure if the state directory can't hold a lock.
    """
    state.ensure()
    path = os.path.join(state.run, "operation.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise os_failure(error, f"cannot open the lock {path}") from error
    try:
        if not _flock(descriptor):
            holder = _holder(descriptor)
            got = wait_for(
                context,
                f"the other run to end ({_describe(holder)})",
                lambda: _flock(descriptor) or None,
                within=timeout,
            )
            if got is None:
                raise LockHeldError(
                    f"another run operates project {state.project!r}: {_describe(_holder(descriptor))}",
                    hint="wait for it, or give --lock-timeout SECONDS",
                )
        before = _holder(descriptor)
        _write_holder(descriptor, command)
    except BaseException:
        os.close(descriptor)
        raise
    return OperationLock(descriptor, before or None)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int, command: str) -> None:
    line = json.dumps({"pid": os.getpid(), "command": command, "since": round(wall_time(), 3)})
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, line.encode(), 0)
    except OSError:
        pass  # a full disk: the lock itself holds, only its holder has no name


def _holder(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "its holder left no name"
    seconds = max(0, round(wall_time() - float(holder.get("since", 0))))
    return f"`{holder.get('command', '?')}`, pid {holder['pid']}, for {seconds} s"


class Journal:
    """journal.jsonl: what happened, one write a line; rotated once (`.1`) past 4 MiB.

    A listener for engine events, and for anything else that has an `as_dict`.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line. Raises Failure (disk_full, permission_denied)."""
        line = json.dumps({"time": timestamp(), "pid": os.getpid(), **entry}, ensure_ascii=False) + "\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode("utf-8", "replace"))
                full = os.fstat(descriptor).st_size > JOURNAL_BYTES
            finally:
                os.close(descriptor)
            if full:
                os.replace(self._path, self._path + ".1")
        except OSError as error:
            raise os_failure(error, f"cannot write the journal {self._path}") from error
