"""What is installed is the whole stack: the wheel is built, installed elsewhere and run from another directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from cc import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the tools that are here; nothing is fetched."""
    into = tmp_path_factory.mktemp("wheel")
    run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(ROOT))
    (built,) = into.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("site")
    run_pip("install", "--no-deps", "--target", str(into), str(wheel))
    return into


def run_pip(*words: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "-q", *words]
    done = subprocess.run(pip, env={**os.environ, "PIP_NO_INDEX": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another project, that has tasks and playbooks of its own."""
    (tmp_path / "tasks.py").write_text("raise SystemExit('the tasks of another project')\n")
    (tmp_path / "cc.py").write_text("raise SystemExit('the cc of another project')\n")
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "up.yml").write_text("not a playbook")
    return tmp_path


def program(site: Path, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`context-cleaner` as pip installed it."""
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(directory), "CC_HOME": str(directory / "state"),
        "PYTHONPATH": str(site), "DOCKER_HOST": f"unix://{directory}/none.sock", "CC_PROJECT": "cc-distribution",
    }  # fmt: skip
    asked = [sys.executable, str(site / "bin" / "context-cleaner"), *words]
    return subprocess.run(asked, cwd=directory, env=environ, capture_output=True, text=True, check=False, timeout=120)


def test_the_wheel_holds_the_stack_beside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in ("tasks.py", "docker-compose.yml", "playbooks", "config", "scripts"):
        source = ROOT / path
        files = [source] if source.is_file() else [each for each in source.rglob("*") if each.is_file()]
        for file in files:
            if "__pycache__" not in file.parts:
                assert f"cc/_stack/{file.relative_to(ROOT)}" in names
    for package in (ROOT / "cc").rglob("*.py"):
        assert str(package.relative_to(ROOT)) in names
    for data in (
        "cc/dashboard/templates/page.html",
        "cc/dashboard/static/page.css",
        "cc/usage/prices.json",
        "cc/tokens/pieces.bin",
    ):
        assert data in names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    for name in zipfile.ZipFile(wheel).namelist():
        assert name.startswith(("cc/", "cc_runner-")), name
        assert "__pycache__" not in name
        assert not name.startswith("cc/_stack/tests")


def test_what_it_says_of_itself_is_what_the_project_says(site: Path) -> None:
    (info,) = site.glob("cc_runner-*.dist-info")
    about = PathDistribution(info)
    assert about.version == __version__
    assert about.metadata["Name"] == "cc-runner"
    assert about.metadata["License-Expression"] == "MIT"
    assert about.metadata["Requires-Python"] == ">=3.10"
    assert [(each.name, each.value) for each in about.entry_points] == [("context-cleaner", "cc.program:main")]
    required = [each for each in about.requires or [] if "extra ==" not in each]
    assert required
    assert [each for each in required if ">=" not in each] == []  # each with a lower bound


def test_the_version_stands_in_one_place() -> None:
    assert re.findall(r'^version\s*=\s*"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE) == []
    holders = [
        path.relative_to(ROOT)
        for path in [*(ROOT / "cc").rglob("*.py"), ROOT / "tasks.py", ROOT / "pyproject.toml"]
        if re.search(rf'["\']{re.escape(__version__)}["\']', path.read_text())
    ]
    assert holders == [Path("cc/__init__.py")]


def test_it_says_its_version_and_lists_its_commands(site: Path, elsewhere: Path) -> None:
    assert program(site, elsewhere, "--version").stdout.strip() == f"context-cleaner {__version__}"
    listed = program(site, elsewhere, "--list")
    assert listed.returncode == 0, listed.stderr
    for name in ("up", "down", "restart", "status", "usage", "plan", "play"):
        assert re.search(rf"^ +{name}\b", listed.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [("nonsense",), ("up", "--wrong"), ("play",), ("status", "--service")])
def test_wrong_words_exit_2_and_say_what_to_type(site: Path, elsewhere: Path, words: tuple[str, ...]) -> None:
    done = program(site, elsewhere, *words)
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_it_plans_its_own_stack_from_anywhere_and_touches_nothing(site: Path, elsewhere: Path) -> None:
    before = sorted(path.relative_to(elsewhere) for path in elsewhere.rglob("*"))
    done = program(site, elsewhere, "plan", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [step["name"] for step in plan["steps"]][:3] == ["supervisor", "clickhouse password", "clickhouse"]
    assert plan["command"] == "plan"
    assert sorted(path.relative_to(elsewhere) for path in elsewhere.rglob("*")) == before


def test_it_runs_from_what_was_installed(site: Path, elsewhere: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site)}
    code = "import cc, os; from cc.services.stack import stack_root; print(cc.__file__, stack_root())"
    (elsewhere / "cc.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=environ, capture_output=True, text=True, check=True
    )
    package, root = done.stdout.split()
    assert package == str(site / "cc" / "__init__.py")
    assert root == str(site / "cc" / "_stack")
    assert (Path(root) / "docker-compose.yml").read_bytes() == (ROOT / "docker-compose.yml").read_bytes()
