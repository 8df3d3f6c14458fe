"""Where a setting comes from, and what is said of one that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.errors import ConfigError
from cc.settings import DEFAULT_PROJECT, NAMES, Settings, load

OTHER_USER = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to stand in, with a home below it. Everybody may come in, which pytest's own would not allow."""
    with tempfile.TemporaryDirectory(prefix="cc-settings-") as made:
        path = Path(made)
        path.chmod(0o777)
        (path / "home").mkdir()
        yield path


def settings(place: Path, environ: dict[str, str] | None = None) -> Settings:
    return load({"CC_HOME": str(place / "home"), **(environ or {})}, str(place))


def refused(place: Path, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        settings(place, environ)
    assert caught.value.exit_code == 2
    return caught.value


def test_the_defaults_are_those_of_the_contract(place: Path) -> None:
    found = settings(place)
    assert found.project == DEFAULT_PROJECT == "context-cleaner"
    assert (found.dashboard_host, found.dashboard_ports) == ("127.0.0.1", (8110, 8120))
    assert (found.clickhouse_port, found.otlp_grpc_port, found.otlp_http_port) == (8123, 4317, 4318)
    assert found.otel_health_port == 13133
    assert (found.ipc_tcp, found.clickhouse_urls, found.clickhouse_password) == (None, (), None)
    assert set(found.origin.values()) == {"default", "environment CC_HOME"}


def test_every_setting_says_where_it_came_from(place: Path) -> None:
    assert set(settings(place).origin) == set(Settings._fields) - {"origin"}
    assert set(NAMES) == set(Settings._fields) - {"origin", "home"}


@pytest.mark.parametrize(
    ("home_file", "here_file", "environment", "port", "origin"),
    [
        (None, None, None, 8123, "default"),
        ("8001", None, None, 8001, "home/config.yaml:2"),
        ("8001", "8002", None, 8002, "cc.yaml:2"),
        ("8001", None, "8003", 8003, "environment CC_CLICKHOUSE_PORT"),
        ("8001", "8002", "8003", 8003, "environment CC_CLICKHOUSE_PORT"),
        ("8001", "8002", "", 8002, "cc.yaml:2"),  # set and empty is not set
        ("8001", "", None, 8001, "home/config.yaml:2"),  # a key without a value says nothing
    ],
)
def test_the_environment_wins_over_the_directory_and_that_over_the_home(
    place: Path, home_file: str | None, here_file: str | None, environment: str | None, port: int, origin: str
) -> None:
    for path, value in ((place / "home" / "config.yaml", home_file), (place / "cc.yaml", here_file)):
        if value is not None:
            path.write_text(f"# mine\nclickhouse_port: {value}\n")
    found = settings(place, {} if environment is None else {"CC_CLICKHOUSE_PORT": environment})
    assert found.clickhouse_port == port
    assert found.origin["clickhouse_port"].endswith(origin)


def test_the_current_directory_is_where_cc_yaml_is_looked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "cc.yaml").write_text("project: here\n")
    monkeypatch.chdir(place)
    assert load({"CC_HOME": str(place / "home")}).project == "here"


BAD = [
    ("CC_CLICKHOUSE_PORT", "clickhouse_port", ("0", "65536", "99999999", "-1", "80a", "8.5", "0x50", "9" * 5000)),
    ("CC_DASHBOARD_PORTS", "dashboard_ports", ("8120-8110", "8110-", "-8110", "a-b", "8110-8120-8130", "0-5")),
    ("CC_PROJECT", "project", ("Upper", "-dash", "_under", "with space", "with/slash", "..", "ä", "a" * 64)),
    ("CC_DASHBOARD_HOST", "dashboard_host", ("two words", " ")),
    ("CC_CLICKHOUSE_USER", "clickhouse_user", ("two words",)),
    ("CC_CLICKHOUSE_IMAGE", "clickhouse_image", ("two words",)),
    (
        "CC_CLICKHOUSE_URL",
        "clickhouse_url",
        ("localhost:8123", "ftp://x", "http://", "http://x:99999", "http://x:0", "http://[::1", "http://a,b"),
    ),
    ("CC_IPC_TCP", "ipc_tcp", (":5555", "localhost:", "localhost:0", "local host:5555", "localhost:x", "[]:5555")),
]
EACH_BAD = [(variable, key, value) for variable, key, values in BAD for value in values]


