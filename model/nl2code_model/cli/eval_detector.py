"""`nl2code eval-detector`: how often the detector fires where nothing is asked, and how often it misses a request."""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluate import detect

_WIDTH = 110


def register(parent: typer.Typer) -> None:
    """Add the command to `nl2code`."""
    parent.command("eval-detector")(evaluate)


def evaluate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Python files or folders that ask for nothing; left out, the standard library and the packages "
            "of this interpreter.",
            exists=True,
        ),
    ] = None,
    files: Annotated[bool, typer.Option("--files/--no-files", help="Read those files at all.")] = True,
    satd: Annotated[
        Path | None, typer.Option(help="CSV of comments that admit debt.", exists=True, dir_okay=False)
    ] = None,
    mbpp: Annotated[
        list[Path] | None,
        typer.Option(help="MBPP as published; repeatable.", exists=True, dir_okay=False),
    ] = None,
    conala: Annotated[
        list[Path] | None,
        typer.Option(help="CoNaLa as published; repeatable.", exists=True, dir_okay=False),
    ] = None,
    odex: Annotated[
        list[Path] | None,
        typer.Option(help="ODEX, or rows with a `text`; repeatable.", exists=True, dir_okay=False),
    ] = None,
    hits: Annotated[int, typer.Option(help="List so many of what fires in the files.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Draws the hits.")] = 0,
    missed: Annotated[bool, typer.Option(help="List the requests that are missed.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON line only.")] = False,
) -> None:
    """Measure the detector in `auto`: false alarms in real files, requests found above an empty place.

    Each is counted twice: with nothing pointed at (a whole file is searched), and with the cursor resting at the
    comment's end, when an editor asks by itself. `raw` are CoNaLa's titles as they were posted.

    nl2code eval-detector --satd satd.csv --mbpp mbpp.jsonl --conala conala-train.json --hits 100
    """
    data: dict[str, Any] = {}
    if files:
        found = [detect.scan(name, root, _Progress()) for name, root in detect.folders(paths or []).items()]
        data["files"] = [_summary(folder) for folder in found]
        every = [hit for folder in found for hit in folder.hits]
        drawn = random.Random(seed).sample(every, min(hits, len(every)))  # noqa: S311
        data["hits"] = [asdict(hit) for hit in drawn]
    if satd:
        data["satd"] = detect.false_alarms(detect.debts(satd))
    data["recall"] = {name: detect.recall(requests) for name, requests in _sets(mbpp, conala, odex).items()}
    if not missed:
        for row in data["recall"].values():
            del row["missed"]
    if not json_:
        _show(data)
    typer.echo(json.dumps(data, ensure_ascii=False))


def _sets(
    mbpp: list[Path] | None, conala: list[Path] | None, odex: list[Path] | None
) -> dict[str, list[detect.Request]]:
    sets = detect.shipped()
    for path in mbpp or []:
        sets[path.name] = detect.requests(path)
        sets[f"{path.name} + example"] = detect.with_examples(path)
    for path in conala or []:
        sets[path.name] = detect.requests(path)
        sets[f"{path.name}, raw"] = detect.requests(path, raw=True)
    for path in odex or []:
        sets[path.name] = detect.requests(path)
    return sets


def _summary(folder: detect.Folder) -> dict[str, Any]:
    row = asdict(folder)
    del row["hits"]
    blocks = max(folder.own_line, 1)
    return row | {"rate": folder.fired / blocks, "rate_at_cursor": folder.at_cursor / blocks}


class _Progress:
    """One line on stderr that is written over, in a terminal alone."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, folder: detect.Folder) -> None:
        if sys.stderr.isatty() and time.monotonic() > self._last + 0.2:
            self._last = time.monotonic()
            line = f"{folder.name}: {folder.files} files, {folder.own_line} comments, {folder.fired} fire"
            print(f"\r\x1b[K{line[:100]}", end="\r", file=sys.stderr, flush=True)


def _show(data: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
    if "files" in data:
        console.print(_files(data["files"]))
    if "satd" in data:
        console.print(_debts(data["satd"]))
    console.print(_recall(data["recall"]))
    for name, row in data["recall"].items():
        for text in row.get("missed", ()):
            console.print(f"missed in {escape(name)}: {escape(text)}", soft_wrap=True)
    for hit in data.get("hits", ()):
        text = " ".join(hit["text"].split())
        console.print(f"{escape(hit['file'])}:{hit['line']} ({hit['kind']}) {escape(text)}", soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _files(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "Files that ask for nothing: comment blocks on lines of their own, and how many of them fire",
        "files", "read", "blocks", "fire", "", "at the cursor", "", "stubs without comment",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            escape(row["name"]),
            f"{row['files']:,}",
            f"{row['own_line']:,}",
            str(row["fired"]),
            f"{row['rate']:.2%}",
            str(row["at_cursor"]),
            f"{row['rate_at_cursor']:.2%}",
            str(row["bare_stubs"]),
        )
    return table


def _debts(row: dict[str, Any]) -> Table:
    table = _table(
        f"{row['comments']} comments that admit debt: how many fire", "", "above code", "above an empty place"
    )
    for attention in detect.ATTENTIONS:
        table.add_row(
            _ATTENTIONS[attention], f"{row[attention]['code']:.1%}", f"{row[attention]['body']:.1%}"
        )
    return table


_ATTENTIONS = {"none": "nothing pointed at", "cursor": "cursor at its end"}


def _recall(rows: dict[str, dict[str, Any]]) -> Table:
    places = [place for place in detect.PLACES if place not in ("module", "code")]
    table = _table(
        "Requests that are found, above an empty place (its own, or in a module) and in other places",
        "set", "requests", "found", *places, "at the cursor", "above code",
    )  # fmt: skip
    for name, row in rows.items():
        rates = [row["none"]["own"], *(row["none"][place] for place in places)]
        rates += [row["cursor"]["own"], row["cursor"]["code"]]
        table.add_row(escape(name), str(row["requests"]), *(f"{rate:.1%}" for rate in rates))
    return table
