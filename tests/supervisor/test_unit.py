"""The units for systemd and launchd, read back as those read them."""

from __future__ import annotations

import plistlib
import re
import sys
from pathlib import Path

import pytest

from cc.errors import ConfigError
from cc.settings import load
from cc.supervisor.unit import Unit, unit

STRANGE = 'a b%c"d$e\\f'


def made(tmp_path: Path, kind: str, **more: str) -> Unit:
    environ = {"HOME": str(tmp_path), "PATH": "/bin", "CC_HOME": str(tmp_path / STRANGE), "SHELL": "/bin/sh", **more}
    return unit(load(environ, str(tmp_path)), environ, str(tmp_path), kind)


def words(value: str, *, command: bool = False) -> list[str]:
    """As systemd.syntax(7) says, for words in double quotes."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    plain = [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in found]
    return [word.replace("$$", "$") for word in plain] if command else plain


def test_systemd_is_told_to_leave_the_services_alone_and_to_start_again_only_what_failed(tmp_path: Path) -> None:
    text = made(tmp_path, "systemd").text
    for line in ("KillMode=process", "Restart=on-failure", "[Unit]", "[Service]", "[Install]"):
        assert line in text.splitlines()


def test_systemd_reads_back_the_command_and_the_environment_whatever_is_in_them(tmp_path: Path) -> None:
    lines = dict(re.findall(r"^(ExecStart|WorkingDirectory)=(.*)$", made(tmp_path, "systemd").text, re.MULTILINE))
    assert words(lines["ExecStart"], command=True) == [sys.executable, "-m", "cc.supervisor"]
    assert lines["WorkingDirectory"] == str(tmp_path)
    told = re.findall(r"^Environment=(.*)$", made(tmp_path, "systemd").text, re.MULTILINE)
    environ = dict(words(value)[0].split("=", 1) for value in told)
    assert environ["CC_HOME"] == str(tmp_path / STRANGE)
    assert (environ["PATH"], environ["CC_PROJECT"], "SHELL" in environ) == ("/bin", "context-cleaner", False)


def test_launchd_reads_back_the_same(tmp_path: Path) -> None:
    told = plistlib.loads(made(tmp_path, "launchd").text.encode())
    assert told["ProgramArguments"] == [sys.executable, "-m", "cc.supervisor"]
    assert told["EnvironmentVariables"]["CC_HOME"] == str(tmp_path / STRANGE)
    assert (told["AbandonProcessGroup"], told["KeepAlive"]) == (True, {"SuccessfulExit": False})


@pytest.mark.parametrize("kind", ["systemd", "launchd"])
def test_a_password_in_the_environment_is_not_printed(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="others") as caught:
        made(tmp_path, kind, CC_CLICKHOUSE_PASSWORD="hunter2hunter2")
    assert "config.yaml" in (caught.value.hint or "")
    assert "hunter2" not in str(caught.value) + (caught.value.hint or "")
