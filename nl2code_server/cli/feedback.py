"""`nl2code feedback`: look at the feedback log, take it elsewhere, delete from it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from .. import config
from ..errors import Nl2CodeError
from ..feedback.anonymise import anonymous_rows
from ..feedback.events import SCHEMA_VERSION, EventKind
from ..feedback.identity import project_id
from ..feedback.log import database
from ..feedback.moments import moment
from ..feedback.redact import strip_code
from ..feedback.store import Logged, Purged, Record, Store, Tally
from ..platform import write_private
from .feedback_audit import audit, own_words
from .feedback_encryption import decrypt, encrypt
from .feedback_import import import_

EVENTS: tuple[str, ...] = get_args(EventKind)
_TABLE_ROWS = 50

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[
    str,
    typer.Option(
        "--since", metavar="WHEN", help="Only from then on: 2026-11-23, 7d, 12h.", show_default=False
    ),
]
NoCode = Annotated[bool, typer.Option("--no-code", help="Leave instructions, prompts and code out.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Look at the feedback log, take it elsewhere, delete from it.", no_args_is_help=True
    )
    group.command("stats")(stats)
    group.command("list")(list_events)
    group.command("export")(export)
    group.command("import")(import_)
    group.command("purge")(purge)
    group.command("audit")(audit)
    group.command("encrypt")(encrypt)
    group.command("decrypt")(decrypt)
    app.add_typer(group, name="feedback")


def stats(since: Since = "", as_json: Json = False) -> None:
    """Count requests and what became of their suggestions."""
    start = _moment(since)
    with _store() as store:
        total = store.stats(since=start)[""] if store else Tally()
        groups: dict[str, dict[str, Tally]] = {
            "kind": store.stats("kind", since=start) if store else {},
            "model": store.stats("model", since=start) if store else {},
            "surface": store.stats("surface", since=start) if store else {},
            "day": store.stats("day", since=start) if store else {},
        }
    if as_json:
        by = {
            f"by_{name}": {key: _tally(tally) for key, tally in group.items()}
            for name, group in groups.items()
        }
        _print_json(_tally(total) | by)
        return
    if not total.requests:
        out.print("No feedback yet.")
        return
    table = _table("")
    for name in ("requests", "offered", "shown", "accepted", "partially", "rejected", "rate"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("all", *_figures(total), style="bold")
    for name, group in groups.items():
        table.add_row()
        for key, tally in group.items():
            table.add_row(f"[dim]{name}[/] {_plain(key) or '-'}", *_figures(tally))
    out.print(table)
    out.print("[dim]rate: accepted whole, of those offered[/]")


def list_events(
    event: Annotated[
        list[str] | None, typer.Option("--event", metavar="EVENT", help=f"Only these: {', '.join(EVENTS)}.")
    ] = None,
    since: Since = "",
    suggestion: Annotated[str, typer.Option("--suggestion", metavar="ID", help="Only of this one.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="Only the newest; 0 is all.")] = None,
    no_code: NoCode = False,
    as_json: Json = False,
) -> None:
    """List events, oldest first. The table shows the newest 50 unless told otherwise; JSON has them all."""
    if unknown := [name for name in event or () if name not in EVENTS]:
        raise typer.BadParameter(
            f"no event {unknown[0]!r}; there are {', '.join(EVENTS)}", param_hint="--event"
        )
    start = _moment(since)
    if limit is None:
        limit = 0 if as_json else _TABLE_ROWS
    with _store() as store:
        events = (
            store.events(kinds=event or (), since=start, suggestion=suggestion, limit=limit)
            if store
            else iter(())
        )
        if as_json:
            _print_json([_event(logged, no_code=no_code) for logged in events])
            return
        rows = list(events)
    if not rows:
        out.print("No such events." if event or since or suggestion else "No feedback yet.")
        return
    table = _table("time", "event", "by", "suggestion", *([] if no_code else ["instruction"]))
    for logged in rows:
        row = logged.event
        when = datetime.fromtimestamp(row.time).astimezone().strftime("%m-%d %H:%M:%S")
        table.add_row(
            when,
            f"{row.event} [dim]{_plain(row.checkpoint or row.cause)[:20]}[/]",
            row.source,
            row.suggestion_id,
            *([] if no_code else [_plain(shorten(logged.instruction, 100, placeholder="…"))]),
        )
    out.print(table)
    if limit and len(rows) == limit:
        out.print(f"[dim]The newest {limit}; --limit 0 shows all.[/]")


def export(
    target: Annotated[str, typer.Argument(metavar="PATH", help="File to write, or - for standard output.")],
    since: Since = "",
    no_code: NoCode = False,
    anonymise: Annotated[
        bool,
        typer.Option("--anonymise", help="Replace names, addresses, paths, hosts and keys by placeholders."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write every request with its candidates and events as one line of JSON.

    See what `--anonymise` replaces: `nl2code feedback audit`.
    """
    start = _moment(since)
    path = Path(target)
    if target != "-" and path.exists() and not force:
        raise Nl2CodeError(f"{path} exists already", "Name another file, or add --force")
    with _store() as store:
        lines = (
            (_line(record, no_code=no_code, anonymise=anonymise) for record in store.records(since=start))
            if store
            else iter(())
        )
        if target == "-":
            for line in lines:
                sys.stdout.write(line)
            return
        written = list(lines)
    try:
        write_private(path.absolute(), "".join(written))
    except OSError as error:
        raise Nl2CodeError(f"{path} cannot be written: {error.strerror}", "Name another file") from error
    err.print(f"{_count(len(written), 'request')} written to {path}")


