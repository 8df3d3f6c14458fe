"""One frozen Settings: what the environment, the configuration files and the defaults say, and which of them said it.

    flag > environment > cc.yaml in the current directory > CC_HOME/config.yaml > default

A leaf: imports errors and document only. Every unknown key and every bad value is a ConfigError that names it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cc.errors import ConfigError

DEFAULT_PROJECT = "context-cleaner"
PROJECT = r"[a-z0-9][a-z0-9_-]{0,62}"  # compose's own rule for project names


class Settings(NamedTuple):
    """Everything that can be set. Ports are 1 to 65535; `dashboard_ports` is first and last, both included.

    `clickhouse_urls` is empty for the stack's own container. `tokens_timeout` is seconds for all that Anthropic counts.
    `origin` says of each name where its value came from. A tuple: to make a dataclass of so many fields takes 2 ms, and
    every command makes this one.
    """

    home: str
    origin: Mapping[str, str]
    project: str = DEFAULT_PROJECT
    dashboard_host: str = "127.0.0.1"
    dashboard_ports: tuple[int, int] = (8110, 8120)
    clickhouse_urls: tuple[str, ...] = ()
    clickhouse_user: str = "cc"
    clickhouse_password: str | None = None
    clickhouse_port: int = 8123
    otlp_grpc_port: int = 4317
    otlp_http_port: int = 4318
    otel_health_port: int = 13133
    clickhouse_image: str | None = None
    collector_image: str | None = None
    ipc_tcp: tuple[str, int] | None = None
    claude_config_dir: str | None = None
    tokens_timeout: float = 10.0
    tokens_data: str | None = None

    def __repr__(self) -> str:
        """Without the password: a traceback or a log may show it."""
        told = (f"{name}={value!r}" for name, value in self._asdict().items() if name != "clickhouse_password")
        return f"Settings({', '.join(told)})"

    @property
    def container_prefix(self) -> str:
        """The default project's containers have bare names; others carry the project: stacks stand side by side."""
        return "" if self.project == DEFAULT_PROJECT else f"{self.project}-"


def load(environ: Mapping[str, str], directory: str | None = None) -> Settings:
    """The settings of this environment, run in `directory`. Raises ConfigError with file, line and key."""
    home = _home(environ)
    values: dict[str, Any] = {"home": home}
    origin = {"home": "environment CC_HOME" if environ.get("CC_HOME") else "default"}
    for path in (os.path.join(home, "config.yaml"), os.path.join(directory or _current(), "cc.yaml")):
        _from_file(path, values, origin)
    for name, (variable, read) in NAMES.items():
        given = environ.get(variable)
        if given:
            values[name] = _read(read, given, variable, None, None)
            origin[name] = f"environment {variable}"
    _refuse_one_port_for_two(values, origin)
    for name in Settings._fields:
        if name != "origin":
            origin.setdefault(name, "default")
    return Settings(**values, origin=origin)


def _current() -> str:
    try:
        return os.getcwd()
    except OSError:
        return os.devnull  # somebody removed the directory that we stand in: there is no cc.yaml in it


