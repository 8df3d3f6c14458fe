"""`usage --explain`, and the model by model sums behind it."""

from __future__ import annotations

from typing import Any

from cc.report.usage_explained import explained_text
from cc.usage.explain import Explained, explain
from cc.usage.groups import fold
from cc.usage.model import Coverage
from cc.usage.request import Request
from cc.usage.unite import unite


def request(name: str, output: int = 5, **more: Any) -> Request:
    whole = Request(f"m{name}", name, "opus", 1_000_000, "s", "p", 10, output, 0, 0, 0, None, False, False)
    return whole._replace(**more)


def test_by_model_and_by_who_knows_them() -> None:
    files = [request("a"), request("b", 7), request("c", model="haiku")]
    events = [request("b", 20, message_id=None), request("d", message_id=None), request("a", 5, message_id=None)]
    united = unite(files, events)
    assert explain(united, {}) == (Explained("opus", 0, 1, 2, 12, 25), Explained("haiku", 1, 0, 0, 0, 0))
    assert explain(None, fold(files)) == (Explained("opus", 2), Explained("haiku", 1))


def test_the_tables() -> None:
    differ = [{"session": f"s{n}", "client_usd": 0.1, "counted_usd": None if n else 0.2} for n in range(12)]
    coverage = Coverage(
        by_model=(Explained("opus", 1234, 1, 2, 12, 25), Explained("haiku", 1)), client_totals={"differ": differ}
    )
    lines = explained_text(coverage, None).splitlines()
    assert lines[3].split() == ["opus", "1,234", "1", "2", "12", "25", "+13", "(+108.3", "%)"]
    assert lines[4].split() == ["haiku", "1", "0", "0", "0", "0", "0"]
    assert ["s0", "0.100000", "0.200000"] in [line.split() for line in lines]
    assert ["s1", "0.100000", "unknown"] in [line.split() for line in lines]
    assert lines[-1] == "and 2 more"
    assert max(map(len, explained_text(coverage, 40).splitlines())) <= 40


def test_of_nothing_nothing_is_said() -> None:
    assert explained_text(Coverage(), None).endswith("none is known")
