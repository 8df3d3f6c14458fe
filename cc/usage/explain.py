"""Which source knew what of the requests, model by model: pure. Imports groups.

Telemetry's numbers are final; a session file often holds those of the middle of a stream. By how much is what people
who compare two tools want to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cc.usage.groups import MESSAGES, Group

if TYPE_CHECKING:
    from cc.usage.unite import United


class Explained(msgspec.Struct):
    """Requests of one model by who knows them; `output_in_files` and `output_final` are of those in both, in tokens."""

    model: str
    only_files: int = 0
    only_telemetry: int = 0
    in_both: int = 0
    output_in_files: int = 0
    output_final: int = 0

    def as_dict(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self)


def explain(united: United | None, groups: Mapping[Group, list[int]]) -> tuple[Explained, ...]:
    """One for each model, those with most requests first: of files only those in `groups`, and what is united."""
    found: dict[str, Explained] = {}

    def of(model: str) -> Explained:
        return found.setdefault(model, Explained(model))

    messages: dict[str, int] = {}
    for group, sums in groups.items():
        messages[group.model] = messages.get(group.model, 0) + sums[MESSAGES]
    for model, number in messages.items():
        of(model).only_files = number
    if united is not None:
        for request in united.files_alone:
            of(request.model).only_files += 1
        for request in united.telemetry_alone:
            of(request.model).only_telemetry += 1
        for row, final in united.pairs:
            one = of(final.model)
            one.in_both += 1
            one.output_in_files += row.output_tokens
            one.output_final += final.output_tokens
    return tuple(
        sorted(found.values(), key=lambda one: (-(one.only_files + one.only_telemetry + one.in_both), one.model))
    )
