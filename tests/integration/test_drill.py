"""`drill` for real: what it plays, what it says of one that does not hold, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.clock import Cancel, SystemClock
from cc.drill.exercise import COMPOSE, DOCKER, Drill, expect
from cc.drill.rehearsal import rehearse
from cc.drill.stage import Stage
from cc.engine.outcome import Recap
from cc.errors import ConfigError
from cc.resources.docker_socket import DEFAULT_SOCKET
from tests.integration.box import Box, eventually, path_without

NO_PLUGIN = "docker: 'compose' is not a docker command."


@pytest.fixture
def stages() -> Iterator[Path]:
    """Where the drills of this test make their directories, and no other's."""
    with tempfile.TemporaryDirectory(prefix="ccdr-") as made:  # short: a socket's path has 107 bytes
        yield Path(made)


def projects(stages: Path) -> list[str]:
    """Of the drills that have a directory now: what their containers are labelled with."""
    return [f"cc-drill-{each.name.removeprefix('cc-drill-').lower().replace('_', '-')}" for each in stages.iterdir()]


def left(stages: Path) -> list[str]:
    """What the drills of this test have left: directories, and processes of their homes."""
    found = [each.name for each in stages.iterdir()]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"CC_HOME={stages}/".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def containers(project: str) -> list[str]:
    asked = ["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={project}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()


def test_a_few_are_played_beside_a_stack_that_stands_and_does_not_notice(box: Box, stages: Path) -> None:
    assert box.ask("up", "--no-docker").code == 0
    before = box.service("dashboard")["pid"]
    env = {"TMPDIR": str(stages)}
    done = box.ask("drill", "--only", "L4.2,L5.2,L9.3", "--junit", "drill.xml", env=env)
    assert (done.code, done.json["status"], done.json["counts"]["ok"]) == (0, "ok", 3), done.out
    assert "Dashboard running on http://localhost:" in done.json["steps"][0]["reason"]
    assert 'tests="3"' in (box.dir / "drill.xml").read_text()
    assert box.service("dashboard")["pid"] == before
    assert left(stages) == []


def test_without_docker_those_with_containers_say_so_and_the_rest_is_green(box: Box) -> None:
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    done = box.ask("drill", "--only", "L3.0,L6.3,L9.3")
    assert (done.code, done.json["counts"]["ok"], done.json["counts"]["skipped"]) == (0, 3, 2)
    assert done.json["steps"][0]["reason"].startswith("needs Docker and compose: the Docker daemon is not running")
    assert done.json["degraded"] is False


@pytest.mark.docker
@pytest.mark.parametrize("hidden", ["by a fault", "by its absence"])
def test_without_compose_the_rung_that_is_for_that_is_played_and_only_those_that_need_compose_are_not(
    box: Box, stages: Path, hidden: str
) -> None:
    env = {"TMPDIR": str(stages)}
    if hidden == "by a fault":
        env["CC_FAULTS"] = f"docker compose=fail:1:{NO_PLUGIN};docker-compose=missing"
    else:
        (box.dir / "bin").mkdir()
        docker = box.dir / "bin" / "docker"  # there is no telling where the real one would find its plugins
        real = subprocess.run(["sh", "-c", "command -v docker"], capture_output=True, text=True, check=True).stdout
        docker.write_text(
            f'#!/bin/sh\ntest "$1" != compose || {{ echo "{NO_PLUGIN}" >&2; exit 1; }}\nexec {real.strip()} "$@"\n'
        )
        docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
        env["PATH"] = f"{docker.parent}:{path_without(str(box.dir), 'docker-compose')}"
    done = box.ask("drill", "--only", "L3.0,L3.1,L6.1", env=env)
    told = {step["name"].split(" ")[0]: (step["status"], step["reason"]) for step in done.json["steps"]}
    assert {name: status for name, (status, _) in told.items()} == {
        "L3.0": "skipped", "L3.0b": "skipped", "L3.1": "ok", "L3.1b": "ok", "L6.1": "ok",
    }  # fmt: skip
    assert (done.code, told["L3.0"][1].startswith(f"needs {COMPOSE}: ")) == (0, True), told
    assert "compose" in told["L3.0"][1].removeprefix(f"needs {COMPOSE}: ")
    assert left(stages) == []


def test_the_list_names_them_and_plays_none(box: Box) -> None:
    told = box.run("drill", "--list", "--only", "L12")
    assert (told.code, "L12.0" in told.out) == (0, True)
    assert box.run("drill", "--only", "L99").code == 2


@pytest.mark.parametrize("words", [("--only", "L9.3"), ("--random", "--minutes", "0.05")], ids=["some", "random"])
def test_faults_that_are_none_are_refused_at_once_as_up_does(box: Box, stages: Path, words: tuple[str, ...]) -> None:
    env = {"CC_FAULTS": "docker=broken", "TMPDIR": str(stages)}
    refused, up = box.ask("drill", *words, env=env), box.ask("up", "--no-supervisor", env=env)
    assert (refused.code, refused.json["error"]) == (2, up.json["error"])
    assert left(stages) == []


def test_what_the_machine_is_broken_by_already_counts_after_what_the_drill_breaks() -> None:
    def play(stage: Stage) -> str:
        found = stage.up(CC_FAULTS="sh=fail:7:of the drill").document
        expect(found["steps"], "an up", found)
        stage.environ["PATH"] = stage.path_without("docker")
        return stage.environ["CC_FAULTS"]

    recap = played(Drill("L4", 0, "nothing", "", "", play), {"CC_FAULTS": "docker=missing"})
    assert recap.steps[0].outcome.reason == "docker=missing"
    with pytest.raises(ConfigError, match="unknown kind 'broken'"):
        played(Drill("L4", 0, "nothing", "", "", play), {"CC_FAULTS": "docker=broken"})


def test_the_users_own_stack_is_not_the_drills_and_his_images_and_his_engine_are(stages: Path) -> None:
    def play(stage: Stage) -> str:
        told = stage.type("status").document["services"]
        expect({each["port"] for each in told if each["name"] == "clickhouse"} <= {None, stage.ports[0]}, "ours", told)
        kept = ("CC_CLICKHOUSE_IMAGE", "DOCKER_HOST", "CC_CLICKHOUSE_USER", "CC_IPC_TCP", "CC_OWNER")
        own = stage.environ["CC_HOME"].startswith(stage.dir) and stage.environ["CC_PROJECT"] == stage.project
        expect(own, "a home of its own", stage.environ)
        return " ".join(f"{name}={stage.environ[name]}" for name in kept if name in stage.environ)

    caller = {
        "CC_CLICKHOUSE_IMAGE": "some:image", "DOCKER_HOST": f"unix://{DEFAULT_SOCKET}", "CC_CLICKHOUSE_USER": "me",
        "CC_IPC_TCP": "127.0.0.1:5555", "CC_HOME": f"{stages}/home", "CC_PROJECT": "mine", "CC_OWNER": "mine:1",
    }  # fmt: skip
    recap = played(Drill("L4", 0, "nothing", "", "", play), caller)
    assert recap.steps[0].outcome.reason == f"CC_CLICKHOUSE_IMAGE=some:image DOCKER_HOST=unix://{DEFAULT_SOCKET}"


def test_blows_at_random_hold_and_say_the_seed_that_repeats_them(box: Box, stages: Path) -> None:
    env = {"DOCKER_HOST": f"unix://{box.dir}/none.sock", "TMPDIR": str(stages)}
    done = box.run("drill", "--random", "--minutes", "0.05", "--seed", "5", "--json", env=env)
    assert done.code == 0, done.out
    assert "seed 5, 0.05 minutes, without containers: " in done.err
    steps = done.json["steps"]
    first, *blows, last = [(step["status"], step["reason"]) for step in steps]
    assert (first, last) == (("ok", "all up"), ("ok", "nothing left"))
    assert blows
    assert all(status == "ok" and reason.startswith("healthy again") for status, reason in blows)
    assert left(stages) == []
    assert box.run("drill", "--random", "--minutes", "never").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("--only", "L11.0,L11.5"), ("--random", "--minutes", "5")], ids=["some", "random"])
