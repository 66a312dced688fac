"""The command `rlway`: finds its subcommands among the installed packages and reports failures in one sentence.

In:      the command line; the entry points of the group `rlway.commands`.
Out:     an exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from threading import Event
from typing import Any

import typer
from typer.core import CompletionItem  # type: ignore[attr-defined]
from typer.exceptions import TyperException
from typer.main import get_command

from rlway_client.cli import completion
from rlway_client.cli.help_page import GroupHelpPage, HelpPage, new_group
from rlway_client.common.packages import SERVING, TRAINING, missing
from rlway_client.common.quote import reason
from rlway_client.contract.errors import RlwayError, UsageError

GROUP = "rlway.commands"
TERMINATED = 128 + signal.SIGTERM  # the exit status that shells give a process which SIGTERM ended
LINE = ["new", "train", "env", "export", "inspect", "verify", "serve", "act", "play", "edge", "bench"]
ORDER = [*LINE, "doctor", "completion"]  # of the help page
PACKAGE_OF = {"train": "rlway-train", "env": "rlway-train", "export": "rlway-export", "serve": "rlway-serve"}


class Commands(GroupHelpPage):
    """Loads a subcommand only when it is asked for, so that `rlway act` never waits for the server's imports."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return sorted(_installed(), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The names alone: their texts are in modules that take seconds to import."""
        if incomplete.startswith("-"):
            return list(super().shell_complete(ctx, incomplete))
        return [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        entry = _installed().get(cmd_name)
        if entry is None:
            if cmd_name in PACKAGE_OF:
                package = PACKAGE_OF[cmd_name]
                if _is_installed(package):
                    return None
                environment = SERVING if package == "rlway-serve" else TRAINING
                raise UsageError(missing(f"`rlway {cmd_name}`", package, package, environment))
            return None
        loaded = entry.load()
        if isinstance(loaded, typer.Typer):
            command = get_command(loaded)
        else:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(name=cmd_name, cls=HelpPage)(loaded)
            command = get_command(app)
        command.name = cmd_name
        return command


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


app = new_group(Commands, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def rlway() -> None:
    """Take a TF-Agents policy from training to the machines that act on it.

    Failures are one sentence; add --debug anywhere for the traceback.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    terminated, completing = Event(), completion.is_asked()

    def terminate(*_: object) -> None:
        terminated.set()
        sys.exit(TERMINATED)

    # An exception in place of a sudden end, so that clean-up code runs; a server has a handler of its own.
    signal.signal(signal.SIGTERM, terminate)
    try:
        # Not standalone: typer raises its errors, and they become one sentence like all others.
        status = app(args=[word for word in words if word != "--debug"], prog_name="rlway", standalone_mode=False)
    except Exception as error:
        if terminated.is_set():  # while a library of C is imported, Python makes an ImportError of the exit
            sys.exit(TERMINATED)
        if completing:  # between the words that someone types
            sys.exit(1)
        if debug and not isinstance(error, TyperException | typer.Abort | BrokenPipeError):
            raise
        sys.exit(_report(error))
    sys.exit(status if isinstance(status, int) else 0)


def _report(error: Exception) -> int:
    """Says on stderr what is wrong, in one sentence; returns the exit status."""
    if isinstance(error, TyperException):
        if error.format_message():  # without arguments, a group has shown its help instead
            print(f"rlway: {_as_sentence(error)}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, typer.Abort):
        return 130
    if isinstance(error, RlwayError):
        print(f"rlway: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # `rlway inspect … | head`
        sys.stderr.close()
        return 1
    kind = type(error).__name__
    print(
        f"rlway: failed in a way that it should not ({kind}: {reason(error)}); add --debug for the traceback",
        file=sys.stderr,
    )
    return 1


def _as_sentence(error: TyperException) -> str:
    """What is wrong with the command line, and where to find its options."""
    message = error.format_message().strip().rstrip(".")
    path = getattr(getattr(error, "ctx", None), "command_path", "rlway")
    return f"{message[:1].lower()}{message[1:]}; `{path} --help` shows what can be given."
