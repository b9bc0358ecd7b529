"""`nl2code feedback import`: take over what `nl2code feedback export` wrote elsewhere."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from .. import config
from ..errors import Nl2CodeError
from ..feedback.log import database
from ..feedback.redact import redact_row, strip_code
from ..feedback.rows import AnyRow
from ..feedback.store import Store
from ..feedback.transfer import LONGEST, take_over


def import_(
    source: Annotated[str, typer.Argument(metavar="PATH", help="File to read, or - for standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Add exported feedback to the log: what is missing, by its ids; the same file twice changes nothing.

    Secrets are taken out as of anything that is logged. A file with a bad line is refused whole.
    """
    settings = config.load().settings
    if settings.feedback == "off":
        raise Nl2CodeError("The setting `feedback` is off", "set it to full or no-code to import")

    def clean(row: AnyRow, known: dict[str, str]) -> AnyRow:
        row = strip_code(row) if settings.feedback == "no-code" else row
        return redact_row(row, known) if settings.redact else row

    with _seekable(source) as file, Store(database(settings)) as store:

        def lines() -> Iterator[bytes]:
            file.seek(0)
            while line := file.readline(LONGEST + 1):
                yield line

        added = take_over(store, lines, clean)
    if as_json:
        typer.echo(json.dumps(added._asdict()))
    else:
        typer.echo(
            f"Added {added.requests} requests, {added.suggestions} suggestions, {added.events} events."
        )


@contextmanager
def _seekable(source: str) -> Iterator[IO[bytes]]:
    """Open a file that can be read twice: standard input goes into one that nobody else sees."""
    if source == "-":
        with tempfile.TemporaryFile() as file:
            while block := sys.stdin.buffer.read(1 << 20):
                file.write(block)
            yield file
        return
    try:
        read = Path(source).open("rb")  # noqa: SIM115 - closed below
        read.seek(0)
    except OSError as error:
        raise Nl2CodeError(f"{source} cannot be read: {error.strerror}", "Name an exported file") from error
    with read:
        yield read
