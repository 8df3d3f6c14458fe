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
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path

import msgspec

from cc.usage.request import UNKNOWN

SUFFIX = ".jsonl"
PROJECTS = "projects"
NOT_THERE = "is not there"
BITS = 2**63 - 1
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A session file as it was found. `mark`: device, inode, bytes, nanoseconds of the last change. `within` is how
    long the part of its path is that is its root's."""

    path: str
    within: int
    mark: tuple[int, int, int, int]

    @property
    def names(self) -> tuple[str, str]:
        """Of its folder, which is a project's, and of its session; a sub-agent's file is its session's."""
        parts = self.path[self.within :].split(os.sep)
        folder = shown(parts[0]) if len(parts) > 1 else UNKNOWN
        for place in range(2, len(parts) - 1):  # a project or a session may be called `subagents` itself
            if parts[place] == "subagents":
                return folder, shown(parts[place - 1])
        return folder, shown(parts[-1][: -len(SUFFIX)])


class Listing(msgspec.Struct):
    """All session files, in path order, and each once however many paths lead to it. `unreadable` is what could not be
    listed, with why; `absent` are directories of which it is not known what is in them, with why: what is not there
    need not have been deleted."""

    files: list[Listed] = []
    unreadable: list[tuple[str, str]] = []
    absent: dict[str, str] = {}

    def state(self, marks: Iterable[tuple[int, int, int, int]] | None = None) -> bytes:
        """16 bytes that are others as soon as there is a file more or less, or one has another mark. `marks` are those
        of the same files at the moment when each was read."""
        digest = blake2b(digest_size=16)
        absent = [text for item in sorted(self.absent.items()) for text in item]
        digest.update(os.fsencode("\0".join([*[each.path for each in self.files], "", *absent])))
        digest.update(msgspec.msgpack.encode([each.mark for each in self.files] if marks is None else list(marks)))
        return digest.digest()

    def gone(self, paths: Iterable[bytes]) -> tuple[int, dict[str, int]]:
        """Of files that are not listed: how many were deleted, and how many are known of each absent directory."""
        deleted, found = 0, dict.fromkeys(sorted(self.absent, reverse=True), 0)
        under = [(os.fsencode(os.path.join(path, "")), path) for path in found]  # the innermost first
        for path in paths:
            its = next((name for start, name in under if path.startswith(start)), None)
            if its is None:
                deleted += 1
            else:
                found[its] += 1
        return deleted, {path: number for path, number in sorted(found.items()) if number}


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


def session_files(places: tuple[Path, ...]) -> Listing:
    """Every session file under these roots."""
    listing = Listing()
    directories: set[tuple[int, int]] = set()
    seen: set[tuple[int, int]] = set()
    for place in places:
        base = _projects_of(place, listing)
        within = len(base.rstrip(os.sep)) + 1
        for entry in _entries(base, directories, listing):
            try:
                status = entry.stat()
            except OSError as error:
                listing.unreadable.append((entry.path, why(error)))
                continue
            mark = _mark(status)
            if not stat.S_ISREG(status.st_mode):
                listing.unreadable.append((entry.path, "not a regular file"))
            elif (one := mark[:2]) not in seen:
                seen.add(one)
                listing.files.append(Listed(entry.path, within, mark))
    return listing


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
    return status.st_dev & BITS, status.st_ino & BITS, status.st_size, status.st_mtime_ns & BITS


def _entries(base: str, seen: set[tuple[int, int]], listing: Listing) -> list[os.DirEntry[str]]:
    """What is called like a session file, in path order. `seen` are directories, which may be reached again: by a link,
    or by a root inside a root."""
    found: list[os.DirEntry[str]] = []
    waiting = [base]
    while waiting:
        _list(waiting, found, seen, listing, base)
    found.sort(key=attrgetter("path"))
    return found


def _list(
    waiting: list[str], found: list[os.DirEntry[str]], seen: set[tuple[int, int]], listing: Listing, base: str
) -> None:
    """Take one directory off the list: its session files are found; its directories go onto the list."""
    directory = waiting.pop()
    empty = True
    try:
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(directory) as entries:
            for entry in entries:
                empty = False
                if _is_directory(entry):
                    waiting.append(entry.path)
                elif entry.name.endswith(SUFFIX):
                    found.append(entry)
        if empty and directory == base:  # as a directory is on which nothing is mounted
            listing.absent[base] = "is empty"
    except (FileNotFoundError, NotADirectoryError):
        if directory == base:  # a root that is not there is no fault
            listing.absent[base] = NOT_THERE
        else:
            listing.unreadable.append((directory, "vanished while it was read"))
    except OSError as error:
        listing.unreadable.append((directory, why(error)))
        listing.absent[directory] = f"cannot be read ({why(error)})"


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: no directory, and if it is called like a session file it is named there
        return False


def _projects_of(place: Path, listing: Listing) -> str:
    """A root is a configuration folder with `projects` in it, or a `projects` folder itself."""
    inside = os.path.join(place, PROJECTS)
    if place.name != PROJECTS:
        if os.path.isdir(inside):
            return inside
        listing.absent[inside] = NOT_THERE
    return str(place)


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
