"""Where the supervisor listens: making its sockets, keeping them, and never taking a live one.

A socket is stale, and removed, only if it refuses, nobody holds the lock and the recorded owner is dead (LADDERS.md,
L2). What is no socket is neither followed nor removed, but named. The lock is there beside the pid because the kernel
lets go of it however its holder dies, and no stranger ever gets its number. Which files: transport's docstring.
Imports leaves, protocol and transport; knows no methods.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from typing import NamedTuple

from cc.clock import SystemClock
from cc.errors import Failure
from cc.files import os_failure, write_whole
from cc.supervisor import protocol
from cc.supervisor.transport import (
    LOCK,
    PIDFILE,
    TOKEN,
    TOKEN_BYTES,
    Address,
    Alive,
    Owner,
    connect_unix,
    loopback,
    reachable,
    read_owner,
    read_token,
    refuse_strangers,
    refuse_what_is_no_socket,
    shown_address,
    socket_path,
)  # fmt: skip

BACKLOG = 256
TEMPORARY = ".s."  # short: it has to fit where the socket's own name does
START_S = 2.0  # how long one that starts may hold the lock before its socket answers


class AlreadyServed(Failure):
    """A supervisor is there already; `owner` is the recorded one, None if the record is lost. Connect to it."""

    code = "port_in_use"

    def __init__(self, message: str, owner: Owner | None) -> None:
        super().__init__(message)
        self.owner = owner


class Seen(NamedTuple):
    """What a listener noticed: for people; and the socket that its own `listening` has replaced, still to be closed."""

    text: str
    retired: socket.socket | None = None
    lost: bool = False  # another supervisor has taken its place


def remove_stale(run: str, alive: Alive) -> str | None:
    """Remove a socket that a dead supervisor left: what was done, for people, or None if there was none.

    Raises AlreadyServed if it lives, Failure not_ours for what is no socket.
    """
    if not os.path.lexists(socket_path(run)):
        return None
    lock = _take_lock(run)
    try:
        return _clear(run, alive, None)
    finally:
        os.close(lock)


def listen_unix(run: str, *, owner: Owner, alive: Alive) -> UnixListener:
    """Listen in `run` as `owner`, which is this process. Raises AlreadyServed, Failure, ConfigError."""
    lock = _take_lock(run)
    try:
        repaired = _clear(run, alive, owner)
        write_whole(os.path.join(run, PIDFILE), f"{owner.pid} {owner.start_time}\n".encode(), durable=False)
        listening, inode = _bind(socket_path(run))
    except BaseException:
        os.close(lock)
        raise
    return UnixListener(run, owner, lock, listening, inode, repaired)


class UnixListener:
    """The supervisor's socket. `repaired` says what was removed to make it, None if nothing was in the way."""

    via = "unix"

    def __init__(
        self, run: str, owner: Owner, lock: int, listening: socket.socket, inode: tuple[int, int], repaired: str | None
    ) -> None:
        self.listening = listening
        self.repaired = repaired
        self._run = run
        self._owner = owner
        self._lock = lock
        self._inode = inode
        self._said = ""

    def accept(self) -> tuple[socket.socket, protocol.ServerProof | None]:
        """The next client. Raises BlockingIOError if there is none, Failure not_ours for another user."""
        connection, _ = self.listening.accept()
        try:
            refuse_strangers(connection, "the client")
        except BaseException:
            connection.close()
            raise
        return connection, None

    def check(self) -> Seen | None:
        """Whether clients still find us: a socket (or a whole directory) that was deleted is made again. Two stats."""
        path = socket_path(self._run)
        try:
            if _inode(path) == self._inode and _inode(os.path.join(self._run, LOCK)) == _of(os.fstat(self._lock)):
                self._said = ""
                return None
            return self._come_back(path)
        except AlreadyServed as taken:
            return self._once(Seen(taken.message, lost=True))
        except Failure as failure:
            return self._once(Seen(f"clients cannot reach this supervisor: {failure.message}"))

    def _come_back(self, path: str) -> Seen:
        try:
            os.makedirs(self._run, mode=0o700, exist_ok=True)
        except OSError as error:
            raise os_failure(error, f"{self._run} cannot be made again") from error
        if _inode(os.path.join(self._run, LOCK)) != _of(os.fstat(self._lock)):
            lock = _take_lock(self._run)
            os.close(self._lock)
            self._lock = lock
        write_whole(
            os.path.join(self._run, PIDFILE), f"{self._owner.pid} {self._owner.start_time}\n".encode(), durable=False
        )
        if _inode(path) == self._inode:
            return Seen("the supervisor's lock was deleted and is made again")
        refuse_what_is_no_socket(path)
        if os.path.lexists(path):
            raise Failure(f"{path} is somebody else's socket now", code="not_ours")
        retired = self.listening
        self.listening, self._inode = _bind(path)
        return Seen(f"{path} was deleted and is made again", retired)

    def _once(self, seen: Seen) -> Seen | None:
        if seen.text == self._said:
            return None
        self._said = seen.text
        return seen

    def close(self) -> None:
        """Give up socket, pid file and lock; only what is still ours is removed. The lock's file stays."""
        path = socket_path(self._run)
        self.listening.close()
        try:
            if _inode(path) == self._inode:
                os.unlink(path)
            if read_owner(self._run) == self._owner:
                os.unlink(os.path.join(self._run, PIDFILE))
        except OSError:
            pass  # a stale one does no harm
        os.close(self._lock)


