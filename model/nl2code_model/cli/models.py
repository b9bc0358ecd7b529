"""`nl2code model`: list, pull, locate, verify and remove model files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from nl2code_server.errors import ModelMissing, Nl2CodeError

from ..models import gguf
from ..models import pull as pulling
from ..models.catalog import Located, Model, catalog, entry, locate
from ..models.header import read_header
from ..models.source import check as check_folder
from ..models.source import fetch
from ..models.verify import megabytes
from ..models.verify import verify as verify_file

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[
    str,
    typer.Argument(help="Catalog id, hub id, path of a .gguf file or of a folder of safetensors, or auto."),
]

app = typer.Typer(help="Model files on this machine.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the `model` commands to `nl2code`."""
    parent.add_typer(app, name="model")


@app.command("list")
def list_models(json_: Json = False) -> None:
    """Show the models of the catalog and whether they are here."""
    chosen = locate("auto").id
    rows = [_row(model, chosen) for model in catalog().values()]
    if json_:
        _print_json(rows)
        return
    table = Table("id", "size", "here", "what it is", box=None)
    for row in rows:
        name = f"{row['id']} (auto)" if row["auto"] else row["id"]
        table.add_row(name, megabytes(row["bytes"]), "yes" if row["present"] else "no", row["summary"])
    Console().print(table)


@app.command()
def pull(model: Name = "auto", json_: Json = False) -> None:
    """Fetch a model, going on where an earlier attempt stopped."""
    located = locate(model)
    try:
        if located.hub:
            path = fetch(located.id, lambda text: typer.echo(text, err=True))
        elif located.entry is None:
            _check_own(located)
            path = located.path
        else:
            with _shown(located.entry, json_) as on_progress:
                path = pulling.pull(located.id, on_progress=on_progress)
    except Nl2CodeError as error:
        if not json_:
            raise
        _print_json({"event": "error", "message": error.message, "fix": error.fix})
        raise typer.Exit(1) from error
    if json_:
        _print_json({"event": "done", "path": str(path)})
    else:
        typer.echo(path)


@app.command("path")
def path_of(model: Name = "auto", json_: Json = False) -> None:
    """Print where a model's file is, or would be."""
    located = locate(model)
    if json_:
        _print_json(_described(located))
    else:
        typer.echo(located.path)


@app.command()
def verify(model: Name = "auto", json_: Json = False) -> None:
    """Check a model's file: by sha256 if the catalog has it, else by its header."""
    located = locate(model)
    problem = ""
    try:
        if not located.present and not located.path.exists():
            raise ModelMissing(
                f"{located.path} is not there", f"run: nl2code model pull {located.id}", model=located.id
            )
        if located.entry:
            verify_file(located.entry, located.path)
        _check_own(located)
    except Nl2CodeError as error:
        if not json_:
            raise
        problem = str(error)
    if json_:
        _print_json({"id": located.id, "path": str(located.path), "ok": not problem, "problem": problem})
    else:
        typer.echo(f"{located.path}: ok")
    raise typer.Exit(1 if problem else 0)


@app.command()
def remove(model: Name, json_: Json = False) -> None:
    """Delete a model's file, and what an unfinished pull left. Files of your own are never touched."""
    found = pulling.remove(entry(model))
    gguf.remove(entry(model).path)
    if json_:
        _print_json({"id": entry(model).id, "removed": found})
    elif not found:
        typer.echo(f"there is no {model} to remove", err=True)
    raise typer.Exit(0 if found else 1)


def _check_own(located: Located) -> None:
    """Check what is no download of ours by what it says of itself."""
    if located.path.is_dir():
        check_folder(located.id, next(located.path.iterdir(), located.path) if located.hub else located.path)
    else:
        read_header(located.path)


def _described(located: Located) -> dict[str, Any]:
    size = located.entry.bytes if located.entry else located.path.stat().st_size if located.present else 0
    return {"id": located.id, "path": str(located.path), "present": located.present, "bytes": size}


def _row(model: Model, chosen: str) -> dict[str, Any]:
    more = {"license": model.license, "summary": model.summary, "auto": model.id == chosen}
    return _described(locate(model.id)) | more


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value))


@contextmanager
def _shown(model: Model, json_: bool) -> Iterator[Callable[[pulling.Progress], None]]:
    """Show progress as fits: JSON lines on stdout, a bar in a terminal, else a line for every tenth."""
    if json_:
        yield lambda progress: _print_json(
            {"event": "progress", "done": progress.done, "total": progress.total, "source": progress.source}
        )
    elif sys.stderr.isatty():
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(model.id, total=model.bytes)
            yield lambda progress: bar.update(
                task, completed=progress.done, description=f"{model.id} ({progress.source})"
            )
    else:
        yield _Lines(model.id)


class _Lines:
    """Print a line of progress whenever another tenth, or another source, is reached."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: tuple[int, str] | None = None

    def __call__(self, progress: pulling.Progress) -> None:
        reached = (progress.done * 10 // progress.total, progress.source)
        if reached != self.said:
            self.said = reached
            typer.echo(f"{self.name}: {reached[0] * 10} % ({progress.source})", err=True)
