"""The supervisor under the machine's own init: a unit for systemd's user manager, a property list for launchd.

Printed, for the user to install; nothing here writes. Both say that what the supervisor started outlives it: systemd's
KillMode=process, launchd's AbandonProcessGroup. It ends with 0 when it was asked to (a `down`, a newer one that takes
its place) and is started again only when it failed. Pure.

Sources: systemd.syntax(7) and systemd.service(5), "Command lines", for the quoting; launchd.plist(5).
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from cc.errors import ConfigError
from cc.settings import Settings
from cc.supervisor.request import carried

KINDS = ("systemd", "launchd")
SECRET = "CC_CLICKHOUSE_PASSWORD"  # noqa: S105 - a name
GRACE_S = 15


@dataclass(frozen=True, slots=True)
class Unit:
    """What to install: the `text` of the file, its `path`, and the commands that put it to work, for a shell."""

    kind: str
    path: str
    text: str
    commands: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "path": self.path, "unit": self.text, "commands": list(self.commands)}


def unit(settings: Settings, environ: Mapping[str, str], directory: str, kind: str | None = None) -> Unit:
    """The unit for this project as it is set now, run in `directory`. Raises ConfigError for what it must not show."""
    if environ.get(SECRET):
        raise ConfigError(
            "a unit can be read by others, and would show the password in the environment", field=SECRET,
            hint=f"write clickhouse_password into {os.path.join(settings.home, 'config.yaml')}, and unset {SECRET}",
        )  # fmt: skip
    told = {**carried(environ), "CC_HOME": settings.home, "CC_PROJECT": settings.project}
    words = (sys.executable, "-m", "cc.supervisor")
    kind = kind or ("launchd" if sys.platform == "darwin" else "systemd")
    make = _launchd if kind == "launchd" else _systemd
    return make(settings.project, words, told, directory)


def _systemd(project: str, words: tuple[str, ...], environ: Mapping[str, str], directory: str) -> Unit:
    name = f"{project}.service"
    variables = [f"Environment={_quoted(f'{key}={value}')}" for key, value in environ.items()]
    lines = [
        "[Unit]",
        f"Description=Supervisor of the {project} stack",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(word, command=True) for word in words)}",
        f"WorkingDirectory={_specifiers(directory)}",
        *variables,
        "# What it started outlives it, and the next one adopts it.",
        "KillMode=process",
        f"TimeoutStopSec={GRACE_S}",
        "Restart=on-failure",
        "RestartSec=1",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    path = os.path.join("~", ".config", "systemd", "user", name)
    commands = ("systemctl --user daemon-reload", f"systemctl --user enable --now {name}")
    return Unit("systemd", path, "\n".join(lines) + "\n", commands)


def _quoted(word: str, *, command: bool = False) -> str:
    """A word of a unit file. `$` means a variable in a command line only."""
    text = _specifiers(word).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{text.replace("$", "$$") if command else text}"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _launchd(project: str, words: tuple[str, ...], environ: Mapping[str, str], directory: str) -> Unit:
    import plistlib

    label = f"{project}.supervisor"
    told = {
        "Label": label,
        "ProgramArguments": list(words),
        "WorkingDirectory": directory,
        "EnvironmentVariables": dict(environ),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "AbandonProcessGroup": True,
        "ExitTimeOut": GRACE_S,
    }
    path = os.path.join("~", "Library", "LaunchAgents", f"{label}.plist")
    text = plistlib.dumps(told, sort_keys=False).decode()
    return Unit("launchd", path, text, (f"launchctl bootstrap gui/$(id -u) {_home_path(path)}",))


def _home_path(path: str) -> str:
    """A path below `~`, for a shell: the tilde must stay outside of quotes."""
    return "~/" + shlex.quote(path.removeprefix("~/"))
