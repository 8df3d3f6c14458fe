"""The edge of the process: early signals, words that nobody takes, a stdout that takes nothing, terminals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.integration.box import PROGRAM, ROOT, Box, eventually, heeds_signals, held
from tests.integration.test_command_line import in_terminal

ONE_STEP = "version: 1\nsteps:\n  - {name: folder, file: {path: new, state: directory}}\n"
FULL = "error: cannot write to stdout: No space left on device\n"


def invoke(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words], cwd=ROOT, env=box.env, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


def into(box: Box, path: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command whose stdout is this file."""
    with open(path, "wb") as stdout:
        return subprocess.run(
            [*PROGRAM, *words], cwd=box.dir, env=box.env, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
            timeout=60,
        )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_the_command_is_still_imported_ends_it_with_one_line_and_one_document(
    box: Box, number: int, code: int
) -> None:
    wrapped = (
        "import sys, os, signal, importlib.abc\n"
        "class Now(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'invoke': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Now())\n"
        "from cc.program import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", wrapped, "status", "--json"], cwd=box.dir, env=box.env, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr == f"error: interrupted ({signal.Signals(number).name})\n"
    assert json.loads(done.stdout)["error"]["type"] == "interrupted"


def test_whenever_the_signal_comes_the_answer_is_whole_or_the_code_says_that_there_is_none(box: Box) -> None:
    started = time.monotonic()
    box.run("status", "--json")
    whole = time.monotonic() - started
    for part in range(20):
        process = box.start("status", "--json")
        eventually(lambda pid=process.pid: heeds_signals(pid), what="Python to be there")
        time.sleep(whole * part / 20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert (process.returncode, "services" in json.loads(out)) in ((0, True), (130, False)), (part, err)


@pytest.mark.parametrize(
    "words",
    [
        ("--dry", "status"), ("-R", "status"), ("status", "--echo"), ("--pty", "status"), ("--warn-only", "status"),
        ("--hide", "both", "status"), ("--prompt-for-sudo-password", "status"), ("-T", "3", "status"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_options_of_invoke_that_would_mean_nothing_are_refused_and_not_advertised(box: Box, words) -> None:
    assert box.run(*words).code == 2
    assert not any(f"{word}" in box.run("--help").out.split() for word in words if word.startswith("--"))


def test_a_dry_run_is_refused_under_invoke_too(box: Box) -> None:
    done = invoke(box, "--dry", "status")
    assert (done.returncode, done.stdout) == (2, "")
    assert "plan" in done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("down", "up"), "down && context-cleaner up"),
        (("plan", "down"), "context-cleaner plan --of down"),
        (("status", "down"), "status && "),
        (("status", "status"), "status && "),
    ],
)
def test_a_second_command_is_refused_by_name(box: Box, words, hint: str) -> None:
    done = box.run(*words)
    assert (done.code, done.out) == (2, "")
    assert ", ".join(words) in done.err
    assert hint in done.err


def test_a_second_command_is_refused_under_invoke_and_a_value_that_looks_like_one_is_not(box: Box) -> None:
    done = invoke(box, "plan", "down")
    assert done.returncode == 2
    assert "invoke plan --of down" in done.stderr
    assert invoke(box, "plan", "--of", "down").returncode == 0


def test_the_usage_lines_promise_one_command(box: Box) -> None:
    assert box.run("--help").out.startswith("Usage: context-cleaner COMMAND [--options]\n")
    assert box.run("--help", "play").out.startswith("Usage: context-cleaner play FILE [--options]\n")


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("status", "--nope"), "status does not take '--nope'", "context-cleaner --help status"),
        (("--nope",), "context-cleaner does not take '--nope'", "context-cleaner --help"),
        (("--list",), "context-cleaner does not take '--json'", "context-cleaner --help"),
        (("play",), "play needs FILE: the playbook", "context-cleaner --help play"),
        (
            ("logs",),
            "logs needs SERVICE: clickhouse, collector, dashboard or supervisor",
            "context-cleaner --help logs",
        ),
        (
            ("usage", "--by"),
            "--by of usage needs a value: day, week, month, model, project, session or block (of five hours)",
            "context-cleaner --help usage",
        ),
        (("statu",), "there is no command 'statu'", "did you mean 'status'? context-cleaner --list"),
        (("frob",), "there is no command 'frob'", "context-cleaner --list"),
    ],
)
def test_words_that_the_parser_refuses_are_a_document_too(box: Box, words, said: str, hint: str) -> None:
    done = box.ask(*words)
    error = done.json["error"]
    assert (done.code, error["type"], error["message"], error["hint"]) == (2, "bad_usage", said, hint)
    if " needs " in said:
        assert error["field"] == next(word for word in said.replace(":", "").split() if word.isupper() or "--" in word)


