"""What the seam costs over bare `sh`, and how fast and in how much memory it takes a gigabyte.

The calls take turns one by one in one process: at most 1.2 x what `sh` alone needs for the same command. The output's
speed and the growth of peak memory are reported; peak memory only ever grows, so this runs before all else.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import sh

from benchmarks.measure import Figure, seconds
from cc.shell import Command, SystemShell

TARGET = 1.2
MEGABYTES = 1000
TRUE = Command(("/bin/true",)) if Path("/bin/true").exists() else Command(("/usr/bin/true",))
OUTPUTS = {
    "seam-lines": 'yes "a line of ordinary length, as programs write them" | head -c "$1"',
    "seam-one-line": 'head -c "$1" /dev/zero | tr "\\0" x',
}


def seam(runs: int = 300) -> Iterator[Figure]:
    shell = SystemShell()
    shell.run(TRUE)  # imports sh
    yield _calls(shell, runs)
    for name, script in OUTPUTS.items():
        yield _output(shell, name, script)


def _calls(shell: SystemShell, calls: int) -> Figure:
    """Medians over calls that take turns one by one, so that what else the machine does falls on both."""
    bare = sh.Command(TRUE.argv[0])
    pairs = [(seconds(lambda: shell.run(TRUE)), seconds(bare)) for _ in range(calls)]
    ours, theirs = (median(each) for each in zip(*pairs, strict=True))
    together = _in_parallel(shell, calls, 8)
    said = f"{ours * 1000:.2f} ms a call, sh alone {theirs * 1000:.2f} ms: {ours / theirs:.2f} x"
    data = {"seam_s": ours, "sh_s": theirs, "eight_threads_s": together}
    return Figure("seam", ours / theirs, "x", said, TARGET, f"<= {TARGET} x", calls, data)


def _in_parallel(shell: SystemShell, calls: int, threads: int) -> float:
    """Seconds a call when several threads run commands at once."""
    with ThreadPoolExecutor(threads) as pool:
        return seconds(lambda: list(pool.map(lambda _: shell.run(TRUE), range(calls)))) / calls


def _output(shell: SystemShell, name: str, script: str) -> Figure:
    """Speed and growth of peak memory over `MEGABYTES` of output."""
    size, before = MEGABYTES * 1_000_000, _peak_mb()
    result = shell.run(Command(("sh", "-c", script, "sh", str(size))))
    if result.stdout_bytes != size:
        raise SystemExit(f"{result.stdout_bytes} bytes came of {size}")
    speed, grown = MEGABYTES / result.duration_s, _peak_mb() - before
    said = f"{MEGABYTES} MB of output at {speed:.0f} MB/s, memory +{grown:.1f} MB"
    return Figure(name, speed, "MB/s", said, n=1, data={"memory_growth_mb": grown})


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
