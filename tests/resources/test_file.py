"""Files, directories and absence, on a real disk: also one that is full, one that is read-only, one without rights."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cc.engine.outcome import Status
from cc.engine.step import Context, Judged, run_action
from cc.errors import ConfigError, Failure
from cc.resources import file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cc.resources.host import Host

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def ensure(host: Host, context: Context, **args: Any) -> Judged:
    return run_action(file.VERB.make(host, args), context)


def refused(host: Host, context: Context, **args: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        ensure(host, context, **args)
    return caught.value


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_file_is_written_and_the_second_time_nothing_changes(host: Host, context: Context, tmp_path: Path) -> None:
    args = {"path": "motd", "content": "hello\nworld\n", "mode": "0640"}
    assert ensure(host, context, **args).status is Status.CHANGED
    assert (tmp_path / "motd").read_text() == "hello\nworld\n"
    assert (tmp_path / "motd").stat().st_mode & 0o7777 == 0o640
    before = (tmp_path / "motd").stat()
    assert ensure(host, context, **args).status is Status.OK
    assert (tmp_path / "motd").stat() == before


def test_without_content_a_file_is_made_once_and_what_it_holds_is_left(
    host: Host, context: Context, tmp_path: Path
) -> None:
    assert ensure(host, context, path="a").status is Status.CHANGED
    assert (tmp_path / "a").read_bytes() == b""
    (tmp_path / "a").write_text("mine")
    assert ensure(host, context, path="a").status is Status.OK
    assert ensure(host, context, path="a", mode="0600").status is Status.CHANGED
    assert (tmp_path / "a").read_text() == "mine"


def test_a_new_file_has_the_umask_and_an_old_one_keeps_mode_and_owner(
    host: Host, context: Context, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        ensure(host, context, path="new", content="x")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o640
    old = tmp_path / "old"
    old.write_text("x")
    os.chown(old, NOBODY, NOBODY)
    old.chmod(0o4711)
    ensure(host, context, path="old", content="y")
    found = old.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (NOBODY, NOBODY, 0o4711)


def test_a_mode_alone_is_a_change_and_the_content_is_not_written_again(
    host: Host, context: Context, tmp_path: Path
) -> None:
    ensure(host, context, path="a", content="x", mode="0600")
    inode = (tmp_path / "a").stat().st_ino
    assert ensure(host, context, path="a", content="x", mode="644").status is Status.CHANGED
    assert (tmp_path / "a").stat().st_ino == inode


@pytest.mark.parametrize(("given", "bits"), [("0644", 0o644), ("755", 0o755), ("0o600", 0o600), ("4711", 0o4711)])
def test_a_mode_is_octal_digits(given: str, bits: int) -> None:
    assert file.parse_mode(given) == bits


@pytest.mark.parametrize("given", [420, 644, "rw-r--r--", "0999", "", "77777", "-644", "u+x", True, "٠٦٤٤"])
def test_anything_else_is_no_mode_since_420_could_mean_two_things(given: object) -> None:
    with pytest.raises(ConfigError, match="octal digits") as caught:
        file.parse_mode(given)
    assert caught.value.field == "mode"


@pytest.mark.parametrize(
    ("args", "field"),
    [({"state": "directory", "content": "x"}, "content"), ({"state": "absent", "mode": "0644"}, "mode")],
)
def test_fields_that_contradict_each_other_are_refused(host: Host, args: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        file.VERB.make(host, {"path": "x", **args})
    assert caught.value.field == field


def test_half_a_character_is_refused(host: Host) -> None:
    with pytest.raises(ConfigError, match="character 2 is half of one"):
        file.VERB.make(host, {"path": "x", "content": "a\ud800"})


def test_directories_are_made_with_their_parents_and_their_mode(host: Host, context: Context, tmp_path: Path) -> None:
    assert ensure(host, context, path="a/b/c", state="directory", mode="0700").status is Status.CHANGED
    assert (tmp_path / "a/b/c").stat().st_mode & 0o7777 == 0o700
    assert ensure(host, context, path="a/b/c", state="directory", mode="0700").status is Status.OK


def test_absent_removes_a_file_and_an_empty_directory_and_keeps_a_full_one(
    host: Host, context: Context, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "d").mkdir()
    for name in ("f", "d"):
        assert ensure(host, context, path=name, state="absent").status is Status.CHANGED
        assert not os.path.lexists(tmp_path / name)
        assert ensure(host, context, path=name, state="absent").status is Status.OK
    (tmp_path / "full/inside").mkdir(parents=True)
    failure = refused(host, context, path="full", state="absent")
    assert "not empty (1 entries)" in failure.message
    assert failure.hint is not None
    assert "force" in failure.hint
    assert ensure(host, context, path="full", state="absent", force=True).status is Status.CHANGED
    assert not (tmp_path / "full").exists()


def test_absent_removes_a_link_and_never_what_it_points_to(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/kept").write_text("x")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("link", "nowhere", "loop"):
        assert ensure(host, context, path=name, state="absent", force=True).status is Status.CHANGED
        assert not os.path.lexists(tmp_path / name)
    assert (tmp_path / "target/kept").read_text() == "x"


def test_a_link_stays_a_link_when_what_it_points_to_is_written(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("later")
    ensure(host, context, path="link", content="new")
    ensure(host, context, path="dangling", content="new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == (tmp_path / "later").read_text() == "new"


def test_a_root_a_home_and_a_mount_point_are_never_removed(
    host: Host, context: Context, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "logs"))
    for path in ("/", str(tiny), "~"):
        assert refused(host, context, path=path, state="absent", force=True).code == "not_ours"


def test_what_is_there_and_is_something_else_is_not_replaced(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        for name, state in (("d", "file"), ("f", "directory"), ("pipe", "file"), ("sock", "file")):
            failure = refused(host, context, path=name, state=state)
            assert (failure.code, "not replaced" in failure.message) == ("bad_config", True)
    assert refused(host, context, path="/dev/full", content="x").code == "bad_config"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no/such/file", "no directory"),
        ("plain/file", "no directory"),
        ("a" * 300, "File name too long"),
        ("loop", "symbolic links"),
        ("zero\0byte", "cannot be a path"),
    ],
)
def test_a_path_that_cannot_be_says_why(host: Host, context: Context, tmp_path: Path, path: str, says: str) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    failure = refused(host, context, path=path, content="x")
    assert failure.code == "bad_config"
    assert says in failure.message


def test_a_plan_does_not_fail_for_what_an_earlier_step_would_make(host: Host, context: Context) -> None:
    action = file.VERB.make(host, {"path": "made/later/f", "content": "x"})
    action.check(context, action.probe(context))


def test_a_full_disk_is_disk_full_and_leaves_the_old_content_and_no_litter(
    host: Host, context: Context, tiny: Path
) -> None:
    path = str(tiny / "f")
    ensure(host, context, path=path, content="old\n")
    failure = refused(host, context, path=path, content="x" * 100_000)
    assert failure.code == "disk_full"
    assert failure.hint is not None
    assert "df -h" in failure.hint
    assert (tiny / "f").read_text() == "old\n"
    assert os.listdir(tiny) == ["f"]


def test_a_read_only_disk_is_permission_denied(host: Host, context: Context, tiny: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    for args in ({"content": "x"}, {"state": "directory"}):
        assert refused(host, context, path=str(tiny / "f"), **args).code == "permission_denied"


# What root may do tells nothing: these run as nobody, in a child.
AS_NOBODY = """
import difflib, json, os, sys
from cc.clock import Cancel, SystemClock
from cc.engine.step import Context, run_action
from cc.errors import Failure
from cc.resources import file
from cc.resources.host import Host
from cc.shell import ScriptedShell
os.setgroups([]); os.setgid(65534); os.setuid(65534)
host = Host(ScriptedShell(), sys.argv[1], {})
codes = []
for args in json.loads(sys.argv[2]):
    try:
        codes.append(run_action(file.VERB.make(host, args), Context(SystemClock(), Cancel())).status.value)
    except Failure as failure:
        codes.append(failure.code)
