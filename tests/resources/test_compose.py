"""Compose on the real engine: what is up and what is not, what changes it, and what is left when it fails.

By both ways: compose itself, and `docker run` from our own reading of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc.engine.step import Judged
from cc.errors import Failure
from cc.resources import readiness
from cc.resources.compose import VERB
from tests.dockyard import CHANGED, OK, Yard, docker, yard
from tests.integration.box import free_ports, held
from tests.integration.conftest import needs_docker  # noqa: F401 - for the tests below that are marked
from tests.registry import Registry, registry

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends at once is seen to end within this."""
    monkeypatch.setattr(readiness, "SETTLE_S", 0.2)


@pytest.fixture(scope="module")
def store() -> Iterator[Registry]:
    with registry() as made:
        yield made


@pytest.fixture(scope="module")
def image(store: Registry) -> str:
    name = store.put()
    docker("pull", "-q", name)
    return name


@pytest.fixture(params=["docker compose", "docker run"])
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        made.by = request.param
        yield made


def compose_file(own: Yard, **services: dict[str, Any]) -> None:
    """JSON is YAML too."""
    every = {name: {"stop_grace_period": "0s", **said} for name, said in services.items()}
    (own.dir / "c.yml").write_text(json.dumps({"services": every}))


def up(own: Yard, *, host: dict[str, Any] | None = None, **args: Any) -> Judged:
    return own.ensure(VERB, {"file": "c.yml", "state": "up", "by": own.by, **args}, **(host or {}))


def refused(own: Yard, *, host: dict[str, Any] | None = None, **args: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        up(own, host=host, **args)
    return caught.value


def down(own: Yard, **args: Any) -> Judged:
    return own.ensure(VERB, {"file": "c.yml", "state": "down", "timeout": 1.0, **args})


def test_a_whole_file_comes_up_and_goes_and_a_second_time_nothing_changes(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image}, b={"image": image}, debug={"image": image, "profiles": ["debug"]})
    first = up(own)
    assert first.status.value == CHANGED
    assert first.probe.reason == f"{own.project}-a-1, {own.project}-b-1 running and ready"
    before = own.containers(running=True)
    assert set(before) == {"a", "b"}  # what belongs to a profile comes when the profile is asked for
    assert up(own).status.value == OK
    assert own.containers(running=True) == before
    assert down(own).status.value == CHANGED
    assert (own.containers(), docker("network", "ls", "-q", "--filter", f"name={own.project}")) == ({}, "")
    again = down(own)
    assert (again.status.value, again.probe.reason) == (OK, "Containers not running")


def test_one_of_a_profile_comes_up_when_the_profile_is_asked_for(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image}, debug={"image": image, "profiles": ["debug"]})
    error = refused(own, services=("debug",))
    assert (error.code, "COMPOSE_PROFILES" in (error.hint or "")) == ("bad_config", True)
    assert up(own, services=("debug",), host={"environ": {"COMPOSE_PROFILES": "debug"}}).status.value == CHANGED
    assert set(own.containers(running=True)) == {"debug"}


def test_only_the_named_services_come_up_and_go(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image}, b={"image": image}, c={"image": image})
    up(own, services=("a,b",))
    up(own, services=("c",))
    assert set(own.containers(running=True)) == {"a", "b", "c"}
    assert down(own, services=("a", "c")).status.value == CHANGED
    assert set(own.containers()) == {"b"}
    assert down(own, services=("a", "c")).status.value == OK


def test_a_service_that_the_file_does_not_have_is_bad_configuration_that_names_the_nearest(
    own: Yard, image: str
) -> None:
    compose_file(own, clickhouse={"image": image}, web={"image": image})
    error = refused(own, services=("clickhose",))
    assert (error.code, "no service 'clickhose'" in error.message) == ("bad_config", True)
    assert (error.hint or "").startswith("did you mean 'clickhouse'? services are clickhouse, web")
    assert own.containers() == {}


@pytest.mark.parametrize(
    "text",
    [
        "services:\n  web: {image: x\n",
        "services:\n  web: {imag: x}\n",
        "services:\n  web: {image: x, volumes: [nowhere:/x]}\n",
        "services:\n  web: {image: '${MUST:?be set}'}\n",
        "",
        None,
    ],
)
def test_a_file_that_compose_refuses_is_bad_configuration(own: Yard, text: str | None) -> None:
    if text is not None:
        (own.dir / "c.yml").write_text(text)
    assert refused(own).code == "bad_config"