def test_one_that_is_interrupted_has_failed_nothing_and_leaves_nothing(
    box: Box, stages: Path, words: tuple[str, ...], number: signal.Signals
) -> None:
    env = {"TMPDIR": str(stages), "DOCKER_HOST": f"unix://{box.dir}/none.sock"}
    process = box.start("drill", *words, "--json", "--junit", "drill.xml", env=env)
    eventually(lambda: [each for each in left(stages) if each.isdigit()], what="a stack to be up")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    told = json.loads(out)
    assert (told["exit_code"], told["stopped"], told["counts"]["failed"]) == (128 + number, number.name, 0)
    under_way = [step for step in told["steps"] if step["error"] == "interrupted"]
    assert [(step["status"], step["reason"]) for step in under_way] == [("skipped", "interrupted")]
    suite = (box.dir / "drill.xml").read_text()
    assert f'failures="0" skipped="{told["counts"]["skipped"]}"' in suite
    assert '<skipped message="interrupted"/>' in suite
    assert left(stages) == []


@pytest.mark.docker
def test_one_with_containers_that_is_interrupted_leaves_none(box: Box, stages: Path) -> None:
    process = box.start("drill", "--only", "L6.0", env={"TMPDIR": str(stages)})
    (project,) = eventually(lambda: projects(stages), what="a stage")
    eventually(lambda: containers(project), what="a container")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, "failed=0" in out, "skipped=1" in out) == (130, True, True), out
    assert (containers(project), left(stages)) == ([], [])


def played(drill: Drill, environ: dict[str, str] | None = None) -> Recap:
    cancel = Cancel()
    try:
        return rehearse([drill], {**os.environ, **(environ or {})}, SystemClock(), cancel, [])
    finally:
        cancel.close()


@pytest.fixture
def here(stages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for drills that this very process plays."""
    monkeypatch.setattr(tempfile, "tempdir", str(stages))
    return stages


def test_one_that_does_not_hold_fails_with_what_was_expected_and_what_was_seen(here: Path) -> None:
    def play(stage: Stage) -> str:
        expect(stage.up().code == 7, "exit code 7", "another")
        return "unreachable"

    recap = played(Drill("L4", 0, "nothing", "", "", play))
    (step,) = recap.steps
    assert (step.outcome.status.value, step.outcome.reason) == ("failed", "expected exit code 7; saw another")
    assert left(here) == []


def test_a_stack_that_a_drill_left_up_is_taken_away(here: Path) -> None:
    def play(stage: Stage) -> str:
        stage.up()
        stage.start("sleep", "600", CC_OWNER=stage.state.owner)
        return "left"

    assert played(Drill("L4", 0, "nothing", "", "", play)).status.value == "ok"
    assert left(here) == []


def test_what_this_machine_lacks_is_the_reason_of_a_drill_that_is_not_played(here: Path) -> None:
    recap = played(Drill("L4", 0, "nothing", "", "", lambda stage: "played", DOCKER), {"CC_FAULTS": "docker=missing"})
    assert recap.steps[0].outcome.reason.startswith("needs Docker: docker is not installed")
    assert left(here) == []
