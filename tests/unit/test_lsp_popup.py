"""Items of a completion popup: in the way of each editor, they make the same text as ghost text does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from lsprotocol import types as lsp

from e2e.door import MARK, Door
from e2e.popup import CLIENTS, introduction, put_in
from e2e.rpc import Buffer, Client, Json, position_of
from nl2code_server.lang.document import Document, Encoding
from nl2code_server.lang.instruction import at
from nl2code_server.lang.names import insert_imports
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import inline
from nl2code_server.lsp import popup
from nl2code_server.lsp.anchor import behind
from nl2code_server.lsp.clients import read_client
from nl2code_server.lsp.ghost import Shown
from nl2code_server.lsp.transport import converter
from nl2code_server.suggest import Suggestion

LONG = (
    "def area(r):\n    if r < 0:\n        raise ValueError(f'${r} \\\\ {{}}')\n\n    return math.pi * r**2\n"
)
AREA = "write a function for the area of a circle"
DOUBLED = "b = 2 * a\nreturn b\n"
BODY = "for n in (a, a):\n    print(f'${n}')\n\nreturn 2 * a\n"
MORE: dict[str, tuple[str, str]] = {
    "what a snippet takes for its own": (f"import os\n# {AREA}{MARK}\n\n\nx = 1\n", LONG),
    "a last line of white space": (f"# {AREA}{MARK}\n   ", LONG),
    "the end of the file": (f"# {AREA}{MARK}", LONG),
    "the end of the file, indented": (f"def f(a):\n    # print a twice, return the sum{MARK}", DOUBLED),
    "below imports": (f"import os\n# {AREA}{MARK}", LONG),
    "above imports": (f"# {AREA}{MARK}\n\nimport os\n", LONG),
    "trailing white space": (f"# {AREA}{MARK}  \n   \nx = 1\n", LONG),
    "indented, with a blank line": (
        f"def f(a):\n    # print a twice, return the sum{MARK}\n\n\nx = f(1)\n",
        BODY,
    ),
    "on the indented line below": (
        f"def f(a):\n    # print a twice, return the sum\n    {MARK}\nx = 1\n",
        BODY,
    ),
    "too far in": (f"def f(a):\n    # print a twice, return the sum\n          {MARK}\nx = 1\n", BODY),
    "two lines below": (f"# {AREA}\n\n{MARK}\nx = 1\n", LONG),
    "tabs": (f"class A:\n\tdef f(self, a):\n\t\t# print a twice, return the sum{MARK}\n\n\tx = 1\n", BODY),
    "placeholder": (f'def f(a):\n    """Print a twice, return the sum."""\n    {MARK}\n    pass\n', BODY),
    "in the middle of a word of another script": (f"# 请编写一个函数，计算圆的面积{MARK}\n", LONG),
    "stars before it": (f"s = '\U0001f600'\n# \U0001f600 {AREA} \U0001f600{MARK}\n", LONG),
    "carriage returns": (f"x = 1\r\n# {AREA}{MARK}\r\n\r\ny = 2\r\n", LONG),
}


def spoilt(client: str, marked: str) -> bool:
    """Tell whether an editor cannot do it: ALE inserts no lines at the end of a file that does not end in one."""
    at_end = "\n" not in marked[marked.index(MARK) :]
    # Emacs and Vim show and send line feeds, whatever the file has on disk.
    return (client == "ale" and at_end) or (client in ("eglot", "ale") and "\r" in marked)


@dataclass
class Offline(Client):
    """An editor with nobody behind it."""

    def notify(self, method: str, params: Json = None) -> None:
        """Tell nobody."""


def shown(marked: str, code: str, comment: str, encoding: Encoding) -> tuple[Shown, str]:
    """Return code as it is shown at the cursor, and the text that it makes as ghost text."""
    before, _, behind_it = marked.partition(MARK)
    snapshot = Document("file:///a.py", before + behind_it, version=1, encoding=encoding).snapshot()
    row = before.count("\n")
    cursor = (row, len(before.rpartition("\n")[2].encode()))
    found = at(snapshot, row, attention="invoked")
    assert found and found.fires
    placement = place(snapshot, found)
    change = inline(snapshot, found, placement, code, cursor, comment=comment)
    assert change
    imports = insert_imports(snapshot, ["import math"] if "math." in code else [])
    made = snapshot.edited([change.edit]).edited((*behind(imports, change.edit), *change.follow_up))
    suggestion = Suggestion("an-id", "a-request", code, found, placement, (), "valid")
    return Shown(suggestion, snapshot, cursor, change, imports), made.text


def editor_with(client: str, marked: str, encoding: str) -> Door:
    process: Any = None
    offline = Offline(process, encoding=encoding)
    editor = Door(offline, "file:///a.py")
    text = marked.replace(MARK, "")
    offline.buffers[editor.uri] = Buffer(text)
    editor.asked = {"position": position_of(text, marked.index(MARK), encoding)}
    return editor


@pytest.mark.parametrize("comment", ["keep", "remove", "docstring"])
@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_editor_makes_the_file_that_ghost_text_makes(client: str, name: str, comment: str) -> None:
    marked, code = MORE[name]
    if spoilt(client, marked):
        return
    encoding: Encoding = "utf-8" if client == "neovim" else "utf-16"
    params = converter().structure(
        {"processId": None, "rootUri": None, **introduction(client)}, lsp.InitializeParams
    )
    one, expected = shown(marked, code, comment, encoding)
    item = popup.item(one, read_client(params, encoding), 0)
    assert item
    editor = editor_with(client, marked, encoding)
    put_in(client, editor, converter().unstructure(item))
    assert editor.text == expected
    compile(expected, "expected", "exec")
