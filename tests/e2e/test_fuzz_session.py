"""Whole sessions at random: edits, requests, cancels and faults of the endpoint, against a reference text.

    NL2CODE_FUZZ_SECONDS=1800 pytest tests/e2e/test_fuzz_session.py tests/e2e/test_fuzz_transport.py

runs for as long as it says, once for each of the two; the default is a look. No session may end before its client
leaves, each request has one answer, and the documents are always those of the reference.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from e2e.door import COMMENT, FULL, GCD, PLAIN, fenced
from e2e.inside import INTERNAL_ERROR, Faults, Inside, Json, Text, sound
from e2e.rpc import offset_of, position_of
from fakes.endpoint import FakeEndpoint, Reply

T = TypeVar("T")

# Read before the tests' own environment is cleared.
SECONDS = float(os.environ.get("NL2CODE_FUZZ_SECONDS", "12"))

URIS = ["file:///w/a.py", "file:///w/b%20%C3%A9.py", "untitled:1"]
NOTEBOOK = "file:///w/n.ipynb"
PIECES = [
    f"{COMMENT}\n",
    "# schreibe eine Funktion, die eine Liste umdreht\n",
    "# 写一个函数计算两个数的和\n",
    "# TODO: add a cache\n",
    "# ai: sort this list, e.g. f([2, 1]) == [1, 2]\n",
    "def f(a, b):\n    ...\n",
    'class A:\n    def m(self):\n        """Return 1."""\n',
    "    # write a loop that prints the numbers to 3\n",
    "x = 1\r\n",
    "if x:\r    y = 2\r",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " " * 4,
    "",
    "é",
    "写",
    "😋",
    "e\u0301",
    "\ud83d",
    "\ude0b",
    "\u2028",
    "\x0c",
    "\x85",
    "\x00",
    "\ufeff",
    "\u202e",
    "\U000e0041",
    "<|im_end|>",
    "```",
    "'",
    '"""',
    "(",
    ")",
    "\\\n",
    "%%time\n",
    "!ls\n",
    "lambda:" * 200,
    "(" * 400,
    "x" * 70_000,
    "# write a function\n" * 300,
]
# By number, because Hypothesis prints what it draws from.
PIECE = st.integers(0, len(PIECES) - 1).map(lambda number: PIECES[number])
TEXTS = st.lists(PIECE, max_size=6).map("".join)
NUMBERS = st.one_of(st.integers(0, 6), st.integers(-2, 90), st.sampled_from([1000, 2**31 - 1, 2**31, 2**70]))
POSITIONS = st.fixed_dictionaries({"line": NUMBERS, "character": NUMBERS})
SPANS = st.none() | st.fixed_dictionaries({"start": POSITIONS, "end": POSITIONS})
CHANGES = st.lists(st.tuples(SPANS, TEXTS), min_size=1, max_size=4)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SURROGATES = r'data: {"choices": [{"index": 0, "delta": {"content": "def f():\n    return \"\ud800\"\n"}}]}'
REPLIES: list[str | Reply] = [
    fenced(GCD),
    fenced("def f(a, b):\n    return a + b\n"),
    fenced("x = 1\n" * 400),
    fenced("import os\nos.system('true')\n"),
    fenced("def f(:\n"),
    "Sorry, I cannot help with that.",
    "",
    GCD,
    fenced("# only a comment\n"),
    Reply(text=fenced(GCD), token_delay=0.02),
    Reply(text=fenced(GCD), first_delay=0.3),
    Reply(text=fenced(GCD), header_delay=0.3),
    Reply(text=fenced(GCD), write_size=1, done=False),
    Reply(text=fenced("def f():\n    return '写😋'\n"), write_size=1),
    Reply(text=fenced(GCD), echo=True, usage=False, finish_reason="length"),
    Reply(text=fenced(GCD), hang_after=0),
    Reply(text=fenced(GCD), hang_after=4),
    Reply(text=fenced(GCD), cut_after=3),
    Reply(text=fenced(GCD), reset_after=3),
    Reply(reset_after=-1),
    Reply(status=401),
    Reply(status=429, headers=(("retry-after", "1"),)),
    Reply(status=503, body="busy", content_type="text/plain"),
    Reply(body="<html>login</html>", content_type="text/html"),
    Reply(body="{}"),
    Reply(body='{"choices": 5}'),
    Reply(body="data: [1]\n\ndata: {\n\n", content_type="text/event-stream"),
    Reply(body=f"{SURROGATES}\n\ndata: [DONE]\n\n", content_type="text/event-stream"),
    Reply(status=302, headers=(("location", "http://127.0.0.1:9/v1"),)),
]
REPLY = st.integers(0, len(REPLIES) - 1).map(lambda number: REPLIES[number])
COMMANDS = ["generate", "alternatives", "explainLast", "status", "accept", "reject", "nothing"]
TASTES: list[Json] = [
    {},
    {"mode": "marker"},
    {"mode": "manual"},
    {"surface": "both"},
    {"surface": "popup"},
    {"comment": "remove"},
    {"comment": "docstring", "candidates": 3},
    {"verify": False},
    {"candidates": 99, "endpoint": "http://example.org"},
]


