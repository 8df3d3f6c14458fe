"""Which steps a flag leaves out, and which services a word names."""

from __future__ import annotations

import os

import pytest

from cc.errors import UsageError
from cc.services.selection import BY_FLAG, left_out, wanted
from cc.services.stack import BY_NAME, SERVICES, chosen, stack_root

ALL = ("clickhouse", "collector", "dashboard")


@pytest.mark.parametrize(
    ("command", "services", "found"),
    [
        ("up", ("collector",), {"collector", "clickhouse"}),  # as compose brings what a service depends on
        ("restart", ("collector",), {"collector"}),  # which is no reason to take ClickHouse away
        ("down", ("collector",), {"collector"}),
        ("up", ("dashboard",), {"dashboard"}),
        ("up", ("clickhouse",), {"clickhouse"}),
        ("up", ALL, set(ALL)),
        ("up", (), set()),
    ],
)
def test_which_services_take_part(command: str, services: tuple[str, ...], found: set[str]) -> None:
    assert wanted(command, services) == found


NO_DOCKER = "switched off by --no-docker"
UNNEEDED = "not needed without containers"
TABLE = [
    # command, services, docker -> password, clickhouse, collector, dashboard, containers, leftovers
    ("up", ALL, True, (None, None, None, None, None, None)),
    ("up", ALL, False, (UNNEEDED, NO_DOCKER, NO_DOCKER, None, None, None)),
    ("up", ("dashboard",), True, (UNNEEDED, BY_FLAG, BY_FLAG, None, BY_FLAG, BY_FLAG)),
    ("up", ("clickhouse",), True, (None, None, BY_FLAG, BY_FLAG, None, BY_FLAG)),
    ("up", ("collector",), True, (None, None, None, BY_FLAG, None, BY_FLAG)),
    ("up", ("collector",), False, (UNNEEDED, NO_DOCKER, NO_DOCKER, BY_FLAG, None, BY_FLAG)),
    ("down", ("collector",), True, (None, BY_FLAG, None, BY_FLAG, None, BY_FLAG)),
    ("down", ("dashboard",), True, (UNNEEDED, BY_FLAG, BY_FLAG, None, BY_FLAG, BY_FLAG)),
    ("down", ALL, True, (None, None, None, None, None, None)),
]
STEPS = ("clickhouse password", "clickhouse", "collector", "dashboard", "containers", "leftovers")


@pytest.mark.parametrize(("command", "services", "docker", "reasons"), TABLE)
def test_which_steps_a_flag_leaves_out(
    command: str, services: tuple[str, ...], docker: bool, reasons: tuple[str | None, ...]
) -> None:
    assert tuple(left_out(command, step, services, docker=docker) for step in STEPS) == reasons
    assert left_out(command, "a step of somebody else", services, docker=docker) is None


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (None, ALL),
        ("clickhouse", ("clickhouse",)),
        ("dashboard,clickhouse", ("dashboard", "clickhouse")),
        (" dashboard , clickhouse ,", ("dashboard", "clickhouse")),
        ("clickhouse,dashboard,clickhouse", ("clickhouse", "dashboard")),
    ],
)
def test_the_services_that_a_word_names(words: str | None, found: tuple[str, ...]) -> None:
    assert chosen(words) == found


@pytest.mark.parametrize(
    ("words", "named", "hint"),
    [
        ("clickhose", "'clickhose'", "did you mean 'clickhouse'?"),
        ("clickhouse,x", "'x'", "services are clickhouse, collector, dashboard"),
        ("Dashboard", "'Dashboard'", "did you mean 'dashboard'?"),
        ("", "''", "services are"),
        (" , ", "''", "services are"),
    ],
)
def test_an_unknown_service_is_named_with_the_nearest(words: str, named: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(words)
    assert named in caught.value.message
    assert hint in (caught.value.hint or "")
    assert (caught.value.field, caught.value.exit_code) == ("--service", 2)


def test_the_services_are_those_of_the_compose_file_and_the_dashboard() -> None:
    with open(os.path.join(stack_root(), "docker-compose.yml"), encoding="utf-8") as file:
        text = file.read()
    for service in SERVICES:
        if service.container is not None:
            assert f"\n  {service.name}:\n" in text
            assert f"container_name: ${{CC_CONTAINER_PREFIX:-}}{service.container}\n" in text
    assert set(BY_NAME) == set(ALL)