def test_another_configuration_makes_another_container_and_leaves_its_neighbour(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image}, b={"image": image})
    up(own)
    before = own.containers()
    compose_file(own, a={"image": image, "environment": {"X": "1"}}, b={"image": image})
    changed = up(own)
    assert changed.status.value == CHANGED
    after = own.containers()
    assert (after["a"] != before["a"], after["b"]) == (True, before["b"])
    assert up(own).status.value == OK


def test_a_newer_image_under_the_same_tag_makes_another_container(own: Yard, store: Registry) -> None:
    tag = f"moving-{own.by.split()[1]}"
    name = store.put(tag, note="one")
    compose_file(own, a={"image": name})
    up(own)
    before = own.containers()
    store.put(tag, note="two")
    assert up(own).status.value == OK  # nobody fetched it
    docker("pull", "-q", name)
    assert up(own).status.value == CHANGED
    assert own.containers() != before
    assert up(own).status.value == OK


def test_an_image_that_is_missing_is_fetched_and_one_that_nobody_has_costs_nothing_that_runs(
    own: Yard, store: Registry, image: str
) -> None:
    fresh = store.put(f"fresh-{own.by.split()[1]}", note="fresh")
    compose_file(own, a={"image": fresh})
    assert up(own).status.value == CHANGED
    assert own.notes == [f"pulling {fresh}"]
    compose_file(own, a={"image": fresh}, b={"image": store.name("nope")})
    error = refused(own)
    assert (error.code, store.name("nope") in error.message) == ("image_missing", True)
    assert set(own.containers(running=True)) == {"a"}


def test_one_that_dies_is_unhealthy_with_its_last_words_and_removed_again(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image, "command": ["sh", "-c", "echo these are my last words; exit 3"]})
    error = refused(own)
    assert error.code == "unhealthy"
    assert "did not become ready" in error.message
    assert f"{own.project}-a-1 is exited with code 3" in error.message
    assert "these are my last words" in error.evidence
    assert (own.containers(), docker("network", "ls", "-q", "--filter", f"name={own.project}")) == ({}, "")


def test_one_that_dies_a_moment_after_its_start_was_never_up(
    own: Yard, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "SETTLE_S", 5.0)
    compose_file(own, a={"image": image, "command": ["sh", "-c", "sleep 0.5; echo no config; exit 1"]})
    error = refused(own)
    assert (error.code, error.evidence) == ("unhealthy", ("no config",))


def test_one_that_never_answers_is_removed_and_what_was_there_before_stays(own: Yard, image: str) -> None:
    (port,) = free_ports(1)
    compose_file(own, a={"image": image}, b={"image": image, "command": ["sh", "-c", "echo busy; sleep 600"]})
    up(own, services=("a",))
    before = own.containers(running=True)
    error = refused(own, services=("b",), ready=f"http://127.0.0.1:{port}/", within=1.0)
    assert (error.code, "within 1 s" in error.message, error.evidence) == ("unhealthy", True, ("busy",))
    assert own.containers() == before


def test_its_own_health_check_is_waited_for_and_one_that_fails_is_told(own: Yard, image: str) -> None:
    check = {"interval": "100ms", "retries": 2, "timeout": "5s", "start_period": "0s"}
    well = {"test": ["CMD", "test", "-e", "/www"], **check}
    compose_file(own, a={"image": image, "healthcheck": well})
    assert up(own).status.value == CHANGED
    assert up(own).status.value == OK
    ill = {"test": ["CMD", "test", "-e", "/nope"], **check}
    compose_file(own, a={"image": image}, b={"image": image, "healthcheck": ill})
    error = refused(own, within=2.0)
    assert (error.code, "(unhealthy)" in error.message) == ("unhealthy", True)
    compose_file(
        own, b={"image": image, "healthcheck": ill},
        c={"image": image, "depends_on": {"b": {"condition": "service_healthy"}}},
    )  # fmt: skip
    error = refused(own, services=("c",))
    assert (error.code, "dependency failed to start" in error.message) == ("unhealthy", True)


