"""What it costs to climb down a ladder: nothing but the probes on the way.

descent-none   `up` without docker on PATH: ClickHouse's step from its first rung to the last, as the run tells it
descent-hung   `up` against an engine that takes connections and says nothing, beyond `up --no-docker` and the deadline
               that a read from the engine has; the dashboard runs already
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.box import INVOKE, Box, boxed
from benchmarks.measure import Figure, NotMeasured, seconds
from cc.drill.ground import path_without
from cc.resources.docker import READ_S

NONE_S = 0.05
HUNG_S = 0.2
HIDDEN = ("docker", "docker-compose")


def descent(runs: int = 5) -> Iterator[Figure]:
    with boxed() as box:
        box.env["PATH"] = f"{Path(INVOKE).parent}{os.pathsep}{path_without(str(box.dir), *HIDDEN)}"
        took = median(_step(box) for _ in range(runs))
    said = f"{took * 1000:.0f} ms from the first rung to the last"
    yield Figure("descent-none", took * 1000, "ms", said, NONE_S * 1000, f"<= {NONE_S * 1000:g} ms", runs)
    with boxed() as box, _silent_engine(box.dir / "engine.sock") as path:
        box.env["DOCKER_HOST"] = f"unix://{path}"
        box.invoke("up", "--no-docker", "--no-supervisor")
        base = median(seconds(lambda: box.invoke("up", "--no-docker", "--no-supervisor")) for _ in range(runs))
        beyond = seconds(lambda: box.invoke("up", "--no-supervisor")) - base - READ_S
    said = f"{beyond * 1000:.0f} ms beyond the deadline of {READ_S:g} s"
    yield Figure("descent-hung", beyond * 1000, "ms", said, HUNG_S * 1000, f"<= {HUNG_S * 1000:g} ms", 1)


def _step(box: Box) -> float:
    """Seconds that ClickHouse's step took; it must have gone without."""
    told = json.loads(box.invoke("up", "--json", "--no-supervisor"))
    step = next(step for step in told["steps"] if step["name"] == "clickhouse")
    if step["rung_name"] != "without":
        raise NotMeasured(f"the ladder ended at {step['rung_name']}")
    return float(step["duration_s"])


@contextmanager
def _silent_engine(path: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(64)
        kept: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        try:
            yield str(path)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for one in kept:
                one.close()