def _refuse_one_port_for_two(values: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    published = ("clickhouse_port", "otlp_grpc_port", "otlp_http_port", "otel_health_port")
    taken: dict[int, str] = {}
    for name in published:
        port = values.get(name, Settings._field_defaults[name])
        if port in taken:
            both = f"{NAMES[taken[port]][0]} and {NAMES[name][0]}"
            where = origin.get(name) or origin.get(taken[port]) or ""
            raise ConfigError(f"{both} are both {port} ({where})", field=NAMES[name][0], hint="give each its own port")
        taken[port] = name


def _home(environ: Mapping[str, str]) -> str:
    given = environ.get("CC_HOME")
    if given:
        given = os.path.expanduser(given)
        if not os.path.isabs(given) and _current() == os.devnull:
            raise ConfigError(
                f"{given!r} is relative to the current directory, which is gone", field="CC_HOME",
                hint="change to a directory that exists, or give an absolute path",
            )  # fmt: skip
        return os.path.abspath(given)
    user_home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(user_home):
        raise ConfigError(
            "there is no home directory to keep state in", field="HOME", hint="set CC_HOME to a directory of your own"
        )
    return os.path.join(user_home, ".context_cleaner")


def _from_file(path: str, values: dict[str, Any], origin: dict[str, str]) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    from cc import document

    names = {variable.removeprefix("CC_").lower(): name for name, (variable, _) in NAMES.items()}
    read = document.load(content, file=path)
    for key, (value, line) in read.top_level().items():
        if key not in names:
            import difflib

            near = difflib.get_close_matches(key, names, 1)
            raise ConfigError(
                f"unknown key {key!r}", file=path, line=line, field=key,
                hint=f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(sorted(names)),
            )  # fmt: skip
        if value is None:
            continue
        text = _text(read.root.value[key])
        if text is None:
            raise ConfigError(f"{key}: must be one value or a list of them", file=path, line=line, field=key)
        values[names[key]] = _read(NAMES[names[key]][1], text, key, path, line)
        origin[names[key]] = f"{path}:{line}"


def _text(node: Any) -> str | None:
    """A value as it was written (a password `1.10` is not 1.1), a list joined by commas; None for anything deeper."""
    if isinstance(node.value, list):
        parts = [_text(each) for each in node.value if not isinstance(each.value, list)]
        return ",".join(map(str, parts)) if None not in parts and len(parts) == len(node.value) else None
    return None if isinstance(node.value, dict) else str(node.text)


def _read(read: Callable[[str], Any], text: str, name: str, file: str | None, line: int | None) -> Any:
    try:
        return read(text)
    except ValueError as error:
        from cc.document import shortened

        shown = shortened(re.sub(r"//[^/@\s]*@", "//***@", text))  # a URL may hold a password
        raise ConfigError(f"{name}: {error}, not {shown!r}", file=file, line=line, field=name) from None


def _port(text: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text) or not 1 <= int(text) <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return int(text)


def _ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        found = (_port(first), _port(last) if dash else _port(first))
    except ValueError:
        raise ValueError("must be a range of ports such as 8110-8120") from None
    if found[0] > found[1]:
        raise ValueError("must be a range of ports from the lower to the higher")
    return found


def _project(text: str) -> str:
    if not re.fullmatch(PROJECT, text):
        raise ValueError("must be lower-case letters, digits, '-' and '_', and begin with a letter or digit")
    return text


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for url in urls:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, a bracket that is not closed
            usable = False
        if not usable:
            raise ValueError("must be http:// or https:// URLs, separated by commas")
    return urls


def _host_port(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT; an IPv6 address with a port stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")) or text.endswith("]"):
        host, port = text, "5555"
    host = host.removeprefix("[").removesuffix("]")
    if not host or any(letter.isspace() for letter in host):
        raise ValueError("must be HOST or HOST:PORT")
    import ipaddress

    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = True  # a name: whoever listens there finds out
    if not local:
        raise ValueError("must be a loopback address, such as 127.0.0.1:5555")
    return host, _port(port)


def _seconds(text: str) -> float:
    try:
        seconds = float(text.strip().removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise ValueError("must be seconds from 0.1 to 3600")
    return seconds


def _word(text: str) -> str:
    if not text.strip() or any(letter.isspace() for letter in text):
        raise ValueError("must be one word")
    return text


NAMES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "project": ("CC_PROJECT", _project),
    "dashboard_host": ("CC_DASHBOARD_HOST", _word),
    "dashboard_ports": ("CC_DASHBOARD_PORTS", _ports),
    "clickhouse_urls": ("CC_CLICKHOUSE_URL", _urls),
    "clickhouse_user": ("CC_CLICKHOUSE_USER", _word),
    "clickhouse_password": ("CC_CLICKHOUSE_PASSWORD", str),
    "clickhouse_port": ("CC_CLICKHOUSE_PORT", _port),
    "otlp_grpc_port": ("CC_OTLP_GRPC_PORT", _port),
    "otlp_http_port": ("CC_OTLP_HTTP_PORT", _port),
    "otel_health_port": ("CC_OTEL_HEALTH_PORT", _port),
    "clickhouse_image": ("CC_CLICKHOUSE_IMAGE", _word),
    "collector_image": ("CC_COLLECTOR_IMAGE", _word),
    "ipc_tcp": ("CC_IPC_TCP", _host_port),
    "claude_config_dir": ("CLAUDE_CONFIG_DIR", str),
    "tokens_timeout": ("CC_TOKENS_TIMEOUT", _seconds),
    "tokens_data": ("CC_TOKENS_DATA", str),
}
"""Of each setting: the environment variable and how its text is read. A file's key is the variable without `CC_`."""
