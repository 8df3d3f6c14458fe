"""What is typed, what comes back: exit codes, errors, streams, terminals, signals, locks."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.box import PROGRAM, ROOT, Box, eventually

BAD = [
    (("up", "--service", "clickhose"), {}, "did you mean 'clickhouse'"),
    (("up", "--timeout", "soon"), {}, "--timeout"),
    (("up", "--timeout", "-3"), {}, "--timeout"),
    (("up", "--lock-timeout", "x"), {}, "--lock-timeout"),
    (("up", "--wrong"), {}, "--wrong"),
    (("nonsense",), {}, "nonsense"),
    (("status",), {"CC_CLICKHOUSE_PORT": "99999"}, "CC_CLICKHOUSE_PORT"),
    (("status",), {"CC_DASHBOARD_PORTS": "8120-8110"}, "CC_DASHBOARD_PORTS"),
    (("status",), {"CC_PROJECT": "Not A Project"}, "CC_PROJECT"),
    (("usage", "--by", "dya"), {}, "day"),
    (("usage", "--since", "yesterday-ish"), {}, "since"),
    (("play", "missing.yml"), {}, "missing.yml"),
    (("plan", "--of", "missing.yml"), {}, "missing.yml"),
    (("play", "bad.yml", "--set", "NOTHING"), {}, "KEY=VALUE"),
    (("up",), {"CC_HOME": "/dev/null/state"}, "/dev/null/state"),
    (("up", "--events", "/nonexistent/events"), {}, "/nonexistent/events"),
]


@pytest.mark.parametrize(
    ("words", "env", "named"), BAD, ids=[" ".join(words) + str(env or "") for words, env, _ in BAD]
)
def test_wrong_words_exit_2_and_name_what_is_wrong(box: Box, words, env, named: str) -> None:
    (box.dir / "bad.yml").write_text("version: 1\nsteps: []\n")
    done = box.run(*words, env=env)
    assert done.code == 2, done.err
    assert named in done.err


def test_an_error_is_a_json_document_too(box: Box) -> None:
    done = box.run("up", "--service", "x", "--json")
    error = done.json["error"]
    assert (done.code, error["type"], error["field"]) == (2, "bad_usage", "--service")


def test_a_bad_playbook_is_named_with_file_line_and_field(box: Box) -> None:
    path = box.dir / "stack.yml"
    path.write_text("version: 1\nsteps:\n  - name: x\n    file: {path: /tmp/x, stat: directory}\n")
    done = box.run("play", str(path), "--json")
    error = done.json["error"]
    assert (done.code, error["file"], error["line"]) == (2, str(path), 4)
    assert "stat" in error["field"]
    assert "state" in done.err


@pytest.mark.parametrize("content", [b"\x00\xff\xfe binary", b"a: &a [x, x]\nb: &b [*a, *a]\n" + b"#" * 11_000_000])
def test_junk_for_a_playbook_exits_2(box: Box, content: bytes) -> None:
    (box.dir / "junk.yml").write_bytes(content)
    assert box.run("play", "junk.yml").code == 2


def test_a_key_in_a_configuration_file_that_is_unknown_is_named_with_its_line(box: Box) -> None:
    (box.dir / "cc.yaml").write_text("clickhouse_port: 8124\ndashbord_ports: 8110-8120\n")
    done = box.run("status")
    assert done.code == 2
    assert "cc.yaml:2" in done.err
    assert "dashboard_ports" in done.err


def test_without_HOME_the_user_database_knows_the_home(box: Box) -> None:  # noqa: N802
    done = subprocess.run(
        [*PROGRAM, "status", "--json"], env={"PATH": box.env["PATH"], "CC_PROJECT": box.project}, cwd=box.dir,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["services"]) == 3


def test_a_playbook_runs_and_a_second_time_changes_nothing(box: Box) -> None:
    (box.dir / "mine.yml").write_text(
        "version: 1\nvars: {NAME: one}\nsteps:\n"
        "  - {name: folder, file: {path: '${NAME}', state: directory}}\n"
        "  - {name: note, needs: [folder], file: {path: '${NAME}/note', content: 'hello'}}\n"
        "  - {name: marker, needs: [note], command: {run: [touch, '${NAME}/marker'], creates: '${NAME}/marker'}}\n"
    )
    first = box.ask("play", "mine.yml", "--set", "NAME=two")
    assert (first.code, first.json["counts"]["changed"]) == (0, 3), first.err
    assert (box.dir / "two" / "note").read_text().strip() == "hello"
    assert box.ask("play", "mine.yml", "--set", "NAME=two").json["counts"]["ok"] == 3


def test_a_failed_step_exits_1_with_its_evidence_and_what_comes_after_is_left_out(box: Box) -> None:
    (box.dir / "bad.yml").write_text(
        "version: 1\nsteps:\n"
        "  - {name: breaks, command: {run: [sh, -c, 'echo it broke here >&2; exit 3']}}\n"
        "  - {name: later, needs: [breaks], command: 'true'}\n"
        "  - {name: cleanup, needs: [breaks], command: 'true', always: true}\n"
    )
    done = box.ask("play", "bad.yml")
    assert (done.code, done.json["status"]) == (1, "failed")
    assert (done.step("breaks")["error"], done.step("later")["status"]) == ("non_zero_exit", "skipped")
    assert done.step("cleanup")["status"] == "changed"
    assert any("it broke here" in line for line in done.step("breaks")["evidence"])


def test_a_plan_touches_nothing_and_its_detailed_exit_code_says_that_changes_are_pending(box: Box) -> None:
    (box.dir / "mine.yml").write_text(
        "version: 1\nsteps:\n  - {name: folder, file: {path: new, state: directory}}\n"
        "  - {name: bare, command: {run: [touch, ran]}}\n"
    )
    plan = box.ask("plan", "--of", "mine.yml", "--detailed-exitcode")
    assert (plan.code, plan.json["counts"]["changed"]) == (5, 2)
    assert not (box.dir / "new").exists()
    assert not (box.dir / "ran").exists()
    assert box.ask("plan", "--of", "mine.yml").code == 0
    assert box.ask("plan").json["counts"]["failed"] == 0
    assert not Path(box.env["CC_HOME"]).exists()


def test_events_and_junit_are_written_and_stdout_is_one_document(box: Box) -> None:
    (box.dir / "mine.yml").write_text("version: 1\nsteps:\n  - {name: folder, file: {path: new, state: directory}}\n")
    done = box.ask("play", "mine.yml", "--events", "events.jsonl", "--junit", "report.xml")
    assert done.code == 0
    kinds = [json.loads(line)["event"] for line in (box.dir / "events.jsonl").read_text().splitlines()]
    assert kinds == ["run_started", "step_started", "step_finished", "run_finished"]
    import xml.etree.ElementTree as ET

    suite = ET.parse(box.dir / "report.xml").getroot()[0]  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    journal = (box.state / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in journal] == kinds


def test_events_go_to_stdout_as_lines_when_asked(box: Box) -> None:
    (box.dir / "mine.yml").write_text("version: 1\nsteps:\n  - {name: folder, file: {path: new, state: directory}}\n")
    done = box.run("play", "mine.yml", "--events", "-", "--quiet")
    assert [json.loads(line)["event"] for line in done.out.splitlines()][-1] == "run_finished"


def test_ci_systems_get_their_annotations(box: Box) -> None:
    (box.dir / "bad.yml").write_text("version: 1\nsteps:\n  - {name: breaks, command: 'false'}\n")
    github = box.run("play", "bad.yml", env={"GITHUB_ACTIONS": "true"})
    assert "::error title=play%3A breaks::" in github.out
    gitlab = box.run("play", "bad.yml", env={"GITLAB_CI": "true"})
    assert "ERROR: play: breaks: " in gitlab.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_commands_under_way_and_the_code_says_which(box: Box, number: int, code: int) -> None:
    (box.dir / "long.yml").write_text(
        "version: 1\nsteps:\n  - {name: long, command: {run: [sh, -c, 'touch started; sleep 600']}}\n"
        "  - {name: later, needs: [long], command: 'true'}\n"
    )
    process = box.start("play", "long.yml", "--json")
    eventually((box.dir / "started").exists, what="the command to start")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    recap = json.loads(out)
    assert (recap["stopped"], recap["exit_code"]) == (signal.Signals(number).name, code)
    assert box.processes() == []


def test_the_deadline_of_the_whole_command_exits_124_and_leaves_nothing(box: Box) -> None:
    (box.dir / "long.yml").write_text(
        "version: 1\nsteps:\n  - {name: long, command: {run: [sh, -c, \"trap '' TERM; sleep 600 & sleep 600\"]}}\n"
    )
    done = box.ask("play", "long.yml", "--timeout", "0.5")
    assert (done.code, done.json["stopped"]) == (124, "deadline")
    assert box.processes() == []


def test_a_second_run_exits_4_naming_the_first_or_waits_for_it(box: Box) -> None:
    (box.dir / "long.yml").write_text(
        "version: 1\nsteps:\n"
        "  - {name: long, command: {run: [sh, -c, 'touch started; while test ! -e go; do sleep 0.05; done']}}\n"
    )
    first = box.start("play", "long.yml")
    eventually((box.dir / "started").exists, what="the first run")
    refused = box.run("down", "--json")
    assert refused.code == 4
    assert f"pid {first.pid}" in refused.json["error"]["message"]
    patient = box.start("down", "--lock-timeout", "30", "--json")
    (box.dir / "go").touch()
    assert first.wait(30) == 0
    assert patient.wait(30) == 0
    first.communicate()
    patient.communicate()


@pytest.mark.parametrize("words", ["", "--help up", "--list", "status", "env"])
def test_a_closed_stdout_is_no_trouble(box: Box, words: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "from cc.program import main; main()" {words} >&-', sys.executable],
        env=box.env, cwd=box.dir, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_streams_are_no_trouble(box: Box) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "from cc.program import main; main()" status --json >out <&- 2>&-', sys.executable],
        env=box.env, cwd=box.dir, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert len(json.loads((box.dir / "out").read_text())["services"]) == 3


def in_terminal(box: Box, columns: int, *words: str) -> str:
    """What a terminal of that width shows."""
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, *words], env={**box.env, "TERM": "xterm"}, cwd=box.dir, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    process.wait(30)
    os.close(master)
    return shown.decode()


def test_colour_is_for_terminals_and_no_color_is_heeded(box: Box) -> None:
    (box.dir / "mine.yml").write_text("version: 1\nsteps:\n  - {name: folder, file: {path: new, state: directory}}\n")
    assert "\x1b[33mchanged" in in_terminal(box, 100, "play", "mine.yml")
    assert "\x1b" not in in_terminal(box, 100, "play", "mine.yml", "--no-color")
    assert "\x1b" not in box.run("play", "mine.yml").out


def test_a_terminal_20_columns_wide_gets_short_lines(box: Box) -> None:
    (box.dir / "bad.yml").write_text("version: 1\nsteps:\n  - {name: x, http: {url: 'http://127.0.0.1:1/'}}\n")
    shown = in_terminal(box, 20, "play", "bad.yml", "--no-color")
    assert "failed" in shown
    lines = [line.rstrip() for line in shown.splitlines() if "|" not in line]
    assert [line for line in lines if len(line) > 20 and " " in line.strip()[:20]] == []


def test_the_same_tasks_run_under_invoke_and_their_help_lists_the_flags(box: Box) -> None:
    invoke = [sys.executable, "-m", "invoke"]
    listed = subprocess.run(
        [*invoke, "--list"], cwd=ROOT, env=box.env, capture_output=True, text=True, check=True
    ).stdout
    for name in ("up", "down", "restart", "status", "usage", "plan", "play"):
        assert f"  {name}" in listed
    told = subprocess.run([*invoke, "--help", "up"], cwd=ROOT, env=box.env, capture_output=True, text=True, check=True)
    for flag in ("--service", "--no-docker", "--no-wait", "--json", "--strict", "--timeout", "--lock-timeout"):
        assert flag in told.stdout
    done = subprocess.run(
        [*invoke, "status", "--json"], cwd=ROOT, env=box.env, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["supervisor"]["via"] == "direct"


@pytest.mark.parametrize("words", [("logs", "--help"), ("play", "--help"), ("up", "--help")])
def test_help_is_help_wherever_it_stands(box: Box, words: tuple[str, ...]) -> None:
    done = box.run(*words)
    assert (done.code, done.out.splitlines()[0].startswith(f"Usage: context-cleaner {words[0]}")) == (0, True)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("drill", "--minutes", "3"), "--minutes"),
        (("drill", "--random", "--only", "L3"), "--only"),
        (("health", "--junit", "x.xml"), "--junit"),
        (("drill", "--list", "--junit", "x.xml"), "--junit"),
        (("drill", "--list", "--events", "x.jsonl"), "--events"),
        (("down", "--volumes", "--service", "clickhouse"), "--volumes"),
    ],
)
def test_a_flag_that_would_mean_nothing_is_refused(box: Box, words: tuple[str, ...], field: str) -> None:
    done = box.ask(*words)
    assert (done.code, done.json["error"]["field"]) == (2, field)
