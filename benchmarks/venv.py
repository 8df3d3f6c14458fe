"""How much a fresh virtual environment with the runtime dependencies weighs, on the disk, pip and all."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.box import ROOT
from benchmarks.measure import Figure, NotMeasured

LIMIT_MB = 110.0
INSTALL_S = 600.0


def venv(runs: int = 1) -> Iterator[Figure]:
    """`runs` says nothing here: its size is the same each time."""
    with tempfile.TemporaryDirectory(prefix="ccbench-venv-") as directory:
        home = Path(directory) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=INSTALL_S)
        constraints = ROOT / "constraints.txt"
        pinned = ["-c", str(constraints)] if constraints.exists() else []
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
        install = [*pip, "install", *pinned, "-e", str(ROOT)]
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            raise NotMeasured(f"pip install: {done.stderr.strip()[-200:]}")
        sizes = _sizes(home)
    total = sum(sizes.values())
    largest = dict(sizes.most_common(5))
    words = ", ".join(f"{name} {size:.1f}" for name, size in largest.items())
    yield Figure(
        "venv", total, "MB", f"{total:.0f} MB ({words})", LIMIT_MB, f"<= {LIMIT_MB:g} MB", 1, {"largest_mb": largest}
    )


def _sizes(home: Path) -> Counter[str]:
    """Megabytes on the disk by package, what lies outside of site-packages as `(venv)`."""
    sizes: Counter[str] = Counter()
    for path in home.rglob("*"):
        if path.is_symlink():
            continue
        parts = path.relative_to(home).parts
        inside = parts[parts.index("site-packages") + 1 :] if "site-packages" in parts else ()
        sizes[inside[0] if inside else "(venv)"] += path.stat().st_blocks * 512 / 1e6
    return sizes
