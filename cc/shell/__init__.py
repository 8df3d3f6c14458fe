"""shell: every command that this project starts crosses here, is bounded in time, and comes back as a result or a
typed error.

    run(Command) -> Result       raises ToolMissing, PermissionDenied, NonZeroExit, DeadlineExceeded, Interrupted
    spawn(Command, log) -> Child a detached child that is meant to stay

May import cc.errors and cc.clock. Knows nothing of steps, ladders or what is run. Importing it starts nothing and does
not load `sh`; that happens with the first command.
"""

from cc.shell.child import Child
from cc.shell.command import Command, Result
from cc.shell.faults import Fault, Faults
from cc.shell.identity import is_alive, start_time
from cc.shell.scripted import ScriptedShell, UnscriptedCommand
from cc.shell.seam import Shell, SystemShell

__all__ = [
    "Child",
    "Command",
    "Fault",
    "Faults",
    "Result",
    "ScriptedShell",
    "Shell",
    "SystemShell",
    "UnscriptedCommand",
    "is_alive",
    "start_time",
]
