"""`nl2code setup`: prints or writes what an editor needs to use the language server."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import config
from ..errors import ConfigError, Nl2CodeError
from .editors import RECIPES, Recipe, recipe, server_program, shipped

BEGIN = ">>> nl2code >>>"
END = "<<< nl2code <<<"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup")(setup)


def setup(
    editor: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}.")],
    write: Annotated[bool, typer.Option("--write", help="Write it instead of printing it.")] = False,
) -> None:
    """Print what an editor needs to use nl2code, or write it into the editor's configuration.

        nl2code setup neovim
        nl2code setup neovim --write

    Written is a block between two marks, which a second time replaces the first; what the file held before is kept
    beside it as a backup.
    """
    if editor not in RECIPES:
        raise ConfigError(
            f"There is no set-up for {editor!r}",
            config.did_you_mean(editor, tuple(RECIPES)) or f"known: {', '.join(RECIPES)}",
        )
    wanted = recipe(editor, server_program())
    if write:
        for line in install(wanted):
            typer.echo(line)
    else:
        show(wanted)


def show(wanted: Recipe) -> None:
    """Print a recipe; what belongs into a file goes to stdout, what a person should know to stderr."""
    typer.echo(f"{wanted.title} ({wanted.tested}).", err=True)
    if wanted.plugin:
        typer.echo(f"1. Copy the files in {shipped(wanted.editor)} to {wanted.plugin}", err=True)
        typer.echo(f"2. Add to {wanted.config}:", err=True)
    elif wanted.config:
        typer.echo(f"Add to {wanted.config}:", err=True)
    if wanted.block:
        typer.echo(marked(wanted))
    elif wanted.values is not None:
        typer.echo(json.dumps(wanted.values, indent=2, ensure_ascii=False))
    for note in wanted.notes:
        typer.echo(note, err=True)
    if wanted.config:
        typer.echo(f"`nl2code setup {wanted.editor} --write` does all that.", err=True)


def install(wanted: Recipe) -> list[str]:
    """Write a recipe; return what was done, a line each. Nothing is written unless all of it can be."""
    if wanted.config is None:
        raise Nl2CodeError(
            f"{wanted.title} is set up by hand",
            f"run: nl2code setup {wanted.editor}, and follow what it prints",
        )
    before = _read(wanted.config) if wanted.config.exists() else wanted.preface
    after = with_block(wanted, before) if wanted.block else with_values(wanted, before)
    done = [_save(path, text) for path, text in _plugin(wanted).items()]
    done.append(_save(wanted.config, after))
    return [*done, *wanted.notes]


def marked(wanted: Recipe) -> str:
    """Return the block of a recipe between its marks."""
    begin = (
        f"{wanted.comment} {BEGIN} `nl2code setup {wanted.editor} --write` replaces what is between the marks"
    )
    return f"{begin}\n{wanted.block}\n{wanted.comment} {END}"


def with_block(wanted: Recipe, text: str) -> str:
    """Return a configuration with the block in place of the one that it had, or at its end."""
    eol = "\r\n" if "\r\n" in text else "\n"
    block = marked(wanted).replace("\n", eol)
    found = re.search(
        rf"^[^\n]*{re.escape(BEGIN)}.*?{re.escape(END)}[^\r\n]*", text, re.DOTALL | re.MULTILINE
    )
    rest = text[: found.start()] + text[found.end() :] if found else text
    if BEGIN in rest or END in rest:
        raise Nl2CodeError(
            f"{wanted.config} has a mark of nl2code without its other half", "Delete it and try again"
        )
    if wanted.clash and wanted.clash in rest:
        raise Nl2CodeError(
            f"{wanted.config} holds {wanted.clash} already",
            f"Add by hand what this prints: nl2code setup {wanted.editor}",
        )
    if found:
        return text[: found.start()] + block + text[found.end() :]
    gap = "" if not text else eol if text.endswith("\n") else eol * 2
    return f"{text}{gap}{block}{eol}"


def with_values(wanted: Recipe, text: str) -> str:
    """Return a JSON configuration with our values in it; refuse where that would lose something."""
    by_hand = f"Add by hand what this prints: nl2code setup {wanted.editor}"
    try:
        present = json.loads(text) if text.strip() else {}
    except ValueError:
        raise Nl2CodeError(
            f"{wanted.config} is no plain JSON (it may have comments), which would be lost", by_hand
        ) from None
    if not isinstance(present, dict):
        raise Nl2CodeError(f"{wanted.config} holds no JSON object", by_hand)
    made = _merged(present, wanted.values or {}, wanted.config, by_hand, ours="nl2code" in text)
    if made == present:
        return text
    indent = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return json.dumps(made, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"


def _merged(present: Any, values: Any, file: Path | None, by_hand: str, *, ours: bool) -> Any:
    """Put values into what is there; what we did not write is never changed."""
    result = copy.copy(present)
    for name, value in values.items():
        old = present.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            result[name] = _merged(old, value, file, by_hand, ours="nl2code" in json.dumps(old))
        elif old is None or old == value or ours:
            result[name] = value
        else:
            raise Nl2CodeError(f"{file} has another value for {name!r}", by_hand)
    return result


def _plugin(wanted: Recipe) -> dict[Path, str]:
    """Return our files for an editor with the tags of their help, by where they go."""
    if wanted.plugin is None:
        return {}
    made = {}
    for name in wanted.files:
        text = _read(shipped(wanted.editor) / name)
        made[wanted.plugin / name] = text
        if name.startswith("doc/"):
            tags = sorted(re.findall(r"(?<!\S)\*([^\s*|]+)\*(?!\S)", text))
            lines = [f"{tag}\t{Path(name).name}\t/*{tag}*\n" for tag in tags]
            made[wanted.plugin / "doc" / "tags"] = "".join(lines)
    return made


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise Nl2CodeError(f"{path} is not UTF-8 text", "Add by hand what nl2code setup prints") from None


def _save(path: Path, text: str) -> str:
    """Write a file at once or not at all, keeping what it held as a backup; return what was done."""
    path = path.resolve()  # a link stays one
    data = text.encode()
    if path.exists():
        if path.read_bytes() == data:
            return f"unchanged  {path}"
        backup = _unused(path)
        shutil.copy2(path, backup)
        said = f"changed    {path} (before: {backup.name})"
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = f"written    {path}"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".nl2code-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, name)
        else:
            Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return said


def _unused(path: Path) -> Path:
    """Return a name for a backup that no editor loads and no other backup has."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (
        path.with_name(f"{path.name}.{stamp}{suffix}.bak")
        for suffix in ("", *(f"-{n}" for n in range(2, 100)))
    )
    return next(name for name in names if not name.exists())
