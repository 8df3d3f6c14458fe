"""The session files that benchmarks measure on: what readers count in them is what the maker says."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from benchmarks import corpus
from benchmarks.corpus import make
from cc.usage import transcripts


@pytest.fixture(params=["own", "real"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both sources of rows; where no rows were recorded the two are one."""
    if request.param == "own":
        monkeypatch.setattr(corpus, "REAL", tmp_path / "nothing")


def rows_of(directory: Path) -> list[dict]:
    files = sorted(directory.rglob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


def test_a_reader_counts_the_messages_that_the_maker_says(source: None, tmp_path: Path) -> None:
    made = make(tmp_path / "c", mb=3, files=9)
    read = transcripts.read((tmp_path / "c",))
    assert (len(read.requests), read.files, read.lines, read.skipped) == (made.messages, 9, made.rows, {})
    assert made.messages < made.answers < made.rows  # streaming repeats messages
    assert made.bytes == pytest.approx(3e6, rel=0.05)


def test_each_copy_has_identities_of_its_own(source: None, tmp_path: Path) -> None:
    make(tmp_path / "c", mb=3, files=3)
    where: dict[str, set[str]] = defaultdict(set)
    own = [row["uuid"] for row in rows_of(tmp_path / "c") if "uuid" in row]
    for row in rows_of(tmp_path / "c"):
        for identity in (row.get("requestId"), row.get("message", {}).get("id")):
            if identity:
                where[identity].add(row["sessionId"])
    assert len(own) == len(set(own)) > 0
    assert all(len(sessions) == 1 for sessions in where.values())
    assert len(set.union(*where.values())) == 3


def test_the_same_seed_makes_the_same_bytes_and_another_one_others(source: None, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(tmp_path / name, mb=1, files=4, seed=seed)
    whole = {
        name: [(path.name, path.read_bytes()) for path in sorted((tmp_path / name).rglob("*.jsonl"))] for name in "abc"
    }
    assert whole["a"] == whole["b"]
    assert whole["a"] != whole["c"]


@pytest.mark.parametrize("kind", ["text", "agents"])
def test_large_results_are_most_of_the_bytes_and_no_usage(source: None, tmp_path: Path, kind: corpus.Large) -> None:
    made = make(tmp_path / "c", mb=10, files=5, large=kind)
    lines = [line for path in (tmp_path / "c").rglob("*.jsonl") for line in path.read_bytes().splitlines()]
    large = [line for line in lines if len(line) > 100_000]
    assert sum(map(len, large)) > made.bytes / 2
    assert all("usage" not in json.loads(line)["message"] for line in large)
    assert any(b'"usage":{' in line for line in large) is (kind == "agents")
    assert max(map(len, lines)) < 600_000
    assert len(transcripts.read((tmp_path / "c",)).requests) == made.messages


def test_rows_of_our_own_are_in_the_shape_of_the_clients() -> None:
    rows = [json.loads(line) for line in corpus.own_rows(Random(3), 20)]  # noqa: S311 - no secret
    answers = [row for row in rows if row["type"] == "assistant"]
    assert {len(row["message"]["content"]) for row in rows} == {1}
    assert all(row["message"]["usage"]["output_tokens"] > 0 and row["requestId"] for row in answers)
    assert len({row["message"]["id"] for row in answers}) == 20 < len(answers) < len(rows)
