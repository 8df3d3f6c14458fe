"""Containers by `docker run` are those that compose would make, and compose takes them over, with their data."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure
from cc.resources.compose import VERB
from cc.resources.run_words import refuse_unknown, words
from tests.dockyard import CHANGED, OK, Yard, docker, yard
from tests.integration.box import free_ports
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked
from tests.registry import registry

RUN, COMPOSE = "docker run", "docker compose"
NOTHING = (None, [], {}, "", 0, False)
OWN_TO_EACH = {
    "com.docker.compose.config-hash", "com.docker.compose.version", "com.docker.compose.replace",
    "com.docker.compose.container-number",
}  # fmt: skip


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with registry() as store:
        name = store.put()
        docker("pull", "-q", name)
        yield name


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


def compose_file(own: Yard, services: dict[str, Any], **more: Any) -> None:
    every = {name: {"stop_grace_period": "0s", **said} for name, said in services.items()}
    (own.dir / "c.yml").write_text(json.dumps({"services": every, **more}))


def up(own: Yard, by: str, **args: Any) -> str:
    return own.ensure(VERB, {"file": "c.yml", "state": "up", "by": by, **args}).status.value


def remove(own: Yard) -> None:
    own.ensure(VERB, {"file": "c.yml", "state": "down", "timeout": 1.0, "volumes": True})


def seen(own: Yard, service: str) -> dict[str, Any]:
    """What inspect tells that does not differ from one container to the next."""
    told = json.loads(docker("inspect", own.containers()[service]))[0]
    config, host = told["Config"], {key: value for key, value in told["HostConfig"].items() if value not in NOTHING}
    config["Labels"] = {key: value for key, value in config["Labels"].items() if key not in OWN_TO_EACH}
    config["Env"] = sorted(config["Env"] or [])
    ports = config.get("ExposedPorts") or {}
    config["ExposedPorts"] = sorted(port if "/" in port else f"{port}/tcp" for port in ports)  # compose leaves it out
    host["RestartPolicy"]["Name"] = host["RestartPolicy"]["Name"] or "no"
    short = told["Id"][:12]
    for key in ("AttachStdout", "AttachStderr"):
        config.pop(key)
    if config["Hostname"] == short:
        config.pop("Hostname")
    for mount in host.get("Mounts", ()):
        mount.pop("VolumeOptions", None)
    host["Mounts"] = sorted(host.get("Mounts", ()), key=lambda mount: mount["Target"])
    for key in ("CapAdd", "CapDrop"):
        host[key] = [each.removeprefix("CAP_") for each in host.get(key, ())]
    host["Binds"] = sorted(host.get("Binds", ()))
    networks = {
        name: sorted({alias for alias in each["Aliases"] or () if alias != short})
        for name, each in told["NetworkSettings"]["Networks"].items()
    }
    mounts = sorted((each["Type"], _named(each), each["Destination"], each["RW"]) for each in told["Mounts"])
    return {"name": told["Name"], "config": config, "host": host, "networks": networks, "mounts": mounts}


def _named(mount: dict[str, Any]) -> str:
    """The name of a volume that has one of its own, not 64 digits of Docker's."""
    name = str(mount.get("Name", ""))
    return "" if len(name) == 64 else name


def rich(image: str, ports: list[int]) -> dict[str, Any]:
    """A service that says much."""
    return {
        "image": image, "command": "sh -c 'echo hi; exec sleep 600'", "hostname": "here", "user": "1000:1000",
        "working_dir": "/www", "environment": {"A": "1", "B": "two words", "C": 'q"uo\'te'}, "labels": {"l": "1"},
        "ports": [f"127.0.0.1:{ports[0]}:80", f"127.0.0.1:{ports[1]}:81/udp"], "expose": ["90"],
        "volumes": ["data:/data", "./here:/here:ro", {"type": "tmpfs", "target": "/t"}, "/anonymous"],
        "networks": {"back": {"aliases": ["other"]}, "default": None}, "restart": "on-failure:3", "init": True,
        "healthcheck": {"test": "true", "interval": "1s", "timeout": "2s", "retries": 2, "start_period": "3s"},
        "cap_add": ["NET_ADMIN"], "cap_drop": ["MKNOD"], "dns": ["127.0.0.1"], "extra_hosts": ["x:127.0.0.2"],
        "mem_limit": "64m", "cpus": 0.5, "shm_size": "32m", "ulimits": {"nofile": {"soft": 100, "hard": 200}},
        "read_only": True, "stop_signal": "SIGINT", "sysctls": {"net.core.somaxconn": "1024"}, "tmpfs": ["/run"],
        "logging": {"driver": "json-file", "options": {"max-size": "1m"}}, "security_opt": ["no-new-privileges:true"],
    }  # fmt: skip


