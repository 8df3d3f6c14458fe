"""`health`: which rung of each service's ladder answered, how fast, and what the service tells of itself."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from cc.report.console import painted
from cc.report.printable import one_line
from cc.report.status import age, another_docker
from cc.report.table import table
from cc.services.health import Health

TONES = {"healthy": "ok", "degraded": "degraded", "unhealthy": "failed", "unknown": "failed"}
RUNGS = ("full check", "ping", "no answer", "unknown")


def health_document(found: Sequence[Health], docker: Mapping[str, str | None]) -> dict[str, Any]:
    """The document: every service, the worst that is among them, and in which Docker it was looked (status.py).

    What the user left out makes nothing worse.
    """
    return {
        "healthy": all(each.health == "healthy" or each.left_out for each in found),
        "degraded": any(each.degraded for each in found),
        "services": [each.as_dict() for each in found],
        "docker": dict(docker),
    }


def health_code(found: Sequence[Health], *, strict: bool) -> int:
    """0 if every service answers, 1 if one is unhealthy or unknown; with `strict` 3 if one is degraded.

    What the user left out need not answer.
    """
    if any(each.health not in ("healthy", "degraded") and not each.left_out for each in found):
        return 1
    return 3 if strict and any(each.degraded for each in found) else 0


def health_text(
    found: Sequence[Health], docker: Mapping[str, str | None], *, colour: bool = False, width: int | None = None
) -> str:
    """The same for people: a table; below it each service's reason and metrics, broken at `width` columns."""
    rows = [(each.name, each.health, each.rung, RUNGS[each.rung], f"{each.took_ms:.1f} ms") for each in found]
    lines = table(("service", "health", "rung", "answered by", "took"), rows, right=(2, 4)).splitlines()
    if colour:
        for number, each in enumerate(found, len(lines) - len(found)):
            lines[number] = lines[number].replace(each.health, painted(TONES[each.health], each.health), 1)
    lines.append("")
    notes = [
        one_line(f"{each.name}: {text}")
        for each in found
        for text in (each.left_out and f"left out: {each.left_out}", each.reason, _metrics(each.metrics))
        if text
    ]
    for said in [*notes, *another_docker(docker, "looked at from here")]:
        lines += [said] if width is None else textwrap.wrap(said, max(width, 20), subsequent_indent="  ")
    return "\n".join(lines).rstrip()


def _metrics(metrics: Mapping[str, Any]) -> str:
    return ", ".join(_metric(name, value) for name, value in metrics.items() if value is not None)


def _metric(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        shown = f"{value / 1024**2:.0f} MiB" if value >= 1024**2 else f"{value / 1024:.0f} KiB"
        return f"{name.removesuffix('_bytes')} {shown}"
    if name == "uptime_s":
        return f"up {age(value)}"
    return f"{name.replace('_', ' ')} {value:,}" if isinstance(value, (int, float)) else f"{name} {value}"
