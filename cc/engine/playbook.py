"""A playbook's text, read and checked: YAML in, a Playbook of frozen data out, or one ConfigError that says it all.

    parse    text + verbs + variables -> Playbook            every value of its kind, every name known, no circle
    select   Playbook + --tags + --start-at -> Playbook

Variables: `--set` over `vars` over the environment (DESIGN.md, "Decisions"). An entry of `vars` may use the environment
and the entries above it; `X: "${X:-1}"` is the environment's X. Keys are taken as they are, values are not.

Pure: reads no file, starts nothing. Knows the shape of a file; which fields there are is spec.py's, and which verbs,
the caller's. Every error has file, line, column, the path of the field (`steps[2].ladder[1].compose.state`, from 0 as
rungs are), what was expected and what was found, and the nearest known word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cc import document
from cc.document import Document, Node
from cc.engine.graph import circle
from cc.engine.retry import LONGEST_WAIT_S, TRANSIENT, RetryPolicy
from cc.engine.spec import CHANGED_WHEN, RETRY, RUNG, STEP, WITHOUT, ChangedWhen, Playbook, RungSpec, StepSpec, VerbSpec
from cc.engine.variables import NAME, Reader, Variables, near
from cc.errors import ConfigError, UsageError

VERSION = 1
TOP_KEYS = ("version", "vars", "steps")
STEP_FIELDS = {field.name: field for field in STEP.fields}
STEP_KEYS = (*STEP_FIELDS, "ladder", "retry", "changed_when")
RUNG_FIELDS = {field.name: field for field in RUNG.fields}
LONGEST_NAME = 200
NO = ("", "false", "no", "off", "0")


def parse(
    text: str | bytes,
    *,
    file: str,
    verbs: Mapping[str, VerbSpec],
    set_vars: Mapping[str, str],
    environ: Mapping[str, str],
) -> Playbook:
    """Read a playbook. `file` is its name in messages, `set_vars` are the user's `--set KEY=VALUE`.

    Raises ConfigError, and UsageError for a `--set` of something that this playbook has no use for.
    """
    doc = document.load(text, file=file)
    variables, own = _variables(doc, set_vars, environ)
    parser = _Parser(Reader(doc, variables), verbs)
    steps = parser.steps(doc.root)
    for name in set_vars:
        if name not in own and name not in variables.used:
            hint = near(name, {*own, *variables.used})
            raise UsageError(f"{file} has no variable {name!r}", field="--set", hint=hint)
    return Playbook(file=file, steps=steps, vars={**own, **set_vars})


def select(playbook: Playbook, tags: Sequence[str] = (), start_at: str | None = None) -> Playbook:
    """Only the steps that carry one of `tags` (all of them, if there are none), from the step `start_at` on.

    What a chosen step `needs` or `requires` and what is left out counts as done: only the order among the chosen ones
    stays, also where it went through one that is left out. Raises UsageError, naming the tags and steps there are.
    """
    names = [step.name for step in playbook.steps]
    if start_at is not None and start_at not in names:
        raise UsageError(f"there is no step {start_at!r} to start at", field="--start-at", hint=near(start_at, names))
    known = frozenset[str]().union(*(step.tags for step in playbook.steps))
    for tag in tags:
        if tag not in known:
            raise UsageError(f"no step has the tag {tag!r}", field="--tags", hint=near(tag, known))
    if not tags and start_at is None:
        return playbook
    behind = playbook.steps if start_at is None else playbook.steps[names.index(start_at) :]
    chosen = {step.name for step in behind if not tags or step.tags.intersection(tags)}
    if not chosen:
        raise UsageError(f"no step from {start_at!r} on has the tag {' or '.join(tags)}", field="--tags")
    by_name = {step.name: step for step in playbook.steps}
    return playbook._replace(
        steps=tuple(_among(step, chosen, by_name) for step in playbook.steps if step.name in chosen)
    )


def _among(step: StepSpec, chosen: set[str], by_name: Mapping[str, StepSpec]) -> StepSpec:
    """The step with what is left of its `needs` and `requires`."""
    requires = tuple(name for name in step.requires if name in chosen)
    needs = {name: None for name in step.needs if name in chosen}
    passed = [name for name in (*step.needs, *step.requires) if name not in chosen]
    seen = set(passed)
    while passed:
        left_out = by_name[passed.pop()]
        for name in (*left_out.needs, *left_out.requires):
            if name in chosen:
                needs[name] = None
            elif name not in seen:
                seen.add(name)
                passed.append(name)
    return step._replace(needs=tuple(name for name in needs if name not in requires), requires=requires)


def _variables(
    doc: Document, set_vars: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Variables, dict[str, str]]:
    """All variables, and of these the playbook's own. Checks the top of the file on the way."""
    values = {**environ, **set_vars}
    variables = Variables(values)
    reader = Reader(doc, variables)
    if doc.root.value is None:
        raise reader.error("the file is empty", doc.root, "", "a playbook begins with 'version: 1' and has 'steps'")
    top = reader.mapping(doc.root, "", "a mapping with version, vars, steps")
    for name in top:
        if name not in TOP_KEYS:
            raise reader.unknown(name, doc.root.keys[name], "", TOP_KEYS)
    version = top.get("version")
    if version is None:
        raise reader.error("'version' is missing", doc.root, "version", f"write 'version: {VERSION}' at the top")
    if version.value != VERSION or type(version.value) is not int:
        raise reader.error(f"expected version {VERSION}, found {version.described()}", version, "version")
    own: dict[str, str] = {}
    given = top.get("vars")
    if given is None or (given.value is None and not given.quoted):
        return variables, own
    later = reader.mapping(given, "vars", "a mapping of names to values")
    for name, node in later.items():
        path = f"vars.{document.shortened(name)}"
        if not NAME.fullmatch(name):
            hint = "letters, digits and _, no digit first"
            raise reader.error(f"{document.shortened(name)!r} cannot be a variable", given.keys[name], path, hint)
        asked, value, refusal = Variables(values), "", None
        try:
            value = Reader(doc, asked).text(node, path, "a single value")
        except ConfigError as error:
            refusal = error
        early = sorted(other for other in asked.used if other in later and other not in own and other != name)
        if (
            early
        ):  # a better reason than that it is not set, and one also where the environment has another of that name
            below = f"{early[0]} is set further down, in line {given.keys[early[0]].line}"
            raise reader.error(below, node, path, f"move it above {name}")
        if refusal is not None:
            raise refusal
        variables.used |= asked.used
        own[name] = values[name] = set_vars.get(name, value)
    return variables, own


