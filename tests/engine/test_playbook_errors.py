"""What is wrong with a playbook, where, in which field, and what to type instead."""

# ruff: noqa: E501 - a table is read by its rows

from __future__ import annotations

import random

import pytest

from cc.engine import playbook
from cc.errors import CcError, ConfigError, UsageError
from tests.engine.test_playbook import EXAMPLE, VERBS, read


def refused(text: str | bytes, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        playbook.parse(text, file="x.yml", verbs=VERBS, set_vars={}, environ=environ)
    assert caught.value.file == "x.yml"
    assert caught.value.exit_code == 2
    return caught.value


WHOLE = [
    ("", 1, 1, None, "the file is empty", "a playbook begins with 'version: 1' and has 'steps'"),
    ("- a\n", 1, 1, None, "expected a mapping with version, vars, steps, found a list", None),
    ("steps: []\n", 1, 1, "version", "'version' is missing", "write 'version: 1' at the top"),
    ("version: 2\n", 1, 10, "version", "expected version 1, found 2", None),
    ("version: true\n", 1, 10, "version", "expected version 1, found true", None),
    ("version: '1'\n", 1, 10, "version", "expected version 1, found '1'", None),
    ("version: 1\nstep: []\n", 2, 1, "step", "unknown key 'step'", "did you mean 'steps'?"),
    ("version: 1\n", 1, 1, "steps", "'steps' is missing", "a list of steps, each with a name and a verb"),
    ("version: 1\nsteps: []\n", 2, 8, "steps", "expected a list of steps, found an empty list", None),
    ("version: 1\nsteps: {a: b}\n", 2, 8, "steps", "expected a list of steps, found a mapping", None),
    ("version: 1\nsteps:\n", 2, 7, "steps", "expected a list of steps, found nothing", None),
    ("version: 1\nvars: [a]\n", 2, 7, "vars", "expected a mapping of names to values, found a list", None),
    ("version: 1\nvars: {a-b: 1}\n", 2, 8, "vars.a-b", "'a-b' cannot be a variable", "letters, digits and _, no digit first"),
    ("version: 1\nvars: {A: [1]}\n", 2, 11, "vars.A", "expected a single value, found a list", None),
    ("version: 1\nvars: {A: }\n", 2, 11, "vars.A", "expected a single value, found nothing", 'write "" for an empty text'),
    ("version: 1\nvars: {A: '${B}', B: 1}\n", 2, 11, "vars.A", "B is set further down, in line 2", "move it above A"),
    ("version: 1\nsteps:\n  - do it\n", 3, 5, "steps[0]", "expected a step: a mapping with a name and a verb or a ladder, found 'do it'", None),
    ("version: 1\nsteps:\n  - command: x\n", 3, 5, "steps[0].name", "'name' is missing", "every step has a name of its own"),
    ("version: 1\nsteps:\n  - {name: '', command: x}\n", 3, 12, "steps[0].name", "expected a name in one line of at most 200 characters, found ''", None),
    ("version: 1\nsteps:\n  - {name: [a], command: x}\n", 3, 12, "steps[0].name", "expected a text, found a list", None),
    ("version: 1\nsteps:\n  - name: a\n    command: x\n  - name: a\n    command: x\n", 5, 11, "steps[1].name", "a second step is called 'a', the first is in line 3", None),
    ("version: 1\nsteps:\n  - name: a\n    command: x\n    needs: [b]\n  - name: bb\n    command: x\n", 5, 13, "steps[0].needs[0]", "there is no step 'b'", "did you mean 'bb'?"),
    ("version: 1\nsteps:\n  - name: a\n    command: x\n    requires: nobody\n", 5, 15, "steps[0].requires", "there is no step 'nobody'", "known: a"),
    ("version: 1\nsteps:\n  - {name: a, command: x, needs: [a]}\n", 3, 35, "steps[0].needs[0]", "step 'a' needs itself", None),
    ("version: 1\nsteps:\n  - {name: a, command: x, requires: a}\n", 3, 37, "steps[0].requires", "step 'a' requires itself", None),
    ("version: 1\nsteps:\n  - {name: z, command: x, needs: [b]}\n  - {name: b, command: x, needs: [c]}\n  - {name: c, command: x, requires: [b]}\n", 4, 12, "steps[1]", "steps wait for each other in a circle: b -> c -> b", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "field", "said", "hint"), WHOLE)
def test_a_mistake_in_a_file_is_placed_and_named(
    text: str, line: int, column: int, field: str | None, said: str, hint: str | None
) -> None:
    error = refused(text)
    assert (error.line, error.column, error.field, error.message, error.hint) == (line, column, field, said, hint)


STEP = [  # what stands behind `- name: s` in line 4 and below, each line 4 columns in
    ("comand: x", 4, 5, "comand", "unknown key 'comand'", "did you mean 'command'?"),
    ("whne: x", 4, 5, "whne", "unknown key 'whne'", "did you mean 'when'?"),
    ("always: true", 3, 5, "", "expected one verb, or 'ladder', found none", "verbs: " + ", ".join(VERBS)),
    ("command: x\nport: 1", 5, 5, "", "expected one verb, or 'ladder', found command and port", None),
    ("ladder: [{port: 1}]\nport: 1", 5, 5, "", "expected one verb, or 'ladder', found ladder and port", None),
    ("without: x", 4, 5, "without", "unknown key 'without'", None),
    ("command: x\nreads: true", 5, 5, "reads", "only a ladder can be one that reads", None),
    ("compose: {stat: up}", 4, 15, "compose.stat", "unknown key 'stat'", "did you mean 'state'?"),
    ("compose: {state: uo}", 4, 22, "compose.state", "expected one of up, down, found 'uo'", "did you mean 'up'?"),
    ("compose: {state: '${V}'}", 4, 22, "compose.state", "expected one of up, down, found 'value' from ${V}", None),
    ("compose: {file: a}", 4, 5, "compose.state", "'state' is missing", "what to ensure"),
    ("compose: up", 4, 14, "compose", "expected a mapping with file, state, services, volumes, found 'up'", None),
    ("compose: [up]", 4, 14, "compose", "expected a mapping with file, state, services, volumes, found a list", None),
    ("compose: {state: [up]}", 4, 22, "compose.state", "expected one of up, down, found a list", None),
    ("compose: {state: up, file: }", 4, 32, "compose.file", "expected a path, found nothing", 'write "" for an empty text'),
    ("compose: {state: up, file: ' '}", 4, 32, "compose.file", "expected a path, found ' '", None),
    ("compose: {state: up, volumes: maybe}", 4, 35, "compose.volumes", "expected true or false, found 'maybe'", None),
    ("compose: {state: up, volumes: 1}", 4, 35, "compose.volumes", "expected true or false, found '1'", None),
    ("compose: {state: up, services: {a: b}}", 4, 36, "compose.services", "expected a text or a list of them, found a mapping", None),
    ("compose: {state: up, services: [a, [b]]}", 4, 40, "compose.services[1]", "expected a text, found a list", None),
    ("container: {state: running}", 4, 5, "container", "expected exactly one of from, image, found none of them", None),
    ("container: {state: running, from: a, image: b}", 4, 5, "container", "expected exactly one of from, image, found from and image", None),
    ("http: [a]", 4, 11, "http", "expected a mapping with url, status, within, contains, found a list", None),
    ("http:", 4, 5, "http.url", "'url' is missing", None),
    ("http: {url: a, status: many}", 4, 28, "http.status", "expected a whole number, found 'many'", None),
    ("http: {url: a, status: 2.5}", 4, 28, "http.status", "expected a whole number, found '2.5'", None),
    ("http: {url: a, status: 42}", 4, 28, "http.status", "expected at least 100, found '42'", None),
    ("http: {url: a, status: 4200}", 4, 28, "http.status", "expected at most 599, found '4200'", None),
    ("http: {url: a, within: soon}", 4, 28, "http.within", "expected a duration such as 500ms, 10s or 2m, found 'soon'", None),
    ("http: {url: a, within: -1s}", 4, 28, "http.within", "expected a duration such as 500ms, 10s or 2m, found '-1s'", None),
    ("http: {url: a, within: .inf}", 4, 28, "http.within", "expected a duration such as 500ms, 10s or 2m, found '.inf'", None),
    ("http: {url: '${NONE}'}", 4, 17, "http.url", "variable NONE is not set", None),
    ("http: {url: '${NONE:?say which}'}", 4, 17, "http.url", "NONE is not set: say which", None),
    ("http: {url: '${'}", 4, 17, "http.url", "expected a name after '${'", "write $$ for a dollar sign"),
    ("http: {url: a, contains: '('}", 4, 30, "http.contains", "expected a regular expression, found '(' (missing ), unterminated subpattern at position 0)", None),
    ("port: 0", 4, 11, "port", "expected a port from 1 to 65535, found '0'", None),
    ("port: 70000", 4, 11, "port", "expected a port from 1 to 65535, found '70000'", None),
    ("port: {port: '${V}'}", 4, 18, "port.port", "expected a port from 1 to 65535, found 'value' from ${V}", None),
    ("dash: {ports: 9-8}", 4, 19, "dash.ports", "expected a range of ports such as 8110-8120, found '9-8'", None),
    ("dash: {ports: 1-}", 4, 19, "dash.ports", "expected a range of ports such as 8110-8120, found '1-'", None),
    ("dash: {share: .nan}", 4, 19, "dash.share", "expected a number, found '.nan'", None),
    ("command: ''", 4, 14, "command", "expected a command, found no word", None),
    ("command: []", 4, 14, "command", "expected a command, found no word", None),
    ("command: [a, null]", 4, 18, "command[1]", "expected a word, found nothing", 'write "" for an empty text'),
    ("command: [a, {b: c}]", 4, 18, "command[1]", "expected a word, found a mapping", None),
    ("command: {run: x, env: [A=1]}", 4, 28, "command.env", "expected a mapping of names to values, found a list", None),
    ("command: {run: x, env: {A: [1]}}", 4, 32, "command.env.A", "expected a single value, found a list", None),
    ("command: \"echo 'x\"", 4, 14, "command", "cannot be split into words: No closing quotation", None),
    ("command: 'echo ${N:-a b}'", 4, 14, "command", "'${' has no '}'", "words are split before variables are put in: one with spaces in its ${...} needs quotes"),
    ("script: {path: a, text: b}", 4, 5, "script", "expected exactly one of path, text, found path and text", None),
    ("command: x\ntimeout: 0", 5, 14, "timeout", "expected at least 0.001, found '0'", None),
    ("command: x\nalways: perhaps", 5, 13, "always", "expected true or false, found 'perhaps'", None),
    ("command: x\nretry: many", 5, 12, "retry", "expected a whole number, found 'many'", None),
    ("command: x\nretry: [1]", 5, 12, "retry", "expected a mapping with attempts, wait, max_wait, within, on, jitter, found a list", None),
    ("command: x\nretry: {attempts: 0}", 5, 23, "retry.attempts", "expected at least 1, found '0'", None),
    ("command: x\nretry: {tries: 3}", 5, 13, "retry.tries", "unknown key 'tries'", None),
    ("command: x\nretry: {wait: 2s, max_wait: 1s}", 5, 33, "retry.max_wait", "max_wait (1 s) is shorter than wait (2 s)", None),
    ("command: x\nretry: {wait: 2m}", 5, 12, "retry", "a wait of 120 s leaves no time for a second attempt within 60 s", None),
    ("command: x\nretry: {on: [daemon_donw]}", 5, 18, "retry.on[0]", "unknown failure code 'daemon_donw'", "did you mean 'daemon_down'?"),
    ("command: x\nretry: {on: []}", 5, 17, "retry.on", "expected failure codes, found an empty list", None),
    ("command: x\nchanged_when: {}", 5, 5, "changed_when", "expected stdout_matches or exit_code, found neither", None),
    ("command: x\nchanged_when: {stdout_matches: '['}", 5, 36, "changed_when.stdout_matches", "expected a regular expression, found '[' (unterminated character set at position 0)", None),
    ("command: x\nchanged_when: {exit_code: 256}", 5, 31, "changed_when.exit_code", "expected at most 255, found '256'", None),
    ("port: 1\nchanged_when: {exit_code: 1}", 5, 5, "changed_when", "'port' probes by itself whether something changed", "changed_when is for commands and scripts"),
    ("ladder: []", 4, 13, "ladder", "expected a list of rungs, found an empty list", None),
    ("ladder: {port: 1}", 4, 13, "ladder", "expected a list of rungs, found a mapping", None),
    ("ladder: [x]", 4, 14, "ladder[0]", "expected a rung: a mapping with a verb, found 'x'", None),
    ("ladder:\n  - {prot: 1}", 5, 10, "ladder[0].prot", "unknown key 'prot'", "did you mean 'port'?"),
    ("ladder:\n  - {name: x}", 5, 9, "ladder[0]", "expected one verb, found none", None),
    ("ladder:\n  - {port: 1, http: x}", 5, 19, "ladder[0]", "expected one verb, found port and http", None),
    ("ladder:\n  - {port: 1, when_failed: deadline}", 5, 19, "ladder[0].when_failed", "no failure leads to the first rung: it is where a ladder begins", None),
    ("ladder:\n  - {port: 1, then: again}", 5, 19, "ladder[0].then", "the first rung cannot be a repair", None),
    ("ladder:\n  - {port: 1, degraded: false}", 5, 19, "ladder[0].degraded", "the first rung is what the others are measured by", None),
    ("ladder:\n  - {without: x}", 5, 10, "ladder[0]", "a ladder cannot begin with 'without'", None),
    ("ladder:\n  - {port: 1}\n  - {compose: {state: no}, when_failed: deadline}", 6, 27, "ladder[1].compose.state", "expected one of up, down, found 'no'", None),
    ("ladder:\n  - {port: 1}\n  - {port: 2}", 6, 9, "ladder[1]", "nothing leads to this rung: 'when_failed' is missing", "when_failed: [tool_missing, ...]"),
    ("reads: true\nladder:\n  - {port: 1}\n  - {port: 2, then: again}", 7, 9, "ladder[1]", "nothing leads to this rung: 'when_failed' is missing", "when_failed: [tool_missing, ...]"),
    ("ladder:\n  - {port: 1}\n  - {port: 2, when_failed: tool_mising}", 6, 32, "ladder[1].when_failed", "unknown failure code 'tool_mising'", "did you mean 'tool_missing'?"),
    ("ladder:\n  - {port: 1}\n  - {port: 2, when_failed: deadline, then: agian}", 6, 48, "ladder[1].then", "expected one of again, found 'agian'", "did you mean 'again'?"),
    ("ladder:\n  - {port: 1}\n  - {port: 2, when_failed: deadline, then: again, degraded: true}", 6, 55, "ladder[1].degraded", "a repair is never where a ladder ends", None),
    ("ladder:\n  - {port: 1}\n  - {without: x, when_failed: deadline, then: again}", 6, 45, "ladder[1].then", "a 'without' cannot be a repair", None),
    ("ladder:\n  - {port: 1}\n  - {without: x, when_failed: deadline, degraded: false}", 6, 45, "ladder[1].degraded", "a 'without' is always degraded", None),
    ("ladder:\n  - {port: 1}\n  - {without: x, when_failed: deadline}\n  - {port: 2, when_failed: deadline}", 7, 9, "ladder[2]", "nothing but another 'without' may follow a 'without'", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line", "column", "field", "said", "hint"), STEP)
def test_a_mistake_in_a_step_is_placed_and_named(
    body: str, line: int, column: int, field: str, said: str, hint: str | None
) -> None:
    lines = "".join(f"    {part}\n" for part in body.split("\n"))
    error = refused(f"version: 1\nsteps:\n  - name: s\n{lines}", V="value")
    path = f"steps[0].{field}" if field else "steps[0]"
    assert (error.line, error.column, error.field, error.message) == (line, column, path, said)
    if hint is not None:
        assert error.hint == hint


def test_an_error_reads_as_one_line_that_an_editor_can_follow() -> None:
    error = refused("version: 1\nsteps:\n  - name: s\n    compose: {state: uo}\n")
    assert str(error) == "x.yml:4:22: expected one of up, down, found 'uo' (steps[0].compose.state)"
    assert error.as_dict() == {
        "type": "bad_config",
        "message": "expected one of up, down, found 'uo'",
        "hint": "did you mean 'up'?",
        "file": "x.yml",
        "line": 4,
        "field": "steps[0].compose.state",
    }


def test_a_mistake_inside_of_what_was_merged_in_points_to_where_it_was_written() -> None:
    text = "version: 1\nsteps:\n  - {name: a, <<: &a {needs: [nobody]}, command: x}\n"
    error = refused(text)
    assert (error.line, error.column, error.message) == (3, 31, "there is no step 'nobody'")


@pytest.mark.parametrize(
    ("sets", "said", "hint"),
    [
        ({"PROT": "1"}, "x.yml has no variable 'PROT'", "did you mean 'PORT'?"),
        ({"PORT": "1", "zzz": ""}, "x.yml has no variable 'zzz'", "known: PORT"),
    ],
)
def test_a_set_of_what_nobody_uses_is_refused(sets: dict[str, str], said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(EXAMPLE, sets=sets)
    assert (caught.value.message, caught.value.hint, caught.value.field) == (said, hint, "--set")
    assert caught.value.exit_code == 2


def test_a_set_of_what_is_only_used_is_taken() -> None:
    text = "version: 1\nsteps: [{name: s, command: 'x ${WHO}'}]\n"
    assert read(text, sets={"WHO": "me"}).vars == {"WHO": "me"}


def test_variables_that_double_from_line_to_line_are_refused() -> None:
    lines = "".join(f"  A{at}: '{f'${{A{at - 1}}}' * 10}'\n" for at in range(1, 20))
    error = refused(f"version: 1\nvars:\n  A0: xxxxxxxxxx\n{lines}steps: [{{name: s, command: x}}]\n")
    assert "8,388,608 characters" in error.message


LONG = "n" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        f"version: 1\nsteps: [{{name: {LONG}, command: x}}]\n",
        f"version: 1\n? {LONG}\n: x\n",
        f"version: 1\nvars: {{? {LONG}- : x}}\n",
        f"version: 1\nsteps: [{{name: s, ? {LONG} : x}}]\n",
        f"version: 1\nsteps: [{{name: s, command: x, needs: [{LONG}]}}]\n",
        f"version: 1\nsteps: [{{name: s, command: x, retry: {{on: {LONG}}}}}]\n",
        f"version: 1\nsteps: [{{name: s, port: {LONG}}}]\n",
        f"version: 1\nsteps: [{{name: s, port: '${{{LONG}}}'}}]\n",
        f"version: 1\nsteps: [{{name: s, command: {{run: x, env: {{? {LONG} : []}}}}}}]\n",
        "version: 1\nsteps:\n"
        + "".join(f"  - {{name: s{n}, command: x, needs: s{(n + 1) % 5000}}}\n" for n in range(5000)),
    ],
    ids=range(10),
)
def test_a_message_stays_short_whatever_it_is_about(text: str) -> None:
    error = refused(text)
    assert len(str(error)) < 400
    assert len(error.hint or "") < 600


LINES = EXAMPLE.splitlines(keepends=True)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_done_to_a_playbook_it_is_read_or_refused_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - what is wanted is that it comes again
    for _ in range(100):
        lines = list(LINES)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(lines))
            line = lines[at]
            cut = chance.randrange(len(line) + 1)
            other = chance.choice(LINES)
            lines[at] = chance.choice(
                [
                    line[:cut],
                    line[cut:],
                    line[:cut] + chance.choice("{}[]:,'\"-&*!|>#%@$\t\n~0") + line[cut:],
                    other,
                    "",
                    line * 2,
                ]
            )
        refusal: CcError | None = None
        try:
            read("".join(lines))
        except (ConfigError, UsageError) as error:
            refusal = error
        assert refusal is None or refusal.message


@pytest.mark.parametrize("seed", range(4))
def test_binary_junk_is_refused(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - as above
    for _ in range(200):
        refused(chance.randbytes(chance.randrange(0, 200)))
