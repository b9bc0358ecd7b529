"""`nl2code host`: see and stop the model hosts of this machine."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any

import typer

from .. import config
from ..endpoint.process import HostStatus, host_status, stop_host

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

app = typer.Typer(no_args_is_help=True)


HELP = """See and stop the local model host.

It is started when a suggestion is first asked for, shared by all editors, and ends by itself when nobody has used it
for a while (setting idle_exit). Models are fetched with `nl2code model pull`.
"""


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="host", help=HELP)


@app.command()
def status(as_json: Json = False) -> None:
    """Show the hosts that run, and whether they answer.

        nl2code host status

    Exit code 0 if the host of the settings in force answers, 1 if not.
    """
    found = asyncio.run(host_status(config.load().settings))
    if as_json:
        print(json.dumps([_row(status) for status in found]))
    else:
        for status in found:
            print(_line(status))
        if not found:
            typer.echo("no model host runs; one is started when it is needed", err=True)
    raise typer.Exit(0 if any(status.current and status.answers for status in found) else 1)


@app.command()
def stop(as_json: Json = False) -> None:
    """Stop all hosts; an editor starts a new one when it needs it.

    nl2code host stop
    """
    found = asyncio.run(_stop_all())
    if as_json:
        print(json.dumps([_row(status) for status in found]))
    else:
        for status in found:
            print(f"stopped {status.record.model}, process {status.record.pid}")
        if not found:
            typer.echo("no model host runs", err=True)


async def _stop_all() -> list[HostStatus]:
    found = await host_status(config.load().settings)
    for status in found:
        await stop_host(status.record)
    return found


def _row(status: HostStatus) -> dict[str, Any]:
    record = status.record
    return {
        "url": record.url,
        "pid": record.pid,
        "engine": record.engine,
        "model": record.model,
        "started": record.started,
        "answers": status.answers,
        "current": status.current,
        "log": str(status.log),
    }


def _line(status: HostStatus) -> str:
    record = status.record
    minutes = max(0, time.time() - record.started) / 60
    parts = [
        f"{record.model} ({record.engine})",
        "answers" if status.answers else "does not answer",
        record.url,
        f"process {record.pid}",
        f"up {minutes:.0f} min",
        f"log {status.log}",
    ]
    return ", ".join(parts if status.current else [*parts, "not what the settings ask for"])
