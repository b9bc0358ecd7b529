"""`nl2code bench`: time what users wait for, on this machine."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Time nl2code on this machine.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the `bench` commands to `nl2code`."""
    parent.add_typer(app, name="bench")


@app.callback()
def bench() -> None:
    """Time nl2code on this machine."""


@app.command()
def server(
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON line only.")] = False,
    lines: Annotated[
        list[int] | None, typer.Option(help="Size of the file; may be given several times.", min=20)
    ] = None,
    rounds: Annotated[int, typer.Option(help="Sessions of each server at each size.", min=1)] = 7,
) -> None:
    """Time the language server against a bare pygls server."""
    from ..bench import server as timing

    errors = Console(stderr=True)
    sizes = tuple(lines) if lines else timing.SIZES
    with errors.status("warming up") as status:
        data = timing.report(timing.run(sizes, rounds, status.update))
    if not json_:
        _print(data, {measure.key: measure.title for measure in timing.MEASURES})
    typer.echo(json.dumps(data, ensure_ascii=False))


@app.command()
def decode(
    model: Annotated[
        list[str] | None, typer.Option(help="Model to time, as `serve` takes it; may be given several times.")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="llamacpp (the default) or torch; may be given several times.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Rounds in which all hosts take turns.", min=1)] = 5,
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON line only.")] = False,
) -> None:
    """Time the engines: tokens per second, time to the first token, next to a bare llama.cpp server."""
    from ..bench import decode as timing

    errors = Console(stderr=True)
    with errors.status("reading the models") as status:
        found = timing.contestants(model or ["auto"], engine or ["llamacpp"], device)
        data = timing.run(found, rounds, status.update)
    if not json_:
        _print_decode(data, {measure.key: measure.title for measure in timing.MEASURES})
    typer.echo(json.dumps(data, ensure_ascii=False))


def _print(data: dict[str, Any], titles: dict[str, str]) -> None:
    machine = data["machine"]
    table = Table(
        title=f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}, Python {machine['python']}, "
        f"pygls {machine['pygls']}",
        caption="median of the sessions (lowest – highest); ratio to the bare server, and what it may be",
    )
    for name in ("measure", "server"):
        table.add_column(name)
    for name in ("lines", "median", "range", "ratio", "target"):
        table.add_column(name, justify="right")
    for row in data["results"]:
        table.add_row(
            titles[row["measure"]],
            row["server"],
            f"{row['lines']:,}",
            f"{row['median']:,.1f} {row['unit']}",
            f"{row['low']:,.1f} – {row['high']:,.1f}",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            "" if row["target"] is None else f"≤ {row['target']}",
        )
    Console(width=None if Console().is_terminal else 120).print(table)


def _print_decode(data: dict[str, Any], titles: dict[str, str]) -> None:
    machine, read = data["machine"], data["memory_read"]
    ceilings = "; ".join(
        f"{host['model']} by {host['engine']}: {host['bytes_per_token'] / 2**20:,.0f} MiB a token, "
        f"at most {host['roofline']:,.0f} tok/s"
        for host in data["hosts"]
        if host["bytes_per_token"]
    )
    table = Table(
        title=f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}, Python {machine['python']}, "
        f"memory read at {read['median']} {read['unit']}",
        caption="median of the rounds (lowest – highest); ratio to llama.cpp's own server; part of the roofline. "
        + ceilings,
    )
    for name in ("measure", "model", "engine"):
        table.add_column(name)
    for name in ("median", "range", "ratio", "roofline"):
        table.add_column(name, justify="right")
    for row in sorted(data["results"], key=lambda row: list(titles).index(row["measure"])):
        table.add_row(
            titles[row["measure"]],
            row["model"],
            row["engine"],
            f"{row['median']:,.1f} {row['unit']}",
            f"{row['low']:,.1f} – {row['high']:,.1f}",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            "" if row["roofline"] is None else f"{row['roofline']:.0%}",
        )
    Console(width=None if Console().is_terminal else 120).print(table)
