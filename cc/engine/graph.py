"""What comes after what: circles among names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def circle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """The first circle among names that come after each other, its first name again at its end; [] if there is none.

    Depth first without recursion (a playbook may be a chain of thousands).
    """
    settled: set[str] = set()
    for start in after:
        path: dict[str, None] = {}
        stack = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                del path[name]
                settled.add(name)
            elif name in path:
                names = list(path)
                return [*names[names.index(name) :], name]
            elif name not in settled:
                path[name] = None
                stack.append((name, True))
                stack.extend((before, False) for before in reversed(after[name]))
    return []
