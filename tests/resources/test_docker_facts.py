"""Which socket docker would use on this host, and what a container is by its `inspect`. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cc.resources.docker import Container
from cc.resources.docker_socket import DEFAULT_SOCKET, local_socket

# --- which socket


def test_the_default_socket_is_the_last_resort(tmp_path: Path) -> None:
    assert local_socket({"HOME": str(tmp_path)}) == DEFAULT_SOCKET == "/var/run/docker.sock"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("unix:///run/user/1000/docker.sock", "/run/user/1000/docker.sock"),
        ("unix://", DEFAULT_SOCKET),
        ("tcp://127.0.0.1:2375", None),
        ("ssh://me@there", None),
        ("npipe:////./pipe/docker_engine", None),
        ("", DEFAULT_SOCKET),
    ],
)
def test_DOCKER_HOST_names_it(tmp_path: Path, given: str, found: str | None) -> None:  # noqa: N802
    assert local_socket({"HOME": str(tmp_path), "DOCKER_HOST": given}) == found


def context_file(folder: Path, name: str, meta: object) -> None:
    place = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    (place / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))


def endpoint(host: object) -> dict[str, Any]:
    return {"Name": "x", "Endpoints": {"docker": {"Host": host}}}


@pytest.mark.parametrize(
    ("environ", "config", "found"),
    [
        ({}, {"currentContext": "colima"}, "/colima.sock"),
        ({}, {"currentContext": "remote"}, None),
        ({}, {"currentContext": "default"}, DEFAULT_SOCKET),
        ({}, {"currentContext": ""}, DEFAULT_SOCKET),
        ({}, {}, DEFAULT_SOCKET),
        ({}, "not json", DEFAULT_SOCKET),
        ({}, [], DEFAULT_SOCKET),
        ({}, {"currentContext": "unknown"}, None),  # docker itself says what is wrong
        ({}, {"currentContext": "broken"}, None),
        ({}, {"currentContext": "other"}, None),
        ({}, {"currentContext": "number"}, None),
        ({}, {"currentContext": 7}, None),
        ({"DOCKER_CONTEXT": "colima"}, {"currentContext": "remote"}, "/colima.sock"),
        ({"DOCKER_CONTEXT": "default"}, {"currentContext": "remote"}, DEFAULT_SOCKET),
        ({"DOCKER_CONTEXT": "remote", "DOCKER_HOST": "unix:///mine"}, {}, "/mine"),  # as docker has it
    ],
)
def test_contexts_are_read_as_docker_reads_them(
    tmp_path: Path, environ: dict[str, str], config: object, found: str | None
) -> None:
    folder = tmp_path / ".docker"
    context_file(folder, "colima", endpoint("unix:///colima.sock"))
    context_file(folder, "remote", endpoint("ssh://me@there"))
    context_file(folder, "broken", "{")
    context_file(folder, "other", {"Endpoints": []})
    context_file(folder, "number", endpoint(7))
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    assert local_socket({"HOME": str(tmp_path), **environ}) == found
    folder.rename(tmp_path / "elsewhere")
    assert local_socket({"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path / "elsewhere"), **environ}) == found


# --- what a container is

INSPECTED: dict[str, Any] = {
    "Id": "0a1b", "Name": "/web", "Image": "sha256:1",
    "State": {"Status": "running", "Pid": 7, "StartedAt": "2026-11-24T10:00:00.123456789Z", "ExitCode": 0},
    "Config": {"Image": "web:1", "Labels": {"com.docker.compose.service": "web"}, "Env": ["A=1", "B=x=y", "C"]},
    "NetworkSettings": {
        "Ports": {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8080"}],
            "81/tcp": None, "82/tcp": [],
        }
    },
}  # fmt: skip


def test_a_container_as_inspect_tells_it() -> None:
    found = Container.from_inspect(INSPECTED)
    assert (found.id, found.name, found.state, found.service) == ("0a1b", "web", "running", "web")
    assert (found.image, found.image_id, found.pid, found.running) == ("web:1", "sha256:1", 7, True)
    assert found.environ == {"A": "1", "B": "x=y"}
    assert found.ports == {"80/tcp": ("127.0.0.1", 8080)}
    assert "x=y" not in repr(found)  # an environment holds secrets


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"Status": "running"}, "web is running"),
        ({"Status": "running", "Health": {"Status": "starting"}}, "web is running (starting)"),
        ({"Status": "running", "Health": {"Status": "healthy"}}, "web is running (healthy)"),
        ({"Status": "running", "Health": {"Status": "unhealthy"}}, "web is running (unhealthy)"),
        ({"Status": "running", "Health": None}, "web is running"),
        ({"Status": "exited", "ExitCode": 0}, "web is exited with code 0"),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "web is exited with code 137, out of memory"),
        ({"Status": "exited", "ExitCode": 1, "Health": {"Status": "unhealthy"}}, "web is exited with code 1"),
        ({"Status": "created", "Error": "no such file: x"}, "web is created: no such file: x"),
        ({"Status": "paused", "Pid": 7}, "web is paused"),
        ({"Status": "restarting", "ExitCode": 1}, "web is restarting"),
        ({"Status": "dead"}, "web is dead"),
        ({"Status": "removing"}, "web is removing"),
        ({}, "web is unknown"),
        (None, "web is unknown"),
    ],
)
def test_its_state_in_words(state: object, said: str) -> None:
    found = Container.from_inspect({**INSPECTED, "State": state})
    assert found.describe() == said
    assert found.running is said.startswith("web is running")


def test_what_inspect_leaves_out_is_empty() -> None:
    found = Container.from_inspect({"Id": "x"})
    assert dataclasses.asdict(found) == {
        "id": "x", "name": "", "state": "unknown", "image": "", "image_id": "", "labels": {}, "health": "",
        "exit_code": 0, "error": "", "oom_killed": False, "pid": None, "started_at": "", "environ": {}, "ports": {},
        "volumes": {},
    }  # fmt: skip
