"""A suggestion as an item of a completion popup, cut into the edits that a client can make of such an item.

The item's own text may only take the place of something on the cursor's row; the rest goes beside it, in edits that
every client makes. What clients make of several lines in one item differs, so the shape is chosen by what they say:

- A client that expands snippets gets a snippet with all lines, if it leaves their indentation alone.
- Otherwise each row but the cursor's goes beside. That takes a row below: not all clients can insert behind the last.
- At the file's end it is one text with all lines. (There Neovim 0.11 indents blank lines, and ALE drops the rest.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lsprotocol import types as lsp

from ..lang import Edit, Point
from ..lang.document import Snapshot
from ..suggest.verdict import verdict
from .anchor import behind
from .clients import Client
from .convert import to_range
from .ghost import Shown, accepts

_EOLS = (b"\n", b"\r")


def item(one: Shown, client: Client, number: int) -> lsp.CompletionItem | None:
    """Return the item that puts a suggestion in, all of it; None where the client would spoil the indentation."""
    block, imports = _block(one)
    row, column = one.cursor
    line = one.snapshot.line(row)
    indent = line[: len(line) - len(line.lstrip())]
    keeps = client.keeps_indent or not indent
    ends = row + 1 < len(one.snapshot.lines) and block.rows[0].endswith(_EOLS)
    spread = ends and not (client.snippets and keeps)
    made = block.spread() if spread else block.whole()
    if client.snippets:
        made = made.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # editors turn these into their own
    text = made if keeps or not client.snippets else _indented_by_editor(made, indent)
    if text is None:
        return None
    snippet = client.snippets and text != line  # Neovim 0.11 stumbles over an empty one
    edit = _at_cursor(one.snapshot, one.cursor, text)
    beside = (*imports, *(block.beside_spread() if spread else block.beside_whole()))
    return lsp.CompletionItem(
        label=f"{one.suggestion.code.strip().splitlines()[0].strip()} …",
        kind=lsp.CompletionItemKind.Snippet,
        detail=f"nl2code: {verdict(one.suggestion)}",
        documentation=None if client.resolves_preview else preview(one.suggestion.code, client),
        sort_text=f"  {number}",
        filter_text=line[edit.start[1] : column].decode() or None,
        insert_text_format=lsp.InsertTextFormat.Snippet if snippet else None,
        insert_text_mode=lsp.InsertTextMode.AsIs if client.keeps_indent else None,
        text_edit=_converted(one.snapshot, edit, _escaped(edit.text) if snippet else edit.text),
        additional_text_edits=[_converted(one.snapshot, extra, extra.text) for extra in beside] or None,
        command=accepts(one.suggestion),
        data={"id": one.suggestion.id},
    )


def preview(code: str, client: Client) -> lsp.MarkupContent:
    """Return the code as an item's documentation."""
    if client.popup_markdown:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
        return lsp.MarkupContent(lsp.MarkupKind.Markdown, f"{fence}python\n{code.rstrip()}\n{fence}")
    return lsp.MarkupContent(lsp.MarkupKind.PlainText, code.rstrip())


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows `first` to `last` (excluded) of a text, the cursor's among them, and the rows that they become."""

    snapshot: Snapshot
    row: int
    first: int
    last: int
    rows: tuple[bytes, ...]

    def whole(self) -> bytes:
        """Return what the cursor's row becomes if it takes all rows; it has a line ending already, if any."""
        return b"".join((*self.rows[:-1], _without_eol(self.rows[-1])))

    def beside_whole(self) -> list[Edit]:
        """Return the edits of the other rows then: they go."""
        ends = self.rows[-1].endswith(_EOLS)
        start = (self.row + 1, 0) if ends else (self.row, len(self.snapshot.line(self.row)))
        return [*self._above(), *_changing(Edit(start, self._end(), ""))]

    def spread(self) -> bytes:
        """Return what the cursor's row becomes if it takes the first row alone."""
        return _without_eol(self.rows[0])

    def beside_spread(self) -> list[Edit]:
        """Return the edits of the other rows then: those below become the rest."""
        rest = b"".join(self.rows[1:]).decode()
        return [*self._above(), *_changing(Edit((self.row + 1, 0), self._end(), rest))]

    def _above(self) -> list[Edit]:
        return _changing(Edit((self.first, 0), (self.row, 0), ""))

    def _end(self) -> Point:
        lines = self.snapshot.lines
        return (self.last, 0) if self.last < len(lines) else (len(lines) - 1, len(lines[-1]))


def _block(one: Shown) -> tuple[_Block, tuple[Edit, ...]]:
    """Return the rows that change, and the imports if they are clear of those."""
    made = one.snapshot.edited([one.change.edit])
    block = _compared(one.snapshot, made.edited(one.change.follow_up), one.cursor[0])
    start = (block.first, 0)
    stays = block.first == block.row and block.rows[0] == one.snapshot.lines[block.row]
    if any(edit.end > start or (edit.end == start and not stays) for edit in one.imports):
        edits = (*behind(one.imports, one.change.edit), *one.change.follow_up)
        return _compared(one.snapshot, made.edited(edits), one.cursor[0]), ()
    return block, one.imports


def _compared(old: Snapshot, new: Snapshot, row: int) -> _Block:
    before, after = old.lines, new.lines
    first = 0
    while first < min(row, len(after) - 1) and before[first] == after[first]:
        first += 1
    tail, most = 0, min(len(before) - row, len(after) - first) - 1
    while tail < most and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return _Block(old, row, first, len(before) - tail, tuple(after[first : len(after) - tail]))


def _at_cursor(snapshot: Snapshot, cursor: Point, text: bytes) -> Edit:
    """Return the edit that makes `text` of the cursor's row: of the word before the cursor, where that will do."""
    row, column = cursor
    old = snapshot.line(row)
    word = re.search(r"\w*\Z", old[:column].decode())
    assert word
    before = column - len(word[0].encode())
    starts = (before, min(before, len(old) - len(old.lstrip())), 0)
    start = next(one for one in starts if text.startswith(old[:one]))
    end = len(old)
    if text == old:
        end, text = column, text[:column]
    return Edit((row, start), (row, end), text[start:].decode())


def _indented_by_editor(text: bytes, indent: bytes) -> bytes | None:
    """Take off what the client will add to each line but the first; None if there is less than that."""
    head, *rest = text.split(b"\n")
    if any(line.strip() and not line.startswith(indent) for line in rest):
        return None
    return b"\n".join([head, *(line.removeprefix(indent) for line in rest)])


def _escaped(text: str) -> str:
    return re.sub(r"([\\$}])", r"\\\1", text)


def _without_eol(text: bytes) -> bytes:
    return text.removesuffix(b"\n").removesuffix(b"\r")


def _converted(snapshot: Snapshot, edit: Edit, text: str) -> lsp.TextEdit:
    return lsp.TextEdit(to_range(snapshot, edit.start, edit.end), text)


def _changing(edit: Edit) -> list[Edit]:
    return [edit] if edit.text or edit.start != edit.end else []
