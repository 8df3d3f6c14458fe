"""What the engine tells while it pulls an image: how far it is, and why it cannot. The asking itself is docker.py's."""

from __future__ import annotations

import json
from collections.abc import Iterable

from cc.engine.step import Context
from cc.engine.waiting import QUIET_S, REPEAT_S
from cc.errors import Failure


def follow(image: str, status: int, lines: Iterable[bytes], context: Context) -> None:
    """To the end of the stream, saying now and then how far it is. Raises Failure image_missing or disk_full."""
    started = context.clock.now()
    say_at = started + QUIET_S
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if not isinstance(told, dict):
            continue
        trouble = told.get("error") or (told.get("message") if status >= 400 else None)
        if trouble:
            raise not_pulled(image, str(trouble))
        if (now := context.clock.now()) >= say_at:
            say_at = now + REPEAT_S
            words = (str(told.get(key) or "") for key in ("id", "status", "progress"))
            context.say(f"{image} to be pulled: {' '.join(filter(None, words))}", now - started, None)


def not_pulled(image: str, why: str) -> Failure:
    """What it means to a ladder that this image cannot be had."""
    return Failure(
        f"image {image} is not here and cannot be pulled: {why}",
        code="disk_full" if "no space left" in why else "image_missing",
        hint=f"docker pull {image}",
    )
