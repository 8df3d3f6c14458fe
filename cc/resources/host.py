"""What every resource gets: the seam, and where this run's things live."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from cc.resources.breakers import Breakers

if TYPE_CHECKING:
    from cc.engine.spec import VerbSpec
    from cc.engine.step import Action
    from cc.shell import Shell


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Host:
    """The world that a playbook's verbs are bound to.

    `base` is the directory that relative paths start from. `environ` is the whole environment of the commands.
    `variables` are the playbook's own, given to scripts. `project` and `owner` (`<project>:<id>`) are the marker on
    what we start; `run_dir` holds pid files, `log_dir` logs. `secrets` are masked wherever text leaves the process.
    `wait`: what is started must also answer. `memo` is what was read once and holds for the whole run. `breakers` are
    the project's; `typed`: a person waits for what is done here, so an open one does not hold it up.
    """

    shell: Shell
    base: str
    environ: Mapping[str, str]
    project: str = "default"
    owner: str = ""
    run_dir: str = ""
    log_dir: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    wait: bool = True
    memo: dict[Any, Any] = field(default_factory=dict)
    breakers: Breakers = field(default_factory=Breakers)
    typed: bool = True

    def path(self, given: str) -> str:
        """An absolute path: `~` is the user's home, a relative one starts from `base`."""
        return os.path.normpath(os.path.join(self.base, os.path.expanduser(given)))


class Verb(NamedTuple):
    """A word of the playbook: what fields it takes, and how they become an action on a host."""

    spec: VerbSpec
    make: Callable[[Host, Mapping[str, Any]], Action]
