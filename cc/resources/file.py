"""A path on the disk: a file with its content, a directory, or nothing there; with its permission bits.

A converged step is one system call and no heavy import: a playbook may hold hundreds of these. `difflib` is loaded only
for a text that differs. What is at a path, though not what was wanted there (a directory where a file should be, a
socket, a device), is never replaced. A symbolic link is followed to be read and written (it stays a link); `absent`
removes the link itself and never what it points to.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.errors import ConfigError, Failure
from cc.files import os_failure, write_whole
from cc.resources.host import Host, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

DIFF_BYTES = 256 * 1024  # of either side; beyond it, nobody reads a diff
COMPARED_LINES = 2000  # of either side: difflib took 51 s for 20,000 lines of one bad pattern
DIFF_LINES = 200
OCTAL = re.compile(r"(?:0o)?[0-7]{3,5}")


@dataclass(frozen=True, slots=True)
class FileFact:
    """What is at a path. `kind`: absent, file, directory, other, or link (not followed, or leading nowhere).

    `mode` holds the permission bits, None where nothing is there; `size` in bytes.
    """

    path: str
    kind: str
    mode: int | None = None
    size: int = 0
    uid: int = -1
    gid: int = -1


def read_file(path: str, *, follow: bool = True) -> FileFact:
    """What is there now. Raises Failure permission_denied where that can't be seen, bad_config for no path at all."""
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENOENT and follow:
            return read_file(path, follow=False)  # nothing there, or a link that leads nowhere
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return FileFact(path, "absent")
        raise _failure(error, f"cannot look at {path}") from error
    except ValueError as error:  # a zero byte
        raise Failure(f"{path!r} cannot be a path: {error}", code="bad_config") from None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "other")
    return FileFact(path, kind, stat.S_IMODE(found.st_mode), found.st_size, found.st_uid, found.st_gid)


def parse_mode(given: object) -> int | None:
    """Permission bits from "0644" or "755"; None from None. Raises ConfigError for anything else.

    Only digits in a string: an int has lost its leading zero, or was read as octal already, and 420 could mean either.
    """
    if given is None:
        return None
    if isinstance(given, str) and OCTAL.fullmatch(given) and int(given, 8) <= 0o7777:
        return int(given, 8)
    raise ConfigError(
        f"{given!r} is no mode: expected three or four octal digits", field="mode", hint='quoted, such as mode: "0644"'
    )


