"""Claude Code's session files (LADDERS.md, L7 rung 2): where they lie, and what they tell.

    <root>/projects/<slug>/<session>.jsonl                        a session
    <root>/projects/<slug>/<session>/subagents/agent-<id>.jsonl   its sub-agents

Whatever cannot be read is named and left out, and its neighbours are counted: a directory without rights, a FIFO or a
device (opening one could wait for ever), a file that vanished since it was listed, a loop of symbolic links.
Imports lines, decode, recover, ledger, request.
"""

from __future__ import annotations

import gc
import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cc.usage.ledger import Ledger
from cc.usage.lines import LineCount, candidates
from cc.usage.request import UNKNOWN, Request

SUFFIX = ".jsonl"
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class Transcripts:
    """What all session files tell. `project_names` is the readable name of each folder (`Request.project`)."""

    requests: list[Request]
    project_names: Mapping[str, str]
    files: int
    lines: int
    skipped: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]


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


def read(places: tuple[Path, ...]) -> Transcripts:
    """Read every session file under these roots, in path order, each message counted once.

    Raises nothing that is a file's fault: that is in `skipped` and `unreadable`.
    """
    reader = _Reader()
    unreadable: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()  # the same file by two paths is one file
    files = 0
    with _no_collection():
        for folder, session, path in _session_files(places, unreadable):
            descriptor = None
            try:
                descriptor, size = _opened(path, seen)
                if descriptor is not None:
                    files += 1
                    reader.read(descriptor, size, folder, session)
            except OSError as error:  # when it was opened, or in the middle of it: a disk, a network mount
                unreadable.append((path, _why(error)))
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        requests = reader.ledger.settle()
    count = reader.count
    skipped = dict(sorted(count.skipped.items()))
    named = tuple((_shown(path), why) for path, why in unreadable)
    return Transcripts(requests, reader.names.found, files, count.lines, skipped, named)


class _Reader:
    """Puts the requests of files into one ledger. Its hot loop is `read`; what is odd goes through `_recover`."""

    def __init__(self) -> None:
        self.count, self.ledger, self.names = LineCount(), Ledger(), _ProjectNames()

    def read(self, descriptor: int, size: int, folder: str, session: str) -> None:
        """Read one file. Raises OSError as `read` does."""
        from cc.usage.decode import BadCountsError, decode_row, request_of

        add, nameless = self.ledger.add, True
        for line in candidates(descriptor, size, self.count):
            row = decode_row(line)
            if row is None:
                self._recover(line, folder, session)
                continue
            try:
                request = request_of(row, session, folder)
            except BadCountsError:
                self.count.skipped["bad_counts"] += 1
                continue
            if request is not None:
                add(request, row.uuid)
                if nameless and row.cwd:
                    nameless = False
                    self.names.see(folder, row.cwd)

    def _recover(self, line: bytes, folder: str, session: str) -> None:
        from cc.usage.decode import BadCountsError, request_of
        from cc.usage.recover import recover

        rows, lost = recover(line)
        for row in rows:
            try:
                request = request_of(row, session, folder)
            except BadCountsError:
                lost = "bad_counts"
                continue
            if request is not None:
                self.ledger.add(request, row.uuid)
                if row.cwd:
                    self.names.see(folder, row.cwd)
        if lost is not None:
            self.count.skipped[lost] += 1


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hundreds of thousands of rows are made and none is garbage: looking for it takes a tenth of the reading."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _session_files(places: tuple[Path, ...], unreadable: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """(folder, session, path) of every session file, in path order."""
    seen: set[tuple[int, int]] = set()  # a directory that is reached again, by a link or by a root inside a root
    for place in places:
        base = _projects_of(place)
        found: list[str] = []
        waiting = [base]
        while waiting:
            found.extend(_listed(waiting, seen, unreadable, base))
        for path in sorted(found):
            parts = os.path.relpath(path, base).split(os.sep)
            session = parts[parts.index("subagents") - 1] if "subagents" in parts[1:] else parts[-1][: -len(SUFFIX)]
            yield (_shown(parts[0]) if len(parts) > 1 else UNKNOWN), _shown(session), path


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
        unreadable.append((directory, _why(error)))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: no directory, and if it is called like a session file it is named there
        return False


def _opened(path: str, seen: set[tuple[int, int]]) -> tuple[int | None, int]:
    """A descriptor and the size now; None for a file that was read already. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "not a regular file")
    descriptor = os.open(path, FLAGS)  # should it have become a FIFO meanwhile, this doesn't wait
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and (identity := (status.st_dev, status.st_ino)) not in seen:
        seen.add(identity)
        return descriptor, status.st_size
    os.close(descriptor)
    return None, 0


class _ProjectNames:
    """A folder's name is a working directory with every odd character made a dash: the directory itself reads better.

    The first directory whose dashed form is the folder's name is the project's; else the first that its rows name.
    """

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._sure: set[str] = set()

    def see(self, folder: str, cwd: str) -> None:
        if folder in self._sure or folder == UNKNOWN:
            return
        if re.sub(r"[^A-Za-z0-9]", "-", cwd) == folder:
            self._sure.add(folder)
            self.found[folder] = cwd
        else:
            self.found.setdefault(folder, cwd)


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


def _shown(path: str) -> str:
    """A path that can be written out: bytes of it that are no UTF-8 become a replacement character."""
    return os.fsencode(path).decode("utf-8", "replace")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "vanished, or a link that leads nowhere"
    return (error.strerror or str(error)).lower()
