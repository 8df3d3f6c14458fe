"""A call that ends in time whatever it waits for. Imports errors only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from cc.errors import Failure

Result = TypeVar("Result")


def within(
    seconds: float, call: Callable[[], Result], errors: tuple[type[Exception], ...] = (OSError, ValueError, Failure)
) -> Result:
    """What it returns, or raises of `errors`, or TimeoutError after so many seconds.

    The time is kept from outside: a peer that sends a byte now and then resets every timeout of a socket. The thread
    that is left behind ends with its connection, and does not hold the process.
    """
    result: list[Result] = []
    raised: list[Exception] = []

    def work() -> None:
        try:
            result.append(call())
        except errors as error:
            raised.append(error)

    worker = threading.Thread(target=work, name="within", daemon=True)
    worker.start()
    worker.join(seconds)
    if raised:
        raise raised[0]
    if worker.is_alive():
        raise TimeoutError
    return result[0]
