"""`nl2code complete` and `nl2code instructions`: what the editor does, for a file on disk."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from .. import config
from ..errors import Nl2CodeError
from ..lang.document import Snapshot
from ..lang.instruction import Instruction, Mode, at, find
from ..lang.placement import place
from ..lang.splice import apply
from ..suggest import Job
from .session import errors, print_code, read_file, session, verdict
from .write import report

File = Annotated[Path, typer.Argument(help="A Python file.", exists=True, dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("complete")(complete)
    app.command("instructions")(instructions)


def complete(
    file: File,
    line: Annotated[
        int | None, typer.Option("--line", "-l", min=1, help="Line of the instruction, from 1.")
    ] = None,
    apply_it: Annotated[bool, typer.Option("--apply", help="Write the code into the file.")] = False,
    candidates: Annotated[int | None, typer.Option("--candidates", "-n", help="How many to make.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all candidates as JSON.")] = False,
) -> None:
    """Generate the code for an instruction in a file.

    Prints the change as a diff; `--apply` makes it. Without `--line` the file must hold one instruction:

        nl2code complete app.py --line 12 --apply
    """
    snapshot = read_file(file)
    found = _at(snapshot, line) if line is not None else _only(snapshot, file)
    raise typer.Exit(
        asyncio.run(_complete(file, snapshot, found, apply_it, as_json, {"candidates": candidates}))
    )


async def _complete(
    file: Path,
    snapshot: Snapshot,
    found: Instruction,
    apply_it: bool,
    json_output: bool,
    flags: dict[str, Any],
) -> int:
    async with session(**flags) as current:
        count = current.suggester.settings.candidates
        job = Job(snapshot, found, candidates=count, surface="cli", trigger="invoked")
        outcome = await current.suggest(job)
        for suggestion in outcome.suggestions:
            current.event("offered", suggestion)
        if json_output or not outcome.suggestions:
            code = report(outcome, json_output=json_output)
        best = outcome.suggestions[0] if outcome.suggestions else None
        if best is None:
            return code
        after = apply(snapshot, best.edits)
        if not json_output:
            print_code(_diff(file, snapshot.text, after), "diff")
            errors.print(verdict(best))
        if apply_it and best.status == "failed":
            errors.print("not applied, because it failed", style="red")
        elif apply_it:
            _replace(file, after)
            current.event("accepted", best)
        return 0 if best.status != "failed" else 1


def instructions(
    files: Annotated[list[Path], typer.Argument(help="Python files.", exists=True, dir_okay=False)],
    everything: Annotated[
        bool, typer.Option("--all", help="Also list what is not taken for a request.")
    ] = False,
    mode: Annotated[
        str | None, typer.Option(help="auto, marker or manual; default from the settings.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list; lines are counted from 0.")
    ] = False,
) -> None:
    """List the instructions in files, and with `--all` why every other comment is none."""
    loaded = config.load(flags={"mode": mode})
    if loaded.problems and mode is not None:
        raise typer.BadParameter(loaded.problems[-1], param_hint="--mode")
    rows = [row for file in files for row in _rows(file, loaded.settings.mode, everything)]  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        _print_rows(rows, everything)
    raise typer.Exit(0 if any(row.get("fires", True) for row in rows) else 1)


def _rows(file: Path, mode: Mode, everything: bool) -> list[dict[str, Any]]:
    snapshot = read_file(file)
    rows: list[dict[str, Any]] = []
    for found in find(snapshot, mode):
        if not (found.fires or everything):
            continue
        placement = place(snapshot, found)
        row: dict[str, Any] = {
            "file": str(file),
            "line": found.start_row,
            "end_line": found.end_row,
            "text": found.text,
            "kind": found.kind,
            "insert_line": placement.after[0] + 1,
            "indent": placement.indent,
        }
        if everything:
            row |= {"fires": found.fires, "reason": found.reason}
        rows.append(row)
    return rows


def _print_rows(rows: list[dict[str, Any]], everything: bool) -> None:
    from rich.console import Console

    table = Table("place", "kind", "text", *(["request", "reason"] if everything else []), box=None)
    for row in rows:
        cells = [f"{row['file']}:{row['line'] + 1}", row["kind"], row["text"].replace("\n", " ")]
        if everything:
            cells += ["yes" if row["fires"] else "no", row["reason"]]
        table.add_row(*cells)
    Console().print(table)


def _at(snapshot: Snapshot, line: int) -> Instruction:
    row = line - 1
    if row >= len(snapshot.lines):
        raise Nl2CodeError(f"The file has {len(snapshot.lines)} lines, there is no line {line}")
    found = at(snapshot, row, attention="invoked") or at(snapshot, row + 1, attention="invoked")
    if found is None:
        raise Nl2CodeError(f"There is no instruction at line {line}", "See `nl2code instructions --all`")
    return found


def _only(snapshot: Snapshot, file: Path) -> Instruction:
    firing = [found for found in find(snapshot, "auto") if found.fires]
    if len(firing) == 1:
        return firing[0]
    if not firing:
        raise Nl2CodeError(f"{file} holds no instruction", "See `nl2code instructions --all`")
    lines = ", ".join(str(found.start_row + 1) for found in firing)
    raise Nl2CodeError(f"{file} holds {len(firing)} instructions", f"Choose one with --line: {lines}")


def _diff(file: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{file.name}", f"b/{file.name}", lineterm=""
    )
    return "\n".join(lines)


def _replace(file: Path, text: str) -> None:
    """Replace a file's text at once or not at all, keeping its mode."""
    target = file.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        Path(name).chmod(target.stat().st_mode & 0o7777)
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise Nl2CodeError(f"{file} cannot be written: {error.strerror}") from error
