"""run: what goes in, what comes out, and how each way of not starting is called. Real processes throughout."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from cc.errors import CommandFailure, NonZeroExit, PermissionDenied, ToolMissing
from cc.shell import Command, SystemShell

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Word


def sh(script: str, **options: object) -> Command:
    return Command(("sh", "-c", script), **options)  # type: ignore[arg-type]


def test_a_command_comes_back_with_its_outputs_and_is_true(shell: SystemShell) -> None:
    result = shell.run(sh("echo out; echo err >&2"))
    assert result
    assert (result.exit_code, result.stdout, result.stderr) == (0, "out\n", "err\n")
    assert (result.stdout_bytes, result.stderr_bytes, result.left_out) == (4, 4, 0)
    assert result.argv == ("sh", "-c", "echo out; echo err >&2")
    assert not result.undecodable
    assert result.duration_s > 0


def test_a_bad_exit_is_an_error_that_carries_the_result_and_the_last_words(shell: SystemShell) -> None:
    with pytest.raises(NonZeroExit, match="exited with 3: no such volume") as caught:
        shell.run(sh("echo progress; echo no such volume >&2; exit 3"))
    assert caught.value.code == "non_zero_exit"
    assert caught.value.result.exit_code == 3
    assert caught.value.evidence == ("no such volume", "progress")


def test_without_check_a_bad_exit_is_a_false_result(shell: SystemShell) -> None:
    result = shell.run(sh("exit 7", check=False))
    assert not result
    assert result.exit_code == 7


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (40, "signal 40")],
    ids=["kill", "segv", "a real-time signal"],
)
def test_death_by_a_signal_is_a_negative_exit_code_with_its_name(shell: SystemShell, number: int, name: str) -> None:
    if number > signal.NSIG - 1:
        number, name = signal.SIGUSR1, "SIGUSR1"  # no real-time signals on macOS
    code = f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})"
    with pytest.raises(NonZeroExit, match=f"was ended by {name}") as caught:
        shell.run(Command((sys.executable, "-c", code)))
    assert caught.value.result.exit_code == -number


def test_words_reach_the_program_untouched(shell: SystemShell) -> None:
    words = ("", "a b", "$HOME", "*", "'", "\n", "-n", "ü", "--x=1", "%s", "\udcff")
    result = shell.run(Command((sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *words)))
    assert result.stdout == ascii(list(words)) + "\n"


def test_a_shell_string_in_place_of_words_is_refused() -> None:
    with pytest.raises(TypeError, match="tuple of words"):
        Command("echo hello")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        Command(())


# The environment


def test_the_environment_is_the_inherited_one_with_additions_and_removals(
    shell: SystemShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("GONE", "2")
    script = 'echo "$KEPT-${GONE-unset}-$NEW"'
    assert shell.run(sh(script, env={"NEW": "3"}, env_remove=("GONE",))).stdout == "1-unset-3\n"


def test_a_name_is_looked_up_on_the_path_of_the_commands_own_environment(shell: SystemShell, tmp_path: Path) -> None:
    tool = tmp_path / "only-here"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    assert shell.run(Command(("only-here",), env={"PATH": f"/nowhere:{tmp_path}"})).stdout == "found\n"
    with pytest.raises(ToolMissing):
        shell.run(Command(("only-here",)))


def test_a_file_without_execute_bit_does_not_hide_a_good_one_further_on(shell: SystemShell, tmp_path: Path) -> None:
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text("#!/bin/sh\necho good\n")
        (tmp_path / name / "tool").chmod(mode)
    path = f"{tmp_path / 'first'}:{tmp_path / 'second'}"
    assert shell.run(Command(("tool",), env={"PATH": path})).stdout == "good\n"


def test_what_is_ours_carries_the_mark_and_what_is_the_users_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SystemShell(marker=("CC_OWNER", "project:id"))
    assert shell.run(sh("echo $CC_OWNER")).stdout == "project:id\n"
    monkeypatch.setenv("CC_OWNER", "inherited from a supervisor that is ours")
    assert shell.run(sh("echo ${CC_OWNER-none}", owned=False)).stdout == "none\n"


def test_the_child_finds_signals_and_descriptors_as_a_fresh_login_would(shell: SystemShell, tmp_path: Path) -> None:
    code = """
