"""What the seam costs over bare `sh`, and how fast and in how much memory it takes a gigabyte.

    python benchmarks/seam.py            both are measured in this one run, in turns, and compared by ratio
    python benchmarks/seam.py --json     the same as one JSON document

The ratio is the contract: at most 1.2 x what `sh` alone needs for the same commands.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sh

from cc.shell import Command, SystemShell

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 1.2
TRUE = Command(("/bin/true",)) if Path("/bin/true").exists() else Command(("/usr/bin/true",))


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def calls_compared(shell: SystemShell, calls: int) -> dict[str, float]:
    """Medians over calls that take turns one by one, so that what else the machine does falls on both."""
    bare = sh.Command(TRUE.argv[0])
    pairs = [(milliseconds(lambda: shell.run(TRUE)), milliseconds(bare)) for _ in range(calls)]
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    return {"seam_ms": ours, "sh_ms": theirs, "ratio": ours / theirs}


def in_parallel(shell: SystemShell, calls: int, threads: int) -> float:
    """Milliseconds a call when several threads run commands at once."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: shell.run(TRUE), range(calls)))
        return (time.perf_counter() - began) / calls * 1000


def megabytes_of_peak() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def output_taken(shell: SystemShell, size: int, script: str) -> dict[str, float]:
    """Speed and growth of peak memory over `size` bytes of output."""
    before, began = megabytes_of_peak(), time.perf_counter()
    result = shell.run(Command(("sh", "-c", script, "sh", str(size))))
    seconds = time.perf_counter() - began
    if result.stdout_bytes != size:
        raise SystemExit(f"{result.stdout_bytes} bytes came of {size}")
    return {"mb_per_s": size / 1e6 / seconds, "memory_growth_mb": megabytes_of_peak() - before}


def measured(calls: int, megabytes: int) -> dict[str, Any]:
    shell = SystemShell()
    shell.run(TRUE)  # imports sh
    size = megabytes * 1_000_000
    return {
        "calls": calls,
        **calls_compared(shell, calls),
        "target": TARGET,
        "parallel_8_ms": in_parallel(shell, calls, 8),
        "output_mb": megabytes,
        "lines": output_taken(shell, size, 'yes "a line of ordinary length, as programs write them" | head -c "$1"'),
        "one_line": output_taken(shell, size, 'head -c "$1" /dev/zero | tr "\\0" x'),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300, help="commands of each, in turns (default 300)")
    parser.add_argument("--megabytes", type=int, default=1000, help="output to take (default 1000)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    told = measured(options.calls, options.megabytes)
    if options.json:
        print(json.dumps(told))
        return
    verdict = "within" if told["ratio"] <= TARGET else "over"
    print(f"{told['calls']} x true    seam {told['seam_ms']:.2f} ms   sh {told['sh_ms']:.2f} ms", end="   ")
    print(f"ratio {told['ratio']:.2f} ({verdict} {TARGET})   8 threads {told['parallel_8_ms']:.2f} ms a call")
    for name in ("lines", "one_line"):
        what = f"{told['output_mb']} MB in {'lines' if name == 'lines' else 'one line'}"
        print(f"{what:20} {told[name]['mb_per_s']:.0f} MB/s   memory +{told[name]['memory_growth_mb']:.1f} MB")


if __name__ == "__main__":
    main()
