"""`python -m cc.dashboard --host H --port P`: Flask's own server, for machines without gunicorn (L4 rung 1).

Listens on exactly that address or ends with one line saying why not: looking for a free port is the ladder's work.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING

from cc.errors import CcError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socketserver import BaseServer

INTERRUPTED_EXIT_CODE = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until ended. Exits 1 if the address can't be listened on, 2 for a bad word or configuration."""
    parser = argparse.ArgumentParser(prog="python -m cc.dashboard", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, required=True)
    given = parser.parse_args(arguments)
    try:
        listener = listen(given.host, given.port)
    except OSError as error:
        return _fail(f"cannot listen on {_address(given.host, given.port)}: {_reason(error)}", 1)
    with listener:
        try:
            return serve(listener, given.host, given.port)
        except CcError as error:
            return _fail(str(error) + (f" ({error.hint})" if error.hint else ""), error.exit_code)


def serve(listener: socket.socket, host: str, port: int) -> int:
    """Serve on what listens there, until ended."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    from cc import __version__
    from cc.dashboard.app import from_environment

    class QuietHandler(WSGIRequestHandler):
        """No line a request, and no word about which Python this is."""

        server_version = f"cc/{__version__}"
        sys_version = ""

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

        def version_string(self) -> str:
            """Say which cc this is, and nothing about the library."""
            return self.server_version

    os.environ.update({"CC_DASHBOARD_BOUND": _address(host, port), "CC_DASHBOARD_SERVER": "flask"})
    server = make_server(
        host, port, from_environment(), threaded=True, request_handler=QuietHandler, fd=listener.fileno()
    )
    # Not in this thread, in which signals are heard: what a handler raises while a request is handed over to its
    # thread, the server takes for that request's error, logs it and serves on.
    ended = threading.Event()
    threading.Thread(target=_serve_until, args=(server, ended), name="serve", daemon=True).start()
    try:
        ended.wait()
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    return 1


def _serve_until(server: BaseServer, ended: threading.Event) -> None:
    """Serve; nothing but a bug makes it end, whose traceback the thread shows."""
    try:
        server.serve_forever()
    finally:
        ended.set()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket of our own making: werkzeug's would print advice of its own, on several lines."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), port), family=family, backlog=128)


def _reason(error: OSError) -> str:
    """The system's words alone: create_server appends the address to them, and ours stands before already."""
    if error.errno is None or error.errno <= 0:  # a name that can't be resolved has a negative number of its own kind
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _address(host: str, port: int) -> str:
    return f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535, not {text!r}")
    return int(text)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"dashboard: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
