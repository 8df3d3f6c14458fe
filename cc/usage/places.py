"""Where Claude Code's session files lie, and which there are. Imports request.

    <root>/projects/<slug>/<session>.jsonl                        a session
    <root>/projects/<slug>/<session>/subagents/agent-<id>.jsonl   its sub-agents

Whatever cannot be listed is named and left out: a directory without rights, a FIFO or a device (opening one could wait
for ever), a file that vanished since it was listed, a loop of symbolic links.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cc.usage.request import UNKNOWN

SUFFIX = ".jsonl"
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Listed(NamedTuple):
    """A session file as it was found. `mark`: device, inode, bytes, nanoseconds of the last change."""

    path: str
    folder: str
    session: str
    mark: tuple[int, int, int, int]


def roots(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where session files may lie, whether it exists or not.

    `CLAUDE_CONFIG_DIR` (several, separated by commas; each may itself be a `projects` folder) replaces the defaults,
    which are claude's folders under `XDG_CONFIG_HOME` or ~/.config, and ~/.claude. Without HOME the user database
    is asked.
    """
    home = environ.get("HOME") or _home_of_user()
    given = [part.strip() for part in environ.get("CLAUDE_CONFIG_DIR", "").split(",")]
    named = [os.path.abspath(_expanded(part, home)) for part in given if part]
    if not named:
        config = environ.get("XDG_CONFIG_HOME", "")
        if not os.path.isabs(config):  # a relative one is to be ignored, as its specification says
            config = os.path.join(home, ".config") if home else ""
        folders = [os.path.join(config, "claude") if config else "", os.path.join(home, ".claude") if home else ""]
        named = [os.path.join(folder, "projects") for folder in folders if folder]
    return tuple(Path(path) for path in dict.fromkeys(named))


def session_files(places: tuple[Path, ...], unreadable: list[tuple[str, str]]) -> list[Listed]:
    """Every session file, in path order, and each once however many paths lead to it; what can't be read is added to
    `unreadable`, with why."""
    found: list[Listed] = []
    seen: set[tuple[int, int]] = set()
    for folder, session, path in _paths(places, unreadable):
        try:
            status = os.stat(path)
        except OSError as error:
            unreadable.append((path, why(error)))
            continue
        if not stat.S_ISREG(status.st_mode):
            unreadable.append((path, "not a regular file"))
        elif (identity := (status.st_dev, status.st_ino)) not in seen:
            seen.add(identity)
            found.append(Listed(path, folder, session, _mark(status)))
    return found


def opened(listed: Listed) -> tuple[int, tuple[int, int, int, int]]:
    """A descriptor of the file, and its mark now. Raises OSError, also if it is no longer a regular file."""
    descriptor = os.open(listed.path, FLAGS)  # should it have become a FIFO meanwhile, this doesn't wait
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    return descriptor, _mark(status)


def _mark(status: os.stat_result) -> tuple[int, int, int, int]:
    """Each in 63 bits: a time of change may lie in any year."""
    device, inode, changed = (number & (2**63 - 1) for number in (status.st_dev, status.st_ino, status.st_mtime_ns))
    return device, inode, status.st_size, changed


def _paths(places: tuple[Path, ...], unreadable: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """(folder, session, path) of every session file, in path order."""
    seen: set[tuple[int, int]] = set()  # a directory that is reached again, by a link or by a root inside a root
    for place in places:
        base = _projects_of(place)
        within = len(base.rstrip(os.sep)) + 1
        found: list[str] = []
        waiting = [base]
        while waiting:
            found.extend(_listed(waiting, seen, unreadable, base))
        for path in sorted(found):
            parts = path[within:].split(os.sep)
            yield (shown(parts[0]) if len(parts) > 1 else UNKNOWN), shown(_session(parts)), path


def _session(parts: Sequence[str]) -> str:
    """Of a path below `projects`: the directory that holds `subagents`, else the file's own name.

    A project or a session may be called `subagents` itself.
    """
    for place in range(2, len(parts) - 1):
        if parts[place] == "subagents":
            return parts[place - 1]
    return parts[-1][: -len(SUFFIX)]


def _listed(
    waiting: list[str], seen: set[tuple[int, int]], unreadable: list[tuple[str, str]], base: str
) -> Iterator[str]:
    """Take one directory off the list: its session files; its directories go onto the list."""
    directory = waiting.pop()
    try:
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(directory) as entries:
            for entry in entries:
                if _is_directory(entry):
                    waiting.append(entry.path)
                elif entry.name.endswith(SUFFIX):
                    yield entry.path
    except (FileNotFoundError, NotADirectoryError):
        if directory != base:  # a root that is not there is no fault
            unreadable.append((directory, "vanished while it was read"))
    except OSError as error:
        unreadable.append((directory, why(error)))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: no directory, and if it is called like a session file it is named there
        return False


def _projects_of(place: Path) -> str:
    """A root is a configuration folder with `projects` in it, or a `projects` folder itself."""
    inside = os.path.join(place, "projects")
    return inside if place.name != "projects" and os.path.isdir(inside) else str(place)


def _expanded(path: str, home: str) -> str:
    return home + path[1:] if home and (path == "~" or path.startswith("~/")) else path


def _home_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def shown(path: str) -> str:
    """A path that can be written out: bytes of it that are no UTF-8 become a replacement character."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "replace")


def why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "vanished, or a link that leads nowhere"
    return (error.strerror or str(error)).lower()