class FileAction:
    """A file, a directory, or nothing, at a path."""

    probed = True

    def __init__(
        self,
        path: str,
        *,
        state: str = "file",
        content: bytes | None = None,
        mode: int | None = None,
        force: bool = False,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.name = f"{'directory' if state == 'directory' else 'file'} {path}"
        self._path = path
        self._state = state
        self._content = content
        self._mode = mode
        self._force = force
        self._secrets = secrets

    def probe(self, context: Context) -> Probe:
        found = read_file(self._path, follow=self._state != "absent")
        if self._state == "absent":
            gone = found.kind == "absent"
            return Probe(gone, f"{self._path} is {'absent' if gone else f'there (a {found.kind})'}", found.kind)
        if found.kind != self._state:
            there = "does not exist" if found.kind == "absent" else f"is a {found.kind}, not a {self._state}"
            diff = self._diff(b"") if found.kind == "absent" and self._content else None
            return Probe(False, f"{self._path} {there}", (found.kind, found.mode, None), diff=diff)
        reasons = []
        if self._mode is not None and found.mode != self._mode:
            reasons.append(f"has mode {found.mode:04o}, not {self._mode:04o}")
        diff = None
        same = True
        if self._content is not None:
            same, diff = self._compare(found)
            if not same:
                reasons.append("has another content")
        answer = (found.kind, found.mode, same)
        if reasons:
            return Probe(False, f"{self._path} {' and '.join(reasons)}", answer, diff=diff)
        return Probe(True, f"{self._path} is a {found.kind}", answer)

    def check(self, context: Context, before: Probe) -> None:
        if self._state == "absent":
            self._check_removal()
            return
        found = read_file(self._path)
        if found.kind not in ("absent", "link", self._state):
            raise Failure(
                f"{self._path} is a {found.kind} and is not replaced by a {self._state}", code="bad_config",
                hint=f"mv {self._path} {self._path}.old   # if it is in the way",
            )  # fmt: skip
        parent = os.path.dirname(os.path.realpath(self._path))
        while not os.path.lexists(parent):  # in a plan, an earlier step may be what makes it
            parent = os.path.dirname(parent)
        if found.kind == "absent" and os.path.isdir(parent) and not os.access(parent, os.W_OK | os.X_OK):
            denied = OSError(errno.EACCES, f"{parent} is not writable")
            raise _failure(denied, f"cannot make {self._path}")

    def act(self, context: Context, before: Probe) -> Acted:
        if self._state == "absent":
            self._check_removal()
            self._remove()
            return Acted(f"removed {self._path}")
        if self._state == "directory":
            return self._make_directory()
        return self._write()

    def _compare(self, found: FileFact) -> tuple[bool, str | None]:
        """Whether the file holds the wanted bytes, and the diff if it doesn't."""
        wanted = self._content or b""
        if found.size != len(wanted) and max(found.size, len(wanted)) > DIFF_BYTES:
            return False, f"{self._path}: {found.size} bytes -> {len(wanted)} bytes"
        try:
            with open(self._path, "rb") as file:
                now = file.read()
        except OSError as error:
            raise _failure(error, f"cannot read {self._path}") from error
        return (True, None) if now == wanted else (False, self._diff(now))

    def _diff(self, now: bytes) -> str:
        """Unified, masked, at most so many lines; two sizes where the bytes are no text."""
        wanted = self._content or b""
        sizes = f"{self._path}: {len(now)} bytes -> {len(wanted)} bytes"
        if max(len(now), len(wanted)) > DIFF_BYTES or b"\0" in now or b"\0" in wanted:
            return sizes
        try:
            old, new = now.decode().splitlines(keepends=True), wanted.decode().splitlines(keepends=True)
        except UnicodeDecodeError:
            return sizes
        if max(len(old), len(new)) > COMPARED_LINES:
            return sizes
        import difflib

        from cc.shell.mask import Mask

        lines = list(difflib.unified_diff(old, new, f"{self._path} (is)", f"{self._path} (will be)"))
        if len(lines) > DIFF_LINES:
            lines[DIFF_LINES:] = [f"... {len(lines) - DIFF_LINES} more lines\n"]
        ended = (line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
        return Mask(self._secrets).text("".join(ended))

    def _make_directory(self) -> Acted:
        if read_file(self._path).kind == "directory":
            return self._change_mode()
        try:
            os.makedirs(self._path, exist_ok=True)
            if self._mode is not None:
                os.chmod(self._path, self._mode)
        except OSError as error:
            raise _failure(error, f"cannot make the directory {self._path}") from error
        return Acted(f"made {self._path}")

    def _write(self) -> Acted:
        old = read_file(self._path)
        exists = old.kind == "file"
        if exists and (self._content is None or self._compare(old)[0]):
            return self._change_mode()
        path = os.path.realpath(self._path)  # a link stays a link: what it points to is replaced
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            raise Failure(
                f"cannot write {self._path}: there is no directory {parent}", code="bad_config",
                hint=f"add a step before it: file: {{path: {parent}, state: directory}}",
            )  # fmt: skip
        mode = self._mode
        if mode is None:
            mode = old.mode if exists and old.mode is not None else 0o666 & ~_umask()
        try:
            write_whole(path, self._content or b"", mode=mode)
        except Failure as failure:
            raise Failure(failure.message, code=_code(failure), hint=_hint(failure.code, path)) from failure
        if exists and (old.uid, old.gid) != (os.geteuid(), os.getegid()):
            self._give_back(path, old, mode)
        return Acted(f"wrote {self._path}")

    def _give_back(self, path: str, old: FileFact, mode: int) -> None:
        """The new file gets the old one's owner: only root can, and whoever can't keeps it as his own."""
        try:
            os.chown(path, old.uid, old.gid)
            os.chmod(path, mode)  # chown takes the setuid bit away
        except PermissionError:
            pass

    def _change_mode(self) -> Acted:
        if self._mode is not None:
            try:
                os.chmod(self._path, self._mode)
            except OSError as error:
                raise _failure(error, f"cannot set the mode of {self._path}") from error
        return Acted(f"set the mode of {self._path}")

    def _check_removal(self) -> None:
        found = read_file(self._path, follow=False)
        if self._path in (os.path.sep, os.path.expanduser("~")) or os.path.ismount(self._path):
            raise Failure(f"{self._path} is not removed: it is a root, a home or a mount point", code="not_ours")
        if found.kind != "directory" or self._force:
            return
        try:
            inside = os.listdir(self._path)
        except OSError as error:
            raise _failure(error, f"cannot look into {self._path}") from error
        if inside:
            raise Failure(
                f"the directory {self._path} is not empty ({len(inside)} entries) and is kept", code="bad_config",
                hint="add `force: true` to remove it with all that is in it",
            )  # fmt: skip

    def _remove(self) -> None:
        try:
            if read_file(self._path, follow=False).kind != "directory":
                os.unlink(self._path)
            elif self._force:
                shutil.rmtree(self._path)
            else:
                os.rmdir(self._path)
        except FileNotFoundError:
            pass  # somebody else was quicker
        except OSError as error:
            raise _failure(error, f"cannot remove {self._path}") from error


def _failure(error: OSError, what: str) -> Failure:
    """`files.os_failure` for a path that the playbook chose."""
    failure = os_failure(error, what)
    return Failure(failure.message, code=_code(failure), hint=_hint(failure.code, str(error.filename or "")))


def _code(failure: Failure) -> str:
    """A path that can't be it (too long, a loop of links, a file for a parent) is a mistake in the playbook."""
    return "bad_config" if failure.code == "bad_answer" else failure.code


def _hint(code: str, path: str) -> str | None:
    where = os.path.dirname(path) or "."
    return {
        "disk_full": f"free some space: df -h {where}",
        "permission_denied": f"ls -ld {where}   # who may write there",
    }.get(code)


def _umask() -> int:
    """The process's umask. Setting it to read it would race with other steps' threads, so Linux is asked in words."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022


def encoded(text: str, field: str) -> bytes:
    """A text of the playbook as bytes. Raises ConfigError for half a character (YAML can write one: "\\ud800")."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigError(f"character {error.start + 1} is half of one and has no bytes", field=field) from None


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    state, content = args.get("state") or "file", args.get("content")
    if content is not None and state != "file":
        raise ConfigError(f"`content` goes with `state: file`, not with `state: {state}`", field="content")
    if args.get("mode") is not None and state == "absent":
        raise ConfigError("`mode` does not go with `state: absent`", field="mode")
    return FileAction(
        host.path(args["path"]),
        state=state,
        content=None if content is None else encoded(content, "content"),
        mode=parse_mode(args.get("mode")),
        force=bool(args.get("force")),
        secrets=host.secrets,
    )


VERB = Verb(
    VerbSpec(
        "file",
        (
            Field("path", "path", required=True, doc="where"),
            Field("state", "string", choices=("file", "directory", "absent"), default="file", doc="what to ensure"),
            Field("content", "string", doc="all that the file holds; left as it is where this is left out"),
            Field("mode", "string", doc='permission bits in octal digits: "0644"'),
            Field("force", "bool", default=False, doc="absent: also a directory that is not empty"),
        ),
        "a file with its content, a directory, or nothing there",
        positional="path",
    ),
    _make,
)
