"""A registry of one's own on 127.0.0.1, from which a real Docker engine pulls an image made of a few bytes.

Read-only, of the OCI distribution specification what a pull asks for: /v2/, manifests by tag and by digest, blobs.
Docker takes a registry on a loopback address without TLS. The image is a static busybox: it runs, sleeps, serves.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
APPLETS = ("sh", "sleep", "httpd", "echo", "cat", "true", "false", "kill", "env", "mkdir", "touch", "test", "ls")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_of(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A layer as a plain tar: executable files, and links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return packed.getvalue()


def busybox_layer(note: str, mark: bytes) -> bytes:
    """A root with a shell and a few words of it, and a mark in a file. Needs the busybox that the lab installs."""
    path = shutil.which("busybox")
    assert path is not None, "tests/lab/lab install brings busybox"
    links = {f"bin/{name}": "busybox" for name in APPLETS}
    files = {"bin/busybox": Path(path).read_bytes(), "www/index.html": note.encode() or b"ok", "etc/mark": mark}
    return layer_of(files, links)


class Registry:
    """`put` an image, and it can be pulled as `name(tag)`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.asked: list[str] = []
        # Its images are no other registry's: whose layers the engine has already, it does not pull.
        self.mark = uuid.uuid4().bytes
        self.stalls: set[str] = set()  # digests of which half comes and then nothing
        self.holds: set[str] = set()  # digests that wait for `released`
        self.released = threading.Event()
        self.stalled = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def name(self, tag: str = "1", repository: str = "cc/tiny") -> str:
        return f"{self.address}/{repository}:{tag}"

    def put(
        self, tag: str = "1", *, command: Sequence[str] = ("sleep", "600"), note: str = "", layer: bytes | None = None,
        **config: object,
    ) -> str:  # fmt: skip
        """An image under this tag, whoever had it before. Returns its name. `config` as in an image's own."""
        plain = busybox_layer(note, self.mark) if layer is None else layer
        packed = gzip.compress(plain, mtime=0)
        described = {
            "architecture": "amd64" if _machine() == "x86_64" else "arm64", "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"], "StopSignal": "SIGKILL", **config},
            "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
        }  # fmt: skip
        about = json.dumps(described).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(about), "digest": digest(about)},
                "layers": [{"mediaType": LAYER, "size": len(packed), "digest": digest(packed)}],
            }
        ).encode()  # fmt: skip
        self.blobs |= {digest(about): about, digest(packed): packed}
        self.manifests |= {tag: manifest, digest(manifest): manifest}
        return self.name(tag)

    def layer(self, tag: str = "1") -> str:
        """The digest of this tag's layer."""
        return str(json.loads(self.manifests[tag])["layers"][0]["digest"])

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.asked.append(self.path)
                kind, _, wanted = self.path.rpartition("/")
                if self.path == "/v2/":
                    self._answer(200, b"{}", "application/json")
                elif kind.endswith("/manifests") and wanted in registry.manifests:
                    self._answer(200, registry.manifests[wanted], MANIFEST)
                elif kind.endswith("/blobs") and wanted in registry.blobs:
                    self._blob(wanted)
                else:
                    code = "MANIFEST_UNKNOWN" if kind.endswith("/manifests") else "BLOB_UNKNOWN"
                    told = {"errors": [{"code": code, "message": "unknown"}]}
                    self._answer(404, json.dumps(told).encode(), "application/json")

            do_HEAD = do_GET  # noqa: N815 - as http.server calls it

            def _blob(self, wanted: str) -> None:
                data = registry.blobs[wanted]
                if wanted in registry.holds:
                    registry.released.wait(60)
                if wanted not in registry.stalls:
                    self._answer(200, data, "application/octet-stream")
                    return
                self._head(200, len(data), "application/octet-stream", wanted)
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                registry.stalled.set()
                registry.released.wait(60)
                self.close_connection = True

            def _answer(self, status: int, data: bytes, kind: str) -> None:
                self._head(status, len(data), kind, digest(data))
                if self.command != "HEAD":
                    self.wfile.write(data)

            def _head(self, status: int, size: int, kind: str, name: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(size))
                self.send_header("Docker-Content-Digest", name)
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def _machine() -> str:
    import platform

    return platform.machine()


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry; every image that was pulled from it is removed at the end."""
    made = Registry()
    try:
        yield made
    finally:
        made.close()
        named = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"  # one whose tag has moved on has its digest only
        listed = ["docker", "image", "ls", "--digests", "--format", named, f"{made.address}/*/*"]
        lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
        names = [by_digest if by_tag.endswith(":<none>") else by_tag for by_tag, by_digest in map(str.split, lines)]
        if names:
            subprocess.run(["docker", "image", "rm", "-f", *names], capture_output=True, check=True)
