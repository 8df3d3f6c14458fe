"""The whole: which variables hold, what the project is called, which services count, and whether all fits together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from cc import document
from cc.errors import ConfigError, Failure
from cc.resources.compose_file import env_file, resource, service
from cc.resources.compose_file.extends import Extending
from cc.resources.compose_file.kinds import INSTALL, mapping, only_keys, text, texts
from cc.resources.compose_file.mount import located
from cc.resources.compose_file.tree import Item, Substitute, grown
from cc.resources.compose_file.variables import MAX_CHARACTERS, substituted

TOP = ("version", "name", "services", "networks", "volumes", "secrets", "configs")
NAME = re.compile("[a-z0-9][a-z0-9_-]*")
SERVICE_NAME = re.compile("[a-zA-Z0-9._-]+")
TRUE = ("1", "t", "T", "TRUE", "true", "True")


def read(path: str, environ: Mapping[str, str], project: str | None = None) -> dict[str, Any]:
    """The file as compose resolves it: "name", "services", "networks", "volumes" and x- extensions.

    `environ` is the environment of whoever would type `docker compose`; `project` what he would give with -p.
    Raises Failure bad_config, with file, line and key in its message, and as a ConfigError in its __cause__: a rung
    that can't be gone must be a Failure, or the ladder would not know of it.
    """
    path = os.path.abspath(path)
    try:
        return _resolved(path, environ, project)
    except ConfigError as error:
        raise Failure(str(error), code="bad_config", hint=error.hint) from error


def normalised(name: str) -> str:
    """A name as a project's, as compose makes one from a directory's."""
    return re.sub("[^a-z0-9_-]", "", name.lower()).lstrip("_-")


def _resolved(path: str, environ: Mapping[str, str], project: str | None) -> dict[str, Any]:
    values = {**_dot_env(path, environ), **environ}
    parsed = _parsed(path)
    name = _project_name(parsed, path, values, project)
    values["COMPOSE_PROJECT_NAME"] = name

    substitute = _Substitution(values)
    root = grown(parsed.root, path, substitute)
    if not isinstance(root.value, dict) or not root.value:
        root.refuse("an empty compose file" if not root.value else f"must be a mapping, found {root.said()}")
    only_keys(root, TOP, later=("include", "models"))
    if "version" in root.value:
        text(root.value["version"])  # and nothing more is made of it
    around = service.Around(values)
    items = _active(root, _Files(substitute, values.get("HOME")), values)
    services = {key: service.read(item, around) for key, item in items.items()}
    used = sorted({each for told in services.values() for each in told.get("networks") or ()})
    mounted = sorted({each for told in services.values() for each in _volumes_of(told)})
    model: dict[str, Any] = {
        "name": name,
        "services": services,
        "networks": resource.networks(root.value.get("networks"), used, name),
        "volumes": resource.volumes(root.value.get("volumes"), mounted, name, around.home),
    }
    _Fit(items, model).check()
    kept = {key: value.plain() for key, value in root.value.items() if key.startswith("x-")}
    return {
        key: value for key, value in {**model, **kept}.items() if value or key in ("name", "services") or key in kept
    }


def _parsed(path: str) -> document.Document:
    try:
        with open(path, "rb") as file:
            content = file.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror}", file=path, hint=f"ls -l {path}") from error
    return document.load(content, file=path)


def _dot_env(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the `.env` beside the file."""
    if environ.get("COMPOSE_ENV_FILES"):
        raise ConfigError("COMPOSE_ENV_FILES needs docker compose itself", field="COMPOSE_ENV_FILES", hint=INSTALL)
    beside = os.path.join(os.path.dirname(path), ".env")
    if environ.get("COMPOSE_DISABLE_ENV_FILE") in TRUE or not os.path.isfile(beside):
        return {}
    try:
        return env_file.load(beside, environ.get)
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror}", file=beside) from error


def _project_name(parsed: document.Document, path: str, values: Mapping[str, str], given: str | None) -> str:
    """-p, then COMPOSE_PROJECT_NAME, then `name:`, then the directory's name."""
    for said, by in ((given, "the project"), (values.get("COMPOSE_PROJECT_NAME"), "COMPOSE_PROJECT_NAME")):
        if said:
            if not NAME.fullmatch(said):
                rule = "lowercase letters, digits, '-' and '_', a letter or a digit first"
                raise ConfigError(f"{by} is called {said!r}: {rule}", file=path, field=by)
            return said
    root = parsed.root.value
    told = root.get("name") if isinstance(root, dict) else None
    if told is not None:
        item = grown(told, path, lambda written: substituted(written, values.get), "name")
        if not isinstance(item.value, str):
            item.refuse(f"must be text, found {item.said()}", hint="put it in quotes")
        if name := normalised(item.value):
            return name
    name = normalised(os.path.basename(os.path.dirname(path)))
    if not name:
        raise ConfigError("the project has no name", file=path, field="name", hint="write name: ... into the file")
    return name


