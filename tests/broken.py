"""Programs that are there and cannot be used, each in its own way, and a legacy docker-compose: all are real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

METADATA = '{"SchemaVersion": "0.1.0", "Vendor": "somebody", "Version": "v2"}'
TRACEBACK = """\
Traceback (most recent call last):
  File "/usr/bin/docker-compose", line 33, in <module>
    sys.exit(load_entry_point('docker-compose==1.29.2', 'console_scripts', 'docker-compose')())
ModuleNotFoundError: No module named 'distutils'"""
REFUSED = """\
The Compose file '%s' is invalid because:
%s

You might be seeing this error because you're using the wrong Compose file version. Either specify a supported version \
(e.g "2.2" or "3.3") and place your service definitions under the `services` key, or omit the `version` key and place \
your service definitions at the root of the file to use version 1.
For more on the Compose file format versions, see https://docs.docker.com/compose/compose-file/"""


def script(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)


def without_right(path: Path) -> None:
    script(path, "exit 0")
    path.chmod(0o644)


def for_another_machine(path: Path) -> None:
    """The head of a program for aarch64, or on such a machine for x86-64."""
    import platform

    machine = b"\x3e" if platform.machine() in ("aarch64", "arm64") else b"\xb7"
    script(path)
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine + b"\x00\x01" + bytes(43))


def without_interpreter(path: Path) -> None:
    script(path)
    path.write_text("#!/nonexistent/python3\n")


WAYS: dict[str, Callable[[Path], None]] = {
    "no right": without_right,
    "another machine's": for_another_machine,
    "no interpreter": without_interpreter,
    "127": lambda path: script(path, "exec /nonexistent/program"),
    "SIGSEGV": lambda path: script(path, "kill -SEGV $$"),
    "traceback": lambda path: script(path, f"cat >&2 <<'END'\n{TRACEBACK}\nEND", "exit 1"),
}


def plugin_that_breaks_later(path: Path, *lines: str) -> None:
    """To docker it looks well."""
    script(path, f"""[ "$1" = docker-cli-plugin-metadata ] && echo '{METADATA}' && exit 0""", *lines)


def legacy(path: Path) -> None:
    """What docker-compose 1.29.2 refuses, in its own words; all else is done by the compose that is here."""
    name = REFUSED % ("$2", "'name' does not match any of the regexes: '^x-'")
    newer = REFUSED % ("$2", "services.a.healthcheck value 'start_interval' does not match any of the regexes: '^x-'")
    script(
        path,
        'case " $* " in',
        '" version --short ") echo 1.29.2; exit 0 ;;',
        '*" --format "*) printf "Validate and view the Compose file.\\n\\nUsage: config [options]\\n" >&2; exit 1 ;;',
        "esac",
        f"grep -q '^name:' \"$2\" && {{ cat >&2 <<END\n{name.replace('`', chr(92) + '`')}\nEND\nexit 1; }}",
        f'grep -q start_interval "$2" && {{ cat >&2 <<END\n{newer.replace("`", chr(92) + "`")}\nEND\nexit 1; }}',
        'exec docker compose "$@"',
    )
