"""Editors that offer completions in a popup: how each puts an accepted item into its buffer, as observed in them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

from e2e.door import Door
from e2e.rpc import Json, offset_of, position_of

SNIPPET, AS_IS = 2, 1
PLACE = "\ue000"
CLIENTS = ("vscode", "neovim", "eglot", "ale")


def introduction(client: str) -> Json:
    """Return what an editor says of itself, as recorded."""
    return json.loads((Path(__file__).parent / "clients" / f"{client}.json").read_text())


async def pop_up(editor: Door, marked: str = "") -> Json:
    """Open a file, if one is given, and return the completions at its cursor."""
    if marked:
        editor.open(marked)
    params = {**editor.asked, "context": {"triggerKind": 1}}
    return await editor.client.request("textDocument/completion", params)


async def popped_up(editor: Door, marked: str) -> list[Json]:
    """Open a file and return the completions at its cursor, asking again while the model is busy."""
    listed = await pop_up(editor, marked)
    async with asyncio.timeout(20):
        while not listed["items"]:
            busy = editor.statuses and editor.statuses[-1]["busy"]
            listed = await pop_up(editor)
            if not busy:
                break
    items: list[Json] = listed["items"]
    return items


async def take(client: str, editor: Door, item: Json) -> None:
    """Accept an item in the way of this editor."""
    put_in(client, editor, item)
    if client in ("vscode", "neovim"):
        command = item["command"]
        told = await editor.client.command(command["command"], *command["arguments"])
        assert told == {"accepted": True, "followUp": "none"}


def put_in(client: str, editor: Door, item: Json) -> None:
    """Make of the buffer what this editor makes of it when an item is accepted."""
    _TAKE[client](editor, item)


def _vscode(editor: Door, item: Json) -> None:
    """Additional edits first; then the text, in the place of so many characters around the cursor."""
    assert item["insertTextMode"] == AS_IS  # or it would indent the lines anew
    at = _around(editor, item)
    _replace(editor, at, at + 1, _expanded(item, editor.text))


def _neovim(editor: Door, item: Json) -> None:
    """The word goes, additional edits are made; then comes the snippet, each of its lines indented like the first."""
    assert editor.client.encoding == "utf-8"
    new = item["textEdit"]["newText"]
    if item.get("insertTextFormat") == SNIPPET:
        assert new  # its parser takes no empty snippet
    else:
        assert not re.search(r"\s", new)  # it would take the first word alone
    assert "\r" not in new
    at = _around(editor, item)
    line = editor.text[:at].rpartition("\n")[2]
    base = line[: len(line) - len(line.lstrip())]
    _replace(editor, at, at + 1, re.sub(r"\n", f"\n{base}", _expanded(item, editor.text)))


def _around(editor: Door, item: Json) -> int:
    """Make the additional edits, keeping track of the item's place, and return where that is: one character there."""
    start, _, end = _offsets(editor, item)
    _replace(editor, start, end, PLACE)
    editor.client.edit(editor.uri, item.get("additionalTextEdits") or [])
    return editor.text.index(PLACE)


def _emacs(editor: Door, item: Json) -> None:
    """The text first, as it is; then additional edits, at the places that they had before."""
    assert "insertTextFormat" not in item
    _offsets(editor, item)
    editor.client.edit(editor.uri, [item["textEdit"]])
    editor.client.edit(editor.uri, item.get("additionalTextEdits") or [])


def _vim(editor: Door, item: Json) -> None:
    """As Emacs, but for text of several lines, which it cannot insert."""
    assert "\n" not in item["textEdit"]["newText"]
    _emacs(editor, item)


_TAKE: dict[str, Callable[[Door, Json], None]] = {
    "vscode": _vscode,
    "neovim": _neovim,
    "eglot": _emacs,
    "ale": _vim,
}


def _offsets(editor: Door, item: Json) -> tuple[int, int, int]:
    """Return start of the item's range, cursor, end of the range."""
    span = item["textEdit"]["range"]
    assert span["start"]["line"] == span["end"]["line"] == editor.line
    start, cursor, end = (
        offset_of(editor.text, position, editor.client.encoding)
        for position in (span["start"], editor.asked["position"], span["end"])
    )
    assert start <= cursor <= end
    # What stands before the cursor must match, or the editor drops the item.
    assert item.get("filterText", "") == editor.text[start:cursor]
    edits = item.get("additionalTextEdits") or []
    for one in edits:
        first, last = (
            offset_of(editor.text, one["range"][side], editor.client.encoding) for side in ("start", "end")
        )
        beside = last <= start or first >= end
        assert beside and not (first == last and first in (start, end)), (item["textEdit"], edits)
    return start, cursor, end


def _expanded(item: Json, text: str) -> str:
    """Return what a snippet without placeholders comes to, in the line endings of the buffer."""
    new: str = item["textEdit"]["newText"]
    if item.get("insertTextFormat") == SNIPPET:
        assert re.fullmatch(r"(\\[\\$}]|[^\\$}])*", new), new
        new = re.sub(r"\\(.)", r"\1", new)
    return new.replace("\n", "\r\n") if "\r\n" in text and "\r" not in new else new


def _replace(editor: Door, start: int, end: int, text: str) -> None:
    span = {
        "start": position_of(editor.text, start, editor.client.encoding),
        "end": position_of(editor.text, end, editor.client.encoding),
    }
    editor.client.edit(editor.uri, [{"range": span, "newText": text}])
