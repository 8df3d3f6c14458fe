"""What is told of the sources in words, alike in text and on the page: pure. Imports nothing of cc."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

UNREAD_SHOWN = 10


def plural(number: int, one: str, many: str | None = None) -> str:
    """1 file, 2 files, 1,234 entries."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def odd_times(before: int, future: int, timeless: int) -> str | None:
    """Of how many requests the time is wrong, and of how many there is none; None if of none."""
    said = []
    if before or future:
        both = f"before 2020 ({before:,}) or in the future ({future:,})"
        when = both if before and future else "before 2020" if before else "in the future"
        are, counted = ("is", "it is counted under that date") if before + future == 1 else (
            "are", "they are counted under those dates"
        )  # fmt: skip
        said.append(f"{plural(before + future, 'request')} {are} dated {when}: that is wrong, and {counted}")
    if timeless:
        have = "has no usable time: it is" if timeless == 1 else "have no usable time: they are"
        said.append(f"{plural(timeless, 'request')} {have} on no day (`unknown`) and in no span of time")
    return "; ".join(said) or None


def as_last_seen(files: int) -> str:
    """What comes of so many session files that are there no more."""
    return "is counted as it last was" if files == 1 else "are counted as they last were"


def kinds(skipped: Mapping[str, int]) -> str:
    """4 cut, 1 not json: how many lines could not be used, by kind."""
    return ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in sorted(skipped.items()))


def not_used(skipped: Mapping[str, int], unreadable: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Lines of text: what was skipped, and what could not be read, each with why; of very many the first."""
    if skipped:
        yield f"skipped: {plural(sum(skipped.values()), 'line')}, in whole or in part ({kinds(skipped)})"
    for path, why in unreadable[:UNREAD_SHOWN]:
        yield f"not read: {path}: {why}"
    rest = len(unreadable) - UNREAD_SHOWN
    if rest > 0:
        yield f"not read: {rest:,} more, which --json names"
