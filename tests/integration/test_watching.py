"""What goes on until somebody ends it, what says nothing, and for which Docker an answer was given."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.box import PROGRAM, Box, eventually
from tests.integration.test_looking import following, log_of, on_a_terminal

NOWHERE = "unix:///nowhere.sock"
FOLLOWED = [("logs", "dashboard", "--follow"), ("events", "--follow"), ("status", "--watch")]


def something(box: Box) -> None:
    """A line in every feed."""
    log_of(box, "dashboard").write_text("1\n")
    (box.state / "journal.jsonl").write_text('{"event": "note", "step": "a", "text": "b"}\n')


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("words", FOLLOWED, ids=" ".join)
def test_what_is_followed_ends_without_a_word_when_the_user_ends_it(box: Box, words, more) -> None:
    something(box)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = box.start(*words, *more)
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (code, "")
        assert "error" not in first + out
        if more:
            assert [type(json.loads(line)) for line in (first + out).splitlines()] == [dict]


def test_an_answer_that_was_interrupted_is_an_error_still(box: Box) -> None:
    silent = box.dir / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(silent))
        listening.listen(8)
        process = box.start("health", "--json", env={"DOCKER_HOST": f"unix://{silent}"})
        listening.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "error: interrupted (SIGINT)\n")
    assert json.loads(out)["error"]["type"] == "interrupted"


def test_status_is_watched_line_by_line_with_json(box: Box) -> None:
    with following(box, "status", "--json", follow="--watch") as found:
        eventually(lambda: len(found.out) > 1, what="a second look")
        assert {len(json.loads(line)["services"]) for line in found.out} == {3}


def test_status_that_is_watched_on_a_terminal_keeps_a_document_on_its_line(box: Box) -> None:
    shown = on_a_terminal(box, "status", "--watch", "--json", "--timeout", "3")
    documents = [line for line in shown.splitlines() if line.startswith('{"supervisor"')]
    assert len(documents) > 1
    assert [len(json.loads(line)["services"]) for line in documents] == [3] * len(documents)


def piped_into_nothing(box: Box, *words: str) -> tuple[int, str]:
    """The exit code and stderr of a command whose reader leaves after the first bytes, or before."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*PROGRAM, *words], cwd=box.dir, env=box.env, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    os.close(writing)
    if {"--watch", "--follow"} & set(words):
        assert os.read(reading, 10)
    os.close(reading)
    _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize("words", [*FOLLOWED, ("status",), ("usage", "--json"), ("plan",), ("--help",)], ids=" ".join)
def test_a_reader_that_leaves_ends_every_command_alike(box: Box, words) -> None:
    something(box)
    assert piped_into_nothing(box, *words) == (141, "")


def test_a_reader_that_leaves_hides_no_code_of_the_answer(box: Box) -> None:
    box.env["DOCKER_HOST"] = NOWHERE
    assert piped_into_nothing(box, "health") == (1, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status",), 0), (("status", "--strict"), 3), (("health",), 1), (("usage",), 0),
        (("usage", "--by", "dya"), 2),
    ],
    ids=str,
)  # fmt: skip
def test_quiet_leaves_the_exit_code_and_the_document(box: Box, words, code: int) -> None:
    done = box.run(*words, "--quiet")
    assert (done.code, done.out, bool(done.err)) == (code, "", code == 2)
    assert box.ask(*words, "--quiet").code == code


@pytest.mark.parametrize("words", [("env",), ("unit",), ("drill", "--list"), ("status", "--watch")], ids=" ".join)
def test_quiet_is_refused_by_what_only_shows_something(box: Box, words) -> None:
    done = box.run(*words, "--quiet")
    assert (done.code, done.out) == (2, "")
    assert f"{words[0]} shows something, and --quiet would leave nothing of it" in done.err


def test_a_quiet_plan_has_no_room_for_differences_but_in_its_document(box: Box) -> None:
    done = box.run("plan", "--quiet", "--diff")
    assert (done.code, done.out, "--diff shows something" in done.err) == (2, "", True)
    assert box.ask("plan", "--quiet", "--diff").code == 0


def test_flags_of_what_runs_steps_are_refused_elsewhere_and_bad_values_everywhere(box: Box) -> None:
    for flag in ("--events", "--junit"):
        done = box.ask("status", flag, "file")
        assert (done.code, done.json["error"]["field"]) == (2, flag)
        assert not (box.dir / "file").exists()
    assert box.ask("status", "--lock-timeout", "x").json["error"]["field"] == "--lock-timeout"


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("health",), ("events",), ("logs", "dashboard"), ("env",), ("unit",), ("usage",), ("plan",),
        ("up",), ("down",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_faults_that_make_no_sense_are_refused_by_every_command(box: Box, words) -> None:
    something(box)
    done = box.run(*words, "--json", env={"CC_FAULTS": "docker=brokn"})
    error = done.json["error"]
    assert (done.code, error["type"], error["field"]) == (2, "bad_config", "CC_FAULTS")
    assert "'docker=brokn': unknown kind 'brokn'" in error["message"]


def test_status_and_health_say_of_which_docker_they_speak_where_the_supervisors_is_another(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    assert box.ask("up", "--no-docker").code == 0
    here = {"DOCKER_HOST": NOWHERE}
    there = f"the supervisor's Docker is at {box.env['DOCKER_HOST']}"
    told = f"{there}, that of this shell (DOCKER_HOST, context) at {NOWHERE}"
    assert f"told by the supervisor: {told}" in box.run("status", env=here).out.splitlines()
    assert f"looked at from here: {told}" in box.run("health", env=here).out.splitlines()
    both = {"here": NOWHERE, "supervisor": box.env["DOCKER_HOST"]}
    assert [box.ask(word, env=here).json["docker"] for word in ("status", "health")] == [both, both]
    for word in ("status", "health"):
        assert "Docker is at" not in box.run(word).out
    box.ask("down")
    assert box.ask("status", env=here).json["docker"] == {"here": NOWHERE, "supervisor": None}


def test_health_of_what_answers_asks_no_supervisor(box: Box) -> None:
    box.ask("up", "--no-docker")
    assert box.ask("health", "--service", "dashboard").json["docker"]["supervisor"] is None


def test_a_dashboard_that_shall_be_quiet_does_not_say_where_it_is(box: Box) -> None:
    process = box.start("dashboard", "--quiet", "--port", str(box.dashboard_ports[1]))
    eventually(lambda: answers(box.dashboard_ports[1]), what="the dashboard")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_what_invoke_is_told_for_other_projects_is_not_for_this_one(box: Box) -> None:
    home = Path(box.env["HOME"])
    (home / ".invoke.py").write_text("raise SystemExit(9)\n")
    (home / "runtime.yaml").write_text("tasks: [\n")
    given = {"INVOKE_RUNTIME_CONFIG": str(home / "runtime.yaml"), "INVOKE_TASKS_AUTO_DASH_NAMES": ""}
    assert box.ask("status", "--no-color", env=given).code == 0
    assert box.ask("status", env={"HOME": "/dev/null"}).code == 0
