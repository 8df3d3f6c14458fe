"""How fast tokens are estimated: MB/s of one core, reading included, on what is easy and on what is not.

At least 20 MB/s past a megabyte, by samples; 4 MB/s on the most diverse text that there is, where no word comes twice.
Linear: ten times as much of the nastiest input takes at most 13 times as long.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.measure import Figure, seconds
from cc.tokens.measure import measure
from cc.tokens.pieces import Estimator, load

MB = 1_000_000
NASTY = {"no space": "x", "only spaces": " ", "one line feed after the other": "\n", "no known piece": "\ua4d0"}
LINEAR = 13.0


def tokens(runs: int = 5) -> Iterator[Figure]:
    """The estimator is new each time: what it remembers of words is part of the speed."""
    sources = sorted((Path(__file__).resolve().parents[1] / "cc").rglob("*.py"))
    code = _long("\n".join(path.read_text(encoding="utf-8") for path in sources), 20 * MB)
    yield _speed("tokens", "code, sampled", code, runs, 20.0)
    yield _speed("tokens-diverse", "no word twice, sampled", _diverse(4 * MB), runs, 4.0)
    yield _speed("tokens-exact", "code, all of it", code, runs, None, exact=True)
    yield _speed("tokens-exact-diverse", "no word twice, all of it", _diverse(MB), runs, None, exact=True)
    for name, character in NASTY.items():
        yield _linear(name, character, runs)
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


def _took(data: bytes, *, exact: bool) -> float:
    estimator = Estimator(load("v5"))
    return seconds(lambda: measure(io.BytesIO(data), "", estimator, exact=exact, keep=0))


def _speed(name: str, what: str, data: bytes, runs: int, least: float | None, *, exact: bool = False) -> Figure:
    """The limit is of seconds a MB: less is better."""
    rate = median(len(data) / MB / _took(data, exact=exact) for _ in range(runs))
    target = "-" if least is None else f">= {least:g} MB/s"
    limit = None if least is None else 1 / least
    return Figure(name, 1 / rate, "s/MB", f"{rate:.1f} MB/s ({what})", limit, target, runs, {"mb_per_s": rate})


def _linear(name: str, character: str, runs: int) -> Figure:
    little = _long(character * 1000, 2 * MB)
    pairs = [(_took(little, exact=True), _took(little * 10, exact=True)) for _ in range(runs)]
    ratio = median(much / few for few, much in pairs)
    said = f"{ratio:.1f} x for ten times as much ({name})"
    return Figure("tokens-linear", ratio, "x", said, LINEAR, f"<= {LINEAR:g} x", runs)
