"""What crosses the seam: a Command goes in, a Result comes out. Pure data; starts nothing.

May import cc.errors and the standard library; knows nothing of `sh`, of processes or of who asks.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, NamedTuple

from cc.shell.mask import MASK, Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINE_SHOWN = 500  # characters of one line in evidence: a minified line must not fill a report


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """One program and its words, with all that bounds it. Never a shell string: a script's text is `input` of `sh -s`.

    A name without a slash is looked up on the PATH of the command's own environment.
    """

    argv: tuple[str, ...]
    _: KW_ONLY
    env: Mapping[str, str] | None = None  # added to the inherited environment
    env_remove: tuple[str, ...] = ()  # names taken out of the inherited environment first
    cwd: str | None = None
    input: bytes = b""  # what standard input gives; empty is /dev/null
    deadline: float = 600.0  # seconds, for the whole command
    grace: float = 2.0  # seconds between the first signal and KILL
    secrets: tuple[str, ...] = ()  # masked wherever text comes back
    check: bool = True  # False: a non-zero exit comes back as a Result
    on_line: Callable[[str, str], None] | None = None  # ("stdout" | "stderr", line), in the caller's thread, masked
    keep: int = 256 * 1024  # bytes kept of each stream, half of its head and half of its tail
    despite_cancel: bool = False  # True: cleans up after a cancelled act, and is bounded by its deadline alone
    owned: bool = True  # False: without our mark, for what belongs to the user once it runs (dockerd)

    def __post_init__(self) -> None:
        for name in ("argv", "env_remove", "secrets"):
            value = getattr(self, name)
            if isinstance(value, (str, bytes)):
                raise TypeError(f"Command.{name} is a tuple of words, not {type(value).__name__}")
            object.__setattr__(self, name, tuple(value))
        if not self.argv:
            raise ValueError("Command.argv is empty")

    def __repr__(self) -> str:
        """Without environment and input, and masked: a repr ends up in tracebacks and logs."""
        return f"Command({self.masked_argv!r}, cwd={Mask(self.secrets).text(self.cwd or '.')!r})"

    @property
    def masked_argv(self) -> tuple[str, ...]:
        """The words as they may be shown."""
        mask = Mask(self.secrets)
        return tuple(mask.text(word) for word in self.argv)


class Result(NamedTuple):
    """What is known of a command that ended, or that could not start. True when it exited with 0. Secrets masked."""

    argv: tuple[str, ...]
    exit_code: int  # negative: that signal ended it, or -9 could not; as in a shell, 127: missing, 126: can't start
    stdout: str = ""  # decoded, what can't be is replaced; head and tail around "... N bytes left out ..."
    stderr: str = ""
    duration_s: float = 0.0
    stdout_bytes: int = 0  # all that came, not only what was kept
    stderr_bytes: int = 0
    undecodable: bool = False  # some of the output was not UTF-8
    left_out: int = 0  # bytes that are in neither stdout nor stderr: do not parse what is not whole
    left_behind: tuple[str, ...] = ()  # "PID NAME" of what outlived the command and was ended; "(alive)": could not be

    def __bool__(self) -> bool:
        return self.exit_code == 0

    def tail(self, lines: int = 10) -> tuple[str, ...]:
        """The last lines of standard error, then of standard output while there is room; empty ones left out."""
        errors = _last(self.stderr, lines)
        return (*errors, *_last(self.stdout, lines - len(errors)))


def _last(text: str, lines: int) -> tuple[str, ...]:
    if lines <= 0:
        return ()
    full = [line.rstrip() for line in text[-64 * 1024 :].splitlines() if line.strip()]
    return tuple(line if len(line) <= LINE_SHOWN else line[:LINE_SHOWN] + "…" for line in full[-lines:])


__all__ = ["MASK", "Command", "Result"]
