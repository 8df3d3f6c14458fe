"""What kind of text it is: the error of an estimate depends on it. Pure; imports nothing of cc.

A name tells more than the text: JSON, logs and Markdown are known by it alone. All else is code or prose by name, and
without a name by how much of it is neither letter nor space. Prose is of the script that most of its letters are of.
What is neither, such as base64 or a page of emoji, is called what it is: its error is not that of code or of prose.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

RANGES = (
    (0x0, "Latin"), (0x300, "Marks"), (0x370, "Greek"), (0x400, "Cyrillic"), (0x530, "Armenian"), (0x590, "Hebrew"),
    (0x600, "Arabic"), (0x700, "Syriac"), (0x750, "Arabic"), (0x780, "Thaana"), (0x7C0, "Other"), (0x8A0, "Arabic"),
    (0x900, "Devanagari"), (0x980, "Bengali"), (0xA00, "Gurmukhi"), (0xA80, "Gujarati"), (0xB00, "Odia"),
    (0xB80, "Tamil"), (0xC00, "Telugu"), (0xC80, "Kannada"), (0xD00, "Malayalam"), (0xD80, "Sinhala"), (0xE00, "Thai"),
    (0xE80, "Lao"), (0xF00, "Tibetan"), (0x1000, "Myanmar"), (0x10A0, "Georgian"), (0x1100, "Hangul"),
    (0x1200, "Ethiopic"), (0x13A0, "Cherokee"), (0x1400, "Canadian"), (0x1680, "Other"), (0x1780, "Khmer"),
    (0x1800, "Mongolian"), (0x18B0, "Canadian"), (0x1900, "Other"), (0x1A20, "Tai Tham"), (0x1AB0, "Marks"),
    (0x1B00, "Other"), (0x1C90, "Georgian"), (0x1CD0, "Marks"), (0x1D00, "Latin"), (0x1F00, "Greek"),
    (0x2000, "Symbols"), (0x2C60, "Latin"), (0x2C80, "Other"), (0x2D00, "Georgian"), (0x2D30, "Other"),
    (0x2D80, "Ethiopic"), (0x2DE0, "Symbols"), (0x3040, "Kana"), (0x3100, "Other"), (0x3400, "Han"), (0xA000, "Other"),
    (0xA500, "Vai"), (0xA640, "Cyrillic"), (0xA6A0, "Other"), (0xA720, "Latin"), (0xA800, "Other"),
    (0xA8E0, "Devanagari"), (0xA900, "Other"), (0xA980, "Javanese"), (0xA9E0, "Other"), (0xAB70, "Cherokee"),
    (0xABC0, "Other"), (0xAC00, "Hangul"), (0xD800, "Other"), (0xF900, "Han"), (0xFB00, "Other"), (0xFB50, "Arabic"),
    (0xFE00, "Symbols"), (0xFE70, "Arabic"), (0xFF00, "Symbols"), (0x10000, "Other"), (0x11100, "Chakma"),
    (0x11150, "Other"), (0x1F000, "Symbols"), (0x20000, "Han"), (0x32000, "Other"),
)  # fmt: skip
"""From which code point on which script begins: Unicode's blocks, as far as recorded texts tell them apart."""

_STARTS = [start for start, _ in RANGES]
_NAMES = [name for _, name in RANGES]
PROSE = "prose, "
"""How a kind begins that ends with a script."""
NO_SCRIPTS = frozenset({"Marks", "Symbols"})

_SUFFIXES = {
    "JSON": ".json .jsonl .ndjson .geojson .ipynb",
    "logs": ".log .out",
    "Markdown": ".md .markdown .rst",
    "markup": ".yaml .yml .toml .ini .cfg .conf .xml .html .htm .css .scss .less .csv .tsv .svg .lock",
    "code": ".py .pyi .js .mjs .cjs .jsx .ts .tsx .c .h .cc .cpp .cxx .hpp .cs .java .kt .kts .go .rs .rb .php .pl .pm"
    " .sh .bash .zsh .lua .r .jl .swift .m .mm .scala .clj .ex .exs .erl .hs .ml .mli .fs .vb .sql .asm .s .zig .nim"
    " .d .pas .f90 .lisp .el .scm .tcl .awk .ps1 .bat .cmake .gradle .groovy .dart .proto",
}
BY_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
CODE_FROM = 0.04
"""Share of ASCII signs among all that is no space from which a text without a telling name is code. Of all recorded
prose the share is at most 0.021; of 2.3 % of the recorded programs it is less than this."""

LONGEST_WORDS = 20
"""Letters a word, in the mean, past which a text in Latin letters is data (base64, hex, one letter again and again). Of
all recorded prose it is at most 15."""

_SIGNS = frozenset('!"#$%&()*+/:;<=>@[\\]^_`{|}~')


def script_of(character: str) -> str:
    """The script of one character by its code point."""
    return _NAMES[bisect_right(_STARTS, ord(character)) - 1]


def kind_of(name: str, beginning: str) -> str:
    """code, JSON, logs, Markdown, markup, data, symbols or `prose, SCRIPT`; `empty` without a visible character.

    `beginning`: some thousand characters of it. `name`: of its file, "" if it has none.
    """
    known = BY_SUFFIX.get(os.path.splitext(name)[1].lower())
    if known is not None:
        return known
    visible = [character for character in beginning if not character.isspace()]
    if not visible:
        return "empty"
    if visible[0] in "{[" and beginning.count('"') * 20 > len(visible) and '":' in beginning:
        return "JSON"
    if sum(character > "\x7f" and script_of(character) == "Symbols" for character in visible) * 2 > len(visible):
        return "symbols"
    if sum(character in _SIGNS for character in visible) > CODE_FROM * len(visible):
        return "code"
    return _lettered(visible, words=len(beginning.split()))


def _lettered(visible: Sequence[str], words: int) -> str:
    scripts = Counter(script_of(character) for character in visible if character.isalpha())
    found = [script for script, _ in scripts.most_common() if script not in NO_SCRIPTS]
    if found[:1] == ["Latin"] and len(visible) > LONGEST_WORDS * words:
        return "data"
    return PROSE + found[0] if found else "code"