@pytest.mark.docker
@pytest.mark.parametrize("which", ["plain", "rich"])
def test_what_inspect_tells_of_the_two_agrees(own: Yard, image: str, which: str) -> None:
    (own.dir / "here").mkdir()
    a = {"image": image} if which == "plain" else rich(image, free_ports(2))
    more = {} if which == "plain" else {"networks": {"back": {"internal": True}}, "volumes": {"data": {}}}
    b = {"image": image, "depends_on": {"a": {"condition": "service_started"}}}
    compose_file(own, {"a": a, "b": b}, **more)
    assert up(own, RUN) == CHANGED
    by_run = {name: seen(own, name) for name in ("a", "b")}
    networks = json.loads(
        docker("network", "inspect", *docker("network", "ls", "-q", "--filter", f"name={own.project}").split())
    )
    assert {each["Labels"]["com.docker.compose.project"] for each in networks} == {own.project}
    remove(own)
    assert up(own, COMPOSE) == CHANGED
    for name, expected in by_run.items():
        got = seen(own, name)
        for part in expected:
            assert got[part] == expected[part], part


@pytest.mark.docker
def test_compose_that_is_back_takes_over_without_a_conflict_and_without_a_loss(own: Yard, image: str) -> None:
    data = {"image": image, "volumes": ["data:/data", "/anonymous"]}
    compose_file(own, {"a": data, "b": {"image": image}}, volumes={"data": {}})
    up(own, RUN)
    before = own.containers()
    docker("exec", before["a"], "sh", "-c", "echo kept > /data/x; echo kept > /anonymous/x")
    assert up(own, COMPOSE) == CHANGED
    after = own.containers()
    assert set(after) == {"a", "b"}
    assert after["a"] != before["a"]
    assert docker("exec", after["a"], "cat", "/data/x", "/anonymous/x").split() == ["kept", "kept"]
    assert (up(own, COMPOSE), up(own, RUN), own.containers()) == (OK, OK, after)  # and one of compose's is left alone


@pytest.mark.docker
def test_compose_typed_by_hand_takes_over_too(own: Yard, image: str) -> None:
    compose_file(own, {"a": {"image": image}}, volumes={"data": {}})
    up(own, RUN)
    typed = ["docker", "compose", "-f", str(own.dir / "c.yml"), "-p", own.project, "up", "-d"]
    done = subprocess.run(typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr.upper()
    down = subprocess.run([*typed[:-2], "down", "-t", "0"], capture_output=True, text=True, check=False)
    assert (down.returncode, own.containers()) == (0, {})


@pytest.mark.docker
def test_data_without_a_name_goes_on_to_the_container_that_takes_the_place(own: Yard, image: str) -> None:
    compose_file(own, {"a": {"image": image, "volumes": ["/anonymous"]}})
    up(own, RUN)
    before = own.containers()["a"]
    docker("exec", before, "sh", "-c", "echo kept > /anonymous/x")
    compose_file(own, {"a": {"image": image, "volumes": ["/anonymous"], "environment": {"NEW": "1"}}})
    assert up(own, RUN) == CHANGED
    after = own.containers()["a"]
    assert after != before
    assert docker("exec", after, "cat", "/anonymous/x") == "kept"


@pytest.mark.docker
def test_dependencies_start_first_and_the_one_that_fails_is_named(own: Yard, image: str) -> None:
    ill = {"image": image, "healthcheck": {"test": "false", "interval": "200ms", "retries": 1}, "command": "sleep 600"}
    compose_file(own, {"b": {"image": image, "depends_on": {"a": {"condition": "service_healthy"}}}, "a": ill})
    with pytest.raises(Failure, match=r"dependency failed to start: .*-a-1 is .*unhealthy") as caught:
        up(own, RUN)
    assert (caught.value.code, own.containers()) == ("unhealthy", {})


@pytest.mark.docker
@pytest.mark.parametrize(
    ("said", "more", "key"),
    [
        ({"build": ".", "image": None}, {}, "build"),
        ({"secrets": ["s"]}, {"secrets": {"s": {"file": "./s"}}}, "secrets"),
        ({"deploy": {"replicas": 2}}, {}, "replicas"),
        ({"networks": ["gone"]}, {"networks": {"gone": {"external": True, "name": "cc-no-such-network"}}}, "external"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name_before_anything_is_touched(
    own: Yard, image: str, said: dict[str, Any], more: dict[str, Any], key: str
) -> None:
    whole = {name: value for name, value in {"image": image, **said}.items() if value is not None}
    compose_file(own, {"fine": {"image": image}, "odd": whole}, **more)
    with pytest.raises(Failure) as caught:
        up(own, RUN, services=("odd",))
    assert caught.value.code == "bad_config"
    assert key in str(caught.value)
    assert own.containers() == {}


def test_a_secret_is_said_by_name_and_not_by_value() -> None:
    said = words({"image": "x"}, environment={"P": "hunter2", "Q": "2"}, labels={}, by_name=frozenset({"P"}))
    assert said == ["-e", "P", "-e", "Q=2", "x"]


def test_an_entry_point_of_several_words_keeps_them_all() -> None:
    said = words(
        {"image": "x", "entrypoint": ["a", "b"], "command": ["c"]}, environment={}, labels={}, by_name=frozenset()
    )
    assert said == ["--entrypoint", "a", "x", "b", "c"]


@pytest.mark.parametrize("key", ["credential_spec", "links", "gpus", "volumes_from"])
def test_a_key_that_has_no_word_is_refused(key: str) -> None:
    with pytest.raises(Failure, match=f"service web cannot be run without compose: {key}"):
        refuse_unknown("web", {"image": "x", key: ["y"]})