class _Parser:
    """Reads the steps of one file."""

    def __init__(self, reader: Reader, verbs: Mapping[str, VerbSpec]) -> None:
        self._reader = reader
        self._verbs = verbs
        self._rung_verbs = {**verbs, WITHOUT.name: WITHOUT}

    def steps(self, root: Node) -> tuple[StepSpec, ...]:
        """Every step, and that they fit together."""
        reader, given = self._reader, root.value.get("steps")
        if given is None:
            raise reader.error("'steps' is missing", root, "steps", "a list of steps, each with a name and a verb")
        if type(given.value) is not list or not given.value:
            raise reader.error(f"expected a list of steps, found {given.described()}", given, "steps")
        steps: dict[str, StepSpec] = {}
        for at, node in enumerate(given.value):
            step = self._step(node, f"steps[{at}]")
            if step.name in steps:
                first = f"a second step is called {step.name!r}, the first is in line {steps[step.name].line}"
                raise reader.error(first, node.value["name"], f"steps[{at}].name")
            steps[step.name] = step
        self._check_order(given.value, steps)
        return tuple(steps.values())

    def _check_order(self, nodes: Sequence[Node], steps: Mapping[str, StepSpec]) -> None:
        for at, (node, step) in enumerate(zip(nodes, steps.values(), strict=True)):
            for word, names in (("needs", step.needs), ("requires", step.requires)):
                for number, name in enumerate(names):
                    if name in steps and name != step.name:
                        continue
                    written = node.value[word]
                    single = type(written.value) is not list
                    place = written if single else written.value[number]
                    path = f"steps[{at}].{word}" + ("" if single else f"[{number}]")
                    if name == step.name:
                        raise self._reader.error(f"step {name!r} {word} itself", place, path)
                    raise self._reader.error(
                        f"there is no step {document.shortened(name)!r}", place, path, near(name, steps)
                    )
        names_in_circle = circle({step.name: (*step.needs, *step.requires) for step in steps.values()})
        if names_in_circle:
            at = list(steps).index(names_in_circle[0])
            if len(names_in_circle) > 20:
                names_in_circle[10:-10] = [f"({len(names_in_circle) - 20} more)"]
            said = "steps wait for each other in a circle: " + " -> ".join(names_in_circle)
            raise self._reader.error(said, nodes[at].value["name"], f"steps[{at}]")

    def _step(self, node: Node, path: str) -> StepSpec:
        reader = self._reader
        given = reader.mapping(node, path, "a step: a mapping with a name and a verb or a ladder")
        values: dict[str, Any] = {}
        goals = []
        for name, child in given.items():
            if name in STEP_FIELDS:
                values[name] = reader.value(STEP_FIELDS[name], child, f"{path}.{name}")
            elif name == "ladder" or name in self._verbs:
                goals.append(name)
            elif name not in STEP_KEYS:
                raise reader.unknown(name, node.keys[name], path, (*STEP_KEYS, *self._verbs))
        self._check_name(node, path, values.get("name"))
        if len(goals) != 1:
            found = " and ".join(goals) or "none"
            at = node.keys[goals[1]] if goals else node
            hint = None if goals else "verbs: " + ", ".join(self._verbs)
            raise reader.error(f"expected one verb, or 'ladder', found {found}", at, path, hint)
        ladder = goals == ["ladder"]
        if "reads" in values and not ladder:
            raise reader.error("only a ladder can be one that reads", node.keys["reads"], f"{path}.reads")
        if ladder:
            rungs = self._ladder(given["ladder"], f"{path}.ladder", reads=values.get("reads", False))
        else:
            rungs = (self._rung_of(goals[0], node, path, {}),)
        left_out = _left_out(given, values)
        values.update({name: given[name].text for name in ("when", "unless") if name in given})
        values["tags"] = frozenset(values.get("tags", ()))
        return StepSpec(
            **values,
            rungs=rungs,
            ladder=ladder,
            left_out=left_out,
            retry=self._retry(node, path),
            changed_when=self._changed_when(node, path, rungs),
            line=node.line,
        )

    def _check_name(self, node: Node, path: str, name: str | None) -> None:
        if name is None:
            raise self._reader.error("'name' is missing", node, f"{path}.name", "every step has a name of its own")
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            said = f"expected a name in one line of at most {LONGEST_NAME} characters"
            found = repr(document.shortened(name))
            raise self._reader.error(f"{said}, found {found}", node.value["name"], f"{path}.name")

    def _ladder(self, node: Node, path: str, *, reads: bool) -> tuple[RungSpec, ...]:
        reader = self._reader
        if type(node.value) is not list or not node.value:
            raise reader.error(f"expected a list of rungs, found {node.described()}", node, path)
        rungs: list[RungSpec] = []
        for at, item in enumerate(node.value):
            rung_path = f"{path}[{at}]"
            rung = self._rung(item, rung_path)
            self._check_rung(item, rung_path, rung, first=at == 0, reads=reads)
            if rungs and rungs[-1].verb == WITHOUT.name and rung.verb != WITHOUT.name:
                raise reader.error("nothing but another 'without' may follow a 'without'", item, rung_path)
            rungs.append(rung)
        return tuple(rungs)

    def _rung(self, node: Node, path: str) -> RungSpec:
        reader = self._reader
        given = reader.mapping(node, path, "a rung: a mapping with a verb")
        values: dict[str, Any] = {}
        found = []
        for name, child in given.items():
            if name in RUNG_FIELDS:
                values[name] = reader.value(RUNG_FIELDS[name], child, f"{path}.{name}")
            elif name in self._rung_verbs:
                found.append(name)
            else:
                raise reader.unknown(name, node.keys[name], path, (*RUNG_FIELDS, *self._rung_verbs))
        if len(found) != 1:
            at = node.keys[found[1]] if found else node
            said = " and ".join(found) or "none"
            hint = None if found else "verbs: " + ", ".join(self._rung_verbs)
            raise reader.error(f"expected one verb, found {said}", at, path, hint)
        return self._rung_of(found[0], node, path, values)

    def _rung_of(self, verb: str, node: Node, path: str, values: Mapping[str, Any]) -> RungSpec:
        args = self._reader.fields(self._rung_verbs[verb], node.value[verb], f"{path}.{verb}", node.keys[verb])
        return RungSpec(
            verb=verb,
            args=args,
            name=values.get("name"),
            when_failed=values.get("when_failed", frozenset()),
            again=values.get("then") == "again",
            degraded=values.get("degraded"),
            line=node.line,
        )

    def _check_rung(self, node: Node, path: str, rung: RungSpec, *, first: bool, reads: bool) -> None:
        """What makes no sense where it stands."""
        without = rung.verb == WITHOUT.name
        if first and without:
            raise self._reader.error("a ladder cannot begin with 'without'", node.keys["without"], path)
        refused = {}
        if first:
            refused = {
                "when_failed": "no failure leads to the first rung: it is where a ladder begins",
                "then": "the first rung cannot be a repair",
                "degraded": "the first rung is what the others are measured by",
            }
        elif without:
            refused = {"then": "a 'without' cannot be a repair", "degraded": "a 'without' is always degraded"}
        elif rung.again:
            refused = {"degraded": "a repair is never where a ladder ends"}
        for name, why in refused.items():
            if name in node.value:
                raise self._reader.error(why, node.keys[name], f"{path}.{name}")
        if not first and not rung.when_failed and (not reads or rung.again):
            hint = "when_failed: [tool_missing, ...]"
            raise self._reader.error("nothing leads to this rung: 'when_failed' is missing", node, path, hint)

    def _retry(self, node: Node, path: str) -> RetryPolicy | None:
        if "retry" not in node.value:
            return None
        path, given = f"{path}.retry", node.value["retry"]
        values = self._reader.fields(RETRY, given, path, node.keys["retry"])
        wait, longest = values["wait"], values["max_wait"]
        if longest is not None and longest < wait:
            said = f"max_wait ({longest:g} s) is shorter than wait ({wait:g} s)"
            raise self._reader.error(said, given.value["max_wait"], f"{path}.max_wait")
        if values["attempts"] > 1 and wait >= values["within"]:
            said = f"a wait of {wait:g} s leaves no time for a second attempt within {values['within']:g} s"
            raise self._reader.error(said, given, path)
        values["max_wait"] = max(LONGEST_WAIT_S, wait) if longest is None else longest
        return RetryPolicy(**{**values, "on": values["on"] or TRANSIENT})

    def _changed_when(self, node: Node, path: str, rungs: Sequence[RungSpec]) -> ChangedWhen | None:
        if "changed_when" not in node.value:
            return None
        path, key = f"{path}.changed_when", node.keys["changed_when"]
        values = self._reader.fields(CHANGED_WHEN, node.value["changed_when"], path, key)
        if all(value is None for value in values.values()):
            raise self._reader.error("expected stdout_matches or exit_code, found neither", key, path)
        if all(self._rung_verbs[rung.verb].probed for rung in rungs):
            said = f"{rungs[0].verb!r} probes by itself whether something changed"
            raise self._reader.error(said, key, path, "changed_when is for commands and scripts")
        return ChangedWhen(**values)


def _left_out(given: Mapping[str, Node], values: Mapping[str, Any]) -> str | None:
    """Why `when` or `unless` leave the step out, None if they don't."""
    for name, refuses in (("when", True), ("unless", False)):
        value = values.get(name)
        if value is not None and (value.strip().lower() in NO) is refuses:
            return f"{name}: {given[name].text} is {value.strip() or 'empty'}"
    return None