@pytest.mark.parametrize("words", [("status", "--json"), ("status",), ("usage",), ("--help",), ("--list",)])
def test_an_answer_that_finds_no_room_is_one_line_and_exit_1(box: Box, words) -> None:
    before = set(Path(tempfile.gettempdir()).glob("context-cleaner-*.log"))
    done = into(box, "/dev/full", *words)
    assert (done.returncode, done.stderr) == (1, FULL)
    assert set(Path(tempfile.gettempdir()).glob("context-cleaner-*.log")) == before


@pytest.mark.parametrize("more", [(), ("--json",), ("--quiet", "--events", "-")])
def test_a_run_that_finds_no_room_for_its_text_runs_to_its_end_and_exits_1(box: Box, more) -> None:
    (box.dir / "mine.yml").write_text(
        "version: 1\nsteps:\n  - {name: one, file: {path: one, state: directory}}\n"
        "  - {name: two, needs: [one], file: {path: two, state: directory}}\n"
    )
    done = into(box, "/dev/full", "play", "mine.yml", *more)
    assert done.returncode == 1
    assert done.stderr.endswith(FULL)
    assert done.stderr.count("error:") == 1
    assert (box.dir / "two").is_dir()


def test_a_full_stdout_hides_no_error_and_keeps_its_code(box: Box) -> None:
    done = into(box, "/dev/full", "play", "missing.yml", "--json")
    assert done.returncode == 2
    assert "missing.yml" in done.stderr


def test_a_junit_file_that_cannot_be_written_is_found_out_before_the_run(box: Box) -> None:
    (box.dir / "mine.yml").write_text(ONE_STEP)
    done = box.ask("play", "mine.yml", "--junit", "/nonexistent/x")
    assert (done.code, done.json["error"]["field"]) == (2, "--junit")
    assert not (box.dir / "new").exists()


def test_a_junit_file_is_not_left_behind_empty(box: Box) -> None:
    assert box.run("play", "missing.yml", "--junit", "report.xml").code == 2
    assert not (box.dir / "report.xml").exists()


@pytest.mark.parametrize("port", ["99999", "abc", "0", "-1", "0000199999"])
def test_a_dashboard_port_that_is_none_is_refused_by_its_flag(box: Box, port: str) -> None:
    done = box.ask("dashboard", f"--port={port}")
    assert (done.code, done.json["error"]["field"]) == (2, "--port")
    assert "python -m" not in done.err
    assert "dashboard on" not in done.err


def test_a_dashboard_port_that_is_busy_is_refused_naming_its_holder(box: Box) -> None:
    port = box.dashboard_ports[0]
    with held(port):
        done = box.run("dashboard", "--port", str(port))
    assert done.code == 1
    assert f"port {port} is held by" in done.err
    assert f"pid {os.getpid()}" in done.err
    assert done.out == ""


def test_a_dashboard_says_where_it_is_once_it_is_there(box: Box) -> None:
    port = box.dashboard_ports[1]
    process = box.start("dashboard", "--port", str(port))
    assert process.stdout is not None
    assert f"http://localhost:{port}" in process.stdout.readline()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_dashboard_hands_a_request_over_ends_it(box: Box, number: int, code: int) -> None:
    slow = (
        "import socketserver, time\n"
        "start = socketserver.ThreadingMixIn.process_request\n"
        "def process_request(self, *given):\n"
        "    start(self, *given)\n"
        "    time.sleep(60)\n"
        "socketserver.ThreadingMixIn.process_request = process_request\n"
        "from cc.program import main; main()\n"
    )
    port = box.dashboard_ports[1]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "dashboard", "--port", str(port)], cwd=box.dir, env=box.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert f"http://localhost:{port}" in process.stdout.readline()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
        assert answer.status == 200
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, err) == (code, "")