print(json.dumps(codes))
"""


def as_nobody(base: Path, *steps: dict[str, object]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(base), json.dumps(steps)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may enter (pytest keeps its own closed), and in it one that nobody else may."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    (made / "closed").mkdir(mode=0o700)
    (made / "closed/f").write_text("x")
    (made / "secret").write_text("x")
    (made / "secret").chmod(0o600)
    yield made
    shutil.rmtree(made)


def test_without_the_right_to_it_a_file_is_permission_denied(public: Path) -> None:
    assert (
        as_nobody(
            public,
            {"path": "new", "content": "x"},
            {"path": "newdir/deep", "state": "directory"},
            {"path": "closed/f", "content": "x"},
            {"path": "closed", "state": "absent", "force": True},
            {"path": "secret", "content": "y"},
            {"path": "secret", "mode": "0644"},
            {"path": "secret", "state": "absent"},
        )
        == ["permission_denied"] * 7
    )
    assert (public / "closed/f").read_text() == "x"


def test_without_the_right_to_it_a_converged_step_is_still_ok(public: Path) -> None:
    assert (
        as_nobody(public, {"path": "closed", "state": "directory"}, {"path": "gone", "state": "absent"}) == ["ok"] * 2
    )


def test_the_diff_of_a_plan_shows_the_lines_and_hides_secrets(host: Host, context: Context, tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "f").write_text("a\npassword=old\n")
    masked = replace(host, secrets=("hunter22",))
    probe = file.VERB.make(masked, {"path": "f", "content": "a\npassword=hunter22"}).probe(context)
    assert probe.diff is not None
    assert "-password=old\n+password=***\n\\ No newline" in probe.diff
    new = file.VERB.make(host, {"path": "new", "content": "a\n"}).probe(context)
    assert new.diff is not None
    assert new.diff.endswith("@@ -0,0 +1 @@\n+a\n")


@pytest.mark.parametrize("old", [b"\0\1\2", b"\xff\xfe", b"x" * 300_000, b"1\n" * 3000])
def test_the_diff_of_what_is_no_text_or_too_long_is_two_sizes(
    host: Host, context: Context, tmp_path: Path, old: bytes
) -> None:
    (tmp_path / "f").write_bytes(old)
    probe = file.VERB.make(host, {"path": "f", "content": "new"}).probe(context)
    assert (probe.satisfied, probe.diff) == (False, f"{tmp_path}/f: {len(old)} bytes -> 3 bytes")


def test_a_long_diff_is_cut(host: Host, context: Context, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("".join(f"{number}\n" for number in range(1500)))
    probe = file.VERB.make(host, {"path": "f", "content": ""}).probe(context)
    assert probe.diff is not None
    assert probe.diff.count("\n") == file.DIFF_LINES + 1
    assert "more lines" in probe.diff


def test_a_converged_step_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cc.resources import file\nfrom cc.clock import Cancel, SystemClock\n"
        "from cc.engine.step import Context, run_action\n"
        "action = file.FileAction(sys.argv[1], state='directory')\n"
        "assert run_action(action, Context(SystemClock(), Cancel())).status.value == 'ok'\n"
        "print([name for name in ('difflib', 'sh', 'psutil', 'http.client', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
