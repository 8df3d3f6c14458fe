"""A compose file read without compose says what compose says of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cc.errors import Failure
from cc.resources.compose_file import read
from tests.resources.compose_itself import assert_same, environment, itself

ROOT = Path(__file__).resolve().parents[2]

FORMS = Path(__file__).with_name("compose_forms.yml")

ONE_ENV = r"""# a comment
A=1
B = two words # not this
export C='single $A \' \n' # nor this
D="double $A \"q\" \n\t\$A ${UNSET:-d} \\ \x \0101"

E: yaml
SET
NOWHERE
F=
G=a#b
H=$A$SET${B}
I='over
two lines'
J.k-l=1
"""


def surroundings(directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "one.env").write_text(ONE_ENV)
    (directory / "two.env").write_text("A=from two $D\nTWO=2\n")
    (directory / "sub" / "other.env").write_text("O=${SET}\n")
    (directory / "sub" / "other.yml").write_text(
        "services:\n"
        "  other:\n    image: other:${SET}\n    env_file: other.env\n    volumes: ['./x:/x', 'named:/n']\n"
        "  third: {extends: {service: base, file: ../base.yml}, labels: {t: 3}, volumes: ['./t:/t']}\n"
    )
    (directory / "base.yml").write_text(
        "services:\n  base: {extends: root, labels: {r: 1}}\n  root: {image: root, volumes: ['./r:/r'], build: ./b}\n"
    )


def test_every_form_of_every_key_is_what_compose_makes_of_it(tmp_path: Path) -> None:
    surroundings(tmp_path)
    path = tmp_path / "c.yml"
    path.write_text(FORMS.read_text())
    ours = assert_same(path, SET="set value", EMPTY="")
    assert len(ours["services"]) > 80


FILES: dict[str, tuple[str, dict[str, str]]] = {
    "nothing used": ("services: {a: {image: x, network_mode: none}}\nnetworks: {n: }\nvolumes: {v: }", {}),
    "a default network of one's own": ("services: {a: {image: x}}\nnetworks: {default: {name: q, driver: bridge}}", {}),
    "an external default network": ("services: {a: {image: x}}\nnetworks: {default: {external: true}}", {}),
    "an external name of old": ("services: {a: {image: x}}\nnetworks: {default: {external: {name: z}}}", {}),
    "volumes with names": (
        """services: {a: {image: x, volumes: ['v1:/v', 'w1:/w', 'z1:/z']}}
