"""`nl2code config`: every setting, its value, where that comes from, and what else it may be."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from .. import config
from ..platform import paths

HIDDEN = "(set)"
"""Stands for a key, which is never shown."""

app = typer.Typer(invoke_without_command=True)


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="config")


@app.callback()
def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show the settings and where each comes from, in the form of the configuration file.

    A command's flags count most, then NL2CODE_... variables, then the editor (for taste alone), then the file.

    For good:

        echo 'candidates = 3' >> "$(nl2code config path)"

    For one command:

        NL2CODE_CANDIDATES=3 nl2code config
    """
    if context.invoked_subcommand:
        return
    loaded = config.load()
    rows = [_row(name, loaded) for name in config.SETTINGS]
    if as_json:
        print(json.dumps({"path": str(paths().config_file), "problems": loaded.problems, "settings": rows}))
        return
    print(f"# {paths().config_file}")
    for row in rows:
        print(f"\n# {row['help']} ({row['allowed']}; from: {row['source']})")
        line = f"{row['name']} = {json.dumps(row['value'], ensure_ascii=False)}"
        typer.secho(f"# {line}" if row["value"] == HIDDEN else line, bold=row["source"] != "default")
    for problem in loaded.problems:
        typer.echo(f"warning: {problem}", err=True)


@app.command("path")
def path() -> None:
    """Print the path of the configuration file, whether or not it exists."""
    print(paths().config_file)


def _row(name: str, loaded: config.Loaded) -> dict[str, Any]:
    setting = config.SETTINGS[name]
    value = getattr(loaded.settings, name)
    if not setting.repr and value:
        value = HIDDEN
    return {
        "name": name,
        "value": value,
        "source": loaded.sources[name],
        "default": setting.default,
        "allowed": config.allowed(setting),
        "variable": config.VARIABLE_PREFIX + name.upper(),
        "editor": setting.metadata["editor"],
        "help": setting.metadata["help"],
    }