def test_while_it_is_waited_for_its_last_words_are_said(own: Yard, image: str) -> None:
    busy = ["sh", "-c", "echo first; echo still loading the data; exec sleep 600"]
    compose_file(own, a={"image": image, "command": busy})
    refused(own, ready="http://127.0.0.1:1/", within=1.6)
    name = f"{own.project}-a-1"
    assert any("connection refused" in said and f"{name} says: still loading the data" in said for said in own.said)


def test_without_waiting_it_is_up_as_soon_as_it_runs(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image})
    ready = {"ready": "http://127.0.0.1:1/", "host": {"wait": False}}
    judged = up(own, **ready)
    assert (judged.status.value, judged.probe.reason) == (CHANGED, f"{own.project}-a-1 running")
    assert up(own, **ready).status.value == OK


def test_a_port_that_a_stranger_holds_is_named_before_anything_is_touched(own: Yard, image: str) -> None:
    (port,) = free_ports(1)
    compose_file(own, a={"image": image, "ports": [f"127.0.0.1:{port}:80", f"127.0.0.1:{port}:80/udp"]})
    with held(port):
        error = refused(own)
        assert (error.code, str(port) in error.message) == ("port_in_use", True)
        assert own.containers() == {}
    assert up(own).status.value == CHANGED
    assert up(own).status.value == OK  # it holds its port itself


def test_a_range_of_ports_is_no_surprise(own: Yard, image: str) -> None:
    first, last = free_ports(2)
    compose_file(own, a={"image": image, "ports": [f"127.0.0.1:{first}-{last}:80"]})
    assert up(own).status.value == CHANGED


def test_a_name_that_somebody_elses_container_has_is_refused_and_that_one_stays(own: Yard, image: str) -> None:
    name = f"{own.project}-mine"
    stranger = docker("create", "--name", name, image)
    try:
        compose_file(own, a={"image": image, "container_name": name})
        error = refused(own)
        assert (error.code, "belongs to somebody else" in error.message) == ("not_ours", True)
        assert docker("inspect", "-f", "{{.Id}}", name) == stranger
    finally:
        docker("rm", "-fv", stranger)


def test_a_restart_leaves_nothing_running_that_ran_before(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image}, b={"image": image})
    up(own)

    def started() -> list[str]:
        return [docker("inspect", "-f", "{{.State.StartedAt}}", each) for each in own.containers(running=True).values()]

    before = started()
    assert up(own, state="restarted").status.value == CHANGED
    after = started()
    assert (len(after), set(after) & set(before)) == (2, set())
    down(own)
    assert up(own, state="restarted").status.value == CHANGED


@pytest.mark.parametrize("state", ["pause", "stop", "kill"])
def test_what_somebody_paused_stopped_or_killed_runs_again(own: Yard, image: str, state: str) -> None:
    compose_file(own, a={"image": image})
    up(own)
    docker(state, own.containers()["a"])
    before = own.containers()
    assert up(own).status.value == CHANGED
    assert own.containers(running=True) == before


def test_what_somebody_runs_by_hand_is_not_taken_for_the_service(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image})
    up(own)
    by_hand = ("compose", "-f", str(own.dir / "c.yml"), "-p", own.project, "run", "-T")
    docker(*by_hand, "a", "true")
    assert up(own).status.value == OK
    assert down(own).status.value == CHANGED
    assert docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={own.project}") == ""


def test_named_volumes_stay_unless_they_are_to_go(own: Yard, image: str) -> None:
    (own.dir / "c.yml").write_text(
        json.dumps({"services": {"a": {"image": image, "volumes": ["data:/data"]}}, "volumes": {"data": {}}})
    )
    up(own)
    down(own)
    assert docker("volume", "ls", "-q", "--filter", f"name={own.project}_data") == f"{own.project}_data"
    assert down(own).status.value == OK
    assert down(own, volumes=True).status.value == CHANGED
    assert docker("volume", "ls", "-q", "--filter", f"name={own.project}_data") == ""


def test_a_secret_reaches_the_container_and_no_message(own: Yard, image: str) -> None:
    (own.dir / "secret").write_text("hunter22\n")
    compose_file(own, a={"image": image, "environment": {"S": "${S}"}, "command": ["sh", "-c", "echo got $$S; exit 1"]})
    error = refused(own, secrets={"S": "secret"})
    said = " ".join((error.message, *error.evidence))
    assert re.search(r"got \S+", said)
    assert "hunter22" not in said
    (own.dir / "secret").write_text("\n")
    error = refused(own, secrets={"S": "secret"})
    assert (error.code, error.message) == ("bad_config", f"S: {own.dir}/secret holds no secret")


