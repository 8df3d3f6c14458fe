"""A Unix socket that answers as a Docker engine would, or as one should not: bytes as the test wants them."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def answer(body: Any, status: int = 200) -> bytes:
    """A whole HTTP answer. `body` is JSON's plain data, or bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d Some\r\nContent-Length: %d\r\n\r\n" % (status, len(data)) + data


class FakeEngine:
    """`says` gives the bytes for a request's target; None is silence until the end. `asked` are the targets."""

    def __init__(self, path: Path, says: Callable[[str], bytes | None]) -> None:
        self.path = path
        self.asked: list[str] = []
        self._says = says
        self._kept: list[socket.socket] = []
        self._closed = False
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def environ(self) -> dict[str, str]:
        return {"DOCKER_HOST": f"unix://{self.path}"}

    def _serve(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            with suppress(BrokenPipeError):  # who is interrupted goes without waiting for its answer
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        target = client.recv(65536).decode(errors="replace").split(" ")
        self.asked.append(target[1] if len(target) > 1 else "")
        said = self._says(self.asked[-1])
        if said is None:
            self._kept.append(client)
            return
        with client:
            client.sendall(said)

    def close(self) -> None:
        """End it; its socket file stays, as that of one that was killed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)
        for client in self._kept:
            client.close()


@contextmanager
def engine(says: Callable[[str], bytes | None]) -> Iterator[FakeEngine]:
    """An engine in a short path of its own (a socket's path has 107 bytes) that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="cceng-") as directory:
        Path(directory).chmod(0o755)
        made = FakeEngine(Path(directory) / "d.sock", says)
        try:
            yield made
        finally:
            made.close()