import os, signal
print([s.name for s in signal.Signals if s not in (signal.SIGKILL, signal.SIGSTOP)
       and signal.getsignal(s) == signal.SIG_IGN and s.name not in ('SIGPIPE', 'SIGXFSZ', 'SIGXFZ')])
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
print([n for n in range(3, 64) if os.path.exists(f'/dev/fd/{n}') and not os.path.isdir(f'/dev/fd/{n}')])
print(os.getsid(0) == os.getpid() == os.getpgid(0))
"""
    inherited = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(inherited, True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        result = shell.run(Command((sys.executable, "-c", code)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, before)
        os.close(inherited)
    assert result.stdout.splitlines() == ["[]", "[]", "[]", "True"]


def test_python_itself_would_die_of_a_broken_pipe_as_programs_do(shell: SystemShell) -> None:
    result = shell.run(sh("yes | head -n 1; echo done"))
    assert result.stdout == "y\ndone\n"
    assert "roken pipe" not in result.stderr


# Ways of not starting


def test_a_missing_tool_says_where_it_was_looked_for_and_what_to_do(shell: SystemShell) -> None:
    with pytest.raises(ToolMissing, match="no-such-tool is not on PATH") as caught:
        shell.run(Command(("no-such-tool", "up"), env={"PATH": "/here:/there"}))
    assert caught.value.code == "tool_missing"
    assert caught.value.evidence == ("PATH=/here:/there",)
    assert "install no-such-tool" in (caught.value.hint or "")
    assert caught.value.result.exit_code == 127


def test_a_missing_file_is_a_missing_tool(shell: SystemShell, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="No such file or directory"):
        shell.run(Command((str(tmp_path / "absent"),)))


def test_an_empty_word_for_a_program_is_a_missing_tool(shell: SystemShell) -> None:
    with pytest.raises(ToolMissing):
        shell.run(Command(("",)))


def test_a_directory_of_the_tools_name_is_no_tool(shell: SystemShell, tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    with pytest.raises(ToolMissing):
        shell.run(Command(("tool",), env={"PATH": str(tmp_path)}))


def test_a_script_whose_interpreter_is_missing_says_so(shell: SystemShell, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for command in (Command((str(script),)), Command(("script",), env={"PATH": str(tmp_path)})):
        with pytest.raises(ToolMissing, match="the interpreter that it names is not"):
            shell.run(command)


def test_a_file_that_is_not_executable_is_denied(shell: SystemShell, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    for command in (Command((str(tmp_path / "tool"),)), Command(("tool",), env={"PATH": str(tmp_path)})):
        with pytest.raises(PermissionDenied, match="Permission denied") as caught:
            shell.run(command)
        assert caught.value.code == "permission_denied"
        assert caught.value.result.exit_code == 126


def test_a_file_that_is_no_program_is_denied_with_the_systems_own_words(shell: SystemShell, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x00\x01\x02 no program")
    (tmp_path / "tool").chmod(0o755)
    with pytest.raises(PermissionDenied, match="Exec format error"):
        shell.run(Command((str(tmp_path / "tool"),)))


def test_a_missing_directory_is_bad_configuration_and_not_a_missing_tool(shell: SystemShell, tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match="No such file or directory") as caught:
        shell.run(Command(("true",), cwd=str(tmp_path / "absent")))
    assert caught.value.code == "bad_config"
    assert caught.value.hint == f"mkdir -p {tmp_path / 'absent'}"


@pytest.mark.parametrize(
    "command",
    [
        Command(("echo", "a\0b")),
        Command(("true",), env={"A=B": "1"}),
        Command(("true",), env={"A": "\0"}),
        Command(("true",), env={"": "1"}),
        Command(("echo", "\ud800")),
        Command(("true", "x" * 4_000_000)),
    ],
    ids=["zero byte", "name with =", "zero in a value", "no name", "lone surrogate", "too long for the system"],
)
def test_what_the_system_cannot_take_is_bad_configuration(shell: SystemShell, command: Command) -> None:
    with pytest.raises(CommandFailure) as caught:
        shell.run(command)
    assert caught.value.code == "bad_config"


# Input


def test_ten_megabytes_go_through_cat_and_come_back_counted(shell: SystemShell) -> None:
    given = bytes(range(256)) * 40_000
    result = shell.run(Command(("cat",), input=given, keep=2 * len(given)))
    assert result.stdout_bytes == len(given)
    assert result.stdout == given.decode(errors="replace")


def test_a_script_goes_in_by_standard_input(shell: SystemShell) -> None:
    assert shell.run(Command(("sh", "-s", "word"), input=b"echo got $1\n")).stdout == "got word\n"


def test_a_command_that_wants_no_more_input_is_not_an_error(shell: SystemShell) -> None:
    assert shell.run(Command(("head", "-c", "3"), input=b"abc" * 1_000_000)).stdout == "abc"
    assert shell.run(sh("exec <&-; echo closed", input=b"x" * 10_000_000)).stdout == "closed\n"


def test_no_input_is_an_empty_one_and_not_the_terminal(shell: SystemShell) -> None:
    assert shell.run(Command(("cat",))).stdout == ""


# Output


def test_output_beyond_what_is_kept_leaves_head_and_tail_and_says_how_much_is_gone(shell: SystemShell) -> None:
    result = shell.run(sh("echo first; yes | head -c 120000000; echo last", keep=2000))
    assert result.stdout.startswith("first\ny\n")
    assert result.stdout.endswith("y\nlast\n")
    assert result.stdout_bytes == 120_000_011
    assert result.left_out == result.stdout_bytes - 2000
    assert f"... {result.left_out} bytes left out ..." in result.stdout
    assert len(result.stdout) < 2100


def test_output_that_is_no_text_is_replaced_and_told(shell: SystemShell) -> None:
    result = shell.run(sh(r"printf 'ok \377\376 \303\244 end'"))
    assert result.stdout == "ok \ufffd\ufffd ä end"
    assert result.undecodable
    assert not shell.run(sh(r"printf '\303\244'")).undecodable


def test_binary_output_of_any_size_never_fails(shell: SystemShell) -> None:
    result = shell.run(sh("head -c 3000000 /dev/urandom"))
    assert result.stdout_bytes == 3_000_000
    assert result.undecodable


def test_each_line_is_heard_in_the_callers_thread_as_it_comes(shell: SystemShell) -> None:
    import threading

    heard: list[tuple[str, str, int]] = []

    def hear(stream: str, line: str) -> None:
        heard.append((stream, line, threading.get_ident()))

    shell.run(sh("echo one; printf 'two\\r\\n'; printf '10%%\\r20%%\\r\\n'; printf last; echo err >&2", on_line=hear))
    lines = [(stream, line) for stream, line, _ in heard]
    assert [line for stream, line in lines if stream == "stdout"] == ["one", "two", "10%", "20%", "last"]
    assert ("stderr", "err") in lines
    assert {thread for _, _, thread in heard} == {threading.get_ident()}


def test_a_listener_hears_a_line_before_the_command_ends(shell: SystemShell, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo ready; while [ ! -e {go} ]; do sleep 0.01; done; echo went"
    heard: list[str] = []

    def hear(_: str, line: str) -> None:
        heard.append(line)
        go.touch()

    shell.run(sh(script, on_line=hear, deadline=30))
    assert heard == ["ready", "went"]


def test_a_line_of_a_hundred_megabytes_is_heard_shortened(shell: SystemShell) -> None:
    heard: list[str] = []
    script = "yes | tr -d '\\n' | head -c 100000000; echo; echo after"
    result = shell.run(sh(script, on_line=lambda _, line: heard.append(line)))
    assert result.stdout_bytes == 100_000_007
    assert [len(line) < 70_000 for line in heard] == [True, True]
    assert heard[0].endswith("bytes left out")
    assert heard[1] == "after"


def test_a_listener_that_raises_ends_the_command_and_is_heard(shell: SystemShell, word: Word) -> None:
    def refuse(_: str, line: str) -> None:
        raise LookupError(line)

    with pytest.raises(LookupError, match="first"):
        shell.run(sh(f"echo first; echo second; exec {word.stays}", on_line=refuse))
    assert word.alive() == []


# Secrets

SECRET = "pa ss'wörd-\"x"


def test_a_secret_is_masked_wherever_text_comes_back(shell: SystemShell, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[str] = []
    command = Command(
        ("sh", "-c", 'echo "$1 $S"; echo "$S" >&2; cat; exit 9', "sh", f"--password={SECRET}"),
        env={"S": SECRET},
        input=SECRET.encode(),
        secrets=(SECRET, ""),
        on_line=lambda _, line: heard.append(line),
    )
    with pytest.raises(NonZeroExit) as caught:
        shell.run(command)
    error = caught.value
    everything = [str(error), repr(error), *error.evidence, repr(error.result), *heard, repr(command), caplog.text]
    everything.append(str(error.as_dict()))
    assert not [text for text in everything if SECRET in text or "wörd" in text]
    assert error.result.stdout == "--password=*** ***\n***"
    assert error.result.argv[-1] == "--password=***"


def test_a_secret_that_comes_in_pieces_is_masked(shell: SystemShell) -> None:
    heard: list[str] = []
    script = "for part in be hun ter2 x hun; do printf $part; sleep 0.02; done"
    result = shell.run(sh(script, secrets=("hunter2",), on_line=lambda _, line: heard.append(line)))
    assert result.stdout == "be***xhun"
    assert heard == ["be***xhun"]


def test_a_secret_across_the_cut_of_what_is_kept_leaves_no_end_of_it(shell: SystemShell) -> None:
    result = shell.run(
        sh("yes | head -c 96; printf 0123456789ABCDEF; yes | head -c 5000", keep=200, secrets=("0123456789ABCDEF",))
    )
    assert result.left_out
    assert "0123" not in result.stdout
    assert "***" in result.stdout


def test_a_secret_of_several_lines_is_masked_line_by_line(shell: SystemShell) -> None:
    heard: list[str] = []
    key = "-----BEGIN KEY-----\nMIIabcdefgh\n-----END KEY-----\n"
    script = 'printf "%s" "$KEY"; printf "%s" "$KEY" | sed "s/^/   /"'
    result = shell.run(sh(script, env={"KEY": key}, secrets=(key,), on_line=lambda _, line: heard.append(line)))
    assert "MII" not in result.stdout + "".join(heard)
    assert "KEY" not in result.stdout + "".join(heard)


@pytest.mark.parametrize("argv", [("no-such-hunter2",), ("/no/hunter2/tool",), ("echo", "hunter2\0")])
def test_a_secret_in_a_command_that_cannot_start_is_masked(shell: SystemShell, argv: tuple[str, ...]) -> None:
    with pytest.raises(CommandFailure) as caught:
        shell.run(Command(argv, secrets=("hunter2",), env={"PATH": "/opt/hunter2/bin"}))
    error = caught.value
    assert "hunter2" not in f"{error} {error.hint} {error.evidence} {error.result}"
