"""Documents and notebooks of a random session: opened, edited, undone, renamed, closed, beside their references."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from e2e.fuzzed import CHANGES, KEPT, NOTEBOOKS, PIECE, TEXTS, URIS, as_json, bounded, least_change
from e2e.inside import Editor, Faults, Json, Text
from fakes.endpoint import FakeEndpoint

T = TypeVar("T")


class Documents(RuleBasedStateMachine):
    """What a session does to texts."""

    runner: ClassVar[asyncio.Runner]
    endpoint: ClassVar[FakeEndpoint]
    faults: ClassVar[Faults]
    seen: ClassVar[Counter[str]] = Counter()
    editor: Editor
    encoding: str

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, Text] = {}
        self.past: dict[str, list[str]] = {}
        """What each open document was, the last one at the end."""
        self.notebook = NOTEBOOKS[0]
        self.cells: dict[str, Text] = {}
        self.raw: dict[str, str] = {}
        """Each cell as it was told."""
        self.order: list[str] = []
        self.versions = 1
        self.made = 0
        """Cells so far: none has the name of an earlier one."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the session take its course until some work is done."""
        return self.runner.run(work)

    def turn(self, count: int = 1) -> None:
        """Let the server take some steps."""

        async def steps() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(steps())
        self.look()

    def look(self) -> None:
        """Look at what came back."""

    @rule(uri=st.sampled_from(URIS), text=TEXTS)
    def open_document(self, uri: str, text: str) -> None:
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.editor.notify("textDocument/didOpen", {"textDocument": item})
        self.open[uri] = Text(text, self.encoding)
        self.past[uri] = []
        self.turn()

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9), changes=CHANGES, version=st.sampled_from([1, 1, 1, 5, 0, -3, None]))
    def edit(self, pick: int, changes: list[tuple[Json, str]], version: int | None) -> None:
        uri = sorted(self.open)[pick % len(self.open)]
        self.past[uri] = [*self.past[uri], self.open[uri].text][-KEPT:]
        if version is not None:
            self.versions += version
        told = {"uri": uri, "version": None if version is None else self.versions}
        self.editor.notify(
            "textDocument/didChange", {"textDocument": told, "contentChanges": as_json(changes)}
        )
        for span, text in changes:
            self.open[uri].change(span, text)
        self.turn()

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9), text=PIECE, turns=st.integers(0, 3))
    def type_at_the_end(self, pick: int, text: str, turns: int) -> None:
        uri = sorted(self.open)[pick % len(self.open)]
        at = {"line": 2**31 - 1, "character": 0}
        self.edit(pick, [({"start": at, "end": at}, text)], 1)
        assert uri in self.open
        self.turn(turns)

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9), save=st.booleans())
    def close_document(self, pick: int, save: bool) -> None:
        uri = sorted(self.open)[pick % len(self.open)]
        if save:
            self.editor.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
        self.editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        del self.open[uri]
        self.turn()

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9), steps=st.integers(1, 4), whole=st.booleans())
    def undo(self, pick: int, steps: int, whole: bool) -> None:
        """Go back, as editors do: by the least change, or by the whole text."""
        known = [uri for uri in sorted(self.open) if self.past[uri]]
        if not known:
            return  # an offer that was taken, or not in time, is an edit too
        uri = known[pick % len(known)]
        now, before = self.open[uri].text, self.past[uri][-steps:][0]
        left = self.past[uri][:-steps]
        span, text = (None, before) if whole else least_change(now, before, self.encoding)
        self.edit(sorted(self.open).index(uri), [(span, text)], 1)
        assert self.open[uri].text == before
        self.past[uri] = left
        self.seen["undone"] += 1

    @precondition(lambda self: 0 < len(self.open) < len(URIS))
    @rule(pick=st.integers(0, 9), tell=st.booleans())
    def rename(self, pick: int, tell: bool) -> None:
        uri = sorted(self.open)[pick % len(self.open)]
        free = [other for other in URIS if other not in self.open]
        name, text, past = free[pick % len(free)], self.open[uri].text, self.past[uri]
        self.editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        if tell:
            self.editor.notify("workspace/didRenameFiles", {"files": [{"oldUri": uri, "newUri": name}]})
        del self.open[uri]
        self.open_document(name, text)
        self.past[name] = past
        self.seen["renamed"] += 1

    @precondition(lambda self: not self.cells)
    @rule(texts=st.lists(TEXTS, min_size=1, max_size=3), name=st.sampled_from(NOTEBOOKS))
    def open_notebook(self, texts: list[str], name: str) -> None:
        self.notebook = name
        self.order = [self._cell(text) for text in texts]
        self.editor.notify(
            "notebookDocument/didOpen",
            {
                "notebookDocument": {
                    "uri": self.notebook,
                    "notebookType": "jupyter-notebook",
                    "version": 1,
                    "cells": [{"kind": 2, "document": uri} for uri in self.order],
                },
                "cellTextDocuments": [self._item(uri) for uri in self.order],
            },
        )
        self.turn()

    @precondition(lambda self: self.cells)
    @rule(pick=st.integers(0, 9), changes=CHANGES)
    def edit_cell(self, pick: int, changes: list[tuple[Json, str]]) -> None:
        # Through protocol classes, which have the protocol's bounds.
        changes = [(bounded(span), text) for span, text in changes]
        uri = self.order[pick % len(self.order)]
        self.versions += 1
        content = {"document": {"uri": uri, "version": self.versions}, "changes": as_json(changes)}
        self._change_notebook({"textContent": [content]})
        for span, text in changes:
            self.cells[uri].change(span, text)
        self.turn()

    @precondition(lambda self: self.cells)
    @rule(start=st.integers(0, 9), gone=st.integers(0, 2), texts=st.lists(TEXTS, max_size=2))
    def move_cells(self, start: int, gone: int, texts: list[str]) -> None:
        start %= len(self.order) + 1
        closed = self.order[start : start + gone]
        if len(self.order) - len(closed) + len(texts) == 0:
            return
        made = [self._cell(text) for text in texts]
        array = {
            "start": start,
            "deleteCount": len(closed),
            "cells": [{"kind": 2, "document": uri} for uri in made],
        }
        structure = {
            "array": array,
            "didOpen": [self._item(uri) for uri in made],
            "didClose": [{"uri": uri} for uri in closed],
        }
        self._change_notebook({"structure": structure})
        self.order[start : start + len(closed)] = made
        for uri in closed:
            del self.cells[uri]
        self.turn()

    @precondition(lambda self: self.cells)
    @rule()
    def close_notebook(self) -> None:
        gone = [{"uri": uri} for uri in self.order]
        params = {"notebookDocument": {"uri": self.notebook}, "cellTextDocuments": gone}
        self.editor.notify("notebookDocument/didClose", params)
        self.cells, self.order = {}, []
        self.turn()

    @precondition(lambda self: self.cells)
    @rule()
    def rename_notebook(self) -> None:
        texts = [self.cells[uri].text for uri in self.order]
        other = NOTEBOOKS[1 - NOTEBOOKS.index(self.notebook)]
        self.close_notebook()
        self.open_notebook(texts, other)
        self.seen["renamed"] += 1

    def _cell(self, text: str) -> str:
        self.made += 1
        uri = f"{self.notebook}#c{self.made}"
        self.cells[uri] = Text(text, self.encoding)
        self.raw[uri] = text
        return uri

    def _item(self, uri: str) -> Json:
        return {"uri": uri, "languageId": "python", "version": 1, "text": self.raw[uri]}

    def take_in(self, uri: str, changes: list[tuple[Json, str]]) -> bool:
        """Make an editor's own change, if the document is there."""
        if uri in self.open:
            self.edit(sorted(self.open).index(uri), changes, 1)
        elif uri in self.cells:
            self.edit_cell(self.order.index(uri), changes)
        return uri in self.open or uri in self.cells

    def _change_notebook(self, cells: Json) -> None:
        self.versions += 1
        params = {
            "notebookDocument": {"uri": self.notebook, "version": self.versions},
            "change": {"cells": cells},
        }
        self.editor.notify("notebookDocument/didChange", params)
