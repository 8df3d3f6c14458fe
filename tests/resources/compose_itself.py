"""The real `docker compose config`, to compare our reading of a file with. It needs the plugin and no engine."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cc.resources.compose_file import read


@cache
def _why_no_compose() -> str | None:
    try:
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    except FileNotFoundError:
        return "docker is not installed"
    return "docker compose is not installed" if asked.returncode else None


def require_compose() -> None:
    """Without compose a test is skipped on a contributor's machine, and fails in CI."""
    if (why := _why_no_compose()) is not None:
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


def environment(**more: str) -> dict[str, str]:
    """What both are given, and nothing of whoever runs the tests."""
    return {"PATH": os.environ["PATH"], "HOME": "/home/somebody", **more}


def itself(path: Path, environ: dict[str, str], project: str | None = None) -> dict[str, Any] | str:
    """What compose makes of the file; its words where it refuses it."""
    require_compose()
    named = ["-p", project] if project else []
    argv = ["docker", "compose", "-f", str(path), *named, "config", "--format", "json"]
    asked = subprocess.run(argv, capture_output=True, text=True, env=environ, check=False, timeout=60)
    if asked.returncode:
        return asked.stderr
    model: dict[str, Any] = json.loads(asked.stdout.replace("$$", "$"))  # it doubles each, to be read again
    return model


def comparable(model: dict[str, Any]) -> dict[str, Any]:
    """Without what differs on purpose (compose_file's docstring) and between versions of compose.

    A ulimit of 0 is left out by compose. Not every version prints the `mode` of a port that was given none. All else is
    compared whole; it is what Docker Compose 2.26 prints.
    """
    for service in model["services"].values():
        for name, limit in (service.get("ulimits") or {}).items():
            both = {"soft": limit, "hard": limit} if isinstance(limit, int) else limit
            service["ulimits"][name] = {key: both.get(key, 0) for key in ("soft", "hard")}
        for port in service.get("ports") or ():
            if port.get("mode") == "ingress":
                del port["mode"]
    return model


def assert_same(path: Path, project: str | None = None, **environ: str) -> dict[str, Any]:
    """Our reading is compose's; it is returned."""
    given = environment(**environ)
    theirs = itself(path, given, project)
    assert isinstance(theirs, dict), theirs
    ours = read(str(path), given, project)
    assert comparable(ours) == comparable(theirs)
    return ours
