"""`nl2code report`: how it goes, as one page; live with `--serve`."""

from __future__ import annotations

import asyncio
import json
import webbrowser
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from nl2code_server import config
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.log import database
from nl2code_server.feedback.moments import moment
from nl2code_server.platform import paths, private_folder, write_private


def register(parent: typer.Typer) -> None:
    """Add the command to `nl2code`."""
    parent.command()(report)


def report(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write; left out, one in the data folder."),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Only from then on: 2026-11-23, 7d, 12h.")
    ] = "",
    json_: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, and write no page.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve it on this machine, always up to date, until Ctrl+C.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")] = 0,
    minutes: Annotated[
        float, typer.Option(min=0.01, max=10080, help="End after so many minutes in which nobody looked.")
    ] = 60.0,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to count what the next tuning would learn from; 0 leaves it out."),
    ] = 120.0,
) -> None:
    """Show how it goes: what was taken and kept, how fast, why nothing was offered, what tuning did.

    nl2code report --open
    nl2code report --serve

    One page without any request to elsewhere. It holds code of yours: the file is for your eyes alone.
    """
    path = database(config.load().settings)
    if serve and (out or json_ or since):
        raise typer.BadParameter("--serve stands without --out, --json and --since", param_hint="--serve")
    try:
        from ..report import serve as live
        from ..report import static
    except ImportError as error:
        raise Nl2CodeError(
            f"The page needs {error.name}, which is not installed", "run: pip install 'nl2code[report]'"
        ) from error
    if serve:
        asyncio.run(live.serve(path, port=port, minutes=minutes, announce=lambda url: _announce(url, open_)))
        return
    start = _moment(since)
    if json_:
        typer.echo(json.dumps(static.figures_json(path, start, wait), ensure_ascii=False))
        return
    html, notice = static.page(path, start, wait)
    if notice:
        typer.echo(f"warning: {notice}", err=True)
    target = (out or private_folder(paths().data) / "report.html").absolute()
    try:
        write_private(target, html)
    except OSError as error:
        raise Nl2CodeError(f"{target} cannot be written: {error.strerror}", "Name another --out") from error
    typer.echo(str(target))
    if open_:
        webbrowser.open(target.as_uri())


def _announce(url: str, show: bool) -> None:
    typer.echo(f"{url}\nCtrl+C ends it.")
    if show:
        # Not the address itself: command lines are for all users of a machine to see.
        folder = private_folder(paths().data)
        page = folder / "report-open.html"
        write_private(page, f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}">')
        webbrowser.open(page.as_uri())


def _moment(text: str) -> float | None:
    try:
        return moment(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