def purge(
    everything: Annotated[
        bool, typer.Option("--all", help="Delete everything: also the rule if nothing is named.")
    ] = False,
    before: Annotated[
        str, typer.Option("--before", metavar="WHEN", help="Only older than that: 2026-11-23, 30d.")
    ] = "",
    project: Annotated[
        Path | None, typer.Option("--project", metavar="FOLDER", help="Only of that workspace folder.")
    ] = None,
    suggestion: Annotated[str, typer.Option("--suggestion", metavar="ID", help="Only that one.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete feedback for good: the bytes are overwritten."""
    named = bool(before or project or suggestion)
    if (everything and named) or (suggestion and (before or project)):
        raise typer.BadParameter("--all and --suggestion stand alone")
    if not yes and not _asks():
        raise typer.BadParameter("it deletes for good, and there is no terminal to ask in: add --yes")
    limit = _moment(before)
    with _store() as store:
        if store is None:
            out.print("No feedback yet.")
            return
        what = "that feedback" if named else f"all feedback in {store.path}"
        if not yes and not typer.confirm(f"Delete {what}?"):
            raise typer.Exit(1)
        purged = store.purge(
            before=limit, project=project_id(project.absolute()) if project else "", suggestion=suggestion
        )
    out.print(_told(purged))
    if named and not purged.requests and not purged.suggestions:
        raise typer.Exit(1)


@contextmanager
def _store() -> Iterator[Store | None]:
    """Open the store if there is one; looking at feedback does not make any."""
    loaded = config.load()
    for problem in loaded.problems:
        err.print(f"[yellow]warning:[/] {_plain(problem)}")
    path = database(loaded.settings)
    if not path.exists() and not path.is_symlink():
        yield None
        return
    with Store(path) as store:
        if store.notice:
            err.print(f"[yellow]warning:[/] {_plain(store.notice)}")
        yield store


def _asks() -> bool:
    return sys.stdin.isatty()


def _moment(text: str) -> float | None:
    """Read a date, a date with a time, or an age."""
    try:
        return moment(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _event(logged: Logged, *, no_code: bool) -> dict[str, Any]:
    event = strip_code(logged.event) if no_code else logged.event
    about = {"kind": logged.kind, "model": logged.model, "surface": logged.surface}
    code = {} if no_code else {"instruction": logged.instruction, "text": logged.text}
    return asdict(event) | about | code


def _line(record: Record, *, no_code: bool, anonymise: bool) -> str:
    if no_code:
        record = Record(
            strip_code(record.request),
            [strip_code(row) for row in record.candidates],
            [strip_code(row) for row in record.events],
        )
    if anonymise:
        rows, _ = anonymous_rows(record.request, record.candidates, record.events, own_words())
    else:
        rows = {
            "request": asdict(record.request),
            "candidates": [asdict(row) for row in record.candidates],
            "events": [asdict(row) for row in record.events],
        }
    return json.dumps({"schema_version": SCHEMA_VERSION, **rows}) + "\n"


def _table(*columns: str) -> Table:
    """Begin a table of which the last column gives way where the terminal is narrow."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _tally(tally: Tally) -> dict[str, Any]:
    return asdict(tally) | {"acceptance_rate": tally.acceptance_rate}


def _figures(tally: Tally) -> list[str]:
    counts = (
        tally.requests,
        tally.offered,
        tally.shown,
        tally.accepted,
        tally.partially_accepted,
        tally.rejected,
    )
    rate = tally.acceptance_rate
    return [*(str(count) for count in counts), "-" if rate is None else f"{rate:.0%}"]


def _told(purged: Purged) -> str:
    counts = (
        _count(purged.requests, "request"),
        _count(purged.suggestions, "suggestion"),
        _count(purged.events, "event"),
    )
    files = f" and {_count(purged.files, 'damaged file')}" if purged.files else ""
    return f"Deleted {', '.join(counts)}{files}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _plain(text: str) -> str:
    """Keep a terminal from reading marks or control characters in logged text."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else " " for c in text))


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
