"""The ladder of L8: from what is asked to an answer. Imports this room, errors, the engine's outcome.

    rung  name          taken when
    0     count_tokens  there is a key, nobody said --offline, and Anthropic answers for every text
    1     heuristic     else: the estimate, with its error
    2     rough         its data file can't be used: characters / 4

One rung for all texts of an answer: a sum of counts and estimates would be neither. A text is read once (stdin can't be
read twice), and the estimate made on the way, before Anthropic is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cc.engine.outcome import Tried
from cc.errors import Failure
from cc.tokens import api, pieces
from cc.tokens.families import family_of
from cc.tokens.kinds import PROSE
from cc.tokens.measure import Measured, measure
from cc.tokens.model import RUNGS, Ask, Counted, Coverage, Row
from cc.tokens.pieces import Estimator, Trained
from cc.tokens.texts import NO_TEXT, Found, opened, shown, sources, why

PER_TOKEN = 4
"""Characters a token, where nothing better is known: off by half on most texts (docs/tokens.md)."""
Texts = list[tuple[str, Measured]]


@dataclass(slots=True, eq=False, repr=False)
class _Way:
    """What was tried so far, and what it came to."""

    tried: list[Tried]
    notes: list[str]

    def failed(self, rung: int, failure: Failure) -> None:
        self.tried.append(Tried(rung, RUNGS[rung], failure.code, failure.message))


def count(ask: Ask, counter: api.Counter, data: str = pieces.FILE) -> Counted:
    """The answer. `counter` asks Anthropic, `data` is the estimate's file. Raises UsageError, nothing for one file."""
    family, guessed = family_of(ask.model)
    way = _Way([], [] if guessed is None else [guessed])
    trained = broken = None
    try:
        trained = pieces.load(family, data)
    except Failure as failure:
        broken = failure
    found = Found()
    texts = _read(ask, found, Estimator(trained) if trained else None)
    counts = None if ask.offline else _asked(counter, texts, ask.model, way)
    if counts is None and broken is not None:
        way.failed(1, broken)
    elif counts is None and trained is not None:
        way.notes.extend(_short(texts, trained) + _once(texts, trained))
    rung = 0 if counts is not None else 1 if trained else 2
    return Counted(
        ask=ask,
        family=family,
        rung=rung,
        rows=_rows(texts, counts, trained),
        coverage=_coverage(found, texts),
        tried=tuple(way.tried),
        degraded=bool(way.tried),
        notes=tuple(way.notes),
        frame=trained.frame if trained and rung < 2 else 0.0,
    )


def _read(ask: Ask, found: Found, estimator: Estimator | None) -> Texts:
    texts: Texts = []
    room = 0 if ask.offline else api.MOST_CHARS
    for source in sources(ask.paths, found):
        with opened(source, found) as file:
            if file is None:
                continue
            try:
                name = "" if source.path == "-" else source.path
                measured = measure(file, name, estimator, exact=ask.exact, keep=room)
            except OSError as error:  # in the middle of it: a disk, a network mount
                found.unreadable.append((shown(source.path), why(error)))
                continue
        if measured.is_text:
            texts.append((shown(source.path), measured))
            room -= measured.chars if measured.text is not None else room
        elif source.named:
            found.unreadable.append((shown(source.path), NO_TEXT))
        else:
            found.skipped["binary files"] += 1
        if len(texts) > api.MOST_TEXTS and room:  # they are not sent: no need to hold them
            room = 0
            for _, each in texts:
                each.text = None
    return texts


def _asked(counter: api.Counter, texts: Texts, model: str, way: _Way) -> list[int] | None:
    kept: list[str] = []
    try:
        if not counter.known:
            raise api.no_key()
        for _, measured in texts:
            if len(texts) > api.MOST_TEXTS or measured.text is None:
                raise Failure(_too_much(texts), code="not_satisfied")
            kept.append(measured.text)
        return counter.count(kept, model) if kept else []
    except Failure as failure:
        way.failed(0, failure)
        return None


def _too_much(texts: Texts) -> str:
    if len(texts) > api.MOST_TEXTS:
        return f"{len(texts):,} texts would take as many calls, more than {api.MOST_TEXTS}"
    return f"more than {api.MOST_CHARS:,} characters are not sent"


def _rows(texts: Texts, counts: Sequence[int] | None, trained: Trained | None) -> tuple[Row, ...]:
    rows = []
    for number, (name, text) in enumerate(texts):
        told = (name, text.kind)
        if counts is not None:
            rows.append(Row(*told, counts[number], text.chars, text.bytes))
        elif trained is None:
            rows.append(Row(*told, -(-text.chars // PER_TOKEN), text.chars, text.bytes))
        else:
            tokens = round(text.tokens + trained.frame) if text.kind != "empty" else 0
            error = trained.error_of(text.kind)
            rows.append(Row(*told, tokens, text.chars, text.bytes, error, 2 * text.spread))
    return tuple(rows)


def _short(texts: Texts, trained: Trained) -> list[str]:
    """That some texts are shorter than any for which the error was measured."""
    errors = [(text, trained.error_of(text.kind)) for _, text in texts]
    limits = [error.shortest for text, error in errors if error is not None and text.chars < error.shortest]
    if not limits:
        return []
    which = "it is" if len(texts) == 1 else "1 text is" if len(limits) == 1 else f"{len(limits):,} texts are"
    return [f"{which} shorter than any whose error was measured ({max(limits):,} characters): it may be larger"]


def _once(texts: Texts, trained: Trained) -> list[str]:
    """What is known of the error of scripts that one language alone was recorded in."""
    kinds = {text.kind for _, text in texts} & trained.once
    if not kinds:
        return []
    scripts = ", ".join(sorted(kind.removeprefix(PROSE) for kind in kinds))
    mean, p90 = (f"{100 * share:.0f} %" for share in (trained.unseen.mean, trained.unseen.p90))
    note = (
        f"of {scripts} one language was recorded, so no error could be measured: it should be less than that of"
        f" scripts without any, {mean} in the mean, nine of ten within {p90}"
    )
    return [note]


def _coverage(found: Found, texts: Texts) -> Coverage:
    skipped = {what: number for what, number in sorted(found.skipped.items()) if number}
    return Coverage(skipped, tuple(found.unreadable), sum(text.invalid_bytes for _, text in texts))
