"""What reading session files costs, against ccusage's native reader, on a corpus made for it (`benchmarks.corpus`).

usage          typical rows. Four sides and the empty Invoke task take turns:
               ccusage    `ccusage daily --json --offline`, the native binary itself, without node around it
               cold       `invoke usage --source files --json` with a home of its own each time: no index yet
               appended   the same after one row more was appended to a session file, with the index of the last look
               warm       the same when nothing has changed
               The time of the empty task is taken off ours, not off ccusage's. Its totals, and ours with and without
               an index, must be equal day by day, or the benchmark fails
usage-agents   the same where most bytes are results of sub-agents of 50 to 500 KB, a `usage` of their own in each, by
               which ccusage looks for rows: it parses all of them, and passes over the results of other tools
usage-large    the same with results of other tools, which hold none
usage-linear   cold and ccusage at 10 MB, 100 MB and so on up to --mb (10000 is 10 GB), in seconds per GB

The corpus lies in memory (/dev/shm) where there is room, else in the temporary directory; it is read once before it is
measured. ccusage: the file that CCUSAGE names, else npm installs its package for this platform for the time of the run.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks.box import INVOKE, ROOT, Box, boxed
from benchmarks.corpus import Large, Made, make, real_rows
from benchmarks.measure import Figure, NotMeasured, in_turns, ms, not_measured

COLD = 0.5
WARM = 0.05
APPENDED_S = 0.1
PEAK_MB = 170.0
LINEAR = 1.25
"""Seconds per GB at the largest size against the one a tenth of it."""
FILES_PER_MB = 3
NPM_PACKAGE = "@ccusage/ccusage-{system}-{machine}@20"
INSTALL_S = 120.0
SAMPLE_MS = 2
OURS = (INVOKE, "usage", "--source", "files", "--json")
FIELDS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_creation_tokens": "cacheCreationTokens",
    "cache_read_tokens": "cacheReadTokens",
}
"""The name of a count in our answer, and in ccusage's."""

Days = dict[str, dict[str, int]]


def usage(runs: int = 7, mb: int = 1000) -> Iterator[Figure]:
    yield from _against_ccusage("usage", runs, mb, None)


def usage_agents(runs: int = 7, mb: int = 1000) -> Iterator[Figure]:
    yield from _against_ccusage("usage-agents", runs, mb, "agents")


def usage_large(runs: int = 7, mb: int = 1000) -> Iterator[Figure]:
    yield from _against_ccusage("usage-large", runs, mb, "text")


def usage_linear(runs: int = 5, mb: int = 1000) -> Iterator[Figure]:
    sizes = [10**power for power in range(1, 9) if 10**power <= mb]
    if len(sizes) < 2:
        raise NotMeasured("a line needs two sizes: --mb 100 or more")
    per_gb: list[float] = []
    with boxed() as box, _ccusage(box) as theirs:
        for size in sizes:
            with _corpus(box, size, None) as made:
                bench = _Bench(box, theirs)
                took = in_turns({"empty": box.empty_task, "cold": bench.cold, **bench.theirs()}, runs)
                bench.compare(bench.days["cold"])
            gigabytes = made.bytes / 1e9
            per_gb.append((took["cold"] - took["empty"]) / gigabytes)
            said = f"{took['cold'] - took['empty']:.3f} s: {per_gb[-1]:.2f} s/GB"
            if "ccusage" in took:
                said += f"; ccusage {took['ccusage']:.3f} s: {took['ccusage'] / gigabytes:.2f} s/GB"
            name = f"usage-{size}-mb"
            yield Figure(
                name, per_gb[-1], "s/GB", said, n=runs, data={f"{side}_s": each for side, each in took.items()}
            )
    ratio = per_gb[-1] / per_gb[-2]
    said = f"{sizes[-1]} MB against {sizes[-2]} MB, per GB: {ratio:.2f} x"
    yield Figure("usage-linear", ratio, "x", said, LINEAR, f"<= {LINEAR:g} x", runs)


