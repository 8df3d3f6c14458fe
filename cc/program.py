"""`context-cleaner`: the console program that the package installs. The tasks of tasks.py as words of its own.

    main -> signals are heeded -> Invoke and tasks.py are imported -> words are parsed -> the task runs `perform`

Invoke's Program with our exit codes, one command a line, and none of its options about shell commands, which we don't
run through it. Imports nothing heavy at its top: until the handlers stand, Ctrl-C is a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from cc import __version__
from cc.bytecode import keep_bytecode
from cc.errors import UsageError

if TYPE_CHECKING:
    from invoke.config import Config
    from invoke.exceptions import ParseError
    from invoke.parser.argument import Argument
    from invoke.program import Program
else:
    Config = Program = object

NAME = "context-cleaner"
CORE = ("complete", "help", "list", "print-completion-script", "version")
TEXT_COLUMNS = 20  # beside the names, for their texts
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_signals() -> None:
    """Until a command's own handlers stand nothing was begun, so a signal ends the process at once."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` said that hanging up means nothing
            signal.signal(number, _end_at_once)


def _end_at_once(number: int, frame: object) -> NoReturn:
    """Not by an exception: one that is raised in the middle of an import may be lost, or shown as a traceback."""
    said = f"interrupted ({signal.Signals(number).name})"
    document = f'{{"error": {{"type": "interrupted", "message": "{said}", "hint": null, "file": null, "line": null, '
    try:
        if "--json" in sys.argv:
            os.write(1, f'{document}"field": null}}}}\n'.encode())
        os.write(2, f"error: {said}\n".encode())
    except OSError:
        pass  # nobody listens any more
    os._exit(128 + number)


class Unconfigured(Config):
    """Invoke's settings as they are by default: what a user has set for the tasks of other projects is not for ours."""

    def load_base_conf_files(self) -> None:
        """Neither /etc/invoke.yaml nor ~/.invoke.yaml, which may be broken, or a program of its own."""

    def load_runtime(self, merge: bool = True) -> None:
        """Nor what INVOKE_RUNTIME_CONFIG names."""

    def load_shell_env(self) -> None:
        """Nor INVOKE_* in the environment."""


class Words(Program):
    """What differs from Invoke's Program, which is mixed in once it is imported."""

    def core_args(self) -> list[Argument]:
        from invoke.parser.argument import Argument

        listing = Argument(names=("list", "l"), kind=bool, default=False, help="List the commands and exit.")
        kept = [argument for argument in super().core_args() if argument.name in CORE and argument.name != "list"]
        return [*kept, listing]  # Invoke's takes the next word for a namespace, of which there are none

    def parse_core_args(self) -> None:
        super().parse_core_args()
        for argument in super().core_args():  # Program reads them all: they have their defaults, and no way to be typed
            if argument.name not in CORE:
                self.core[0].add_arg(argument)

    def parse_core(self, argv: list[str] | None) -> None:
        with self._refusing():
            super().parse_core(argv)
        keep_bytecode()

    def parse_tasks(self) -> None:
        with self._refusing():
            super().parse_tasks()
        refuse_more_than_one([task.name or "" for task in self.tasks], NAME)

    def parse_cleanup(self) -> None:
        with self._refusing():
            super().parse_cleanup()

    def print_help(self) -> None:
        sys.stdout.write(f"Usage: {NAME} COMMAND [--options]\n\nCore options:\n\n")
        self.print_columns(self.initial_context.help_tuples())
        self.list_tasks()

    def print_task_help(self, name: str) -> None:
        context = self.parser.contexts[name]
        words = "".join(f" {argument.name.upper()}" for argument in context.positional_args)
        about = self.collection[name].__doc__ or ""
        sys.stdout.write(f"Usage: {NAME} {name}{words} [--options]\n\n  {about}\n\nOptions:\n")
        self.print_columns(context.help_tuples())

    def print_columns(self, tuples: Sequence[tuple[str, str | None]]) -> None:
        """Invoke's, and where the terminal is too narrow for two columns each text below its name: Invoke's raises."""
        from invoke.terminals import pty_size

        columns = pty_size()[0]
        if columns - max(len(name) for name, _ in tuples) >= TEXT_COLUMNS:
            super().print_columns(tuples)
            return
        import textwrap

        for name, text in tuples:
            indent = "    "
            below = textwrap.fill(text or "", max(columns, 20), initial_indent=indent, subsequent_indent=indent)
            sys.stdout.write(f"  {name}\n{below}\n")
        sys.stdout.write("\n")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        from invoke.exceptions import ParseError

        try:
            yield
        except ParseError as error:
            raise self._usage_error(error) from error

    def _usage_error(self, error: ParseError) -> UsageError:
        """What the parser refused, with what to type next."""
        import difflib
        import re

        known = self.parser.contexts if hasattr(self, "parser") else {}
        command = next((word for word in self.argv[1:] if word in known), None)
        if (lacking := _lacking(error)) is not None:
            return lacking
        found = re.fullmatch("No idea what '(.*)' is!", str(error), re.DOTALL)
        word = found.group(1) if found else ""
        if command is not None or word.startswith("-"):
            hint = f"{NAME} --help {command}" if command else f"{NAME} --help"
            return UsageError(f"{command or NAME} does not take {word!r}" if word else str(error), hint=hint)
        near = difflib.get_close_matches(word, known, 1)
        hint = f"did you mean {near[0]!r}? {NAME} --list" if near else f"{NAME} --list"
        return UsageError(f"there is no command {word!r}" if word else str(error), hint=hint)


