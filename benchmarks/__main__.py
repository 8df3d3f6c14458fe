"""`python -m benchmarks [NAME ...]`: measure, and say what came of it in a table.

Every ratio is of whole processes (of calls, for `seam`) that took turns in this run; n is how often each side ran.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import descent, ipc, runs, seam, services, stack, store, supervised, tokens, usage, venv
from benchmarks.measure import Figure, NotMeasured, not_measured
from cc.report.table import table

BENCHMARKS: dict[str, tuple[Callable[..., Iterable[Figure]], str]] = {
    "seam": (seam.seam, "a command across the seam, against sh alone"),
    "steps": (runs.steps, "100 converged steps, against an empty Invoke task"),
    "commands": (runs.commands, "100 converged commands, against sh alone"),
    "status": (stack.status, "invoke status without containers, against an empty Invoke task"),
    "status-standing": (stack.status_standing, "the same with the whole stack up (Docker)"),
    "up-standing": (stack.up_standing, "invoke up on a standing stack, against docker compose up -d (Docker)"),
    "up-cold": (stack.up_cold, "invoke up from nothing, against docker compose up -d --wait (Docker)"),
    "down": (stack.down, "invoke down of the whole stack, against docker compose down (Docker)"),
    "descent": (descent.descent, "down the containers' ladder without Docker, and with one that hangs"),
    "supervisor": (supervised.supervisor, "what the supervisor takes with the whole stack up, idle (Docker)"),
    "recovery": (supervised.recovery, "from the death of a service until it is well again (Docker)"),
    "services-1000": (services.services, "a thousand services in registry and watchdog, against a hundred"),
    "ipc": (ipc.ipc, "a question to the supervisor and its answer"),
    "ipc-supervisord": (ipc.ipc_supervisord, "the same, against supervisord's answer to supervisorctl status"),
    "ipc-idle": (ipc.ipc_idle, "what answering costs while nobody asks"),
    "usage": (usage.usage, "reading a GB of session files, against ccusage's native reader (npm, or CCUSAGE)"),
    "usage-agents": (usage.usage_agents, "the same with large results of sub-agents"),
    "usage-large": (usage.usage_large, "the same with large results of other tools"),
    "usage-linear": (usage.usage_linear, "seconds per GB at 10 MB, 100 MB ... up to --mb"),
    "tokens": (tokens.tokens, "the offline estimate of tokens, sampled and whole, and on what is nasty"),
    "store-ingest": (store.store_ingest, "session files into the store, 50 MB/s at least (Docker)"),
    "store-query": (store.store_query, "a week out of 100 M requests that the engine makes, minutes before (Docker)"),
    "venv": (venv.venv, "the size of a virtual environment with the runtime dependencies"),
}
SIZED = ("store-ingest", "usage", "usage-agents", "usage-large", "usage-linear")
MET = {True: "yes", False: "NO", None: "-"}


def measured(name: str, count: int | None, mb: int | None) -> list[Figure]:
    """The figures of one benchmark; one line that says why not where something is missing."""
    call, _ = BENCHMARKS[name]
    given = {"runs": count, "mb": mb if name in SIZED else None}
    try:
        return list(call(**{word: value for word, value in given.items() if value is not None}))
    except NotMeasured as why:
        return [not_measured(name, str(why))]


HEADS = ("name", "figure", "target", "met", "n")


def page(figures: list[Figure], names: list[str], machine: Mapping[str, object]) -> str:
    """The table as Markdown, and before it what was measured how: what the benchmarks' own modules say."""
    told = dict.fromkeys((sys.modules[BENCHMARKS[name][0].__module__].__doc__ or "").strip() for name in names)
    rows = [[each.name, each.told, each.target, MET[each.met], str(each.n or "-")] for each in figures]
    lines = [f"| {' | '.join(row)} |" for row in ([*HEADS], ["---"] * len(HEADS), *rows)]
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    made = f"Written by `python -m benchmarks {' '.join(names)} --markdown FILE` ({where}). Run it again to renew it."
    quoted = [f"```\n{each}\n```" for each in told]
    return "\n\n".join(("# What was measured", made, *quoted, "\n".join(lines))) + "\n"


def words() -> argparse.Namespace:
    names = "\n".join(f"  {name:16} {what}" for name, (_, what) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=f"benchmarks, all of them by default:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="measure only these")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--runs", type=int, metavar="N", help="how often each side runs (default: as each one needs)")
    parser.add_argument("--mb", type=int, metavar="N", help="megabytes of session files for usage (default: 1000)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table into this file as well, as Markdown")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    given = parser.parse_args()
    for name in given.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark is called {name!r}: they are {', '.join(BENCHMARKS)}")
    if given.runs is not None and given.runs < 1:
        parser.error("--runs must be at least 1")
    if given.mb is not None and given.mb < 10:
        parser.error("--mb must be at least 10")
    return given


def main() -> int:
    given = words()
    figures: list[Figure] = []
    for name in given.names or BENCHMARKS:
        print(f"{name}: {BENCHMARKS[name][1]} ...", file=sys.stderr, flush=True)
        figures += measured(name, given.runs, given.mb)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    if given.markdown is not None:
        given.markdown.write_text(page(figures, list(given.names or BENCHMARKS), machine), encoding="utf-8")
    if given.json:
        print(json.dumps({"machine": machine, "figures": [figure.as_dict() for figure in figures]}))
    else:
        rows = [(each.name, each.told, each.target, MET[each.met], each.n or "-") for each in figures]
        print(table(HEADS, rows, right=(4,)))
    return 1 if given.strict and any(each.met is False for each in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
