"""One container on the real engine: running as described, stopped, absent; and nobody else's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc.engine.step import Context
from cc.errors import ConfigError, Failure
from cc.resources import readiness
from cc.resources.container import VERB, _published
from cc.resources.host import Host
from cc.shell import ScriptedShell
from tests.dockyard import CHANGED, OK, Yard, docker, yard
from tests.integration.box import free_ports, held
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked
from tests.registry import Registry, registry


@pytest.fixture(scope="module")
def store() -> Iterator[Registry]:
    with registry() as made:
        yield made


@pytest.fixture(scope="module")
def image(store: Registry) -> str:
    name = store.put()
    docker("pull", "-q", name)
    return name


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(readiness, "SETTLE_S", 0.2)
    with yard(tmp_path) as made:
        yield made


ALL = "0.0.0.0"  # noqa: S104 - what Docker takes where no address is given


class One:
    """The container of one test."""

    def __init__(self, own: Yard, image: str) -> None:
        self.own, self.image = own, image
        self.name = f"{own.project}-one"

    def status(self, state: str = "running", **args: Any) -> str:
        return self.own.status(VERB, {"name": self.name, "image": self.image, "state": state, "timeout": 1.0, **args})

    def refused(self, state: str = "running", **args: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            self.own.ensure(VERB, {"name": self.name, "image": self.image, "state": state, **args})
        return caught.value

    def id(self) -> str | None:
        done = subprocess.run(
            ["docker", "inspect", "-f", "{{.Id}}", self.name], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or None

    def told(self, what: str) -> str:
        return docker("inspect", "-f", what, self.name)


@pytest.fixture
def one(own: Yard, image: str) -> One:
    return One(own, image)


@pytest.mark.docker
def test_it_runs_stops_and_goes_and_each_a_second_time_changes_nothing(one: One) -> None:
    states = ("running", "stopped", "running", "absent")
    assert [one.status(state) for state in states for _ in range(2)] == [CHANGED, OK] * 4
    assert one.id() is None


@pytest.mark.docker
def test_a_stopped_one_is_started_again_and_stays_the_same(one: One) -> None:
    one.status()
    before = one.id()
    one.status("stopped")
    assert one.status() == CHANGED
    assert one.id() == before


@pytest.mark.docker
@pytest.mark.parametrize(
    "other", [{"env": {"A": "2"}}, {"command": ("sleep", "700")}, {"volumes": ("a volume",)}, {"ports": ("80",)}]
)
def test_another_description_makes_another_container(one: One, other: dict[str, Any]) -> None:
    described = {"env": {"A": "1"}, "command": ("sleep", "600")}
    volume = f"{one.own.project}-v"
    if "volumes" in other:
        other = {"volumes": (f"{volume}:/v",)}
    assert one.status(**described) == CHANGED
    before = one.id()
    assert one.status(**described) == OK
    assert one.status(**{**described, **other}) == CHANGED
    assert one.id() != before
    assert one.status(**{**described, **other}) == OK
    one.status("absent")
    subprocess.run(["docker", "volume", "rm", "-f", volume], capture_output=True, check=True)


@pytest.mark.docker
def test_a_newer_image_under_the_same_name_makes_another_container(one: One, store: Registry) -> None:
    one.image = store.put("moving", note="one")
    one.status()
    before = one.id()
    store.put("moving", note="two")
    docker("pull", "-q", one.image)
    assert one.status() == CHANGED
    assert one.id() != before
    assert one.status() == OK


@pytest.mark.docker
def test_what_it_was_told_is_what_it_has(one: One) -> None:
    (port,) = free_ports(1)
    (one.own.dir / "data").mkdir()
    (one.own.dir / "data" / "index.html").write_text("served")
    command = ("httpd", "-f", "-p", "8080", "-h", "/data")
    ready = f"http://127.0.0.1:{port}/"
    args = {"ports": (f"127.0.0.1:{port}:8080",), "volumes": ("./data:/data:ro",), "command": command, "ready": ready}
    assert one.status(env={"A": "b c"}, **args) == CHANGED
    assert "A=b c" in one.told("{{.Config.Env}}")
    assert one.told('{{index .Config.Labels "cc.owner"}}') == one.own.owner
    assert one.status(env={"A": "b c"}, **args) == OK


@pytest.mark.docker
def test_no_anonymous_volume_is_left(one: One, store: Registry) -> None:
    one.image = store.put("volumes", Volumes={"/anonymous": {}})
    one.status()
    volume = one.told("{{(index .Mounts 0).Name}}")
    assert docker("volume", "ls", "-q", "--filter", f"name={volume}") == volume
    one.status("absent")
    assert docker("volume", "ls", "-q", "--filter", f"name={volume}") == ""


@pytest.mark.docker
@pytest.mark.parametrize("state", ["running", "stopped", "absent"])
def test_a_strangers_container_is_refused_and_left_alone(one: One, state: str) -> None:
    stranger = docker("run", "-d", "--name", one.name, one.image)
    try:
        error = one.refused(state)
        assert (error.code, one.name in error.message) == ("not_ours", True)
        assert (one.id(), one.told("{{.State.Running}}")) == (stranger, "true")
    finally:
        docker("rm", "-fv", stranger)


@pytest.mark.docker
def test_one_that_dies_is_unhealthy_with_its_last_words_and_removed(one: One) -> None:
    error = one.refused(command=("sh", "-c", "echo last words; exit 3"))
    assert (error.code, error.evidence) == ("unhealthy", ("last words",))
    assert "is exited with code 3" in error.message
    assert one.id() is None


@pytest.mark.docker
def test_one_that_never_answers_is_removed_and_one_that_was_there_before_stays(one: One) -> None:
    (port,) = free_ports(1)
    never = {"ready": f"http://127.0.0.1:{port}/", "within": 0.5}
    assert one.refused(**never).code == "unhealthy"
    assert one.id() is None
    one.status()
    before = one.id()
    assert one.refused(**never).code == "unhealthy"
    assert one.id() == before


@pytest.mark.docker
@pytest.mark.parametrize("args", [{"command": ("nonexistent",)}, {"volumes": ("/x:relative",)}])
def test_one_that_docker_cannot_start_leaves_nothing(one: One, args: dict[str, Any]) -> None:
    assert one.refused(**args).code in ("non_zero_exit", "bad_config")
    assert one.id() is None


@pytest.mark.docker
def test_a_port_that_a_stranger_holds_is_named_and_nothing_made(one: One) -> None:
    (port,) = free_ports(1)
    with held(port):
        error = one.refused(ports=(f"127.0.0.1:{port}:80",))
        assert (error.code, str(port) in error.message) == ("port_in_use", True)
        assert one.id() is None
        assert one.status(ports=(f"127.0.0.1:{port}:80/udp",)) == CHANGED  # another port, for all its number


@pytest.mark.docker
def test_a_paused_one_is_neither_running_nor_stopped(one: One) -> None:
    one.status()
    docker("pause", one.name)
    assert one.status("stopped") == CHANGED
    assert one.told("{{.State.Status}}") == "exited"
    one.status()
    docker("pause", one.name)
    assert one.status() == CHANGED
    assert one.told("{{.State.Status}}") == "running"


@pytest.mark.docker
def test_a_cancelled_start_leaves_nothing(one: One) -> None:
    (port,) = free_ports(1)
    ready = f"http://127.0.0.1:{port}/"
    context = Context(
        one.own.context.clock, one.own.cancel, say=lambda what, elapsed, within: one.own.cancel.request("SIGINT")
    )
    args = {"name": one.name, "image": one.image, "state": "running", "ready": ready, "within": 30.0}
    action = VERB.make(one.own.host(), args)
    with pytest.raises(Failure) as caught:
        action.act(context, action.probe(context))
    assert caught.value.code == "interrupted"
    assert one.id() is None


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("80", ALL, None), ("8080:80", ALL, 8080), ("8080:80/tcp", ALL, 8080),
        ("127.0.0.1:8080:80", "127.0.0.1", 8080), ("127.0.0.1::80", "127.0.0.1", None), ("[::1]:8080:80", "::1", 8080),
        ("8000-8010:80", ALL, None), ("53:53/udp", "", None), ("127.0.0.1:53:53/sctp", "", None),
    ],
)  # fmt: skip
def test_which_tcp_port_of_the_machine_a_description_takes(text: str, address: str, port: int | None) -> None:
    assert _published(text) == (address, port)


def test_running_needs_an_image() -> None:
    with pytest.raises(ConfigError) as caught:
        VERB.make(Host(ScriptedShell(), "/", {}), {"name": "x", "state": "running"})
    assert caught.value.field == "container.image"
