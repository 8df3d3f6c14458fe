"""The import rule of docs/DESIGN: who may know whom. Parsed from the sources, so that it holds for lazy imports too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {"errors", "clock", "document", "files", "settings"}
MAY = {
    "bytecode": set(),
    "errors": set(),
    "clock": set(),
    "document": {"errors"},
    "files": {"errors"},
    "settings": {"errors", "document"},
    "engine": LEAVES,
    "shell": LEAVES,
    "resources": LEAVES | {"engine", "shell"},
    "services": LEAVES | {"engine", "shell", "resources"},
    "usage": LEAVES | {"engine", "shell", "resources"},
    "tokens": LEAVES | {"engine", "shell", "resources"},
    "supervisor": LEAVES | {"engine", "shell", "resources", "services"},
    "dashboard": LEAVES | {"engine", "shell", "resources", "services", "usage"},
    "report": LEAVES | {"engine", "shell", "resources", "services", "usage", "tokens", "dashboard"},
    "command_line": LEAVES | {"engine", "shell", "report", "signals"},
    "signals": LEAVES | {"report"},
    "drill": LEAVES | {"engine", "shell", "resources", "services"},
    "operations": LEAVES
    | {"engine", "shell", "resources", "services", "supervisor", "usage", "tokens", "dashboard", "report"}
    | {"command_line", "feed", "ingest_command", "usage_command"},
    "feed": {"errors", "command_line"},
    "drill_command": LEAVES | {"engine", "report", "drill", "command_line"},
    "ingest_command": LEAVES | {"usage", "report", "command_line", "feed"},
    "usage_command": LEAVES | {"usage", "report", "command_line"},
    "program": LEAVES | {"bytecode", "services"},
}
ONE_IMPORTER = {
    "sh": "cc/shell/seam.py",
    "yaml": "cc/document.py",
    "psutil": "cc/resources/process_table.py",
    "requests": "cc/usage/clickhouse.py",
    "anthropic": "cc/tokens/api.py",
    "flask": "cc/dashboard/app.py",
    "tabulate": "cc/report/table.py",
    "invoke": "cc/program.py",
}
FILES = sorted((ROOT / "cc").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of every import in the file, at whatever depth, but those for the type checker alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" if node.module == "cc" else node.module for alias in node.names}
    return names


def room(dotted: str) -> str:
    return dotted.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    inside = path.relative_to(ROOT / "cc").parts
    own = inside[0].removesuffix(".py")
    if own == "__init__":
        pytest.fail("the package itself imports nothing") if imported(path) - {"__future__"} else None
        return
    used = {room(name) for name in imported(path) if name.startswith("cc.")} - {own, "__version__"}
    assert used <= MAY[own], f"{own} may not import {sorted(used - MAY[own])}"


@pytest.mark.parametrize(("package", "importer"), ONE_IMPORTER.items())
def test_a_third_party_package_has_one_importing_module(package: str, importer: str) -> None:
    found = {
        str(path.relative_to(ROOT)) for path in FILES if package in {name.split(".")[0] for name in imported(path)}
    }
    assert found == {importer}


@pytest.mark.parametrize("name", ["protocol", "transport", "client"])
def test_what_asks_the_supervisor_imports_only_leaves(name: str) -> None:
    used = {room(found) for found in imported(ROOT / "cc" / "supervisor" / f"{name}.py") if found.startswith("cc.")}
    assert used <= LEAVES | {"supervisor"}


def test_every_room_has_its_rule() -> None:
    rooms = {path.relative_to(ROOT / "cc").parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert rooms == set(MAY)
