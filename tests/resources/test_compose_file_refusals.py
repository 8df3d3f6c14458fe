"""What is refused in a compose file: with the file, the line and the key, before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from cc.errors import ConfigError, Failure
from cc.resources.compose_file import env_file, read
from tests.resources.compose_itself import environment, itself

# The lines of service `a` from line 4 on -> the line, the key, and words of the message. Compose refuses all of these.
AS_COMPOSE = {
    "foo: 1": (4, "services.a.foo", "not allowed here"),
    "ports: ['x']": (4, "services.a.ports.0", "port"),
    "ports: [0]": (4, "services.a.ports.0", "no port"),
    "ports: ['80:']": (4, "services.a.ports.0", "port"),
    "ports:\n  - 80\n  - 80.5": (6, "services.a.ports.1", "must be a port"),
    "ports: ['70000:80']": (4, "services.a.ports.0", "70000"),
    "ports: ['81-80:80']": (4, "services.a.ports.0", "81-80"),
    "ports: ['1-2:80-82']": (4, "services.a.ports.0", "differ in length"),
    "ports: ['a.b:1:2']": (4, "services.a.ports.0", "a.b"),
    "ports: ['80/foo']": (4, "services.a.ports.0", "tcp, udp"),
    "ports: [{published: 80}]": (4, "services.a.ports.0", "target"),
    "ports: [{target: 80, foo: 1}]": (4, "services.a.ports.0.foo", "not allowed here"),
    "ports: 80": (4, "services.a.ports", "must be a list"),
    "ports:": (4, "services.a.ports", "nothing"),
    "command: [1]": (4, "services.a.command.0", "must be text, found 1"),
    "command: 'a (b'": (4, "services.a.command", "outside of quotes"),
    "command: 'a \"b'": (4, "services.a.command", "without its end"),
    "command: 5": (4, "services.a.command", "text or a list"),
    "environment: 5": (4, "services.a.environment", "must be a mapping"),
    "environment: [5]": (4, "services.a.environment.0", "must be text"),
    "environment: {1: b}": (4, "services.a.environment.1", "key must be text"),
    "environment: {true: b}": (4, "services.a.environment.true", "key must be text"),
    "labels: {a: [x]}": (4, "services.a.labels.a", "text or a number"),
    "labels: x": (4, "services.a.labels", "must be a mapping"),
    "mem_limit: 1gg": (4, "services.a.mem_limit", "size"),
    "memswap_limit: '-1'": (4, "services.a.memswap_limit", "size"),
    "stop_grace_period: 10": (4, "services.a.stop_grace_period", "duration"),
    "healthcheck: {interval: 1d}": (4, "services.a.healthcheck.interval", "duration"),
    "healthcheck:\n  interval: 1s\n  timeout: 5": (6, "services.a.healthcheck.timeout", "duration"),
    "healthcheck: {interval: ''}": (4, "services.a.healthcheck.interval", "duration"),
    "healthcheck: {test: [a, b]}": (4, "services.a.healthcheck.test", "CMD"),
    "healthcheck: {teest: a}": (4, "services.a.healthcheck.teest", "not allowed here"),
    "volumes: ['/b:']": (4, "services.a.volumes.0", "empty"),
    "volumes: ['/aa:/bb:ro:rw']": (4, "services.a.volumes.0", "too many colons"),
    "volumes: ['foo:/x']": (4, "services.a.volumes", "not there: foo"),
    "volumes: [{type: bind, target: /x}]": (4, "services.a.volumes.0", "source"),
    "volumes: [{type: bind, source: /x}]": (4, "services.a.volumes.0", "target"),
    "volumes: [{type: bind, source: /x, target: /y, bind: {create_host_path: 5}}]": (
        4, "services.a.volumes.0.bind.create_host_path", "true or false"
    ),
    "networks: ['foo']": (4, "services.a.networks", "not there: foo"),
    "networks: {default: {foo: 1}}": (4, "services.a.networks.default.foo", "not allowed here"),
    "network_mode: host\nnetworks: [default]": (4, "services.a.network_mode", "both"),
    "network_mode: service:zz": (4, "services.a.network_mode", "zz"),
    "depends_on: [zz]": (4, "services.a.depends_on", "zz"),
    "depends_on: [off]": (4, "services.a.depends_on", "no active profile"),
    "depends_on: [a]": (4, "services.a.depends_on", "a -> a"),
    "depends_on: [b, b]": (4, "services.a.depends_on.1", "second time"),
    "depends_on: {b: {condition: foo}}": (4, "services.a.depends_on.b.condition", "service_healthy"),
    "depends_on: {b: {}}": (4, "services.a.depends_on.b", "condition is required"),
    "depends_on: {b: {condition: service_started, required: 'true'}}": (
        4, "services.a.depends_on.b.required", "true or false"
    ),
    "extra_hosts: ['a']": (4, "services.a.extra_hosts", "no address"),
    "env_file: nope.env": (4, "services.a.env_file", "nope.env does not exist"),
    "env_file: [{required: true}]": (4, "services.a.env_file.0", "path is required"),
    "group_add: [1, 1]": (4, "services.a.group_add.1", "second time"),
    "security_opt: [x, x]": (4, "services.a.security_opt.1", "second time"),
    "privileged: maybe": (4, "services.a.privileged", "true or false, found 'maybe'"),
    "cpus: x": (4, "services.a.cpus", "number"),
    "cpus: 1\ndeploy: {resources: {limits: {cpus: '2'}}}": (4, "services.a.cpus", "differ"),
    "ulimits: {nofile: {soft: 1}}": (4, "services.a.ulimits.nofile", "hard is required"),
    "user: 1000": (4, "services.a.user", "must be text, found 1000"),
    "pull_policy: foo": (4, "services.a.pull_policy", "always"),
    "secrets: [q]": (4, "services.a.secrets", "needs docker compose"),
    "extends: zzz": (4, "services.a.extends", "not there"),
    "extends: a": (4, "services.a.extends", "circle"),
    "extends: {service: b, file: nope.yml}": (4, "services.a.extends.file", "nope.yml"),
    "extends: b\nhealthcheck: []": (5, "services.a.healthcheck", "on top of a mapping"),
    "labels: {a: 1, a: 2}": (4, None, "second time"),
    "labels: [a": (5, None, "not valid YAML"),
    "labels: *nothing": (4, None, "names no &anchor"),
}  # fmt: skip
# Compose takes these (some, in some of its versions); without it they can't be done, or would be done wrongly.
ONLY_OURS = {
    "deploy: {replicas: 2}": (4, "services.a.deploy.replicas", "needs docker compose"),
    "scale: 0": (4, "services.a.scale", "needs docker compose"),
    "deploy: {restart_policy: {condition: any}}": (4, "services.a.deploy.restart_policy", "needs docker compose"),
    "deploy: {resources: {reservations: {cpus: '1'}}}": (
        4, "services.a.deploy.resources.reservations", "needs docker compose"
    ),
    "expose: [a]": (4, "services.a.expose.0", "no port"),
    "cap_add: ['${NOT_SET}']": (4, "services.a.cap_add.0", "must not be empty"),
    "dns: ''": (4, "services.a.dns", "must not be empty"),
    "mem_limit: 1e3": (4, "services.a.mem_limit", "size"),
    "links: [b]": (4, "services.a.links", "needs docker compose"),
    "volumes: ['v:/v']": (4, "services.a.volumes.0", "Windows drive"),
    "volumes: [{type: npipe, source: x, target: /y}]": (4, "services.a.volumes.0.type", "docker compose"),
    "volumes: [{type: volume, target: /y, volume: {subpath: z}}]": (
        4, "services.a.volumes.0.volume.subpath", "docker compose"
    ),
    "environment: {A: 2024-01-01}": (4, "services.a.environment.A", "a date"),
    "ports: [{target: 80, protocol: foo}]": (4, "services.a.ports.0.protocol", "tcp, udp"),
    "command: echo `date`": (4, "services.a.command", "outside of quotes"),
    "container_name: same": (7, "services.b.container_name", "one container name"),
    "env_file: [{path: x.env, format: raw}]": (4, "services.a.env_file.0.format", "docker compose"),
}  # fmt: skip

BESIDE = """  b:
    image: y
    container_name: same
    healthcheck: {interval: 1s}
  off: {image: z, profiles: [never]}