volumes: {v1: , w1: {name: $A}, z1: {external: true}, q: {}}""",
        {"A": "named"},
    ),
    "no services": ("services: {}", {}),
    "a name": ("name: foo\nservices: {a: {image: x, labels: [$COMPOSE_PROJECT_NAME]}}", {}),
    "a name with capitals": ("name: ${N:-Foo Bar}\nservices: {a: {image: x}}", {}),
    "a name of the environment": ("name: foo\nservices: {a: {image: x}}", {"COMPOSE_PROJECT_NAME": "bar"}),
    "an active profile": (
        "services: {a: {image: x, profiles: [p]}, b: {image: y, profiles: [q]}}", {"COMPOSE_PROFILES": "r,p"}
    ),
    "all profiles": ("services: {a: {image: x, profiles: [p]}, b: {image: y}}", {"COMPOSE_PROFILES": "*"}),
    "a dependency without its profile, not required": (
        """services:
  a: {image: x, profiles: [p]}
  b: {image: y, depends_on: {a: {condition: service_started, required: false}}}""", {}
    ),
    "only a build": ("services: {a: {build: {context: ./d}}}", {}),
    "an image by digest": (f"services: {{a: {{image: 'x/y:1@sha256:{'0' * 64}'}}}}", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_compose_makes_of_it(name: str, tmp_path: Path) -> None:
    text, environ = FILES[name]
    path = tmp_path / "c.yml"
    path.write_text(text)
    assert_same(path, **environ)


TEXTS = [
    "$A", "${A}", "${NO}", "$NO", "${NO:-d}", "${NO-d}", "${E:-d}", "${E-d}", "${A:+x}", "${E:+x}", "${E+x}",
    "${NO+x}", "${E?e}", "${A:?e}", "$$A", "${NO:-${A}}", "${NO:-${NO2:-z}}", "${NO:-a}b${A}", "$", "$1", "a$-b",
    "${NO:-{}}", "${NO:-a b}",
    "${NO:-$$}", "${NO:-$A}x}", "${a}", "$Ä", "${NO:-a-b:+c}", "${NO-a:-b}", "$$$$", "$$$A", "${A}}", "${NO:-}",
    "${A:+${B}${NO:-q}}", "${B}", "${NO:- a b }", "$A$$B", "${NO:-${A:+${NO:-deep}}}", "${A}:${NO:-x}:${E-y}",
    "x$A$A.y",
]  # fmt: skip


def test_a_variable_is_put_in_as_compose_does(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    labels = {f"l{i}": text for i, text in enumerate(TEXTS)}
    path.write_text(json.dumps({"services": {"a": {"image": "x", "labels": labels}}}))
    assert_same(path, A="1", B="$A {b}", E="")


BAD_TEXTS = ["${NO:?it says why}", "${NO?}", "${E:?e}", "${A", "${}", "${A!}", "${A:-${NO?x}}", "${ A}", "${1}"]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_a_variable_that_compose_refuses_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(json.dumps({"services": {"a": {"image": text}}}))
    environ = environment(A="1", E="")
    assert isinstance(itself(path, environ), str)
    with pytest.raises(Failure, match=r"c\.yml:1:.*\(services\.a\.image\)"):
        read(str(path), environ)


DOT_ENV = "# c\nCOMPOSE_PROJECT_NAME=fromenv\nCOMPOSE_PROFILES=pp\nDOT=1\nHOME=/nohome\nREF=${DOT}x$HOME\nSET=dot\n"


@pytest.mark.parametrize("project", [None, "cli"])
@pytest.mark.parametrize("environ", [{}, {"COMPOSE_PROJECT_NAME": "zz", "SET": "1"}, {"COMPOSE_DISABLE_ENV_FILE": "1"}])
def test_the_env_file_beside_it_is_read_and_the_environment_wins(
    project: str | None, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(DOT_ENV)
    path = tmp_path / "c.yml"
    labels = "['$DOT$REF$HOME$SET', '$COMPOSE_PROJECT_NAME']"
    path.write_text(f"name: n\nservices: {{a: {{image: x, profiles: [pp], labels: {labels}}}, b: {{image: y}}}}")
    assert_same(path, project, **environ)


def test_a_project_is_called_as_its_directory(tmp_path: Path) -> None:
    directory = tmp_path / "_A b.C-1"
    directory.mkdir()
    (directory / "c.yml").write_text("services: {a: {image: x}}")
    assert assert_same(directory / "c.yml")["name"] == "abc-1"


STACKS: list[dict[str, str]] = [
    {},
    {
        "CC_PROJECT": "other",
        "CC_CONTAINER_PREFIX": "other-",
        "CC_CLICKHOUSE_PORT": "18123",
        "CC_CLICKHOUSE_PASSWORD": "p$w",
    },
    {
        "COMPOSE_PROJECT_NAME": "third",
        "CC_HOME": "/h o/me",
        "CC_OWNER": "a:b",
        "CC_COLLECTOR_IMAGE": "reg:5000/c@sha256:1",
    },
]


@pytest.mark.parametrize("environ", STACKS)
def test_our_own_stack_is_what_compose_makes_of_it(environ: dict[str, str]) -> None:
    assert_same(ROOT / "docker-compose.yml", **environ)


def test_a_dollar_sign_is_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text("services: {a: {image: x, command: ['$$HOME'], environment: {A: $B}}}")
    service = read(str(path), environment(B="p$w"))["services"]["a"]
    assert (service["command"], service["environment"]) == (["$HOME"], {"A": "p$w"})


def test_what_is_read_is_json(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text("x-a: {b: }\nservices: {a: {image: x, cpus: 0.5, scale: 1}}")
    model = read(str(path), environment(), "p")
    assert json.loads(json.dumps(model)) == model
    assert model == {
        "name": "p",
        "services": {
            "a": {
                "command": None, "entrypoint": None, "image": "x", "cpus": 0.5, "scale": 1,
                "networks": {"default": None},
            }
        },
        "networks": {"default": {"name": "p_default", "ipam": {}}},
        "x-a": {"b": None},
    }  # fmt: skip


WORDS = ["a", "b c", "$A", "${NO:-d}", "$$x", "x=y", "ü", "${A:+${E:-z}}", "1", "true", "", "'q'"]


def written(random: random.Random) -> dict[str, Any]:
    """A service out of the forms that are supported."""
    pick, word = random.choice, lambda: random.choice(WORDS)
    port = lambda: random.randint(1, 65000)  # noqa: E731
    pairs = lambda: pick(  # noqa: E731
        [
            {f"k{i}": pick([word(), random.randint(-5, 5000), random.random() * 10 ** random.randint(-6, 9), None])
             for i in range(3)},
            [f"k{i}={word()}" for i in range(3)],
        ]
    )  # fmt: skip
    forms: dict[str, Any] = {
        "command": lambda: pick([[word() for _ in range(3)], "run 'a b' c", None, ""]),
        "environment": pairs, "labels": pairs, "sysctls": pairs,
        "ports": lambda: [
            pick([f"{(p := port())}:{port()}", port(), f"127.0.0.1:{p}-{p + 3}:{(q := port())}-{q + 3}/udp",
                  f"[::1]::{p}",
                  {"target": port(), "published": str(port()), "protocol": pick(["tcp", "udp"])}])
            for _ in range(2)
        ],
        "volumes": lambda: [
            pick([f"./d{i}:/t{i}:{pick(['ro', 'rw', 'z', 'Z,ro', 'nocopy'])}", f"named:/t{i}/../u{i}", f"/a{i}",
                  {"type": "bind", "source": f"~/{i}", "target": f"/t{i}", "read_only": pick([True, False, "yes"])},
                  {"type": "tmpfs", "target": f"/t{i}", "tmpfs": {"size": pick(["1m", 4096, "1.5g"])}}])
            for i in range(3)
        ],
        "networks": lambda: pick([["front"], {"front": {"aliases": ["x"]}, "default": None}]),
        "healthcheck": lambda: {
            "test": pick(["curl x", ["CMD", word()], ["NONE"]]), "retries": pick([3, "4"]),
            "interval": pick(["90s", "1h1ms", f"{random.randint(0, 10**6)}us", f"{random.random() * 1000:.4f}s"]),
        },
        "mem_limit": lambda: pick([random.randint(1, 10**10), f"{random.random() * 100:.3f}g", "512M", "1Kib"]),
        "cpus": lambda: pick([round(random.random() * 8, random.randint(1, 9)), "1.5"]),
        "ulimits": lambda: {"nofile": pick([random.randint(1, 9999), {"soft": 1, "hard": random.randint(1, 99)}])},
        "tty": lambda: pick([True, False, "on"]), "restart": lambda: pick(["no", "always", "on-failure:3"]),
        "extra_hosts": lambda: pick([["a:1.2.3.4", "b=::1"], {"a": "1.2.3.4"}]),
        "dns": lambda: pick(["1.1.1.1", ["1.1.1.1", "8.8.8.8"]]),
        "logging": lambda: {"driver": "json-file", "options": {"max-file": pick([3, "4"])}},
        "stop_grace_period": lambda: pick(["10s", "1m30s", "1.25h"]),
        "tmpfs": lambda: pick(["/r", ["/r", "/s:size=1m"]]), "expose": lambda: [port(), str(port())],
    }  # fmt: skip
    keys = random.sample(sorted(forms), random.randint(2, 9))
    return {"image": f"img:{random.randint(1, 9)}", **{key: forms[key]() for key in keys}}


@pytest.mark.parametrize("seed", range(15))
def test_files_made_by_chance_are_what_compose_makes_of_them(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    services = {f"s{i}": written(chance) for i in range(4)}
    services["s1"]["extends"] = "s0"
    services["s2"]["depends_on"] = ["s0"]
    path = tmp_path / "c.yml"
    path.write_text(json.dumps({"services": services, "networks": {"front": None}, "volumes": {"named": {}}}))
    assert_same(path, A="some $value", E="")