@pytest.mark.parametrize(("variable", "key", "value"), EACH_BAD, ids=[f"{v}={t[:20]}" for v, _, t in EACH_BAD])
def test_a_bad_value_is_named_by_its_variable_or_by_file_and_line(
    place: Path, variable: str, key: str, value: str
) -> None:
    error = refused(place, {variable: value})
    assert error.field == variable
    assert str(error).startswith(variable)
    (place / "cc.yaml").write_text(f"# a comment\n\n{key}: '{value}'\n")
    error = refused(place)
    assert (error.file, error.line, error.field) == (str(place / "cc.yaml"), 3, key)
    assert str(error).startswith(f"{place}/cc.yaml:3: {key}: must be ")


GOOD = [
    ("CC_PROJECT", "a", "project", "a"),
    ("CC_PROJECT", "0-_9", "project", "0-_9"),
    ("CC_PROJECT", "a" * 63, "project", "a" * 63),
    ("CC_DASHBOARD_PORTS", "8110", "dashboard_ports", (8110, 8110)),
    ("CC_DASHBOARD_PORTS", "1-65535", "dashboard_ports", (1, 65535)),
    ("CC_CLICKHOUSE_URL", "http://a:1/, https://b", "clickhouse_urls", ("http://a:1", "https://b")),
    ("CC_CLICKHOUSE_URL", "http://[::1]:8123", "clickhouse_urls", ("http://[::1]:8123",)),
    ("CC_IPC_TCP", "localhost", "ipc_tcp", ("localhost", 5555)),
    ("CC_IPC_TCP", "127.0.0.1:6000", "ipc_tcp", ("127.0.0.1", 6000)),
    ("CC_IPC_TCP", "::1", "ipc_tcp", ("::1", 5555)),
    ("CC_IPC_TCP", "[::1]", "ipc_tcp", ("::1", 5555)),
    ("CC_IPC_TCP", "[::1]:6000", "ipc_tcp", ("::1", 6000)),
    ("CC_CLICKHOUSE_PASSWORD", " with space ", "clickhouse_password", " with space "),
    ("CLAUDE_CONFIG_DIR", "/some where", "claude_config_dir", "/some where"),
]


