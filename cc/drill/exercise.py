"""What a drill is: a rung of a ladder, what is broken for it, what must be seen, and what must be true afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cc.errors import Failure

if TYPE_CHECKING:
    from cc.drill.stage import Stage

DOCKER = "Docker"
COMPOSE = "Docker and compose"
SOCKET = "Docker on a socket of this machine"


@dataclass(frozen=True, slots=True)
class Drill:
    """One entry of the catalogue. `play` breaks it, types the command and checks; it raises Failure through `expect`.

    `fault`, `seen`, `after` are for people: what is broken, what the user sees, what is true then. `needs` is what it
    cannot do without: one of the words above, "" for nothing.
    """

    ladder: str
    rung: int
    fault: str
    seen: str
    after: str
    play: Callable[[Stage], str]
    needs: str = ""

    @property
    def name(self) -> str:
        """As it is called in tables and by --only."""
        return f"{self.ladder}.{self.rung}"


def expect(holds: object, what: str, saw: object) -> None:
    """Raise the Failure that a drill ends with unless it holds: what was expected, and what was seen."""
    if not holds:
        raise Failure(f"expected {what}; saw {saw}", code="not_satisfied")
