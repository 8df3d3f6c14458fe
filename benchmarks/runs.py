"""What the runner costs: a hundred converged steps in one playbook.

steps      `file: {state: directory}`. The price of one more step is (a hundred steps - one step) / 99, whole processes;
           start-up (Invoke, reading the playbook's first step) falls out of it. The whole run is compared to an empty
           Invoke task beside it.
commands   `command` with `unless: "true"`, so that a converged step runs exactly one `sh -c true` across the seam, the
           steps in a chain so that they run one after another, as bare `sh` does. Three comparisons:
           commands              the price of one more, (hundred - one) / 99, against the same of `sh` in a bare Python.
                                 Start-ups fall out. The strictest: a fork costs by the memory of the process that
                                 forks, and Invoke alone is 14 MB of it, for which `sh` called there pays just as much
           commands-invoke       whole processes, against an Invoke task that calls `sh`: what one would write instead
           commands-independent  as `commands`, the steps without a chain, of which the runner takes eight at a time
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.box import Box, boxed
from benchmarks.measure import Figure, in_turns, ms

MANY = 100
STEP_MS = 0.5
WHOLE = 2.5
COMMANDS = 1.2
BARE = "import os, sh\nrun = sh.Command('sh')\nfor _ in range(int(os.environ['COUNT'])):\n    run('-c', 'true')\n"


def steps(runs: int = 15) -> Iterator[Figure]:
    with boxed() as box:
        many, one = (_playbook(box, f"steps-{count}", _directories(box, count)) for count in (MANY, 1))
        took = in_turns(
            {
                "empty": box.empty_task,
                "one": lambda: box.invoke("play", one),
                "many": lambda: box.invoke("play", many),
            },
            runs,
        )
    each = (took["many"] - took["one"]) / (MANY - 1) * 1000
    whole = took["many"] / took["empty"]
    data = {f"{name}_s": value for name, value in took.items()}
    yield Figure(
        "steps", each, "ms", f"{each:.2f} ms a converged step", STEP_MS, f"<= {STEP_MS} ms", runs, data
    )  # fmt: skip
    said = f"{MANY} steps {ms(took['many'])}, empty task {ms(took['empty'])}: {whole:.2f} x"
    yield Figure("steps-whole-run", whole, "x", said, WHOLE, f"<= {WHOLE} x", runs, data)


def commands(runs: int = 9) -> Iterator[Figure]:
    with boxed() as box:
        box.add_task("bare", *BARE.splitlines())
        sides: dict[str, Callable[[], str]] = {}
        for count in (1, MANY):
            chain = _playbook(box, f"chain-{count}", _commands(count, chained=True))
            loose = _playbook(box, f"independent-{count}", _commands(count, chained=False))
            sides |= {
                f"chain-{count}": partial(box.invoke, "play", chain),
                f"independent-{count}": partial(box.invoke, "play", loose),
                f"sh-{count}": partial(box.run, sys.executable, "-c", BARE, env=box.env | {"COUNT": str(count)}),
            }
        sides["task"] = partial(box.task, "bare", COUNT=str(MANY))
        took = in_turns(sides, runs)
    each = {kind: (took[f"{kind}-{MANY}"] - took[f"{kind}-1"]) / (MANY - 1) for kind in ("chain", "independent", "sh")}
    data = {f"{name}_s": value for name, value in took.items()}
    for kind, name in (("chain", "commands"), ("independent", "commands-independent")):
        ratio = each[kind] / each["sh"]
        said = f"{each[kind] * 1000:.2f} ms a step, sh alone {each['sh'] * 1000:.2f} ms: {ratio:.2f} x"
        yield Figure(name, ratio, "x", said, COMMANDS, f"<= {COMMANDS} x", runs, data)
    whole = took[f"chain-{MANY}"] / took["task"]
    said = f"{MANY} steps {ms(took[f'chain-{MANY}'])}, a task that calls sh {ms(took['task'])}: {whole:.2f} x"
    yield Figure("commands-invoke", whole, "x", said, COMMANDS, f"<= {COMMANDS} x", runs, data)


def _playbook(box: Box, name: str, steps: list[str]) -> str:
    """Write it, run it until it is converged, and make sure that it is. Its path."""
    path = Path(box.dir) / f"{name}.yml"
    path.write_text("version: 1\nsteps:\n" + "".join(f"  - {step}\n" for step in steps))
    box.invoke("play", str(path))
    counts = json.loads(box.invoke("play", str(path), "--json"))["counts"]
    if counts["ok"] != len(steps):
        raise SystemExit(f"{path} is not converged: {counts}")
    return str(path)


def _directories(box: Box, count: int) -> list[str]:
    return [f"{{name: s{i}, file: {{path: {box.dir}/d{i}, state: directory}}}}" for i in range(count)]


def _commands(count: int, *, chained: bool) -> list[str]:
    after = lambda i: f"needs: [s{i - 1}], " if chained and i else ""  # noqa: E731
    return [f'{{name: s{i}, {after(i)}command: {{run: ["true"], unless: "true"}}}}' for i in range(count)]
