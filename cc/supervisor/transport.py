"""Sockets between client and supervisor, and whose they are. Imports leaves and protocol; knows no methods.

    RUN/supervisor.sock    0600, in a directory that is 0700; made under another name and linked into place
    RUN/supervisor.lock    flock, held as long as the supervisor lives: two that start at once can't both win
    RUN/supervisor.pid     "PID START_TIME" of the owner, as every NAME.pid
    RUN/supervisor.token   0600, new with each supervisor; only where TCP is configured

Here is what both sides need, and connecting; who listens, and when a socket is stale: listener.

A path of a socket holds 107 bytes (103 on macOS). A longer one is reached through /proc/self/fd/N of its directory;
where there is no /proc the socket lies in a directory of the user's in the temporary one, named by a digest of RUN.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cc.clock import SystemClock
from cc.errors import ConfigError, Failure
from cc.files import os_failure
from cc.supervisor import protocol

SOCKET, LOCK, PIDFILE, TOKEN = "supervisor.sock", "supervisor.lock", "supervisor.pid", "supervisor.token"
LINUX: bool = sys.platform == "linux"
LONGEST_PATH = 107 if LINUX else 103
DIRECTORIES = "/proc/self/fd"
TOKEN_BYTES = 32

Address = tuple[str, int]
Alive = Callable[[int, int], bool]
"""Whether the process of that pid and start time lives (cc.shell.identity.is_alive)."""


class Owner(NamedTuple):
    """A process: pid and start time."""

    pid: int
    start_time: int


def socket_path(run: str) -> str:
    """Where the socket of a run directory lies."""
    path = os.path.join(run, SOCKET)
    if len(os.fsencode(path)) <= LONGEST_PATH or os.path.isdir(DIRECTORIES):
        return path
    import hashlib
    import tempfile

    digest = hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), f"cc-{os.geteuid()}-{digest}", SOCKET)


def read_owner(run: str) -> Owner | None:
    """The recorded owner, alive or not; None where there is no file or it holds something else."""
    try:
        with open(os.path.join(run, PIDFILE), "rb") as file:
            pid, started = (int(word) for word in file.read(64).split())
    except (OSError, ValueError):
        return None
    return Owner(pid, started) if pid > 1 and started > 0 else None


def is_held(run: str) -> bool:
    """Whether a supervisor lives here, answering or not: somebody holds its lock."""
    try:
        descriptor = os.open(os.path.join(run, LOCK), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False


def connect_unix(run: str, timeout: float) -> socket.socket:
    """A connection to the supervisor, its user checked. `timeout` seconds stays on the socket.

    Raises Failure connection_refused, deadline, not_ours, permission_denied.
    """
    path = socket_path(run)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        refuse_what_is_no_socket(path)
        with reachable(path) as name:
            _connect(connection, name, timeout)
        refuse_strangers(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise _connect_failure(error, path, timeout) from error
        raise
    return connection


def _connect(connection: socket.socket, name: str, timeout: float) -> None:
    """A full queue is EAGAIN at once on Linux, whatever the time-out: asked again until it is over."""
    clock = SystemClock()
    until = clock.now() + timeout
    while True:
        try:
            return connection.connect(name)
        except BlockingIOError:
            if clock.now() >= until:
                raise
            clock.wait(0.005)


def connect_tcp(run: str, address: Address, timeout: float) -> socket.socket:
    """The same over TCP, after both sides have proven that they know the token. Raises ConfigError, too."""
    token = read_token(run)
    family, target = loopback(address)
    connection = socket.socket(family)
    shown = f"{address[0]}:{address[1]}"
    until = SystemClock().now() + timeout
    try:
        connection.settimeout(timeout)
        connection.connect(target)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _prove(connection, protocol.ClientProof(token, shown_address(connection.getpeername())), until)
        connection.settimeout(timeout)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise _connect_failure(error, shown, timeout) from error
        raise
    return connection


def _prove(connection: socket.socket, proof: protocol.ClientProof, until: float) -> None:
    line: bytes | None = proof.first
    while line is not None:
        connection.sendall(line)
        answer = b""
        while not answer.endswith(b"\n"):
            connection.settimeout(max(0.001, until - SystemClock().now()))
            more = connection.recv(protocol.MAX_PROOF_LINE)
            answer += more
            if not more or len(answer) > 4 * protocol.MAX_PROOF_LINE:
                raise Failure("who listens there does not prove to be our supervisor", code="not_ours")
        line = proof.feed(protocol.decode(answer))


@contextmanager
def reachable(path: str) -> Iterator[str]:
    """A name of `path` that fits into a socket address, for as long as the context lasts."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield path
        return
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{DIRECTORIES}/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)


def refuse_what_is_no_socket(path: str) -> None:
    """Raises Failure not_ours for a symlink, a file, a directory; nothing there is no objection."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_failure(error, f"cannot look at {path}") from error
    if not stat.S_ISSOCK(mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFREG: "a file", stat.S_IFDIR: "a directory"}
        kind = kinds.get(stat.S_IFMT(mode), "a device or a pipe")
        raise Failure(
            f"{path} is {kind}, not the supervisor's socket: it is left alone", code="not_ours",
            hint=f"look at it, and move it away: mv {path} {path}.old",
        )  # fmt: skip


def refuse_strangers(connection: socket.socket, who: str) -> None:
    """The kernel says whose the other end is. Raises Failure not_ours for any other user, root too."""
    uid = peer_uid(connection)
    if uid != os.geteuid():
        raise Failure(f"{who} belongs to another user (uid {uid})", code="not_ours")


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel recorded it at connect or listen."""
    if LINUX:
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", found)[1])
    # struct xucred of the BSDs: version, uid, number of groups, groups. LOCAL_PEERCRED is 1 at level 0 (SOL_LOCAL).
    found = connection.getsockopt(0, 1, struct.calcsize("IIh16I"))
    return int(struct.unpack_from("II", found)[1])


def _connect_failure(error: OSError, where: str, timeout: float) -> Failure:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return Failure(f"{where} takes no connection within {timeout:g} s", code="deadline")
    why = "there is no socket" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    gone = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOENT, errno.ENOTDIR)
    denied = isinstance(error, PermissionError)
    code = "connection_refused" if error.errno in gone else "permission_denied" if denied else "bad_answer"
    return Failure(f"{where}: {why}", code=code)


def loopback(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Family and numeric address. Raises ConfigError if it is not this machine's loopback."""
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{host} is no address: {error.strerror}", field="CC_IPC_TCP") from error
    for _, _, _, _, target in found:
        if not (str(target[0]).startswith("127.") or target[0] == "::1"):
            raise ConfigError(
                f"{host}:{port} can be reached from other machines: only a loopback address is served",
                field="CC_IPC_TCP", hint="set CC_IPC_TCP=127.0.0.1:5555",
            )  # fmt: skip
    family, _, _, _, target = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, (str(target[0]), port)


def shown_address(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def read_token(run: str) -> bytes:
    """The token of TCP. Raises Failure connection_refused if there is none, not_ours if others could get at it."""
    path = os.path.join(run, TOKEN)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found, text = os.fstat(descriptor), file.read(4 * TOKEN_BYTES)
    except OSError as error:
        raise Failure(f"no token can be read from {path}: {error.strerror}", code="connection_refused") from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Failure(f"{path} can be read or written by others", code="not_ours")
    try:
        return bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        raise Failure(f"{path} holds no token", code="connection_refused") from None
