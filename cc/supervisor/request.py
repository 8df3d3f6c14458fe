"""An operation as it crosses to the supervisor, and what tells one supervisor from another. Pure.

    {"operation": {...}, "environ": {...}, "directory": "/where/it/was/typed"}

The environment goes along because it is the caller's PATH and DOCKER_HOST that an operation means, not those of the
shell from which the supervisor happened to be started. A supervisor takes over that of the last `up`; only what says
which stack is meant, and which Docker, makes it another supervisor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cc import __version__
from cc.errors import Failure
from cc.services.orchestrator import Operation
from cc.services.stack import stack_root
from cc.settings import NAMES, Settings

CARRIED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "XDG_CONFIG_HOME")
PREFIXES = ("CC_", "DOCKER_", "COMPOSE_", "CLAUDE_", "PYTHON", "VIRTUAL_ENV")
DECISIVE = ("CC_", "DOCKER_", "COMPOSE_", "CLAUDE_")
FINGERPRINT = "CC_FINGERPRINT"  # in a supervisor's environment: what it was started with
NEVER = ("CC_SEAM", "CC_PROCESS", "CC_OWNER", FINGERPRINT)


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """What of an environment an operation depends on."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if (name in CARRIED or name.startswith(PREFIXES)) and name not in NEVER
    }


def fingerprint(settings: Settings, environ: Mapping[str, str]) -> str:
    """Two supervisors with the same one would do the same: version, playbooks, settings, and where Docker is."""
    told = {name: value for name, value in settings._asdict().items() if name != "origin"}
    read = {"CC_HOME", *(variable for variable, _ in NAMES.values())}  # these are in the settings, wherever they stood
    decisive = {
        name: value for name, value in carried(environ).items() if name.startswith(DECISIVE) and name not in read
    }
    text = json.dumps([__version__, stack_root(), told, decisive], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pack(operation: Operation, environ: Mapping[str, str], directory: str) -> dict[str, Any]:
    """The parameters of `run`."""
    return {"operation": asdict(operation), "environ": carried(environ), "directory": directory}


def unpack(params: Mapping[str, Any]) -> tuple[Operation, dict[str, str], str]:
    """The inverse. Raises Failure bad_answer."""
    try:
        told = dict(params["operation"])
        for name in ("services", "tags"):
            told[name] = tuple(told[name])
        return Operation(**told), dict(params["environ"]), str(params["directory"])
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"no operation: {error!r}", code="bad_answer") from error
