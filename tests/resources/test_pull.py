"""Pulling for real: from a registry of one's own, by the real engine, with everything a registry may do to us."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.errors import Failure, Interrupted
from cc.resources import docker as module
from cc.resources import docker_pull
from cc.resources.docker import Docker
from tests.dockyard import Yard, docker, yard
from tests.integration.box import Box, new_box
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked
from tests.registry import Registry, layer_of, registry

pytestmark = pytest.mark.docker


@pytest.fixture
def store() -> Iterator[Registry]:
    with registry() as made:
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


def refused(own: Yard, image: str) -> Failure:
    with pytest.raises(Failure) as caught:
        Docker(own.host()).pull(image, own.context)
    return caught.value


def test_an_image_is_fetched_and_it_is_said_what_arrives(
    store: Registry, own: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_pull, "QUIET_S", 0.0)
    monkeypatch.setattr(docker_pull, "REPEAT_S", 0.0)
    image = store.put()
    found = Docker(own.host())
    assert found.image_id(image) is None
    found.pull(image, own.context)
    assert found.image_id(image) is not None
    assert own.notes == [f"pulling {image}"]
    assert any("Pull complete" in said for said in own.said), own.said
    assert all(said.startswith(f"{image} to be pulled: ") for said in own.said)


def test_a_quick_pull_says_one_sentence(store: Registry, own: Yard) -> None:
    Docker(own.host()).pull(store.put(layer=layer_of({"file": b"x"})), own.context)
    assert (len(own.notes), own.said) == (1, [])


def test_by_digest_it_is_the_very_image(store: Registry, own: Yard) -> None:
    image = store.put()
    docker("pull", "-q", image)
    digest = docker("inspect", "-f", "{{index .RepoDigests 0}}", image)
    docker("image", "rm", image)
    Docker(own.host()).pull(digest, own.context)
    assert Docker(own.host()).image_id(digest) is not None
    docker("image", "rm", digest)


@pytest.mark.parametrize("tag", ["nope", "1"])
def test_what_the_registry_does_not_have_is_named(store: Registry, own: Yard, tag: str) -> None:
    image = store.name(tag, "cc/other" if tag == "1" else "cc/tiny")
    error = refused(own, image)
    assert error.code == "image_missing"
    assert error.message.startswith(f"image {image} is not here and cannot be pulled: ")
    assert error.hint == f"docker pull {image}"


def test_a_registry_that_is_not_there_is_a_missing_image_too(own: Yard) -> None:
    error = refused(own, "127.0.0.1:1/cc/tiny:1")
    assert error.code == "image_missing"
    assert "connection refused" in error.message


def test_a_layer_that_is_another_than_its_name_says_is_refused(store: Registry, own: Yard) -> None:
    image = store.put(note="honest")
    store.blobs[store.layer()] = store.blobs[store.layer()][:-1] + b"!"
    error = refused(own, image)
    assert error.code == "image_missing"
    assert Docker(own.host()).image_id(image) is None


def test_a_layer_that_stops_coming_ends_the_pull_and_says_so(
    store: Registry, own: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PULL_SILENCE_S", 1.0)
    image = store.put(note="stalls")
    store.stalls.add(store.layer())
    error = refused(own, image)
    assert store.stalled.is_set()
    assert error.code == "image_missing"  # the engine answers: it is not the one that hangs
    assert error.message == f"image {image} is not here and cannot be pulled: no progress for 1 s"
    store.stalls.clear()
    store.released.set()
    Docker(own.host()).pull(image, own.context)


def test_a_cancellation_ends_a_pull_that_waits(store: Registry, own: Yard) -> None:
    image = store.put(note="cancelled")
    store.stalls.add(store.layer())
    ended: list[Failure] = []

    def pull() -> None:
        ended.append(refused(own, image))

    thread = threading.Thread(target=pull)
    thread.start()
    assert store.stalled.wait(30)
    own.cancel.request("SIGINT")
    thread.join(30)
    assert isinstance(ended[0], Interrupted)


# --- from the command line to the container

PLAY = """
version: 1
vars: {{STATE: running}}
steps:
  - name: web
    container:
      name: {name}
      image: {image}
      ports: ["127.0.0.1:{port}:8080"]
      command: [httpd, -f, -p, "8080", -h, /www]
      ready: "http://127.0.0.1:{port}/"
      state: "${{STATE}}"
"""


@pytest.fixture
def box() -> Iterator[Box]:
    with new_box() as made:
        yield made


def test_a_playbook_runs_a_container_of_an_image_that_has_to_be_fetched(store: Registry, box: Box) -> None:
    image, name = store.put(), f"{box.project}-web"
    play = PLAY.format(name=name, image=image, port=box.env["CC_CLICKHOUSE_PORT"])
    (box.dir / "web.yml").write_text(play)
    try:
        first = box.ask("play", "web.yml", "--events", "events.jsonl")
        assert (first.code, first.json["counts"]["changed"]) == (0, 1), first.err
        assert f"pulling {image}" in (box.dir / "events.jsonl").read_text()
        assert box.ask("play", "web.yml").json["counts"]["changed"] == 0
        gone = box.ask("play", "web.yml", "--set", "STATE=absent")
        assert (gone.code, gone.json["counts"]["changed"]) == (0, 1)
        missing = box.ask("play", "web.yml", "--set", "STATE=absent")
        assert missing.json["counts"]["changed"] == 0
    finally:
        subprocess.run(["docker", "rm", "-fv", name], capture_output=True, check=False)


def test_a_step_whose_image_nobody_has_fails_and_names_it(store: Registry, box: Box) -> None:
    image = store.name("nope")
    (box.dir / "web.yml").write_text(PLAY.format(name=f"{box.project}-web", image=image, port=1))
    done = box.ask("play", "web.yml")
    step = done.step("web")
    assert (done.code, step["error"], step["hint"]) == (1, "image_missing", f"docker pull {image}")
    assert image in done.err
