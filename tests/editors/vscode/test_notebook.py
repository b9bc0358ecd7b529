"""A notebook in VS Code: an instruction in a cell, with what the cells above define."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.door import COMMENT, fenced
from fakes.endpoint import FakeEndpoint
from nl2code_server.feedback.store import Store

from .workbench import Window, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]

ABOVE = "def remainder(a, b):\n    return a % b"
CODE = "def gcd(a, b):\n    while b:\n        a, b = b, remainder(a, b)\n    return a\n"
CELL = ".notebookOverlay .cell-list-container .code-cell-row"
CELLS = "vscode.workspace.notebookDocuments[0].getCells().map(cell => cell.document.getText())"


def notebook(file: Path, *cells: str) -> None:
    """Write a notebook of code cells."""
    made: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(cells)
    ]
    metadata = {"language_info": {"name": "python"}}
    file.write_text(json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))


def test_a_cell_builds_on_those_above_it(
    window: Window, model: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(model, "replies", [fenced(CODE)])
    file = tmp_path / "numbers.ipynb"
    notebook(file, ABOVE, "", "print(gcd(12, 18))")
    window.ask(
        f"const opened = await vscode.workspace.openNotebookDocument(vscode.Uri.file({json.dumps(str(file))}));"
        "await vscode.window.showNotebookDocument(opened, {selections: [new vscode.NotebookRange(1, 2)]})"
    )
    window.page("waitForSelector", f"{CELL} .monaco-editor", {"timeout": 60_000})
    window.run("notebook.cell.edit")
    window.page("waitForSelector", ".notebookOverlay .monaco-editor.focused", {"timeout": 60_000})
    before = len(model.chats)
    window.type(COMMENT)
    assert "remainder(a, b)" in window.wait_for_ghost("return a")
    asked = json.dumps([chat.body for chat in model.chats[before:]])
    assert "def remainder(a, b):" in asked

    window.press("Tab")
    written = until(
        lambda: "return a" in window.ask(f"return {CELLS}")[1] and window.ask(f"return {CELLS}"), "the code"
    )
    assert written == [ABOVE, f"{COMMENT}\n{CODE.rstrip()}", "print(gcd(12, 18))"]
    window.press("Control+s")
    until(lambda: "while b" in file.read_text(), "the saved notebook")

    def logged(kind: str) -> list[str]:
        with Store(window.profile.home / "data" / "feedback.db") as store:
            return [one.event.suggestion_id for one in store.events() if one.event.event == kind]

    until(lambda: logged("accepted")[-1:] == logged("offered")[-1:], "the event")
    assert window.toasts() == []