class Sessions(RuleBasedStateMachine):
    """One session from its introduction to its end."""

    runner: ClassVar[asyncio.Runner]
    endpoint: ClassVar[FakeEndpoint]
    faults: ClassVar[Faults]
    seen: ClassVar[Counter[str]] = Counter()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]), full=st.booleans())
    def begin(self, encoding: str, full: bool) -> None:
        self.endpoint.replies[:] = [fenced(GCD)]
        self.endpoint.requests.clear()
        self.number = 0
        self.open: dict[str, Text] = {}
        self.cells: dict[str, Text] = {}
        self.order: list[str] = []
        self.versions = 1
        self.items: list[Json] = []
        capabilities = {**(FULL if full else PLAIN), "general": {"positionEncodings": [encoding]}}

        async def start() -> str:
            asyncio.get_running_loop().set_exception_handler(self.faults.in_loop)
            self.editor = Inside(
                {"endpoint": self.endpoint.url, "request_timeout": 1, "budget_seconds": 2, "redact": False}
            )
            return await self.editor.initialize(capabilities)

        self.encoding = self.run(start())
        assert self.encoding == encoding

    # --- texts ----------------------------------------------------------------------------------------------------

    @rule(uri=st.sampled_from(URIS), text=TEXTS)
    def open_document(self, uri: str, text: str) -> None:
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.editor.notify("textDocument/didOpen", {"textDocument": item})
        self.open[uri] = Text(text, self.encoding)
        self.turn()

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9), changes=CHANGES, version=st.sampled_from([1, 1, 1, 5, 0, -3, None]))
    def edit(self, pick: int, changes: list[tuple[Json, str]], version: int | None) -> None:
        uri = sorted(self.open)[pick % len(self.open)]
        if version is not None:
            self.versions += version
        told = {"uri": uri, "version": None if version is None else self.versions}
        self.editor.notify(
            "textDocument/didChange", {"textDocument": told, "contentChanges": _as_json(changes)}
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

    @precondition(lambda self: not self.cells)
    @rule(texts=st.lists(TEXTS, min_size=1, max_size=3))
    def open_notebook(self, texts: list[str]) -> None:
        self.order = [self._cell(text) for text in texts]
        self.editor.notify(
            "notebookDocument/didOpen",
            {
                "notebookDocument": {
                    "uri": NOTEBOOK,
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
        changes = [(_bounded(span), text) for span, text in changes]
        uri = self.order[pick % len(self.order)]
        self.versions += 1
        content = {"document": {"uri": uri, "version": self.versions}, "changes": _as_json(changes)}
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
        params = {"notebookDocument": {"uri": NOTEBOOK}, "cellTextDocuments": gone}
        self.editor.notify("notebookDocument/didClose", params)
        self.cells, self.order = {}, []
        self.turn()

    def _cell(self, text: str) -> str:
        self.versions += 1
        uri = f"{NOTEBOOK}#c{self.versions}"
        self.cells[uri] = Text(text, self.encoding)
        self._raw = getattr(self, "_raw", {}) | {uri: text}
        return uri

    def _item(self, uri: str) -> Json:
        return {"uri": uri, "languageId": "python", "version": 1, "text": self._raw[uri]}

    def _change_notebook(self, cells: Json) -> None:
        self.versions += 1
        params = {
            "notebookDocument": {"uri": NOTEBOOK, "version": self.versions},
            "change": {"cells": cells},
        }
        self.editor.notify("notebookDocument/didChange", params)

    # --- requests -------------------------------------------------------------------------------------------------

    @rule(
        method=st.sampled_from(["inlineCompletion", "inlineCompletion", "completion", "hover", "codeAction"]),
        pick=st.integers(0, 9),
        line=st.integers(0, 12) | NUMBERS,
        character=st.sampled_from([0, 80, 80, 80, 2**31 - 1]),
        trigger=st.sampled_from([1, 2, 2, 0]),
        turns=st.integers(0, 4),
    )
    def ask(self, method: str, pick: int, line: int, character: int, trigger: int, turns: int) -> None:
        known = sorted({*self.open, *self.cells}) or URIS
        uri = known[pick % len(known)]
        if pick < 7:
            line = self._asking(uri, line)
        at = {"line": line, "character": character}
        params: Json = {
            "textDocument": {"uri": uri},
            "position": at,
            "context": {"triggerKind": trigger},
        }
        if method == "codeAction":
            params |= {"range": {"start": at, "end": at}, "context": {"diagnostics": []}}
        self.request(f"textDocument/{method}", params)
        self.turn(turns)

    @rule(
        uri=st.sampled_from(URIS),
        above=PIECE,
        instruction=st.integers(0, 5),
        below=st.sampled_from(["", "\r\n", "\n\nx = 1\n"]),
        method=st.sampled_from(["inlineCompletion", "completion"]),
        trigger=st.sampled_from([1, 2]),
        seconds=st.sampled_from([0.0, 0.08, 0.2]),
    )
    def ask_for_code(
        self, uri: str, above: str, instruction: int, below: str, method: str, trigger: int, seconds: float
    ) -> None:
        asking = PIECES[instruction].rstrip("\n")
        text = f"{above}\n{asking}{below}"
        self.open_document(uri, text)
        at = position_of(self.open[uri].text, len(f"{sound(above)}\n{asking}"), self.encoding)
        context = {"triggerKind": trigger}
        params = {"textDocument": {"uri": uri}, "position": at, "context": context}
        self.request(f"textDocument/{method}", params)
        self.wait(seconds)
        self.look()

    def _asking(self, uri: str, line: int) -> int:
        """Return a line that looks like an instruction, if there is one."""
        text = {**self.open, **self.cells}.get(uri)
        lines = re.split(r"\r\n|\n|\r", text.text) if text else []
        found = [number for number, one in enumerate(lines) if "# " in one or "..." in one]
        return found[line % len(found)] if found else line

    @rule(
        name=st.sampled_from(COMMANDS),
        pick=st.integers(0, 9),
        line=st.integers(-1, 12),
        junk=st.none() | st.lists(JUNK, max_size=3),
    )
    def command(self, name: str, pick: int, line: int, junk: list[Json] | None) -> None:
        known = sorted({*self.open, *self.cells}) or URIS
        uri = known[pick % len(known)]
        line = self._asking(uri, line)
        arguments: dict[str, list[Json]] = {
            "generate": [uri, line],
            "alternatives": [uri, line] if pick % 2 else [],
            "accept": ["nobody"],
            "reject": ["nobody", "wrong"],
        }
        params = {
            "command": f"nl2code.{name}",
            "arguments": arguments.get(name, []) if junk is None else junk,
        }
        self.request("workspace/executeCommand", params)
        self.turn()

    @rule(
        method=st.sampled_from(
            [
                "textDocument/inlineCompletion",
                "textDocument/hover",
                "textDocument/codeAction",
                "codeAction/resolve",
                "completionItem/resolve",
                "workspace/executeCommand",
                "initialize",
                "nobody/asks",
                "$/nobody",
            ]
        ),
        params=JUNK,
    )
    def ask_nonsense(self, method: str, params: Json) -> None:
        self.request(method, params)
        self.turn()

    @rule(
        method=st.sampled_from(
            [
                "textDocument/didShowCompletion",
                "textDocument/didPartiallyAcceptCompletion",
                "textDocument/didSave",
                "window/workDoneProgress/cancel",
                "$/cancelRequest",
                "$/setTrace",
                "workspace/didChangeWorkspaceFolders",
                "notebookDocument/didSave",
                "nobody/tells",
            ]
        ),
        params=JUNK,
    )
    def tell_nonsense(self, method: str, params: Json) -> None:
        self.editor.notify(method, params)
        self.turn()

    @precondition(lambda self: self.editor.waiting)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        waiting = self.editor.waiting
        self.editor.notify("$/cancelRequest", {"id": waiting[pick % len(waiting)]})
        self.turn()

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.2]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @precondition(lambda self: self.items)
    @rule(pick=st.integers(0, 9), way=st.sampled_from(["take", "accept", "reject", "part", "show"]))
    def deal_with_an_offer(self, pick: int, way: str) -> None:
        uri, item = self.items[pick % len(self.items)]
        identity = item["command"]["arguments"][0]
        if way == "take" and uri in self.open:
            text = item["insertText"]
            self.edit(sorted(self.open).index(uri), [(item["range"], text)], 1)
        elif way == "part":
            self.editor.notify(
                "textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": pick}
            )
        elif way == "show":
            self.editor.notify("textDocument/didShowCompletion", {"item": item})
        command = "nl2code.reject" if way == "reject" else "nl2code.accept"
        if way in ("take", "accept", "reject"):
            self.request("workspace/executeCommand", {"command": command, "arguments": [identity]})
        self.turn()

    # --- the world around -----------------------------------------------------------------------------------------

    @rule(replies=st.lists(REPLY, min_size=1, max_size=3))
    def endpoint_changes(self, replies: list[str | Reply]) -> None:
        self.endpoint.replies[:] = replies

    @rule(taste=st.sampled_from(TASTES) | JUNK)
    def configure(self, taste: Json) -> None:
        self.editor.notify("workspace/didChangeConfiguration", {"settings": {"nl2code": taste}})
        self.turn()

    @precondition(lambda self: self.editor.questions)
    @rule(way=st.sampled_from(["well", "well", "null", "error", "junk"]), junk=JUNK)
    def answer(self, way: str, junk: Json) -> None:
        question = self.editor.questions.pop(0)
        if way == "error":
            error = {"code": -32601, "message": "no such method"}
            self.editor.send({"id": question["id"], "error": error})
        elif way == "well":
            self.editor.send({"id": question["id"], "result": self._answered(question)})
        else:
            self.editor.send({"id": question["id"], "result": junk if way == "junk" else None})
        self.turn()

    def _answered(self, question: Json) -> Json:
        if question["method"] == "workspace/configuration":
            return [{"mode": "auto"} for _ in question["params"]["items"]]
        if question["method"] == "window/showMessageRequest":
            return question["params"]["actions"][0]
        if question["method"] != "workspace/applyEdit":
            return None
        for part in question["params"]["edit"].get("documentChanges", ()):
            uri = part["textDocument"]["uri"]
            if uri not in self.open or part["textDocument"]["version"] != self._version(uri):
                return {"applied": False}
            text = self.open[uri]
            # All edits of a part are in terms of the same text; from the end, each is as it was.
            edits = sorted(
                part["edits"],
                key=lambda edit: offset_of(text.text, edit["range"]["start"], self.encoding),
                reverse=True,
            )
            changes = [(edit["range"], edit["newText"]) for edit in edits]
            self.edit(sorted(self.open).index(uri), changes, 1)
        return {"applied": True}

    def _version(self, uri: str) -> int:
        return int(self._status(uri)["documentVersion"])

    # --- what must hold -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.open or self.cells)
    @rule()
    def compare(self) -> None:
        for uri, reference in {**self.open, **self.cells}.items():
            digest = hashlib.sha256(reference.text.encode()).hexdigest()
            assert self._status(uri)["sha256"] == digest, f"{uri} is not what it should be"

    def _status(self, uri: str) -> Json:
        self.number += 1
        params = {"command": "nl2code.status", "arguments": [uri]}
        answer = self.run(self.editor.request(self.number, "workspace/executeCommand", params))
        return answer["result"]

    def turn(self, count: int = 1) -> None:
        """Let the server take some steps."""

        async def steps() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(steps())
        self.look()

    def look(self) -> None:
        editor = self.editor
        assert not editor.task.done(), "the session has ended"
        assert editor.answered <= editor.asked, "answered more often than asked"
        for number, result in editor.results.items():
            assert result.get("code") != INTERNAL_ERROR, f"request {number}: {result}"
            self.seen["cancelled"] += result.get("code") == -32800
            found = result.get("result")
            if isinstance(found, dict):
                for item in found.get("items") or ():
                    if "insertText" in item and "command" in item:
                        self.seen["offers"] += 1
                        self.items.append((self.uris.get(number), item))
        editor.results.clear()
        assert not self.faults.found, "\n".join(self.faults.found)

    @property
    def uris(self) -> dict[int, str]:
        if not hasattr(self, "_uris"):
            self._uris: dict[int, str] = {}
        return self._uris

    def request(self, method: str, params: Json) -> None:
        self.number += 1
        if isinstance(params, dict) and isinstance(document := params.get("textDocument"), dict):
            self.uris[self.number] = str(document.get("uri"))
        self.editor.send({"id": self.number, "method": method, "params": params})

    def teardown(self) -> None:
        if not hasattr(self, "editor"):
            return
        self.seen["sessions"] += 1
        self.seen["requests"] += self.editor.asked.total()
        self.seen["chats"] += len(self.endpoint.chats)
        if self.faults.found or self.editor.task.done():
            self.faults.found.clear()
            self.run(self._abandon())
            return
        try:
            self.compare()  # also while work is going on
            # All that is left ends by itself: the endpoint and whoever was asked have their deadlines.
            for number in self.editor.waiting[::2]:
                self.editor.notify("$/cancelRequest", {"id": number})
            self.run(self._settle())
            self.look()
            self.compare()
            self.run(self.editor.leave())
            assert not self.faults.found, "\n".join(self.faults.found)
        finally:
            self.faults.found.clear()
            self.run(self._abandon())

    async def _settle(self) -> None:
        async with asyncio.timeout(60):
            while self.editor.waiting:
                for question in self.editor.questions:
                    self.editor.send({"id": question["id"], "result": None})
                self.editor.questions.clear()
                assert not self.editor.task.done(), "the session has ended"
                await asyncio.sleep(0.01)

    async def _abandon(self) -> None:
        if not self.editor.task.done():
            self.editor.reader.feed_eof()
            await asyncio.wait([self.editor.task], timeout=20)


def _as_json(changes: list[tuple[Json, str]]) -> list[Json]:
    return [{"text": text} if span is None else {"range": span, "text": text} for span, text in changes]


def _bounded(span: Json) -> Json:
    if span is None:
        return None
    return {
        name: {axis: min(max(number, 0), 2**31 - 1) for axis, number in position.items()}
        for name, position in span.items()
    }


@pytest.mark.timeout(SECONDS + 200)
def test_sessions() -> None:
    ends = time.monotonic() + SECONDS
    with FakeEndpoint() as endpoint, asyncio.Runner() as runner, Faults() as faults:
        Sessions.runner, Sessions.endpoint, Sessions.faults = runner, endpoint, faults
        while time.monotonic() < ends:
            run_state_machine_as_test(
                Sessions,
                settings=settings(
                    max_examples=5,
                    stateful_step_count=40,
                    deadline=None,
                    database=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            # Complaints of tasks that nobody has looked at come with the garbage.
            gc.collect()
            assert not faults.found, "\n".join(faults.found)
    seen = Sessions.seen
    print(f"{', '.join(f'{count} {what}' for what, count in seen.items())} in {SECONDS:.0f} s")
    assert seen["offers"] and seen["cancelled"]
