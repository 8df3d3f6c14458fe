"""`tokens` for people: the total first, then the files, then where the numbers come from and how sure they are."""

from __future__ import annotations

from cc.report.printable import one_line
from cc.report.table import table, wrapped
from cc.tokens.model import Counted, Row

MOST_ROWS = 40
HOW = ("counted by Anthropic", "heuristic", "rough: characters / 4")


def tokens_text(counted: Counted, width: int | None = None) -> str:
    """The text, for a terminal of that width."""
    lines = wrapped(_total(counted), width)
    if counted.budget is not None:
        lines += wrapped(_budget(counted), width)
    if counted.ask.by_file and counted.rows:
        lines += ["", _files(counted, width)]
    lines.append("")
    for line in _provenance(counted):
        lines += wrapped(one_line(line), width)
    return "\n".join(lines)


def _total(counted: Counted) -> str:
    if not counted.rows:
        return "0 tokens: no text could be read" if counted.coverage.unreadable else "0 tokens: there is no text"
    about = f"{counted.family}, {counted.kind}; {HOW[counted.rung]}"
    if counted.rung == 0:
        return f"{counted.tokens:,} tokens ({about})"
    return f"≈ {counted.tokens:,} tokens{_off(counted)} ({about})"


def _off(counted: Counted) -> str:
    error = counted.error
    if counted.rung == 2 or not counted.tokens:
        return ""
    if error is None or counted.unmeasured * 2 > counted.tokens:
        return ", error not measured"
    return f" ± {_percent(error.p90)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _budget(counted: Counted) -> str:
    budget = counted.budget
    assert budget is not None  # noqa: S101 - the caller has looked
    words = {"yes": "fits", "no": "does not fit", "unsure": "may or may not fit"}[budget["fits"]]
    line = f"{_percent(budget['share'])} of a budget of {budget['tokens']:,}: {words}"
    left = len(counted.rows) - budget["files_that_fit"]
    if left and len(counted.rows) > 1:
        line += f"; the {budget['files_that_fit']:,} smallest files fit together, the {left:,} largest don't"
    return line


def _files(counted: Counted, width: int | None) -> str:
    rows = sorted(counted.rows, key=lambda row: (-row.tokens, row.name))
    whole = counted.ask.budget or counted.tokens or 1
    cells = [_cells(row, whole, counted.rung) for row in rows[:MOST_ROWS]]
    share = "of budget" if counted.ask.budget else "share"
    text = table(("file", "tokens", "off by", share, "kind"), cells, right=(1, 2, 3), width=width, spare=(4, 2, 3))
    left = rows[MOST_ROWS:]
    if left:
        more = f"... and {len(left):,} more, {sum(row.tokens for row in left):,} tokens (--json names all)"
        text = "\n".join([text, *wrapped(more, width)])
    return text


def _cells(row: Row, whole: int, rung: int) -> tuple[str, ...]:
    off = "-" if rung == 0 else "rough" if rung == 2 else "?" if row.error is None else f"± {_percent(row.error.p90)}"
    return row.name, f"{row.tokens:,}", off, _percent(row.tokens / whole), row.kind


def _provenance(counted: Counted) -> list[str]:
    lines = [f"rung {counted.rung} ({counted.rung_name}) for {counted.ask.model}"]
    lines += [f"not by rung {each.rung} ({each.name}): {each.reason}" for each in counted.tried]
    if counted.ask.offline:
        lines.append("not by rung 0 (count_tokens): --offline")
    lines += _how_sure(counted)
    size = sum(row.chars for row in counted.rows)
    texts = "1 text" if len(counted.rows) == 1 else f"{len(counted.rows):,} texts"
    lines.append(f"coverage: {texts}, {size:,} characters, {sum(row.bytes for row in counted.rows):,} bytes")
    coverage = counted.coverage
    if coverage.skipped:
        lines.append("skipped: " + ", ".join(f"{what} ({number:,})" for what, number in coverage.skipped.items()))
    if coverage.invalid_bytes:
        places = "1 place is" if coverage.invalid_bytes == 1 else f"{coverage.invalid_bytes:,} places are"
        lines.append(f"{places} no UTF-8, counted as replacement characters")
    lines += [f"not read: {path}: {why}" for path, why in coverage.unreadable]
    return lines + list(counted.notes)


def _how_sure(counted: Counted) -> list[str]:
    lines = []
    error = counted.error
    if counted.rung == 1 and error is not None:
        lines.append(
            f"error on texts it had not seen: {_percent(error.mean)} in the mean,"
            f" nine of ten within {_percent(error.p90)}"
        )
    if counted.rung == 1 and counted.unmeasured:
        kinds = sorted({row.kind for row in counted.rows if row.error is None and row.tokens})
        lines.append(f"no error was measured for: {', '.join(kinds)} ({counted.unmeasured:,} tokens)")
    if counted.sampling:
        share = counted.sampling / max(1, counted.tokens)
        lines.append(f"texts past 1 MB were sampled, which adds ± {_percent(share)} (--exact reads all)")
    return lines