def listen_tcp(run: str, address: Address) -> TcpListener:
    """Listen on a loopback address, with a new token. Only by who listens on the Unix socket of `run` already.

    Raises ConfigError for an address that is not loopback, Failure port_in_use, permission_denied, disk_full.
    """
    family, target = loopback(address)
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not held up by connections just ended
        listening.bind(target)
        token = os.urandom(TOKEN_BYTES)
        write_whole(os.path.join(run, TOKEN), token.hex().encode() + b"\n", durable=False)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        code = {errno.EADDRINUSE: "port_in_use", errno.EACCES: "permission_denied"}.get(error.errno or 0, "bad_config")
        raise Failure(
            f"cannot listen on {address[0]}:{address[1]}: {error.strerror}", code=code,
            hint="set CC_IPC_TCP to another address or port, or to nothing",
        ) from error  # fmt: skip
    except Failure:
        listening.close()
        raise
    return TcpListener(run, listening, token)


class TcpListener:
    """A loopback port, where every client proves first that it knows the token."""

    via = "tcp"

    def __init__(self, run: str, listening: socket.socket, token: bytes) -> None:
        self.listening = listening
        self._run = run
        self._token = token

    def accept(self) -> tuple[socket.socket, protocol.ServerProof | None]:
        """The next client. Raises BlockingIOError if there is none."""
        connection, _ = self.listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, protocol.ServerProof(self._token, shown_address(connection.getsockname()))

    def check(self) -> Seen | None:
        """A port is not deleted behind one's back."""
        return None

    def close(self) -> None:
        """Give up the port and the token."""
        self.listening.close()
        try:
            if read_token(self._run) == self._token:
                os.unlink(os.path.join(self._run, TOKEN))
        except (OSError, Failure):
            pass  # a token without its server opens nothing


def _take_lock(run: str) -> int:
    """The descriptor of the lock. Raises AlreadyServed if a supervisor holds it, Failure."""
    path = os.path.join(run, LOCK)
    clock = SystemClock()
    until = clock.now() + START_S
    while True:
        descriptor = _open_lock(run, path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _inode(path) == _of(os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            # Its holder may just be starting, or it is a client that asks whether there is one.
            if _answers(run) or clock.now() > until:
                os.close(descriptor)
                owner = read_owner(run)
                raise AlreadyServed(
                    f"a supervisor runs already{f' (pid {owner.pid})' if owner else ''}: it holds {path}", owner
                ) from None
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise os_failure(error, f"cannot lock {path}") from error
            raise
        os.close(descriptor)
        clock.wait(0.005)


def _open_lock(run: str, path: str) -> int:
    try:
        found = os.stat(run)
        if found.st_uid != os.geteuid():
            raise Failure(f"{run} belongs to another user (uid {found.st_uid})", code="not_ours")
        if found.st_mode & 0o077:
            os.chmod(run, 0o700)
        # O_NONBLOCK: somebody may have put a pipe there
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise os_failure(error, f"cannot open {path}") from error


def _answers(run: str) -> bool:
    try:
        connect_unix(run, START_S).close()
    except Failure as failure:
        return failure.code != "connection_refused"  # not now, not to us, in another tongue: somebody is there
    return True


def is_stale(run: str, alive: Alive, me: Owner | None = None) -> bool:
    """Whether a socket lies there that may be removed; False if nothing does.

    Raises AlreadyServed if somebody answers on it or its owner lives, Failure not_ours for what is no socket.
    """
    path = socket_path(run)
    if not os.path.lexists(path):
        return False
    refuse_what_is_no_socket(path)
    owner = read_owner(run)
    if _answers(run):
        raise AlreadyServed(f"somebody answers on {path}{f' (pid {owner.pid})' if owner else ''}", owner)
    # The pid file may name us already: whoever started us has written it.
    if owner is not None and owner != me and alive(*owner):
        raise AlreadyServed(f"pid {owner.pid}, which {path} belongs to, lives and takes no connections", owner)
    return True


def _clear(run: str, alive: Alive, me: Owner | None) -> str | None:
    """Make room for a socket, with the lock in hand: what was removed, for people."""
    path = socket_path(run)
    if not is_stale(run, alive, me):
        return None
    owner = read_owner(run)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_failure(error, f"cannot remove the stale socket {path}") from error
    return f"stale socket removed: {path}" + (f" (of pid {owner.pid}, which is dead)" if owner else "")


def _bind(path: str) -> tuple[socket.socket, tuple[int, int]]:
    """A listening socket at `path`, where nothing is: nobody ever meets one that does not listen yet."""
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, f"{TEMPORARY}{os.urandom(4).hex()}")
    listening = socket.socket(socket.AF_UNIX)
    try:
        _private(directory)
        _sweep(directory)
        with reachable(temporary) as name:
            listening.bind(name)
        os.chmod(temporary, 0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
        os.link(temporary, path)  # a rename would replace what came there meanwhile
        return listening, _of(os.lstat(path))
    except BaseException as error:
        listening.close()
        if isinstance(error, FileExistsError):
            raise AlreadyServed(f"somebody else has just made {path}", None) from error
        if isinstance(error, OSError):
            raise os_failure(error, f"cannot listen on {path}") from error
        raise
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _sweep(directory: str) -> None:
    """Remove what supervisors left that were killed while they made their socket. The lock is ours: nobody else is."""
    for name in os.listdir(directory):
        if name.startswith(TEMPORARY) and stat.S_ISSOCK(os.lstat(os.path.join(directory, name)).st_mode):
            os.unlink(os.path.join(directory, name))


def _private(directory: str) -> None:
    """Where the socket lies is a directory of this user's alone; the short one in the temporary directory is made."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(directory)
    if os.path.islink(directory) and found.st_uid == os.geteuid():
        found = os.stat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Failure(f"{directory} is not a directory of this user alone", code="not_ours")


def _inode(path: str) -> tuple[int, int] | None:
    try:
        return _of(os.lstat(path))
    except OSError:
        return None


def _of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
