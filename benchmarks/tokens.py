"""How fast tokens are estimated: MB/s of one core, in its own time, on what is easy and on what is not.

At least 20 MB/s past a megabyte, by samples; 4 MB/s where all is read of the most diverse text that there is, in which
no word comes twice, and of what is nastier still. Linear: ten times as much takes at most 13 times as long.
"""

from __future__ import annotations

import base64
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.measure import Figure, seconds
from cc.tokens.measure import measure
from cc.tokens.pieces import Estimator, load

MB = 1_000_000
RUNS = {"no space": "x", "only spaces": " ", "one line feed after the other": "\n", "no known piece": "\ua4d0"}
RANGES = {
    "letters without a break": "az", "signs": "!/", "digits": "09", "Cyrillic": "\u0430\u044f", "Thai": "\u0e01\u0e4e",
    "Han": "\u4e00\u9fff", "Hangul": "\uac00\ud7a3", "combining marks": "\u0300\u036f", "emoji": "\U0001f300\U0001faff",
    "all below 0xd800": " \ud7ff", "all past 0xffff": "\U00010000\U0010ffff",
}  # fmt: skip
"""Characters of these ranges at random: first and last."""
LEAST = 4.0
LINEAR = 13.0


def tokens(runs: int = 5) -> Iterator[Figure]:
    """The estimator is new each time: what it remembers of words is part of the speed."""
    sources = sorted((Path(__file__).resolve().parents[1] / "cc").rglob("*.py"))
    code = _long("\n".join(path.read_text(encoding="utf-8") for path in sources), 20 * MB)
    yield _speed("tokens", "code, sampled", code, runs, 20.0)
    yield _speed("tokens-diverse", "no word twice, sampled", _diverse(4 * MB), runs, 4.0)
    yield _speed("tokens-exact", "code, all of it", code, runs, None, exact=True)
    yield _speed("tokens-exact-diverse", "no word twice, all of it", _diverse(MB), runs, LEAST, exact=True)
    for name, data in _nasty().items():
        yield _speed("tokens-exact-nasty", f"{name}, all of it", data, runs, LEAST, exact=True)
    for name, character in RUNS.items():
        yield _linear(f"{name}, 2 MB", _long(character * 1000, 2 * MB), runs)
    yield _linear("no word twice, 5 MB", _diverse(5 * MB), min(runs, 3))
    loading = median(seconds(lambda: load("v5")) for _ in range(runs))
    yield Figure("tokens-load", loading * 1000, "ms", f"{loading * 1000:.0f} ms for the data file", n=runs)


def _long(text: str, size: int) -> bytes:
    data = text.encode()
    return (data * (size // len(data) + 1))[:size]


def _diverse(size: int) -> bytes:
    """Words of letters of many scripts at random, the same each time."""
    chance = random.Random(1)  # noqa: S311 - to be repeated
    letters = "abcdefghijklmnopqrstuvwxyzäöüßéèżłабвгдежзиклмнопрстуαβγδεζηθικλμνאבגדהוזחטקדअआइईउऊकखगกขคงจ的一是不了人"
    words: list[str] = []
    while size > 0:
        words.append("".join(chance.choices(letters, k=chance.randint(2, 12))))
        size -= len(words[-1].encode()) + 1
    return " ".join(words).encode()


def _nasty() -> dict[str, bytes]:
    """A megabyte each of what gives the estimate most to do, the same each time."""
    chance = random.Random(2)  # noqa: S311 - to be repeated
    found = {name: _filled(lambda ends=ends: chr(chance.randint(*map(ord, ends)))) for name, ends in RANGES.items()}
    pieces = sorted(load("v5").costs)
    return found | {
        "base64": _filled(lambda: base64.encodebytes(chance.randbytes(57)).decode()),
        "hex": _filled(lambda: chance.randbytes(64).hex()),
        "known pieces": _filled(lambda: chance.choice(pieces)),
        "known pieces, cut short": _filled(lambda: (piece := chance.choice(pieces))[: chance.randint(1, len(piece))]),
    }


def _filled(some: Callable[[], str]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < MB:
        parts.append(some().encode())
        size += len(parts[-1])
    return b"".join(parts)


def _took(data: bytes, *, exact: bool) -> float:
    estimator = Estimator(load("v5"))
    began = time.process_time()
    measure(io.BytesIO(data), "", estimator, exact=exact, keep=0)
    return time.process_time() - began


def _speed(name: str, what: str, data: bytes, runs: int, least: float | None, *, exact: bool = False) -> Figure:
    """The limit is of seconds a MB: less is better."""
    rate = median(len(data) / MB / _took(data, exact=exact) for _ in range(runs))
    target = "-" if least is None else f">= {least:g} MB/s"
    limit = None if least is None else 1 / least
    return Figure(name, 1 / rate, "s/MB", f"{rate:.1f} MB/s ({what})", limit, target, runs, {"mb_per_s": rate})


def _linear(what: str, little: bytes, runs: int) -> Figure:
    pairs = [(_took(little, exact=True), _took(little * 10, exact=True)) for _ in range(runs)]
    ratio = median(much / few for few, much in pairs)
    said = f"{ratio:.1f} x for ten times as much ({what})"
    return Figure("tokens-linear", ratio, "x", said, LINEAR, f"<= {LINEAR:g} x", runs)
