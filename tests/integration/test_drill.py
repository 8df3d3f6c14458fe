"""`drill` for real: what it plays, what it says of one that does not hold, and that nothing of it stays."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from cc.clock import Cancel, SystemClock
from cc.drill.exercise import Drill, expect
from cc.drill.rehearsal import rehearse
from cc.drill.stage import Stage
from cc.engine.outcome import Recap
from tests.integration.box import Box, eventually


def left() -> list[str]:
    """What drills leave: directories, processes."""
    found = glob.glob(os.path.join(tempfile.gettempdir(), "cc-drill-*"))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"CC_PROJECT=cc-drill-" in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_few_are_played_beside_a_stack_that_stands_and_does_not_notice(box: Box) -> None:
    assert box.ask("up", "--no-docker").code == 0
    before = box.service("dashboard")["pid"]
    done = box.ask("drill", "--only", "L4.2,L5.2,L9.3", "--junit", "drill.xml")
    assert (done.code, done.json["status"], done.json["counts"]["ok"]) == (0, "ok", 3), done.out
    assert "Dashboard running on http://localhost:" in done.json["steps"][0]["reason"]
    assert 'tests="3"' in (box.dir / "drill.xml").read_text()
    assert box.service("dashboard")["pid"] == before
    assert left() == []


def test_without_docker_those_with_containers_say_so_and_the_rest_is_green(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    done = box.ask("drill", "--only", "L3.0,L6.3,L9.3")
    assert (done.code, done.json["counts"]["ok"], done.json["counts"]["skipped"]) == (0, 3, 1)
    assert done.json["steps"][0]["reason"].startswith("needs Docker: ")
    assert done.json["degraded"] is False


def test_the_list_names_them_and_plays_none(box: Box) -> None:
    told = box.run("drill", "--list", "--only", "L12")
    assert (told.code, "L12.0" in told.out) == (0, True)
    assert box.run("drill", "--only", "L99").code == 2


def test_blows_at_random_hold_and_say_the_seed_that_repeats_them(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    done = box.run("drill", "--random", "--minutes", "0.05", "--seed", "5", "--json")
    assert done.code == 0, done.out
    assert "seed 5, 0.05 minutes, without containers: " in done.err
    steps = done.json["steps"]
    assert [(step["status"], step["reason"].startswith("healthy again")) for step in steps] == [("ok", True)] * len(
        steps
    )
    assert len(steps) >= 1
    assert left() == []
    assert box.run("drill", "--random", "--minutes", "never").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_interrupted_leaves_nothing(box: Box, number: int) -> None:
    process = box.start("drill", "--only", "L11")
    eventually(lambda: [each for each in left() if each.isdigit()], what="a stack to be up")
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    eventually(lambda: left() == [], what="nothing to be left")


def played(drill: Drill) -> Recap:
    cancel = Cancel()
    try:
        return rehearse([drill], dict(os.environ), SystemClock(), cancel, [])
    finally:
        cancel.close()


def test_one_that_does_not_hold_fails_with_what_was_expected_and_what_was_seen() -> None:
    def play(stage: Stage) -> str:
        expect(stage.up().code == 7, "exit code 7", "another")
        return "unreachable"

    recap = played(Drill("L4", 0, "nothing", "", "", play))
    (step,) = recap.steps
    assert (step.outcome.status.value, step.outcome.reason) == ("failed", "expected exit code 7; saw another")
    assert left() == []


def test_a_stack_that_a_drill_left_up_is_taken_away() -> None:
    def play(stage: Stage) -> str:
        stage.up()
        subprocess.Popen(
            ["sleep", "600"], env={**os.environ, "CC_OWNER": stage.state.owner, "CC_PROJECT": stage.project}
        )
        return "left"

    assert played(Drill("L4", 0, "nothing", "", "", play)).status.value == "ok"
    assert left() == []