def _against_ccusage(name: str, runs: int, mb: int, large: Large | None) -> Iterator[Figure]:
    with boxed() as box, _ccusage(box) as theirs, _corpus(box, mb, large) as made:
        bench = _Bench(box, theirs)
        sides: dict[str, Callable[[], object]] = {"empty": box.empty_task, **bench.theirs(), "cold": bench.cold}
        took = in_turns({**sides, "appended": bench.appended, "warm": bench.warm}, runs)
        bench.cold()  # the line that was appended after the last cold look is in this one too
        days = bench.days
        if days["cold"] != days["warm"]:
            raise SystemExit(f"{name}: with an index {_sum(days['warm'])}, without one {_sum(days['cold'])}")
        total = bench.compare(days["cold"])
        memory = _memory(name, bench)
    source = "recorded rows" if real_rows() else "rows of our own making"
    told = f"{made.files} files, {made.bytes / 1e6:.0f} MB, {made.rows} rows ({source}), {made.messages} messages"
    equal = "ccusage counts the same each day" if not isinstance(theirs, NotMeasured) else "nobody to compare with"
    yield Figure(f"{name}-corpus", None, "", told)
    yield Figure(f"{name}-totals", None, "", f"{equal}: {_told(total)}", data={"total": total})
    yield from _figures(name, took, runs, theirs)
    yield memory


def _memory(name: str, bench: _Bench) -> Figure:
    try:
        peaks = bench.peaks()
    except NotMeasured as why:
        return not_measured(f"{name}-memory", str(why))
    said = f"{peaks['ours']:.0f} MB, all its processes" + (
        f"; ccusage {peaks['ccusage']:.0f}" if len(peaks) > 1 else ""
    )
    return Figure(f"{name}-memory", peaks["ours"], "MB", said, PEAK_MB, f"<= {PEAK_MB:g} MB", 1, peaks)


def _figures(name: str, took: Mapping[str, float], runs: int, theirs: object) -> Iterator[Figure]:
    """Cold and warm as a ratio to ccusage, and what one appended row takes, each over the empty task."""
    data = {f"{side}_s": value for side, value in took.items()}
    over = {side: took[side] - took["empty"] for side in ("cold", "warm", "appended")}
    for side, limit in (("cold", COLD), ("warm", WARM)):
        if isinstance(theirs, NotMeasured):
            yield not_measured(f"{name}-{side}", f"{ms(over[side])} over the empty task; no ratio: {theirs}")
            continue
        ratio = over[side] / took["ccusage"]
        said = f"{ms(over[side])} over the empty task, ccusage {ms(took['ccusage'])}: {ratio:.3f} x"
        yield Figure(f"{name}-{side}", ratio, "x", said, limit, f"<= {limit:g} x", runs, data)
    said = f"{ms(over['appended'])} over the empty task"
    target = f"<= {ms(APPENDED_S)}"
    yield Figure(f"{name}-appended", over["appended"], "s", said, APPENDED_S, target, runs, data)


class _Bench:
    """The sides, each a whole process; what they answered is kept in `days`."""

    def __init__(self, box: Box, theirs: str | NotMeasured) -> None:
        self._box, self._theirs = box, theirs
        self._homes, self._rows = count(), count()
        self.days: dict[str, Days] = {}
        self._grows = max(Path(box.env["CLAUDE_CONFIG_DIR"]).rglob("*.jsonl"), key=lambda path: path.stat().st_size)

    def cold(self) -> None:
        self.days["cold"] = self._ours(self._fresh())

    def warm(self) -> None:
        self.days["warm"] = self._ours({})

    def appended(self) -> None:
        """One row more, of an hour of its own in the year after; it must be seen."""
        number = next(self._rows)
        with self._grows.open("ab") as file:
            file.write(_row(number))
        day = self._ours({}).get("2027-01-01", {})
        if day.get("input_tokens") != number + 1:
            raise SystemExit(f"{number + 1} rows were appended to {self._grows}, and {day} were seen")

    def theirs(self) -> dict[str, Callable[[], object]]:
        """ccusage's side, if it is there."""
        if isinstance(self._theirs, NotMeasured):
            return {}
        return {"ccusage": lambda: self._box.run(*self._their_words())}

    def compare(self, ours: Days) -> dict[str, int]:
        """The total, and SystemExit where ccusage counts other numbers on any day."""
        if not isinstance(self._theirs, NotMeasured):
            answer = json.loads(self._box.run(*self._their_words()))
            days = {day["period"]: {mine: day[its] for mine, its in FIELDS.items()} for day in answer["daily"]}
            if days != ours:
                odd = sorted(day for day in {*days, *ours} if days.get(day) != ours.get(day))
                first = f"on {odd[0]} ccusage counts {days.get(odd[0])}, we {ours.get(odd[0])}"
                raise SystemExit(f"the totals differ on {len(odd)} days: {first}")
        return _sum(ours)

    def peaks(self) -> dict[str, float]:
        """Megabytes at most, cold. Raises NotMeasured."""
        found = {"ours": _peak_mb(OURS, self._environ(self._fresh()))}
        if not isinstance(self._theirs, NotMeasured):
            found["ccusage"] = _peak_mb(self._their_words(), self._environ({}))
        return found

    def _their_words(self) -> tuple[str, ...]:
        return (str(self._theirs), "daily", "--json", "--offline", "--timezone", "UTC")

    def _ours(self, more: Mapping[str, str]) -> Days:
        answer = json.loads(self._box.run(*OURS, env=self._environ(more)))
        return {row["key"]: {name: row[name] for name in FIELDS} for row in answer["rows"]}

    def _fresh(self) -> dict[str, str]:
        """A home that nobody has used: nothing has to be removed while the clock runs."""
        return {"CC_HOME": str(self._box.dir / f"home-{next(self._homes)}")}

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**self._box.env, "TZ": "UTC", **more}


