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
import json
import os
import shlex
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from cc.clock import timestamp, wall_time
from cc.errors import ConfigError, Failure, LockHeldError
from cc.files import os_failure

if TYPE_CHECKING:
    from cc.engine.step import Context

JOURNAL_BYTES = 4 * 1024 * 1024


class StateDir(NamedTuple):
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
        import hashlib  # milliseconds, for who starts something or looks for it

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


class OperationLock:
    """Held by whoever operates the project: one operation at a time (DESIGN.md, "Who does it").

    A flock: it goes with its holder, however that one dies. The text in the file is only there to name the holder,
    and tells the next run that a holder died in the middle (`interrupted`).
    """

    def __init__(self, descriptor: int, interrupted: dict[str, Any] | None = None) -> None:
        self.descriptor = descriptor
        self.interrupted = interrupted

    def release(self) -> None:
        """Let go. The file stays: removing it would let two runs hold two files of one name."""
        if self.descriptor >= 0:
            try:
                os.ftruncate(self.descriptor, 0)
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # also for a copy that a fork has not closed yet
            except OSError:
                pass  # closing lets go all the same; the holder's name that may stay is of a dead one
            finally:
                os.close(self.descriptor)
                self.descriptor = -1


def open_regular(path: str, flags: int) -> int:
    """A descriptor of a regular file of ours, never waiting for whoever writes into a pipe. 0600 where it is made.

    Raises Failure bad_config, saying what to type, for whatever else is at the path; OSError as `os.open` does.
    """
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP):
            raise _no_file(path) from error
        if error.errno == errno.ENOENT and flags & os.O_CREAT and os.path.islink(path):  # one that leads nowhere
            raise _no_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return descriptor


def _no_file(path: str) -> Failure:
    """What is there, and is no file that we could have written."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        mode = 0
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    what = kinds.get(stat.S_IFMT(mode), "a device")
    move = f"mv {shlex.quote(path)} {shlex.quote(path + '.old')}"
    return Failure(
        f"{path} is {what}, where a file of ours should be", code="bad_config", hint=f"{move}   # then again"
    )


def _open_lock(path: str) -> int:
    """The lock file, made if need be. It holds nothing of worth, so what is in its place is removed if it can be."""
    try:
        return open_regular(path, os.O_RDWR | os.O_CREAT)
    except Failure:
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)  # only an empty one goes
            else:
                os.unlink(path)
        except FileNotFoundError:
            pass  # another run was quicker
        except OSError as error:
            raise _no_file(path) from error
    return open_regular(path, os.O_RDWR | os.O_CREAT)


def take_lock(state: StateDir, command: str, context: Context, *, timeout: float = 0.0) -> OperationLock:
    """Take the operation lock, waiting `timeout` seconds at most.

    Raises LockHeldError naming the holder, ConfigError or Failure if the state directory can't hold a lock.
    """
    state.ensure()
    path = os.path.join(state.run, "operation.lock")
    descriptor = -1
    try:
        while descriptor < 0 or not _still_there(descriptor, path):
            if descriptor >= 0:  # the file was removed while we waited: who comes now would lock another one
                os.close(descriptor)
            descriptor = _open_lock(path)
            _wait_for_it(descriptor, state.project, context, timeout)
        before = _holder(descriptor)
        _write_holder(descriptor, command)
    except BaseException as error:
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, OSError):
            raise os_failure(error, f"cannot lock {path}") from error
        raise
    return OperationLock(descriptor, before or None)


def _wait_for_it(descriptor: int, project: str, context: Context, timeout: float) -> None:
    if _flock(descriptor):
        return
    from cc.engine.waiting import wait_for  # only who waits needs it

    what = f"the other run to end ({_describe(_holder(descriptor))})"
    if wait_for(context, what, lambda: _flock(descriptor) or None, within=timeout) is None:
        raise LockHeldError(
            f"another run operates project {project!r}: {_describe(_holder(descriptor))}",
            hint="wait for it, or give --lock-timeout SECONDS",
        )


def _still_there(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


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
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "its holder left no name"
    try:
        since = f", for {max(0, round(wall_time() - float(holder['since'])))} s"
    except (KeyError, TypeError, ValueError, OverflowError):
        since = ""
    return f"`{holder.get('command', '?')}`, pid {holder['pid']}{since}"


class Journal:
    """journal.jsonl: what happened, one write a line; rotated once (`.1`) past 4 MiB.

    A listener for engine events, and for anything else that has an `as_dict`.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line. Raises Failure (disk_full, permission_denied, bad_config)."""
        line = json.dumps({"time": timestamp(), "pid": os.getpid(), **entry}, ensure_ascii=False) + "\n"
        try:
            # Readable too: a full disk may have torn the last line, and ours must not become a part of it.
            descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                data = b"\n" * torn + line.encode("utf-8", "replace")
                if os.write(descriptor, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if size + len(data) > JOURNAL_BYTES:
                    self._rotate(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise os_failure(error, f"cannot write the journal {self._path}") from error

    def _rotate(self, descriptor: int) -> None:
        """One of all that find it full: a second one would move the new, almost empty journal over the old."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _still_there(descriptor, self._path):
            os.replace(self._path, self._path + ".1")