class _Substitution:
    """Puts variables in, and keeps count: a file full of $A could otherwise fill the memory."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._brought = 0

    def __call__(self, written: str) -> str:
        text = substituted(written, self._values.get)
        self._brought += max(0, len(text) - len(written))
        if self._brought > MAX_CHARACTERS:
            raise ConfigError(f"variables bring in more than {MAX_CHARACTERS:,} characters")
        return text


class _Files:
    """Other compose files that services extend, each read once."""

    def __init__(self, substitute: Substitute, home: str | None) -> None:
        self._substitute = substitute
        self._home = home
        self._read: dict[str, Mapping[str, Item]] = {}

    def services(self, at: Item) -> Mapping[str, Item]:
        """Those of the file that `extends.file` names. Raises ConfigError at it if it can't be read."""
        path = located(at, at.value, self._home)
        if path not in self._read:
            try:
                parsed = _parsed(path)
            except ConfigError as error:
                if error.line is None:
                    at.refuse(f"{path}: {error.message}")
                raise
            root = mapping(grown(parsed.root, path, self._substitute))
            if "services" not in root.value:
                at.refuse(f"{path} has no services")
            self._read[path] = mapping(root.value["services"]).value
        return self._read[path]


def _active(root: Item, files: _Files, values: Mapping[str, str]) -> dict[str, Item]:
    """The services without a profile, and those of an active one."""
    if "services" not in root.value:
        return {}
    all_of_them = mapping(root.value["services"])
    active = {each.strip() for each in values.get("COMPOSE_PROFILES", "").split(",")} - {""}
    extending = Extending(all_of_them.value, files.services)
    found: dict[str, Item] = {}
    for name in all_of_them.value:
        if not SERVICE_NAME.fullmatch(name):
            all_of_them.refuse_key(name, f"{name!r} is no name of a service: letters, digits, '.', '_' and '-'")
        item = mapping(extending.service(name))
        profiles = texts(item.value["profiles"]) if "profiles" in item.value else None
        if not profiles or "*" in active or active & set(profiles):
            found[name] = item
    return found


def _volumes_of(told: Mapping[str, Any]) -> list[str]:
    mounts = told.get("volumes") or ()
    return [each["source"] for each in mounts if each["type"] == "volume" and each.get("source")]


class _Fit:
    """Whether the services that count fit together, as compose asks before it does anything."""

    def __init__(self, items: Mapping[str, Item], model: Mapping[str, Any]) -> None:
        self._items = items
        self._model = model
        self._services: Mapping[str, Any] = model["services"]

    def check(self) -> None:
        """Raise ConfigError for the first thing that does not."""
        containers: dict[str, str] = {}
        for name, told in self._services.items():
            if not told.get("image") and "build" not in told:
                self._items[name].refuse(f"service {name} has neither image nor build")
            for network in told.get("networks") or ():
                if network not in self._model["networks"]:
                    self._refuse(name, "networks", f"service {name} is in a network that is not there: {network}")
            for volume in _volumes_of(told):
                if volume not in self._model["volumes"]:
                    self._refuse(name, "volumes", f"service {name} mounts a volume that is not there: {volume}")
            if "network_mode" in told and told.get("networks"):
                self._refuse(name, "network_mode", f"service {name} has both network_mode and networks")
            container = told.get("container_name")
            if container in containers:
                what = f"services {containers[container]} and {name} have one container name: {container}"
                self._refuse(name, "container_name", what)
            if container:
                containers[container] = name
            self._limits(name, told)
            self._dependencies(name, told)
        self._circles()

    def _refuse(self, name: str, key: str, message: str) -> NoReturn:
        self._items[name].refuse_key(key, message)

    def _limits(self, name: str, told: Mapping[str, Any]) -> None:
        limits = ((told.get("deploy") or {}).get("resources") or {}).get("limits")
        for key, of_deploy in (("cpus", "cpus"), ("mem_limit", "memory"), ("pids_limit", "pids")):
            if told.get(key) is not None and limits is not None and limits.get(of_deploy) != told[key]:
                self._refuse(name, key, f"service {name}: {key} and deploy.resources.limits.{of_deploy} differ")

    def _dependencies(self, name: str, told: Mapping[str, Any]) -> None:
        for other, how in (told.get("depends_on") or {}).items():
            if other not in self._services and how.get("required"):
                key = "depends_on" if "depends_on" in self._items[name].value else "network_mode"
                what = f"service {name} depends on {other}, which is not there or has no active profile"
                self._refuse(name, key, what)

    def _circles(self) -> None:
        """Depth first, with a trail of its own: a chain may be longer than Python's stack."""
        done: set[str] = set()
        for name in self._services:
            trail = {} if name in done else {name: self._after(name)}
            while trail:
                last = next(reversed(trail))
                other = next(trail[last], None)
                if other is None:
                    done.add(last)
                    del trail[last]
                elif other in trail:
                    circle = [*list(trail)[list(trail).index(other) :], other]
                    self._refuse(last, "depends_on", "services wait for each other: " + " -> ".join(circle))
                elif other not in done and other in self._services:
                    trail[other] = self._after(other)

    def _after(self, name: str) -> Iterator[str]:
        return iter(self._services[name].get("depends_on") or ())