def _row(number: int) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 1}
    message = {"id": f"msg_new_{number}", "role": "assistant", "model": "claude-sonnet-4-20250514", "usage": usage}
    row = {
        "type": "assistant", "timestamp": "2027-01-01T10:00:00.000Z", "sessionId": "appended", "version": "2.1.330",
        "requestId": f"req_new_{number}", "uuid": f"new-{number}", "message": message,
    }  # fmt: skip
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _sum(days: Days) -> dict[str, int]:
    return {name: sum(day[name] for day in days.values()) for name in FIELDS}


def _told(total: Mapping[str, int]) -> str:
    return ", ".join(f"{name.removesuffix('_tokens').replace('_', ' ')} {value:,}" for name, value in total.items())


@contextmanager
def _corpus(box: Box, mb: int, large: Large | None) -> Iterator[Made]:
    """A corpus that the box's commands read, removed at the end."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free > mb * 1.5e6
    with tempfile.TemporaryDirectory(prefix="ccbench-corpus-", dir=memory if room else None) as directory:
        made = make(Path(directory), mb=mb, files=mb * FILES_PER_MB, large=large)
        box.env["CLAUDE_CONFIG_DIR"] = directory
        yield made


@contextmanager
def _ccusage(box: Box) -> Iterator[str | NotMeasured]:
    """The path of the native reader, or why there is none."""
    if given := os.environ.get("CCUSAGE"):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="ccbench-npm-") as directory:
        try:
            yield _installed(directory)
        except NotMeasured as why:
            yield why


def _installed(directory: str) -> str:
    """Install it there. The platform's package alone: the one around it is a script of node that starts this binary."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = NPM_PACKAGE.format(system=sys.platform, machine=machine)
    words = ("npm", "install", "--prefix", directory, "--no-audit", "--no-fund", package)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(f"no ccusage: {error}") from error
    found = list(Path(directory).glob("node_modules/@ccusage/*/bin/ccusage"))
    if done.returncode or not found:
        raise NotMeasured(f"no ccusage: npm install {package}: {' '.join(done.stderr.split())[:160]}")
    found[0].chmod(0o755)  # the package comes without the bit; its script of node sets it
    return str(found[0])


def _peak_mb(words: tuple[str, ...], environ: Mapping[str, str]) -> float:
    """The most that a command and all below it held at one moment, sampled. What they share counts for each.

    Raises NotMeasured where there is no /proc.
    """
    if sys.platform != "linux":
        raise NotMeasured("only Linux tells the memory of a tree of processes cheaply")
    page, most = os.sysconf("SC_PAGE_SIZE"), 0
    with subprocess.Popen(words, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        ended = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            while not poll.poll(SAMPLE_MS):
                most = max(most, sum(_resident_pages(pid) for pid in _tree(process.pid)))
        finally:
            os.close(ended)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    return most * page / 1e6


def _tree(root: int) -> Iterator[int]:
    yield root
    try:
        for thread in os.listdir(f"/proc/{root}/task"):
            for child in Path(f"/proc/{root}/task/{thread}/children").read_text().split():
                yield from _tree(int(child))
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