"""


def written(directory: Path, said: str) -> Path:
    path = directory / "c.yml"
    lines = "".join(f"    {line}\n" for line in said.split("\n"))
    path.write_text(f"services:\n  a:\n    image: x\n{lines}{BESIDE}")
    return path


def refused(path: Path, line: int, field: str | None, words: str, **environ: str) -> Failure:
    with pytest.raises(Failure) as caught:
        read(str(path), environment(**environ))
    failure, cause = caught.value, caught.value.__cause__
    assert isinstance(cause, ConfigError)
    assert (failure.code, cause.file, cause.line, cause.field) == ("bad_config", str(path), line, field), failure
    assert words in failure.message
    assert failure.message.startswith(f"{path}:{line}:")
    assert field is None or f"({field})" in failure.message
    return failure


@pytest.mark.parametrize("said", AS_COMPOSE)
def test_what_compose_refuses_is_refused_at_its_place(said: str, tmp_path: Path) -> None:
    refused(written(tmp_path, said), *AS_COMPOSE[said])


def test_compose_refuses_what_the_table_says_it_does(tmp_path: Path) -> None:
    """A third of it, each time the same, as each costs a process."""
    for said in list(AS_COMPOSE)[::3]:
        assert isinstance(itself(written(tmp_path, said), environment()), str), said


@pytest.mark.parametrize("said", ONLY_OURS)
def test_what_cannot_be_done_without_compose_is_refused_by_name(said: str, tmp_path: Path) -> None:
    refused(written(tmp_path, said), *ONLY_OURS[said])


FILES = {
    "": (1, None, "empty"),
    "[]": (1, None, "empty"),
    "- a": (1, None, "must be a mapping"),
    "services: []": (1, "services", "must be a mapping"),
    "services: {a: }": (1, "services.a", "must be a mapping"),
    "services: {a: {}}": (1, "services.a", "neither image nor build"),
    "services: {'a b': {image: x}}": (1, "services.a b", "no name of a service"),
    "version: 3\nservices: {}": (1, "version", "must be text"),
    "services: {}\nfoo: 1": (2, "foo", "not allowed here"),
    "services: {}\ninclude: [x.yml]": (2, "include", "needs docker compose"),
    "name: 5\nservices: {}": (1, "name", "must be text"),
    "services: {a: {image: x}}\nnetworks: {default: {foo: 1}}": (2, "networks.default.foo", "not allowed here"),
    "services: {a: {image: x, volumes: ['vv:/v']}}\nvolumes: {vv: {external: true, driver: q}}": (
        2, "volumes.vv.driver", "external"
    ),
    "services: {}\nservices: {}": (2, None, "second time"),
    "services: {a: {image: x}, b: {image: x, depends_on: [c]}, c: {image: x, depends_on: [b]}}": (
        1, "services.c.depends_on", "b -> c -> b"
    ),
    "services:\n\ta: x": (2, None, "tab"),
}  # fmt: skip


@pytest.mark.parametrize("text", FILES)
def test_a_file_that_is_no_compose_file_is_refused_at_its_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(text)
    refused(path, *FILES[text])


def test_an_unknown_key_is_answered_with_the_nearest_known(tmp_path: Path) -> None:
    failure = refused(written(tmp_path, "enviroment: {A: 1}"), 4, "services.a.enviroment", "not allowed here")
    assert failure.hint == "did you mean 'environment'?"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"nope\.yml: cannot read it: No such file"):
        read(str(tmp_path / "nope.yml"), environment())


def test_what_another_file_does_wrong_is_shown_in_that_file(tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("services:\n  base:\n    image: x\n    ports: [x]\n")
    path = tmp_path / "c.yml"
    path.write_text("services: {a: {extends: {service: base, file: other.yml}}}")
    with pytest.raises(Failure, match=r"other\.yml:4:13: "):
        read(str(path), environment())


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\nB b=2\n", 2), ("\n\nA='x\n", 3), ("A=1\n*=2\n", 2), ("A=${B:?gone}\n", 1), ("A=1\nB", 2)]
)
def test_a_bad_line_of_an_env_file_is_refused_with_its_number(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        env_file.parsed(text, {}.get, file="x.env")
    assert (caught.value.file, caught.value.line) == ("x.env", line)


@pytest.mark.parametrize("name", ["Cli", "-x", "a b", "ü"])
def test_a_project_with_a_name_that_docker_does_not_take_is_refused(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, "tty: true")
    for environ, project in ((environment(), name), (environment(COMPOSE_PROJECT_NAME=name), None)):
        with pytest.raises(Failure, match="lowercase letters"):
            read(str(path), environ, project)


def test_more_files_of_variables_need_compose_itself(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="COMPOSE_ENV_FILES"):
        read(str(written(tmp_path, "tty: true")), environment(COMPOSE_ENV_FILES="a,b"))


def test_hostile_texts_end_soon_and_in_a_refusal(tmp_path: Path) -> None:
    deep = "${A:-" * 5000 + "}" * 5000
    for said in (f"user: '{deep}'", "labels: {a: '" + "${A" * 50_000 + "'}", f"command: '{chr(92) * 99_999}'"):
        path = written(tmp_path, said)
        with pytest.raises(Failure):
            read(str(path), environment())


def test_variables_that_grow_without_bound_are_refused(tmp_path: Path) -> None:
    for labels in ("'" + "$A" * 2000 + "'", ", ".join(f"'{i}=$A$A'" for i in range(900))):
        path = written(tmp_path, f"labels: [{labels}]")
        with pytest.raises(Failure, match="more than 8,388,608 characters"):
            read(str(path), environment(A="x" * 10_000))


def test_a_chain_of_services_may_be_longer_than_the_stack(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    chain = "".join(f"  s{i}: {{image: x, depends_on: [s{i + 1}]}}\n" for i in range(3000))
    path.write_text(f"services:\n{chain}  s3000: {{image: x}}\n")
    assert len(read(str(path), environment())["services"]) == 3001
    path.write_text(f"services:\n{chain}  s3000: {{image: x, depends_on: [s2999]}}\n")
    refused(path, 3002, "services.s3000.depends_on", "s2999 -> s3000 -> s2999")
