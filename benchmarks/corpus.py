"""Session files to measure on: `python -m benchmarks.corpus DIRECTORY [--mb 1000] [--files 3000] [--large KIND]`.

    rows of ../shared/data/transcripts/sniffly, or of our own making with the same shape
        -> templates: each cut at what must be another in each copy
            -> DIRECTORY/projects/<slug>/<session>.jsonl, the rows over and over with new values in the cuts

New in each copy: message.id, requestId, uuid and parentUuid, sessionId, timestamp. All rows of one message have one id,
as streaming writes them, and the counts of the source. The same words make the same bytes. Files differ in size as real
ones do (log-normal), begin anywhere among the rows, and lie spread over `MONTHS` and 40 projects. No line is damaged or
spliced, so that any two right readers agree.

`--large KIND`: every ninth row is the result of a tool of 50 to 500 KB, escaped text with other rows among it. KIND is
`text` (what a command or a file said), or `agents` (what a sub-agent said; the client writes its `usage` beside, which
is not the session's own: a reader must pass over it, and one that looks for the word parses all of the row).
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Literal, get_args

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "transcripts" / "sniffly"
PROJECTS = 40
FIRST = datetime(2026, 3, 1, tzinfo=timezone.utc)
MONTHS = 5
SPAN_S = MONTHS * 30 * 86400
SPREAD = 1.0
"""The sigma of the logarithm of a file's size: the largest tenth of the files holds half of the bytes."""
Large = Literal["text", "agents"]
LARGE_EVERY = 8
LARGE_BYTES = (50_000, 500_000)
LARGE_BODIES = 48

CUT = re.compile(rb'"(requestId|uuid|parentUuid|sessionId|timestamp)":"([^"\\]*)"|"(id)":"(msg_[^"\\]*)"')
"""Never inside of a string: there a quote is escaped."""


@dataclass(frozen=True, slots=True)
class Made:
    """What lies in a corpus. `rows` are lines, `answers` those of them with usage, `messages` the distinct ones."""

    directory: Path
    files: int
    bytes: int
    rows: int
    answers: int
    messages: int


class Template:
    """One row with holes. `fill` gives it new values; what has one value in the source has one in the copy."""

    def __init__(self, line: bytes) -> None:
        self.parts: list[bytes] = []
        self.holes: list[tuple[str, bytes]] = []  # (kind, the old value)
        last = 0
        for found in CUT.finditer(line):
            which = 2 if found[1] else 4
            self.parts.append(line[last : found.start(which)])
            self.holes.append((found[which - 1].decode(), found[which]))
            last = found.end(which)
        self.parts.append(line[last:] + b"\n")
        self.message = next((old for kind, old in self.holes if kind == "id"), None)

    def fill(self, copy: Copy) -> bytes:
        pieces = [self.parts[0]]
        for (kind, old), part in zip(self.holes, self.parts[1:], strict=True):
            pieces += (copy.value(kind, old), part)
        return b"".join(pieces)


class Copy:
    """The new values of one pass over the rows in one file. Time goes on from row to row, and from pass to pass."""

    def __init__(self, random: Random, session: bytes, moment: float) -> None:
        self._random, self._session, self.moment = random, session, moment
        self._new: dict[bytes, bytes] = {}

    def value(self, kind: str, old: bytes) -> bytes:
        if kind == "sessionId":
            return self._session
        if kind == "timestamp":
            self.moment += self._random.random() * 20
            return _stamp(self.moment)
        new = self._new.get(old)
        if new is None:
            if kind in ("uuid", "parentUuid"):
                new = _uuid(self._random)
            else:
                new = b"%s_01%022x" % (b"msg" if kind == "id" else b"req", self._random.getrandbits(88))
            self._new[old] = new
        return new


def make(directory: Path, *, mb: float = 1000, files: int = 3000, large: Large | None = None, seed: int = 7) -> Made:
    """Write a corpus of about so many megabytes (10^6) below `directory`, which must hold none yet. Raises OSError."""
    random = Random(seed)  # noqa: S311 - nothing secret comes of it
    lines = real_rows() or list(own_rows(random))
    if large is not None:
        lines = list(_with_large(lines, random, large))
    templates = [Template(line) for line in lines]
    folders = [directory / "projects" / f"-home-u-work-p{number:02}" for number in range(PROJECTS)]
    for folder in folders:
        folder.mkdir(parents=True)
    counts, due = [0, 0, 0, 0], 0.0  # what one file's last row was too much, the next ones make up for
    for number, size in enumerate(_sizes(random, mb * 1e6, files)):
        session, due = _uuid(random), due + size
        rows, messages, answers = _session(templates, random, session, due - counts[0])
        data = b"".join(rows)
        (folders[number % PROJECTS] / f"{session.decode()}.jsonl").write_bytes(data)
        for place, more in enumerate((len(data), len(rows), answers, messages)):
            counts[place] += more
    return Made(directory, files, *counts)


def _session(templates: list[Template], random: Random, session: bytes, size: float) -> tuple[list[bytes], int, int]:
    """The rows of one file until it is that large, one at least; the number of messages in them, and of their rows."""
    copy = Copy(random, session, FIRST.timestamp() + random.random() * SPAN_S)
    begin, rows, length, messages, answers = random.randrange(len(templates)), list[bytes](), 0, 0, 0
    seen: set[bytes] = set()
    for number, template in enumerate(islice(cycle(templates), begin, None)):
        if number % len(templates) == 0:
            copy, seen = Copy(random, session, copy.moment), set()
        rows.append(template.fill(copy))
        length += len(rows[-1])
        if template.message is not None:
            answers += 1
            messages += template.message not in seen
            seen.add(template.message)
        if length >= size:
            return rows, messages, answers
    raise AssertionError("a cycle has no end")


