"""The `nl2code` command: finds the module of the command that was asked for, and tells failures in one line."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from .. import __version__
from ..errors import ConfigError, Nl2CodeError

COMMANDS = {
    "write": ("write", "Write Python for one sentence."),
    "complete": ("complete", "Generate the code for an instruction in a file."),
    "instructions": ("complete", "List the instructions in files."),
    "explain": ("explain", "Tell a decision from end to end."),
    "demo": ("demo", "See in a minute what it does in an editor."),
    "feedback": ("feedback", "See, export and delete what the log keeps."),
    "config": ("config", "Show the settings and where each comes from."),
    "doctor": ("doctor", "Check all that has to work, and say how to mend it."),
    "host": ("host", "See and stop the local model host."),
    "setup": ("setup", "Set an editor up."),
}
"""The module of each command and its summary, so that help need not import them all."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command: exit 0 if it is done, 1 if it failed or found nothing, 2 on wrong usage, 130 on Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    try:
        app_for(first)(arguments, prog_name="nl2code")
    except Nl2CodeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.strerror is None:
            raise
        sys.exit(f"error: {error.strerror}{f': {error.filename}' if error.filename else ''}")


def app_for(first: str) -> typer.Typer:
    """Make the application for a command line whose first word is `first`; other commands are names in its help."""
    app = typer.Typer(
        help="Turn instructions in comments into Python that is checked before you see it.",
        epilog="Each command has its own --help. Settings: `nl2code config`. Trouble: `nl2code doctor`.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    if first in COMMANDS:
        import_module(f"{__package__}.{COMMANDS[first][0]}").register(app)
        return app
    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(_elsewhere)
    plugins = {plugin.name: plugin for plugin in entry_points(group="nl2code.commands")}
    for plugin in [plugins[first]] if first in plugins else plugins.values():
        _register(app, plugin, wanted=plugin.name == first)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nl2code {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _elsewhere() -> None:
    raise AssertionError("a command is run from its own module")


def _register(app: typer.Typer, plugin: EntryPoint, *, wanted: bool) -> None:
    """Add the commands of another package. One that cannot be loaded must not take the others with it."""
    try:
        plugin.load()(app)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        if wanted:
            raise Nl2CodeError(
                f"The command {plugin.name} cannot be loaded: {problem}", "run: pip install 'nl2code[local]'"
            ) from error
        typer.echo(f"warning: the command {plugin.name} cannot be loaded: {problem}", err=True)
