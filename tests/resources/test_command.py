"""Commands across the real seam: when they are needed, and what their end means."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cc.engine.outcome import Status
from cc.engine.spec import ChangedWhen
from cc.engine.step import Context, Judged, run_action
from cc.errors import DeadlineExceeded, Failure, Interrupted, NonZeroExit, ToolMissing
from cc.resources import command
from cc.shell import ScriptedShell

if TYPE_CHECKING:
    from pathlib import Path

    from cc.resources.host import Host


def ensure(here: Host, context: Context, *argv: str, **args: Any) -> Judged:
    return run_action(command.VERB.make(here, {"run": argv, **args}), context)


def sh(line: str) -> tuple[str, ...]:
    return ("sh", "-c", line)


def test_a_bare_command_runs_each_time_and_says_changed(host: Host, context: Context, tmp_path: Path) -> None:
    for runs in (1, 2):
        done = ensure(host, context, *sh("echo x >> runs; echo out; echo err >&2"))
        assert done.status is Status.CHANGED
        assert done.probe.evidence == ("err", "out")
        assert (tmp_path / "runs").read_text() == "x\n" * runs


def test_its_words_reach_it_as_they_are(host: Host, context: Context, tmp_path: Path) -> None:
    words = ["a b", "*", "$HOME", "", "ü", "'", '"', "-n", "\n"]
    ensure(host, context, sys.executable, "-c", "import sys; open('words', 'w').write(repr(sys.argv[1:]))", *words)
    assert (tmp_path / "words").read_text() == repr(words)


def test_it_fails_as_the_seam_says(host: Host, context: Context) -> None:
    with pytest.raises(NonZeroExit) as caught:
        ensure(host, context, *sh("echo why >&2; exit 3"))
    assert caught.value.evidence == ("why",)
    with pytest.raises(ToolMissing):
        ensure(host, context, "no-such-program-anywhere")
    with pytest.raises(DeadlineExceeded):
        ensure(host, context, "sleep", "1000", deadline=0.2)
    with pytest.raises(DeadlineExceeded):
        ensure(host, context.until(0.3), "sleep", "1000")
    with pytest.raises(Failure) as no_directory:
        ensure(host, context, "true", cwd="missing")
    assert no_directory.value.code == "bad_config"
    context.cancel.request("SIGINT")
    with pytest.raises(Interrupted):
        ensure(host, context, "true")


def test_it_runs_in_its_directory_with_its_environment(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    here = replace(host, environ={**os.environ, "ONE": "run", "TWO": "run"})
    ensure(here, context, *sh("echo $ONE $TWO > found"), cwd="sub", env={"TWO": "step"})
    assert (tmp_path / "sub/found").read_text() == "run step\n"


def test_secrets_stand_neither_in_its_name_nor_in_its_evidence(host: Host, context: Context) -> None:
    here = replace(host, secrets=("hunter22",))
    action = command.VERB.make(here, {"run": ("echo", "--password=hunter22")})
    assert action.name == "echo '--password=***'"
    assert run_action(action, context).probe.evidence == ("--password=***",)
    guarded = command.VERB.make(here, {"run": ("false",), "unless": "test hunter22"})
    assert guarded.probe(context).reason == "`test ***` holds"


def test_it_is_not_needed_once_what_it_creates_exists(host: Host, context: Context, tmp_path: Path) -> None:
    args = {"creates": "made"}
    assert ensure(host, context, *sh("echo x > made"), **args).status is Status.CHANGED
    assert ensure(host, context, *sh("echo y > made"), **args).status is Status.OK
    assert (tmp_path / "made").read_text() == "x\n"


def test_one_that_does_not_create_what_it_should_has_failed_whatever_its_exit_code(
    host: Host, context: Context
) -> None:
    with pytest.raises(Failure, match="made does not exist") as caught:
        ensure(host, context, "echo", "all is well", creates="made")
    assert caught.value.code == "not_satisfied"
    assert caught.value.evidence == ("all is well",)


def test_one_that_creates_it_and_exits_badly_has_changed_it_with_a_warning(host: Host, context: Context) -> None:
    done = ensure(host, context, *sh("touch made; exit 1"), creates="made")
    assert done.status is Status.CHANGED
    assert "exited with 1" in done.warnings[0]


def test_unless_is_a_line_of_sh_and_the_goal(host: Host, context: Context, tmp_path: Path) -> None:
    args = {"unless": "test -e a && test -e b"}
    assert ensure(host, context, "touch", "a", "b", **args).status is Status.CHANGED
    assert ensure(host, context, "touch", "c", **args).status is Status.OK
    assert not (tmp_path / "c").exists()
    with pytest.raises(Failure, match="`test -e d` exits with 1") as caught:
        ensure(host, context, "true", unless="test -e d")
    assert caught.value.code == "not_satisfied"
    assert caught.value.hint == "if `unless` only says when to leave it out, add `changed_when`"


def test_unless_that_hangs_is_bounded(host: Host, context: Context) -> None:
    with pytest.raises(DeadlineExceeded):
        ensure(host, context.until(0.3), "true", unless="sleep 1000")


def test_any_of_creates_and_unless_is_enough(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    assert ensure(host, context, "false", creates="made", unless="false").status is Status.OK
    assert ensure(host, context, "false", creates="missing", unless="true").status is Status.OK


@pytest.mark.parametrize(
    ("line", "when", "status"),
    [
        ("echo removed 3", ChangedWhen(stdout_matches="^removed"), Status.CHANGED),
        ("echo first; echo removed 3; echo last", ChangedWhen(stdout_matches="^removed"), Status.CHANGED),
        ("echo nothing removed", ChangedWhen(stdout_matches="^removed"), Status.OK),
        ("echo removed >&2", ChangedWhen(stdout_matches="^removed"), Status.OK),
        ("echo a; echo b", ChangedWhen(stdout_matches=r"a\nb"), Status.CHANGED),
        ("exit 10", ChangedWhen(exit_code=10), Status.CHANGED),
        ("true", ChangedWhen(exit_code=10), Status.OK),
        ("true", ChangedWhen(exit_code=0), Status.CHANGED),
        ("echo x; exit 10", ChangedWhen("x", 10), Status.CHANGED),
        ("echo y; exit 10", ChangedWhen("x", 10), Status.OK),
        ("echo x", ChangedWhen("x", 10), Status.OK),
    ],
)
def test_changed_when_judges_the_end(
    host: Host, context: Context, line: str, when: ChangedWhen, status: Status
) -> None:
    assert ensure(host, context, *sh(line), changed_when=when).status is status


def test_an_exit_code_that_changed_when_does_not_name_is_a_failure(host: Host, context: Context) -> None:
    for when in (ChangedWhen(exit_code=10), ChangedWhen(stdout_matches="x")):
        with pytest.raises(NonZeroExit) as caught:
            ensure(host, context, *sh("echo x; echo why >&2; exit 3"), changed_when=when)
        assert caught.value.evidence == ("why", "x")


def test_changed_when_sees_a_line_in_the_middle_of_an_output_that_is_not_kept(host: Host, context: Context) -> None:
    line = "seq 200000; echo removed 1; seq 200000"
    assert ensure(host, context, *sh(line), changed_when=ChangedWhen("^removed")).status is Status.CHANGED


def test_with_changed_when_unless_is_only_a_guard(host: Host, context: Context, tmp_path: Path) -> None:
    """The example of the playbook contract: logs are pruned unless there are none."""
    args = {"unless": "test ! -d logdir", "changed_when": ChangedWhen(stdout_matches="^removed")}
    prune = sh("for f in logdir/*.old; do [ -e $f ] && rm $f && echo removed $f; done; true")
    assert ensure(host, context, *prune, **args).status is Status.OK
    (tmp_path / "logdir").mkdir()
    (tmp_path / "logdir/a.old").touch()
    assert ensure(host, context, *prune, **args).status is Status.CHANGED
    assert ensure(host, context, *prune, **args).status is Status.OK
    action = command.VERB.make(host, {"run": prune, **args})
    for old, status in (("b.old", Status.CHANGED), (".", Status.OK), ("c.old", Status.CHANGED)):
        (tmp_path / "logdir" / old).touch()
        assert run_action(action, context).status is status
    with pytest.raises(NonZeroExit):
        ensure(host, context, "false", **args)


def test_an_action_may_be_tried_again(host: Host, context: Context, tmp_path: Path) -> None:
    action = command.VERB.make(host, {"run": sh("test -e ready && touch made"), "creates": "made"})
    with pytest.raises(NonZeroExit):
        run_action(action, context)
    (tmp_path / "ready").touch()
    assert run_action(action, context).status is Status.CHANGED
    assert run_action(action, context).status is Status.OK


def test_a_step_that_is_not_needed_asks_once_and_runs_nothing(host: Host, context: Context) -> None:
    shell = ScriptedShell().on(("sh", "-c", "probe"))
    assert ensure(replace(host, shell=shell), context, "unscripted", unless="probe").status is Status.OK
    assert [call.argv for call in shell.calls] == [("sh", "-c", "probe")]
    assert shell.calls[0].deadline == command.PROBE_S
