"""Scripts by path and as text: which interpreter, which environment, which arguments; and nothing left of them."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cc.engine.outcome import Status
from cc.engine.spec import ChangedWhen
from cc.engine.step import Context, Judged, run_action
from cc.errors import DeadlineExceeded, Failure, NonZeroExit, ToolMissing
from cc.resources import script

if TYPE_CHECKING:
    from cc.resources.host import Host


def ensure(here: Host, context: Context, **args: Any) -> Judged:
    return run_action(script.VERB.make(here, args), context)


def write(path: Path, text: str, *, executable: bool = False) -> None:
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)


@pytest.mark.parametrize("executable", [True, False])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo $0 $#", "{path} 2"),
        ("#!/bin/sh\necho $0 $#", "{path} 2"),
        (f"#!{sys.executable}\nimport sys; print(sys.argv[0], len(sys.argv) - 1)", "{path} 2"),
        ("#!/usr/bin/env -S sh -e\necho $0 $#; false; echo not here", None),
        ("#! /bin/sh -e\necho $0 $#; false; echo not here", None),
    ],
)
def test_it_is_run_by_the_interpreter_that_it_names_or_by_sh(
    host: Host, context: Context, tmp_path: Path, text: str, says: str | None, executable: bool
) -> None:
    write(tmp_path / "job", text, executable=executable)
    if says is None:
        with pytest.raises(NonZeroExit) as caught:
            ensure(host, context, path="job", args=("a b", "c"))
        assert caught.value.evidence == (f"{tmp_path}/job 2",)
    else:
        done = ensure(host, context, path="job", args=("a b", "c"))
        assert done.probe.evidence == (says.format(path=tmp_path / "job"),)


def test_a_program_is_run_as_one(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "prog").symlink_to("/bin/echo")
    assert ensure(host, context, path="prog", args=("hi",)).probe.evidence == ("hi",)


def test_text_is_run_with_its_arguments_and_never_rewritten(host: Host, context: Context) -> None:
    here = replace(host, variables={"PORT": "8110"})
    text = "f=mine\necho ${f} $PORT ${NONE:-default} '${PORT}' $1"
    done = ensure(here, context, text=text, args=("an argument",))
    assert done.probe.evidence == ("mine 8110 default ${PORT} an argument",)


def test_text_may_name_its_interpreter(host: Host, context: Context) -> None:
    text = f"#!{sys.executable}\nimport os\nprint(os.environ['PORT'])\n"
    assert ensure(replace(host, variables={"PORT": "1"}), context, text=text).probe.evidence == ("1",)


def test_variables_come_over_the_environment_and_the_steps_own_over_them(host: Host, context: Context) -> None:
    here = replace(host, environ={**os.environ, "A": "run", "B": "run", "C": "run"}, variables={"B": "var", "C": "var"})
    assert ensure(here, context, text="echo $A $B $C", env={"C": "step"}).probe.evidence == ("run var step",)


def test_a_command_in_it_that_reads_does_not_swallow_the_rest(host: Host, context: Context) -> None:
    assert ensure(host, context, text="cat\nread x\necho still here").probe.evidence == ("still here",)


def test_errors_name_file_and_line(host: Host, context: Context) -> None:
    with pytest.raises(NonZeroExit) as caught:
        ensure(host, context, text="true\ntrue\nno-such-command\nexit 4")
    assert "script-" in caught.value.evidence[0]
    assert "3: " in caught.value.evidence[0]


def test_nothing_is_left_of_its_text(host: Host, context: Context) -> None:
    before = sorted(os.listdir(host.run_dir))
    ensure(host, context, text="echo $0")
    with pytest.raises(NonZeroExit):
        ensure(host, context, text="exit 1")
    with pytest.raises(DeadlineExceeded):
        ensure(host, context, text="sleep 1000", deadline=0.2)
    with pytest.raises(ToolMissing):
        ensure(host, context, text="#!/no/such/interpreter\n")
    assert sorted(os.listdir(host.run_dir)) == before


def test_one_that_removes_itself_is_no_trouble(host: Host, context: Context) -> None:
    assert ensure(host, context, text='rm "$0"').status is Status.CHANGED


def test_its_text_is_for_nobody_else_to_read(host: Host, context: Context) -> None:
    assert ensure(host, context, text='stat -c %a "$0"').probe.evidence == ("600",)


def test_where_the_text_cannot_be_written_says_so(host: Host, context: Context) -> None:
    full = replace(host, run_dir="/dev/full")
    with pytest.raises(Failure, match="cannot write the script into /dev/full"):
        ensure(full, context, text="true")


@pytest.mark.parametrize(("path", "says"), [("missing", "No such file"), ("logs", "Is a directory")])
def test_a_script_that_is_none_is_a_mistake(host: Host, context: Context, path: str, says: str) -> None:
    with pytest.raises(Failure, match=says) as caught:
        ensure(host, context, path=path)
    assert caught.value.code == "bad_config"
    assert Path(host.base, path).name in (caught.value.hint or "")


def test_the_example_of_the_contract(host: Host, context: Context, tmp_path: Path) -> None:
    text = "cd logdir; for f in *.old; do [ -e $f ] && rm $f && echo removed $f; done; true"
    write(tmp_path / "prune.sh", text)
    args = {"path": "prune.sh", "unless": "test ! -d logdir", "changed_when": ChangedWhen("^removed")}
    assert ensure(host, context, **args).status is Status.OK
    (tmp_path / "logdir").mkdir()
    (tmp_path / "logdir/a.old").touch()
    assert ensure(host, context, **args).status is Status.CHANGED
    assert ensure(host, context, **args).status is Status.OK


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", ()),
        (b"echo", ()),
        (b"#!/bin/sh", ("/bin/sh",)),
        (b"#! /bin/sh  -e  \nx", ("/bin/sh", "-e")),
        (b"#!/usr/bin/env -S a b\n", ("/usr/bin/env", "-S a b")),
        (b"#!/bin/sh\r\n", ("/bin/sh",)),
        (b"#!\n", ()),
    ],
)
def test_a_first_line_is_read_as_the_kernel_reads_it(head: bytes, words: tuple[str, ...]) -> None:
    assert script.interpreter(head) == words