def _sizes(random: Random, total: float, files: int) -> list[float]:
    """One for each file, together `total`."""
    weights = [math.exp(random.gauss(0, SPREAD)) for _ in range(files)]
    return [total * weight / sum(weights) for weight in weights]


def real_rows() -> list[bytes]:
    """The recorded rows, none where they are not there."""
    return [line for path in sorted(REAL.rglob("*.jsonl")) for line in path.read_bytes().splitlines() if line]


def own_rows(random: Random, count: int = 80) -> Iterator[bytes]:
    """Turns of a session in the shape of the recorded rows: a call of a tool in one to three rows, and its result."""
    for turn in range(count):
        identity = f"msg_{turn:024}"
        written, read = random.randrange(20_000), random.randrange(120_000)
        for part in range(random.choice((1, 1, 2, 3))):
            text = {"type": "text", "text": _prose(random, random.randrange(40, 900))}
            call = {"type": "tool_use", "id": f"toolu_{turn:024}", "name": "Bash", "input": {"command": text["text"]}}
            usage = {
                "input_tokens": 4, "cache_creation_input_tokens": written, "cache_read_input_tokens": read,
                "output_tokens": random.randrange(1, 800), "service_tier": "standard",
            }  # fmt: skip
            message = {
                "id": identity, "type": "message", "role": "assistant", "model": "claude-sonnet-4-20250514",
                "content": [call if part else text], "stop_reason": None, "stop_sequence": None, "usage": usage,
            }  # fmt: skip
            yield _row(turn, part, "assistant", message, requestId=f"req_{turn:024}")
        output = _prose(random, int(random.lognormvariate(7.5, 1.3)))
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn:024}", "content": output}
        yield _row(turn, 9, "user", {"role": "user", "content": [result]}, toolUseResult={"stdout": output})


def _row(turn: int, part: int, kind: str, message: object, **more: object) -> bytes:
    """One line as the client lays it out: no spaces, nothing escaped that need not be."""
    row = {
        "parentUuid": f"{turn:08}-0000-4000-8000-{part:012}", "isSidechain": False, "userType": "external",
        "cwd": "/home/u/work", "sessionId": "s", "version": "2.1.330", "type": kind, "message": message,
        "uuid": f"{turn:08}-0000-4000-8000-{part + 1:012}", "timestamp": "2026-03-01T00:00:00.000Z", **more,
    }  # fmt: skip
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()


def _prose(random: Random, size: int) -> str:
    words = (
        "def",
        "run(",
        '"path"',
        "the",
        "of",
        "=",
        "->",
        "error:",
        "for",
        "é",
        "{}",
        "\n    ",
        "value",
        "0x1f",
        "→",
    )
    text = " ".join(random.choices(words, k=size // 4 + 1))
    return text[:size]


def _with_large(lines: list[bytes], random: Random, large: Large) -> Iterator[bytes]:
    """These rows, after every eighth one a large result; as many rounds of them as there are bodies."""
    units = [json.dumps(line.decode(errors="replace"), ensure_ascii=False)[1:-1] for line in lines]
    message = {"role": "user", "content": [{"type": "tool_result", "content": "BODY"}]}
    usage = {"input_tokens": 3, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 4}
    beside = {"status": "completed", "totalTokens": 10, **({"usage": usage} if large == "agents" else {})}
    shell = json.loads(_row(0, 0, "user", message, toolUseResult=beside))
    for number, line in enumerate(islice(cycle(lines), LARGE_BODIES * LARGE_EVERY)):
        yield line
        if number % LARGE_EVERY == LARGE_EVERY - 1:
            body = "\\n".join(_until(random, units, random.randint(*LARGE_BYTES)))
            shell["uuid"] = str(number)
            whole = json.dumps(shell, separators=(",", ":"))
            yield whole.replace("BODY", body).encode()


def _until(random: Random, units: list[str], size: int) -> Iterator[str]:
    while size > 0:
        unit = random.choice(units)
        if len(unit) < LARGE_BYTES[0]:
            size -= len(unit.encode())
            yield unit


def _uuid(random: Random) -> bytes:
    digits = b"%032x" % random.getrandbits(128)
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


_hours: dict[int, str] = {}


def _stamp(moment: float) -> bytes:
    """As the client writes it, 2026-03-01T00:00:00.000Z: `strftime` only once an hour, it is slow."""
    hour, left = divmod(int(moment * 1000), 3_600_000)
    prefix = _hours.get(hour)
    if prefix is None:
        prefix = _hours[hour] = datetime.fromtimestamp(hour * 3600, timezone.utc).strftime("%Y-%m-%dT%H:")
    minute, left = divmod(left, 60_000)
    return f"{prefix}{minute:02}:{left // 1000:02}.{left % 1000:03}Z".encode()


def main(words: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.corpus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where it goes; CLAUDE_CONFIG_DIR for whoever reads it")
    parser.add_argument("--mb", type=float, default=1000, help="megabytes in all (default 1000)")
    parser.add_argument("--files", type=int, default=3000, help="how many session files (default 3000)")
    parser.add_argument("--large", choices=get_args(Large), help="with tool results of 50 to 500 KB")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(None if words is None else list(words))
    made = make(given.directory, mb=given.mb, files=given.files, large=given.large, seed=given.seed)
    print(
        f"{made.directory}: {made.files} files, {made.bytes / 1e6:.0f} MB, {made.rows} rows, "
        f"{made.answers} of them with usage, {made.messages} messages"
    )


if __name__ == "__main__":
    main()
