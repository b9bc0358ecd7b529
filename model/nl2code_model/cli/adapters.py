"""`nl2code adapters`: the tuned versions of a model, and which of them serves."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nl2code_server import config

from ..models.catalog import locate
from ..tune.registry import Registry, Version
from ..tune.swap import Told, tell_hosts

out = Console(highlight=False)
app = typer.Typer(no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[str | None, typer.Option(help="Model that they belong to; left out, that of the settings.")]
Name = Annotated[str, typer.Argument(metavar="VERSION", help="Its name, or the beginning of it.")]

HELP = """See which tuned versions of the model there are, and choose the one that serves.

`nl2code tune` makes them and promotes what is better. Running hosts change over at once and keep their address.
"""


def register(parent: typer.Typer) -> None:
    """Add the commands to `nl2code`."""
    parent.add_typer(app, name="adapters", help=HELP)


@app.command("list")
def list_(model: Model = None, json_: Json = False) -> None:
    """List the versions, oldest first."""
    registry = registry_of(model)
    versions = registry.versions()
    if json_:
        typer.echo(json.dumps([_row(one) for one in versions], ensure_ascii=False))
        return
    if not versions:
        out.print(f"{registry.model} has no adapters; nl2code tune makes them.")
        return
    table = Table("", "version", "made", "learnt from", "gate", box=None, padding=(0, 2, 0, 0))
    for one in versions:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.manifest.get("made", 0)))
        data = one.manifest.get("data", {})
        passed = "passed" if one.manifest.get("gate_passed") else "refused"
        table.add_row(
            "*" if one.current else "", one.name, made, f"{data.get('judged', '?')} verdicts", passed
        )
    out.print(table)


@app.command()
def promote(name: Name, model: Model = None, json_: Json = False) -> None:
    """Let a version serve, in running hosts too.

    nl2code adapters promote 20261123-2
    """
    registry = registry_of(model)
    version = registry.promote(registry.find(name).name)
    _tell(registry, version.name, tell_hosts(registry.model, version.name, version.folder), json_)


@app.command()
def rollback(model: Model = None, json_: Json = False) -> None:
    """Go back to the version that served before; before the first, that is the model itself."""
    registry = registry_of(model)
    name = registry.rollback()
    folder = registry.find(name).folder if name else None
    _tell(registry, name, tell_hosts(registry.model, name, folder), json_)


@app.command()
def remove(name: Name, model: Model = None) -> None:
    """Delete a version that does not serve."""
    registry = registry_of(model)
    found = registry.find(name)
    registry.remove(found.name)
    out.print(f"Removed {found.name}.")


def registry_of(model: str | None) -> Registry:
    """Return the registry of a model, under the id that hosts give it."""
    return Registry(locate(config.load(flags={"model": model}).settings.model).id)


def _tell(registry: Registry, name: str, told: list[Told], json_: bool) -> None:
    serving = name or "the model itself"
    if json_:
        typer.echo(
            json.dumps({"model": registry.model, "version": name, "hosts": [asdict(one) for one in told]})
        )
    else:
        out.print(f"{serving} serves {registry.model} from now on.")
        for one in told:
            out.print(f"host {one.pid} ({one.engine}): {one.problem or 'changed over'}")
    if any(one.problem for one in told):
        raise typer.Exit(1)


def _row(version: Version) -> dict[str, Any]:
    return {
        "version": version.name,
        "current": version.current,
        "folder": str(version.folder),
        "manifest": dict(version.manifest),
    }