@pytest.mark.parametrize(("variable", "text", "name", "value"), GOOD, ids=[f"{v}={t[:20]}" for v, t, _, _ in GOOD])
def test_a_good_value_is_read(place: Path, variable: str, text: str, name: str, value: object) -> None:
    assert getattr(settings(place, {variable: text}), name) == value


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("clickhouse_prot", "did you mean 'clickhouse_port'?"),
        ("dashbord_ports", "did you mean 'dashboard_ports'?"),
        ("CC_PROJECT", "known keys: "),
        ("zzz", "known keys: claude_config_dir, clickhouse_image"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(place: Path, key: str, advice: str) -> None:
    (place / "home" / "config.yaml").write_text(f"project: mine\n{key}: 1\n")
    error = refused(place)
    assert (error.file, error.line, error.field) == (str(place / "home/config.yaml"), 2, key)
    assert advice in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("clickhouse_url: [http://a, http://b]", "clickhouse_urls", ("http://a", "http://b")),
        ("clickhouse_url:\n  - http://a\n", "clickhouse_urls", ("http://a",)),
        ("clickhouse_password: 1.10", "clickhouse_password", "1.10"),
        ("clickhouse_password: 0x10", "clickhouse_password", "0x10"),
        ("clickhouse_password: true", "clickhouse_password", "true"),
        ("clickhouse_password: 'a: b'", "clickhouse_password", "a: b"),
        ("project: 010", "project", "010"),
        ("", "project", DEFAULT_PROJECT),
        ("# nothing\n", "project", DEFAULT_PROJECT),
    ],
)
def test_a_file_takes_lists_and_keeps_values_as_they_were_written(
    place: Path, text: str, name: str, value: object
) -> None:
    (place / "cc.yaml").write_text(text)
    assert getattr(settings(place), name) == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"clickhouse_password: {a: b}", "one value or a list"),
        (b"clickhouse_url: [[http://a]]", "one value or a list"),
        (b"clickhouse_url: [{a: b}]", "one value or a list"),
        (b"claude_config_dir: {a: b}", "one value or a list"),
        (b"clickhouse_port: [1, 2]", "must be a port"),
        (b"- a\n- b\n", "expected 'key: value' lines"),
        (b"just words", "expected 'key: value' lines"),
        (b"project: a\nproject: b\n", "a second time"),
        (b"\tproject: a\n", "a tab"),
        (b"project: [a\n", "not valid YAML"),
        (b"\x00\xff\xfe", "not UTF-8"),
        (b"a: &x 1\n" + b"#" * 2_000_000, "too big"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_name(place: Path, content: bytes, said: str) -> None:
    (place / "cc.yaml").write_bytes(content)
    error = refused(place)
    assert error.file == str(place / "cc.yaml")
    assert error.line is not None
    assert said in str(error)


def test_a_configuration_that_is_a_directory_or_a_link_to_itself_is_refused_and_a_missing_one_is_not(
    place: Path,
) -> None:
    assert settings(place).project == DEFAULT_PROJECT
    (place / "cc.yaml").mkdir()
    assert "Is a directory" in str(refused(place))
    (place / "cc.yaml").rmdir()
    (place / "cc.yaml").symlink_to("cc.yaml")
    assert "cannot be read" in str(refused(place))


def in_child(code: str, place: Path) -> str:
    """What a fresh interpreter prints. Root is bound by no permission bits, so a root becomes somebody else first."""
    become = f"import os, cc.settings, cc.document\nif os.geteuid() == 0: os.setgroups([]); os.setuid({OTHER_USER})\n"
    root = str(Path(__file__).resolve().parents[1])
    script = f"import sys; sys.path.insert(0, {root!r})\n{become}{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ERROR = """
from cc.errors import ConfigError
from cc.settings import load
try:
    print(load({environ}, {directory}).home)
except ConfigError as error:
    print(error, error.hint)
"""


def test_a_configuration_that_may_not_be_read_is_named(place: Path) -> None:
    (place / "cc.yaml").write_text("project: mine\n")
    (place / "cc.yaml").chmod(0)
    code = ERROR.format(environ={"CC_HOME": str(place / "home")}, directory=repr(str(place)))
    assert in_child(code, place).startswith(f"{place}/cc.yaml: cannot be read: Permission denied")


def test_the_home_is_CC_HOME_or_below_the_users_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    monkeypatch.chdir(place)
    assert load({"CC_HOME": "state"}).home == str(place / "state")
    assert load({"HOME": "/h"}).home == "/h/.context_cleaner"
    assert load({"HOME": "/h"}).origin["home"] == "default"
    monkeypatch.setenv("HOME", "/me")
    assert load({"CC_HOME": "~/state"}).home == "/me/state"


def test_without_HOME_the_user_database_is_asked_and_without_that_the_error_says_what_to_set(  # noqa: N802
    place: Path,
) -> None:
    code = ERROR.format(environ={}, directory=repr(str(place)))
    assert in_child(code, place).endswith("/.context_cleaner")
    relative = ERROR.format(environ={"HOME": "not/absolute"}, directory=repr(str(place)))
    said = in_child(relative, place)
    assert said == "there is no home directory to keep state in (HOME) set CC_HOME to a directory of your own"


def test_a_current_directory_that_is_gone_costs_only_its_cc_yaml(place: Path) -> None:
    gone = place / "gone"
    gone.mkdir()
    leave = f"import os; os.rmdir({str(gone)!r})\n"
    code = leave + ERROR.format(environ={"CC_HOME": str(place / "home")}, directory=None)
    assert in_child(code, gone) == str(place / "home")
    gone.mkdir()
    assert "current directory, which is gone" in in_child(
        leave + ERROR.format(environ={"CC_HOME": "state"}, directory=None), gone
    )


def test_a_password_in_an_address_is_not_repeated(place: Path) -> None:
    assert "hunter22" not in str(refused(place, {"CC_CLICKHOUSE_URL": "http://me:hunter22@host:99999"}))


def test_the_password_does_not_stand_in_a_repr(place: Path) -> None:
    assert "hunter22" not in repr(settings(place, {"CC_CLICKHOUSE_PASSWORD": "hunter22"}))


def test_containers_of_the_default_project_have_bare_names_and_others_carry_theirs(place: Path) -> None:
    assert settings(place).container_prefix == ""
    assert settings(place, {"CC_PROJECT": "other"}).container_prefix == "other-"