def _lacking(error: ParseError) -> UsageError | None:
    """The word that a command needs, or the value that a flag needs, and what may stand there; None if none lacks."""
    import re

    context = error.context
    if context is None:
        return None
    hint = f"{NAME} --help {context.name}"
    if context.missing_positional_args:
        word = context.missing_positional_args[0]
        name = (word.name or "").upper()
        return UsageError(f"{context.name} needs {name}: {word.help}", field=name, hint=hint)
    valueless = re.match("Flag <Argument: ([a-z_]+).* needed value", str(error))
    if valueless:
        flag = "--" + valueless.group(1).replace("_", "-")
        told = context.flags[flag].help
        return UsageError(f"{flag} of {context.name} needs a value: {told}", field=flag, hint=hint)
    return None


def refuse_more_than_one(names: list[str], program: str) -> None:
    """Every command ends the process with its own code: a second one would be dropped. Raises UsageError."""
    if len(names) > 1:
        first, second, *_ = names
        of = first == "plan" and second in ("up", "down", "restart")
        hint = f"{program} plan --of {second}" if of else f"{program} {first} && {program} {second}"
        raise UsageError(f"one command at a time, not {', '.join(names)}", hint=hint)


def _tasks() -> Any:
    """tasks.py by its path: `import tasks` would find the one of whatever project the user stands in."""
    import importlib.util

    from cc.services.stack import stack_root

    path = os.path.join(stack_root(), "tasks.py")
    spec = importlib.util.spec_from_file_location("cc_tasks", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no tasks at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _asking_for_help(namespace: Any) -> list[str]:
    """`logs --help` as `--help logs`: Invoke would take it for the word that the command needs."""
    words = sys.argv[1:]
    command = next((word for word in words if not word.startswith("-")), None)
    if command in namespace.task_names and {"--help", "-h"} & set(words):
        return [sys.argv[0], "--help", str(command)]
    return list(sys.argv)


def main() -> NoReturn:
    """Run the words of the command line, and end the process with the code of what they asked for."""
    heed_signals()
    from invoke.collection import Collection
    from invoke.config import Config as InvokesConfig
    from invoke.program import Program as InvokesProgram

    program = type("ContextCleaner", (Words, InvokesProgram), {})
    config = type("Config", (Unconfigured, InvokesConfig), {})
    tasks = _tasks()
    tasks.fill_closed_streams()  # help goes there, too
    namespace = Collection.from_module(tasks)
    code: object = 0
    try:
        words = _asking_for_help(namespace)
        program(namespace=namespace, name=NAME, binary=NAME, version=__version__, config_class=config).run(words)
    except SystemExit as ended:
        code = ended.code
    except UsageError as error:
        tasks.refuse(error, json="--json" in sys.argv)
    except OSError as error:  # of Invoke's own printing and reading: what our commands raise is said by `perform`
        tasks.end(0, {error.filename or "stdout": error})
    sys.exit(tasks.end(code))


if __name__ == "__main__":
    main()