# --- services that are meant to end

MIGRATE = ["sh", "-c", "echo migrated"]


def test_one_that_another_waits_for_to_end_is_up_once_it_ended_well(own: Yard, image: str) -> None:
    compose_file(
        own, migrate={"image": image, "command": MIGRATE},
        web={"image": image, "depends_on": {"migrate": {"condition": "service_completed_successfully"}}},
    )  # fmt: skip
    first = up(own)
    assert first.status.value == CHANGED
    assert first.probe.reason == (
        f"{own.project}-web-1 running and ready; {own.project}-migrate-1 is exited with code 0"
    )
    before = own.containers()
    assert up(own).status.value == OK
    assert own.containers() == before


def test_one_that_is_said_to_end_is_waited_for_and_does_not_run_again(own: Yard, image: str) -> None:
    slow = ["sh", "-c", "sleep 0.5; touch /data/done"]
    (own.dir / "data").mkdir()
    compose_file(
        own, migrate={"image": image, "command": slow, "volumes": [f"{own.dir}/data:/data"]}, web={"image": image}
    )
    assert up(own, completes=("migrate",)).status.value == CHANGED
    assert (own.dir / "data" / "done").exists()
    (own.dir / "data" / "done").unlink()
    assert up(own, completes=("migrate",)).status.value == OK
    assert not (own.dir / "data" / "done").exists()
    assert refused(own, completes=("migrat",)).code == "bad_config"


def test_one_that_says_nothing_of_it_may_end_well_and_runs_again_the_next_time_as_compose_has_it(
    own: Yard, image: str
) -> None:
    compose_file(own, migrate={"image": image, "command": MIGRATE}, web={"image": image})
    for _ in range(2):
        judged = up(own)
        assert judged.status.value == CHANGED
        assert f"{own.project}-migrate-1 is exited with code 0" in judged.probe.reason
    assert set(own.containers(running=True)) == {"web"}


@pytest.mark.parametrize("args", [{}, {"completes": ("migrate",)}])
def test_one_that_ends_badly_fails_with_its_last_words(own: Yard, image: str, args: dict[str, Any]) -> None:
    compose_file(own, migrate={"image": image, "command": ["sh", "-c", "echo no such table; exit 1"]})
    error = refused(own, **args)
    assert (error.code, "no such table" in error.evidence) == ("unhealthy", True)
    assert own.containers() == {}


def test_one_whose_success_another_waits_for_in_vain_fails_with_its_last_words(own: Yard, image: str) -> None:
    compose_file(
        own, migrate={"image": image, "command": ["sh", "-c", "echo no such table; exit 1"]},
        web={"image": image, "depends_on": {"migrate": {"condition": "service_completed_successfully"}}},
    )  # fmt: skip
    error = refused(own)
    assert (error.code, "no such table" in error.evidence) == ("unhealthy", True), error.evidence
    assert own.containers() == {}


@pytest.mark.parametrize(
    "serves",
    [{"ports": ["127.0.0.1::80"]}, {"healthcheck": {"test": ["CMD", "true"]}}, {"restart": "unless-stopped"}],
    ids=["ports", "healthcheck", "restart"],
)
def test_one_that_serves_something_has_died_when_it_ends_with_0(own: Yard, image: str, serves: dict[str, Any]) -> None:
    compose_file(own, web={"image": image, "command": ["sh", "-c", "echo bye; exit 0"], **serves})
    error = refused(own, within=2.0)
    assert (error.code, "bye" in error.evidence) == ("unhealthy", True)
    assert own.containers() == {}


# --- which compose

NO_PLUGIN = "docker compose=fail:1:docker: 'compose' is not a docker command."


def test_without_the_plugin_the_program_of_its_own_name_is_used(own: Yard, image: str) -> None:
    compose_file(own, a={"image": image})
    assert up(own, host={"faults": NO_PLUGIN}).status.value == CHANGED
    assert up(own).status.value == OK
    assert own.ensure(VERB, {"file": "c.yml", "state": "down"}, faults=NO_PLUGIN).status.value == CHANGED