@pytest.mark.parametrize("words", [("--help",), ("--list",), ("--help", "status")], ids=" ".join)
@pytest.mark.parametrize("columns", [20, 40, 100])
def test_help_is_told_on_a_terminal_of_any_width(box: Box, words, columns: int) -> None:
    shown = in_terminal(box, columns, *words)
    assert "Traceback" not in shown
    assert "and" in shown.split()
    assert [line for line in shown.splitlines() if line.startswith("    ") and len(line) > columns] == []


def test_usage_fits_its_terminal_and_names_keys_whole_elsewhere(box: Box) -> None:
    session = "0b5d1c3e-7d8e-4a9f-9c1b-2f3e4d5c6b7a"
    folder = Path(box.env["CLAUDE_CONFIG_DIR"]) / "projects" / "-a-project-with-a-rather-long-name"
    folder.mkdir(parents=True)
    message = {
        "id": "m1", "model": "claude-sonnet-4-5-20250929", "role": "assistant",
        "usage": {"input_tokens": 12, "output_tokens": 34, "cache_read_input_tokens": 1_234_567},
    }  # fmt: skip
    line = {
        "type": "assistant", "sessionId": session, "requestId": "r1", "timestamp": "2026-11-24T10:00:00.000Z",
        "message": message,
    }  # fmt: skip
    (folder / f"{session}.jsonl").write_text(json.dumps(line) + "\n")
    asked = ("usage", "--source", "files", "--by", "session")
    assert session in box.run(*asked).out
    shown = in_terminal(box, 80, *asked)
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "\u2026" in shown
    assert "1,234,567" in shown


def test_a_stack_that_was_stopped_on_purpose_is_down_and_not_degraded(box: Box) -> None:
    told = box.run("status").out
    assert told.splitlines()[-1] == "the stack is down: `up` starts it"
    assert "degraded" not in told
    assert len(box.ask("status").json["degraded"]) == 3


def test_only_a_bug_leaves_a_log_behind(box: Box) -> None:
    folder = box.dir / "tmp"
    folder.mkdir()
    box.run("play", "missing.yml", env={"TMPDIR": str(folder)})
    assert list(folder.iterdir()) == []
    broken = "import cc.operations as o\no.env = lambda session: 1 // 0\nfrom cc.program import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", broken, "env"], cwd=box.dir, env={**box.env, "TMPDIR": str(folder)}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a bug in cc: ZeroDivisionError" in done.stderr
    assert len(list(folder.iterdir())) == 1


def test_a_pipe_where_the_password_should_be_keeps_usage_from_nothing(box: Box) -> None:
    box.state.mkdir(parents=True)
    os.mkfifo(box.state / "clickhouse.password")
    done = box.ask("usage")
    assert (done.code, done.json["source"]) == (0, "empty")


def test_a_report_that_cannot_be_written_at_the_end_does_not_hide_what_was_run(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    up = box.ask("up", "--no-supervisor", "--junit", "/dev/full")
    assert (up.code, up.step("dashboard")["status"], up.json["exit_code"]) == (1, "changed", 1)
    assert "cannot write /dev/full: No space left on device" in up.json["warnings"]
    assert "error: " in up.err


@pytest.mark.parametrize("refused", [False, True])
def test_modules_are_compiled_once_and_not_by_every_command(tmp_path: Path, refused: bool) -> None:
    """Invoke forbids bytecode to what it runs; only who starts it may."""
    shutil.copytree(ROOT / "cc", tmp_path / "cc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tasks.py", tmp_path)
    environ = {"HOME": str(tmp_path), "PATH": os.defpath, "PYTHONPATH": str(tmp_path)}
    environ |= {"PYTHONDONTWRITEBYTECODE": "1"} if refused else {}
    words = [sys.executable, "-m", "invoke", "env"]
    subprocess.run(words, cwd=tmp_path, env=environ, check=True, capture_output=True, timeout=60)
    compiled = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert compiled == set() if refused else {"program", "errors", "command_line", "operations"} <= compiled
