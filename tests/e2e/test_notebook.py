"""Notebooks: instructions in cells, with what earlier cells define, as VS Code syncs them."""

from __future__ import annotations

import asyncio
from typing import Any

from e2e.door import COMMENT, FULL, GCD, Door, door, events, fenced
from e2e.rpc import Buffer, Json
from fakes.endpoint import FakeEndpoint

NOTEBOOK = "file:///work/analysis.ipynb"
CAPABILITIES = {
    **FULL,
    "notebookDocument": {"synchronization": {"dynamicRegistration": True, "executionSummarySupport": True}},
}
AREA = "def area(r):\n    return math.pi * scaled(r) ** 2\n"


def cell(number: int) -> str:
    """Return a cell's URI as VS Code makes it."""
    return f"vscode-notebook-cell:/work/analysis.ipynb#W{number}sZmlsZQ%3D%3D"


def open_notebook(editor: Door, *texts: str) -> None:
    """Open a notebook of code cells, as VS Code does."""
    uris = [cell(number) for number in range(len(texts))]
    for uri, text in zip(uris, texts, strict=True):
        editor.client.buffers[uri] = Buffer(text)
    editor.client.notify(
        "notebookDocument/didOpen",
        {
            "notebookDocument": {
                "uri": NOTEBOOK,
                "notebookType": "jupyter-notebook",
                "version": 0,
                "metadata": {"metadata": {"language_info": {"name": "python"}}},
                "cells": [
                    {
                        "kind": 2,
                        "document": uri,
                        "metadata": {"metadata": {}},
                        "executionSummary": {"executionOrder": 3, "success": True},
                    }
                    for uri in uris
                ],
            },
            "cellTextDocuments": [
                {"uri": uri, "languageId": "python", "version": 1, "text": text}
                for uri, text in zip(uris, texts, strict=True)
            ],
        },
    )


def edit(editor: Door, number: int, edits: list[Json]) -> None:
    """Edit a cell, and tell the server as VS Code does."""
    client, uri = editor.client, cell(number)
    sent: list[Any] = []
    notify, client.notify = client.notify, lambda method, params=None: sent.append(params)  # type: ignore[method-assign]
    try:
        client.edit(uri, edits)
    finally:
        client.notify = notify  # type: ignore[method-assign]
    (change,) = sent
    text = {"document": change["textDocument"], "changes": change["contentChanges"]}
    client.notify(
        "notebookDocument/didChange",
        {
            "notebookDocument": {"uri": NOTEBOOK, "version": change["textDocument"]["version"]},
            "change": {"cells": {"textContent": [text]}},
        },
    )


async def ask(editor: Door, number: int, line: int, character: int) -> list[Json]:
    position = {"line": line, "character": character}
    params = {"textDocument": {"uri": cell(number)}, "position": position}
    editor.asked = params
    answer = await editor.client.request(
        "textDocument/inlineCompletion", {**params, "context": {"triggerKind": 1}}, timeout=20
    )
    return list(answer["items"])


async def test_an_instruction_in_a_cell() -> None:
    earlier = "%matplotlib inline\n!pip install numpy\nimport os\n\ndef scaled(x):\n    return 2 * x\n"
    with FakeEndpoint([fenced(AREA)]) as fake:
        async with door(fake, CAPABILITIES) as editor:
            sync = editor.client.capabilities["notebookDocumentSync"]
            assert sync == {
                "notebookSelector": [{"notebook": "*", "cells": [{"language": "python"}]}],
                "save": True,
            }
            comment = "# write a function for the area of a circle \U0001f600"
            open_notebook(
                editor, earlier, "%%bash\nls # not python\n", f"%%time\nx = !ls\n{comment}", "y = 1"
            )
            (item,) = await ask(editor, 2, 2, len(comment) + 1)
            assert item["range"]["start"]["line"] == 2
            (chat,) = fake.chats
            assert "def scaled(x):" in str(chat.body)
            assert "not python" not in str(chat.body)
            hover = await editor.client.request("textDocument/hover", editor.asked)
            assert hover["range"]["start"]["line"] == 2
            # The code and its import both go into this cell, the import below what must stay first.
            editor.client.answers["workspace/applyEdit"] = lambda params: _apply(editor, params)
            edit(editor, 2, [{"range": item["range"], "newText": item["insertText"]}])
            told = await editor.client.command(item["command"]["command"], *item["command"]["arguments"])
            assert told == {"accepted": True, "followUp": "applied"}
            assert editor.client.buffers[cell(2)].text.startswith("%%time\nimport math\n")
            assert editor.client.buffers[cell(2)].text.endswith(f"{comment}\n{AREA.rstrip()}")
            assert editor.client.buffers[cell(0)].text == earlier
            editor.client.notify("notebookDocument/didSave", {"notebookDocument": {"uri": NOTEBOOK}})
            logged = await events("accepted", "kept")
    (kept,) = [event for event in logged if event.event == "kept"]
    assert (kept.checkpoint, kept.kept_ratio, kept.final_text) == ("save", 1.0, AREA.rstrip())


def _apply(editor: Door, params: Json) -> Json:
    for change in params["edit"]["documentChanges"]:
        edit(editor, int(change["textDocument"]["uri"].partition("#W")[2][0]), change["edits"])
    return {"applied": True}


async def test_cells_come_go_and_change() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, CAPABILITIES) as editor:
            open_notebook(editor, f"{COMMENT}\n", "")
            # A comment in the cell above is not what this one asks for.
            assert await ask(editor, 1, 0, 0) == []
            added = {
                "uri": cell(7),
                "languageId": "python",
                "version": 1,
                "text": "def helper_of_mine(): return 1",
            }
            editor.client.notify(
                "notebookDocument/didChange",
                {
                    "notebookDocument": {"uri": NOTEBOOK, "version": 1},
                    "change": {
                        "cells": {
                            "structure": {
                                "array": {
                                    "start": 0,
                                    "deleteCount": 0,
                                    "cells": [{"kind": 2, "document": cell(7)}],
                                },
                                "didOpen": [added],
                            }
                        }
                    },
                },
            )
            start = {"line": 0, "character": 0}
            edit(editor, 1, [{"range": {"start": start, "end": start}, "newText": f"x = 1\n{COMMENT}\n"}])
            (item,) = await ask(editor, 1, 1, len(COMMENT))
            assert "helper_of_mine" in str(fake.chats[-1].body)
            # Taken without a word.
            edit(editor, 1, [{"range": item["range"], "newText": item["insertText"]}])
            await events("accepted")
            assert editor.client.buffers[cell(1)].text == f"x = 1\n{COMMENT}\n{GCD}"
            (action, *_) = await actions(editor, 0, 0)
            assert "Generate" in action["title"]
            resolved = await editor.client.request("codeAction/resolve", action)
            (change,) = resolved["edit"]["documentChanges"]
            assert change["textDocument"]["uri"] == cell(0)
            assert change["edits"][-1]["range"]["start"]["line"] in (0, 1)
            editor.client.notify(
                "notebookDocument/didClose",
                {
                    "notebookDocument": {"uri": NOTEBOOK},
                    "cellTextDocuments": [{"uri": cell(n)} for n in (7, 0, 1)],
                },
            )
            assert await asyncio.wait_for(ask(editor, 1, 1, 3), 5) == []


async def actions(editor: Door, number: int, line: int) -> list[Json]:
    at = {"line": line, "character": 0}
    params = {
        "textDocument": {"uri": cell(number)},
        "range": {"start": at, "end": at},
        "context": {"diagnostics": []},
    }
    return list(await editor.client.request("textDocument/codeAction", params))
