"""`nl2code bench`: time what users wait for, on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nl2code_server.platform import paths

BETWEEN_LINES = 5.0
"""Seconds between two lines of progress, at least."""

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
    copilot: Annotated[
        bool, typer.Option(help="Fetch Copilot's language server from npm into the cache, and time it too.")
    ] = False,
) -> None:
    """Time the language server against a bare pygls server: start, first answer, keystrokes, memory.

    Sessions of all servers take turns. Some 4 minutes on two quiet cores.
    """
    from ..bench import server as timing

    sizes = tuple(lines) if lines else timing.SIZES
    with _progress("warming up") as tell:
        folder = timing.install_copilot(paths().cache / "copilot") if copilot else None
        data = timing.report(timing.run(sizes, rounds, tell, folder))
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
    random_weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Shape (0.5b, 1.5b, 7b) to time with torch and no weights at hand; several times too."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds in which all hosts take turns.", min=1)] = 5,
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON line only.")] = False,
) -> None:
    """Time the engines: tokens per second, time to the first token, next to a bare llama.cpp server.

    Where llama-cpp-python is installed, built on this machine, it takes part too (a C++ compiler and cmake needed):

        pip install --no-binary llama-cpp-python llama-cpp-python

    About 100 seconds a round for a model of half a billion parameters on two CPU cores.
    """
    from ..bench import decode as timing
    from ..bench.shapes import written

    with _progress("reading the models") as tell, written(random_weights or [], device) as folders:
        models, engines = model or ["auto"], engine or ["llamacpp"]
        if folders:
            models, engines = [*(model or []), *folders], engine or ["torch"]
        found = timing.contestants(models, engines, device)
        data = timing.run(found, rounds, tell)
    if not json_:
        _print_decode(data, {measure.key: measure.title for measure in timing.MEASURES})
    typer.echo(json.dumps(data, ensure_ascii=False))


Model = Annotated[str, typer.Option(help="Model of the host, as `serve` takes it.")]
EngineName = Annotated[str, typer.Option(help="llamacpp or torch.")]
Tasks = Annotated[int, typer.Option(help="How many of the 30 instructions.", min=1, max=30)]
Json = Annotated[bool, typer.Option("--json", help="Print the JSON line only.")]
Speed = Annotated[float, typer.Option(help="Type so many times as fast.", min=0.1, max=100)]


@app.command()
def suggest(
    model: Model = "auto",
    engine: EngineName = "llamacpp",
    tasks: Tasks = 30,
    lines: Annotated[
        list[int] | None, typer.Option(help="Size of the file; may be given several times.", min=20)
    ] = None,
    transformers: Annotated[
        str, typer.Option(help="Folder of safetensors that `generate` is timed with, as tutorials use it.")
    ] = "",
    json_: Json = False,
) -> None:
    """Time a finished comment to its suggestion: cold, warm and speculated, next to a plain chat with the same file.

    The chat is llama.cpp's own server with its prompt cache on. Some 25 minutes with all 30 instructions and sizes.
    """
    from ..bench import suggest as timing
    from ..bench.hosts import ours, peer
    from ..bench.typing import traces

    with _progress("loading the model") as tell:
        command, environment = ours(engine, model)
        plan = timing.Plan(
            ours=command,
            environment=environment,
            peer=peer(model),
            tutorial=transformers,
            sizes=tuple(lines) if lines else timing.SIZES,
        )
        data = timing.run(plan, traces()[:tasks], tell)
    if not json_:
        _table(data, data["results"], "seconds; ratio to the plain chat, warm where ours is not cold")
    typer.echo(json.dumps(data, ensure_ascii=False))


@app.command("typing")
def typing_(
    model: Model = "auto",
    engine: EngineName = "llamacpp",
    tasks: Tasks = 30,
    speed: Speed = 1.0,
    json_: Json = False,
) -> None:
    """Replay 30 instructions as they are typed: how often the answer is there in time, and what that costs.

    In an editor that asks at every key, and in one that asks when its user rests. Some 15 minutes.
    """
    from ..bench import typing as timing
    from ..bench.hosts import ours

    with _progress("loading the model") as tell:
        data = timing.run(*ours(engine, model), timing.traces()[:tasks], speed=speed, tell=tell)
    if not json_:
        _table(
            data,
            data["results"],
            "there: the answer was ready; hit: ready or under way; tokens of work ahead",
        )
    typer.echo(json.dumps(data, ensure_ascii=False))


@app.command()
def load(
    model: Model = "auto",
    engine: EngineName = "llamacpp",
    editors: Annotated[int, typer.Option(help="Editors, each with a language server.", min=1, max=256)] = 16,
    seconds: Annotated[float, typer.Option(help="How long they type.", min=1)] = 120.0,
    speed: Speed = 1.0,
    json_: Json = False,
) -> None:
    """Let many editors type at once before one model host: suggestions per second, waits, what is lost or wasted.

    Needs some 60 MB for each editor.
    """
    from ..bench import load as timing
    from ..bench.hosts import ours
    from ..bench.typing import traces

    with _progress("loading the model") as tell:
        data = timing.run(
            *ours(engine, model),
            traces(),
            editors=editors,
            seconds=seconds,
            speed=speed,
            tell=tell,
        )
    if not json_:
        row = {name: value for name, value in data.items() if not isinstance(value, dict | list)}
        _table(data, [{"what": name, "value": value} for name, value in row.items()], "waits in seconds")
    typer.echo(json.dumps(data, ensure_ascii=False))


@contextmanager
def _progress(first: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done: in place on a terminal, else a line for each step with the seconds gone by."""
    errors, started = Console(stderr=True), time.monotonic()
    if errors.is_terminal:
        with errors.status(first) as status:
            yield status.update
        return

    told = 0.0

    def tell(text: str) -> None:
        nonlocal told
        if time.monotonic() - told >= BETWEEN_LINES:
            told = time.monotonic()
            typer.echo(f"{told - started:6.0f} s  {text}", err=True)

    tell(first)
    yield tell


def _table(data: dict[str, Any], rows: list[dict[str, Any]], caption: str) -> None:
    """Print rows of plain data."""
    machine = data["machine"]
    title = f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}, {data['model']}"
    table = Table(title=title, caption=caption)
    for name in rows[0]:
        table.add_column(
            name.replace("_", " "), justify="right" if name not in ("way", "asks", "what") else "left"
        )
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(width=None if Console().is_terminal else 160).print(table)


def _shown(value: Any) -> str:
    if isinstance(value, dict):  # a spread
        return f"{value['median']:,} ({value['low']:,} – {value['high']:,})"
    return "" if value is None else str(value)


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
