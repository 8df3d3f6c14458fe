"""A Docker endpoint that is not the one behind which the containers run, or none at all."""

from __future__ import annotations

import pytest

from tests.integration.box import Box


@pytest.mark.docker
def test_down_by_an_endpoint_where_nobody_answers_fails_while_the_containers_run_on(box: Box) -> None:
    assert box.ask("up").code == 0
    before = box.containers()
    for endpoint in ("unix:///nonexistent", "tcp://127.0.0.1:9"):
        down = box.ask("down", env={"DOCKER_HOST": endpoint})
        assert (down.code, down.step("containers")["error"]) == (1, "not_satisfied")
        for name in ("containers", "leftovers"):
            reason = down.step(name)["reason"]
            assert f"port {box.env['CC_CLICKHOUSE_PORT']} is held by" in reason
            assert "may still run behind another Docker endpoint" in reason
        assert sorted(box.containers()) == sorted(before)
    again = box.ask("down")
    assert (again.code, box.containers()) == (0, [])
    gone = box.ask("down", env={"DOCKER_HOST": "unix:///nonexistent"})
    assert (gone.code, gone.step("containers")["reason"].split(" (")[0]) == (0, "Containers not running")


@pytest.mark.parametrize("endpoint", ["tcp://nosuch.invalid:1", "garbage", "ssh://nobody@127.0.0.1", "npipe://x"])
def test_an_endpoint_that_cannot_be_reached_costs_the_containers_alone(box: Box, endpoint: str) -> None:
    box.env["DOCKER_HOST"] = endpoint
    up = box.ask("up")
    assert (up.code, up.json["degraded"]) == (0, True), up.out
    step = up.step("clickhouse")
    assert step["reason"].startswith("Docker unavailable, using file-based analytics: ")
    assert step["tried"][0]["error"] == "daemon_down"
    assert box.ask("down").code == 0
