"""Which tokenizer a model has, by the rule of its name. Pure; imports errors only.

claude-3-5-haiku-20241022   name, version, date in either order: 3.5    before 4.7    v3
claude-opus-4-7                                                          4.7 to 4.x    v4.7
claude-sonnet-5-5[1m]                                                    5 and later   v5
"""

from __future__ import annotations

import re

from cc.errors import UsageError

DEFAULT_MODEL = "claude-opus-5"
"""Its own counts are what the newest family is trained on."""
NEWEST = "v5"
FAMILIES = ("v3", "v4.7", "v5")

_NAME = re.compile(
    r"(?:[a-z]{2,6}\.)?(?:anthropic[./])?claude-(?:[a-z]+-)?(?P<major>\d)(?:[-.](?P<minor>\d{1,2}))?(?:-[a-z]+)?"
    r"(?:[-@](?:\d{8}|latest))?(?:-v\d+(?::\d+)?)?(?:\[1m\])?"
)
_WORD = re.compile(r"[\x21-\x7e]{1,200}")


def family_of(model: str) -> tuple[str, str | None]:
    """The family, and None or why it is only a guess. Raises UsageError for what can't be the name of a model."""
    if not _WORD.fullmatch(model):
        raise UsageError(
            f"--model must be the name of a model, not {model!r}", field="--model", hint=f"such as {DEFAULT_MODEL}"
        )
    found = _NAME.fullmatch(model.lower())
    version = (int(found["major"]), int(found["minor"] or 0)) if found else (0, 0)
    if version < (3, 0):
        return NEWEST, f"the tokenizer of {model!r} is not known; reckoned with the newest, {NEWEST}"
    if version < (4, 7):
        return "v3", None
    return ("v4.7" if version < (5, 0) else NEWEST), None
