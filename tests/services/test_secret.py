"""The password: generated once, kept, private, read back when it is lost, and never another than the one given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cc.engine.outcome import Fallback
from cc.engine.step import Judged, run_action
from cc.errors import Failure
from cc.services.secret import verb
from tests.services.conftest import Yard

ROOT = Path(__file__).resolve().parents[2]
NAME = "p-clickhouse-otel"


@pytest.fixture
def file(yard: Yard) -> Path:
    return Path(yard.stack.state.password)


def ensure(yard: Yard, given: str | None = None) -> Judged:
    args = {"path": yard.stack.state.password, "container": NAME, "variable": "CLICKHOUSE_PASSWORD"}
    return run_action(verb(given).make(yard.stack.host(), args), yard.context)


def with_password(yard: Yard, password: str) -> dict[str, object]:
    told = yard.container(NAME)
    told["Config"]["Env"] = [f"CLICKHOUSE_PASSWORD={password}"]
    return told


def test_it_is_generated_once_private_and_kept(yard: Yard, file: Path) -> None:
    first = ensure(yard)
    password = file.read_text()
    assert (first.status.value, file.stat().st_mode & 0o777) == ("changed", 0o600)
    assert len(password.strip()) >= 40
    again = ensure(yard)
    assert (again.status.value, file.read_text()) == ("ok", password)
    file.unlink()
    ensure(yard)
    assert file.read_text() != password


def test_no_answer_holds_it(yard: Yard, file: Path) -> None:
    judged = [ensure(yard), ensure(yard)]
    assert file.read_text().strip() not in repr(judged)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666, 0o777])
def test_one_that_others_may_read_is_shut_and_kept(yard: Yard, file: Path, mode: int) -> None:
    file.write_text("a-good-password\n")
    file.chmod(mode)
    assert ensure(yard).status.value == "changed"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("a-good-password\n", 0o600)


CORRUPT = [
    b"",
    b"\n",
    b"short\n",
    b"two words here\n",
    b"\x00\xff\xfe\x80\x81\x82\x83\x84",
    b"line one\nline two\n",
    b"\xff" * 20,
]


@pytest.mark.parametrize("content", CORRUPT)
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_corrupt_one_is_made_anew(yard: Yard, file: Path, content: bytes, mode: int) -> None:
    file.write_bytes(content)
    file.chmod(mode)
    assert ensure(yard).status.value == "changed"
    assert (len(file.read_text().strip()) >= 40, file.stat().st_mode & 0o777) == (True, 0o600)


@pytest.mark.parametrize("content", [None, *CORRUPT])
def test_one_that_is_lost_or_corrupt_is_read_back_from_the_container(yard: Yard, content: bytes | None) -> None:
    with yard.docker(with_password(yard, "the-one-in-use")):
        file = Path(yard.stack.state.password)
        if content is not None:
            file.write_bytes(content)
            file.chmod(0o600)
        judged = ensure(yard)
        assert file.read_text() == "the-one-in-use\n"
        assert judged.acted is not None
        why = f"clickhouse.password was lost and read back from {NAME}"
        assert judged.acted.fallbacks == (Fallback("password", 1, why),)


@pytest.mark.parametrize("in_container", ["", "x", "with space", "line\nbreak"])
def test_what_the_container_has_is_taken_only_if_it_is_a_password(yard: Yard, in_container: str) -> None:
    with yard.docker(with_password(yard, in_container)):
        assert ensure(yard).status.value == "changed"
        assert len(Path(yard.stack.state.password).read_text().strip()) >= 40


def test_a_container_that_was_given_none_or_is_not_there_gives_none(yard: Yard) -> None:
    for containers in ([], [yard.container(NAME)]):
        with yard.docker(*containers):
            Path(yard.stack.state.password).unlink(missing_ok=True)
            judged = ensure(yard)
            assert judged.acted is not None
            assert judged.acted.fallbacks == ()


@pytest.mark.parametrize("given", ["x", "a-long-password", "with space inside", "größe"])
def test_the_one_given_is_written_as_it_is_whatever_the_container_has(yard: Yard, given: str) -> None:
    with yard.docker(with_password(yard, "the-one-in-use")):
        file = Path(yard.stack.state.password)
        assert ensure(yard, given).status.value == "changed"
        assert file.read_text() == given + "\n"
        assert ensure(yard, given).status.value == "ok"
        assert ensure(yard, "another-one").status.value == "changed"
        assert file.read_text() == "another-one\n"


@pytest.mark.parametrize("given", [" x", "x ", "two\nlines", "x\n", "a\x00b"])
def test_one_given_that_no_file_of_one_line_can_hold_is_bad_configuration(yard: Yard, file: Path, given: str) -> None:
    with pytest.raises(Failure) as caught:
        ensure(yard, given)
    assert caught.value.code == "bad_config"
    assert "CC_CLICKHOUSE_PASSWORD" in (caught.value.hint or "")
    assert given not in caught.value.message
    assert not file.exists()


def test_one_that_we_may_not_read_is_permission_denied_and_stays(yard: Yard, file: Path) -> None:
    file.write_text("a-good-password\n")
    file.chmod(0)
    yard.dir.chmod(0o755)
    for parent in (yard.stack.state.home, yard.stack.state.path):
        Path(parent).chmod(0o755)
    code = (
        "import os, sys; from cc.clock import Cancel, SystemClock; from cc.engine.step import Context\n"
        "from cc.errors import Failure; from cc.resources.host import Host; from cc.services.secret import verb\n"
        "from cc.shell import ScriptedShell\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setuid(65534)\n"
        "action = verb(None).make(Host(ScriptedShell(), '/', {}), {'path': sys.argv[1]})\n"
        "try: action.probe(Context(SystemClock(), Cancel()))\n"
        "except Failure as failure: print(failure.code, failure.message)\n"
    )
    asked = [sys.executable, "-c", code, str(file)]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == f"permission_denied cannot read {file}: Permission denied\n"
    assert os.stat(file).st_size == 16


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_its_place_is_a_failure_that_names_it_and_nobody_waits(
    yard: Yard, file: Path, make: Callable[[Path], None]
) -> None:
    make(file)
    with pytest.raises(Failure, match="where a file of ours should be") as caught:
        ensure(yard)
    assert (caught.value.code, str(file) in (caught.value.hint or "")) == ("bad_config", True)


def test_a_link_in_its_place_is_replaced_and_what_it_points_to_left_alone(yard: Yard, file: Path) -> None:
    elsewhere = yard.dir / "theirs"
    elsewhere.write_text("somebody-elses-file\n")
    file.symlink_to(elsewhere)
    assert ensure(yard).status.value == "changed"
    assert not file.is_symlink()
    assert elsewhere.read_text() == "somebody-elses-file\n"
