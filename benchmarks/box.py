"""A home, a project and ports of its own for what is measured, and an empty Invoke task to measure against."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import NotMeasured
from cc.drill.ground import claim_ports, give_back_ports

ROOT = Path(__file__).resolve().parents[1]
INVOKE = str(Path(sys.executable).with_name("invoke"))
LONGEST_S = 300.0
LAB_IMAGES = {"CC_CLICKHOUSE_IMAGE": "cc-lab/clickhouse:25.8", "CC_COLLECTOR_IMAGE": "cc-lab/collector:0.161.0"}
"""What tests/lab makes; used where the environment names no images and these are here."""
INHERITED = ("LANG", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", *LAB_IMAGES)


class Box:
    """Where the commands under measurement run. Nothing of it is left afterwards."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.ports = ports = claim_ports(8)
        self.env: dict[str, str] = {
            "HOME": str(directory),
            "PATH": f"{Path(INVOKE).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "CC_HOME": str(directory / "state"),
            "CC_PROJECT": f"ccbench-{os.getpid()}-{ports[0]}",
            "CC_CLICKHOUSE_PORT": str(ports[0]),
            "CC_OTLP_GRPC_PORT": str(ports[1]),
            "CC_OTLP_HTTP_PORT": str(ports[2]),
            "CC_OTEL_HEALTH_PORT": str(ports[3]),
            "CC_DASHBOARD_PORTS": f"{ports[4]}-{ports[7]}",
            "CLAUDE_CONFIG_DIR": str(directory / "claude"),
            # compose may be a plugin in the user's own directory, which another HOME would hide
            "DOCKER_CONFIG": str(Path("~/.docker").expanduser()),
        }
        self.env |= {name: os.environ[name] for name in INHERITED if name in os.environ}
        (directory / "empty").mkdir()
        (directory / "empty" / "tasks.py").write_text("from invoke import task\n")
        self.add_task("nop", "pass")

    def run(self, *argv: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, fails: bool = False) -> str:
        """Run to the end; its stdout. What it says is shown if it fails and should not."""
        done = subprocess.run(
            argv, cwd=cwd, env=self.env if env is None else env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=LONGEST_S, check=False,
        )  # fmt: skip
        if done.returncode and not fails:
            words = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise SystemExit(f"{' '.join(argv)}: exit code {done.returncode}\n{words}")
        return done.stdout

    def invoke(self, *words: str) -> str:
        """`invoke WORDS` in the project."""
        return self.run(INVOKE, *words)

    def add_task(self, name: str, *body: str) -> None:
        """One more task beside the empty one, apart from the project."""
        with (self.dir / "empty" / "tasks.py").open("a") as file:
            file.write(f"\n\n@task\ndef {name}(c):\n" + "".join(f"    {line}\n" for line in body))

    def task(self, name: str, **environ: str) -> str:
        """`invoke NAME` there."""
        return self.run(INVOKE, name, cwd=self.dir / "empty", env=self.env | environ)

    def empty_task(self) -> str:
        """What Invoke costs by itself: `invoke nop`."""
        return self.task("nop")

    def use_docker(self) -> None:
        """Make sure of an engine and of images. Raises NotMeasured."""
        if shutil.which("docker") is None or not self._succeeds("docker", "version"):
            raise NotMeasured("no Docker engine answers")
        given = [self.env[name] for name in LAB_IMAGES if name in self.env]
        if not given and self._succeeds("docker", "image", "inspect", *LAB_IMAGES.values()):
            self.env |= LAB_IMAGES
        elif given and not self._succeeds("docker", "image", "inspect", *given):
            raise NotMeasured(f"no such images here: {', '.join(given)}")
        if not self._succeeds("docker", "compose", "version"):
            raise NotMeasured("docker compose is not there")

    def _succeeds(self, *argv: str) -> bool:
        try:
            done = subprocess.run(argv, env=self.env, capture_output=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


@contextmanager
def boxed() -> Iterator[Box]:
    """A box, and its end: all down, volumes too, and the directory removed."""
    directory = Path(tempfile.mkdtemp(prefix="ccbench-"))
    box = Box(directory)
    try:
        yield box
    finally:
        box.run(INVOKE, "down", "--volumes", fails=True)
        shutil.rmtree(directory, ignore_errors=True)
        give_back_ports(box.ports)
