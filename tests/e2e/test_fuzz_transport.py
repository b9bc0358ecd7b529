"""Bytes at random on the wire: whatever came before, the next sound message is understood and answered.

Runs for `NL2CODE_FUZZ_SECONDS`, like the sessions of `test_fuzz_session`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from e2e.inside import INTERNAL_ERROR, Editor, Faults, Inside, Json, Outside

# Read before the tests' own environment is cleared.
SECONDS = float(os.environ.get("NL2CODE_FUZZ_SECONDS", "5"))

URI = "file:///w/a.py"
LONGEST = 5000  # bytes that a wrong length may swallow
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DOCUMENT = {"uri": URI, "languageId": "python", "version": 1, "text": "# write gcd\n"}
START = {"line": 0, "character": 0}
# Sound parameters, of which any part may be exchanged for something else.
KNOWN: dict[str, Json] = {
    "textDocument/didOpen": {"textDocument": DOCUMENT},
    "textDocument/didChange": {
        "textDocument": {"uri": URI, "version": 2},
        "contentChanges": [{"range": {"start": START, "end": START}, "text": "x"}],
    },
    "textDocument/didClose": {"textDocument": {"uri": URI}},
    "textDocument/didSave": {"textDocument": {"uri": URI}},
    "textDocument/inlineCompletion": {
        "textDocument": {"uri": URI},
        "position": START,
        "context": {"triggerKind": 1},
    },
    "textDocument/completion": {"textDocument": {"uri": URI}, "position": START},
    "completionItem/resolve": {"label": "x", "data": {"id": "y"}},
    "textDocument/hover": {"textDocument": {"uri": URI}, "position": START},
    "textDocument/codeAction": {
        "textDocument": {"uri": URI},
        "range": {"start": START, "end": START},
        "context": {"diagnostics": []},
    },
    "codeAction/resolve": {"title": "t", "data": {"uri": URI, "line": 0, "fresh": False}},
    "workspace/executeCommand": {"command": "nl2code.reject", "arguments": ["nobody", "bad"]},
    "workspace/didChangeConfiguration": {"settings": {"nl2code": {"mode": "manual"}}},
    "workspace/didChangeWorkspaceFolders": {"event": {"added": [], "removed": []}},
    "notebookDocument/didOpen": {
        "notebookDocument": {
            "uri": "nb:1",
            "notebookType": "jupyter-notebook",
            "version": 1,
            "cells": [{"kind": 2, "document": "nb:1#c"}],
        },
        "cellTextDocuments": [{**DOCUMENT, "uri": "nb:1#c"}],
    },
    "notebookDocument/didChange": {
        "notebookDocument": {"uri": "nb:1", "version": 2},
        "change": {
            "cells": {
                "structure": {"array": {"start": 0, "deleteCount": 1, "cells": []}},
                "textContent": [
                    {"document": {"uri": "nb:1#c", "version": 2}, "changes": [{"text": "y = 1"}]}
                ],
            }
        },
    },
    "notebookDocument/didClose": {
        "notebookDocument": {"uri": "nb:1"},
        "cellTextDocuments": [{"uri": "nb:1#c"}],
    },
    "initialize": {"processId": None, "rootUri": None, "capabilities": {}},
    "initialized": {},
    "$/cancelRequest": {"id": 1},
    "$/setTrace": {"value": "off"},
    "window/workDoneProgress/cancel": {"token": 1},
    "nobody/knows": {"a": [1]},
}


def _paths(value: Json) -> list[tuple[Json, ...]]:
    """Return the way to each part of a value."""
    items: list[tuple[Json, Json]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [(), *((key, *path) for key, inner in items for path in _paths(inner))]


def _exchanged(value: Json, path: tuple[Json, ...], other: Json) -> Json:
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = _exchanged(value[path[0]], path[1:], other)
    return copy


@st.composite
def messages(draw: st.DrawFn) -> Json:
    """Draw a message that is sound but for a part of it, perhaps."""
    method = draw(st.sampled_from(sorted(KNOWN)))
    params = KNOWN[method]
    for _ in range(draw(st.integers(0, 2))):
        params = _exchanged(params, draw(st.sampled_from(_paths(params))), draw(JUNK))
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    if draw(st.booleans()):
        message["id"] = draw(st.integers(0, 3) | st.sampled_from(["a", "é"]))  # the same again and again
    if draw(st.integers(0, 5)) == 0:
        message = _exchanged(message, draw(st.sampled_from(_paths(message))), draw(JUNK))
    return message


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Draw a frame, most often with something wrong."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return draw(st.sampled_from([b"\r\n", b"\r\n\r\n", b"Content-Length: 9\r\n", b"x" * 70_000 + b"\n"]))
    value = draw(JUNK if kind == 2 else messages())
    body = json.dumps(value).encode()
    if kind == 3:
        body = body[: draw(st.integers(0, len(body)))]
    length = len(body)
    if kind == 4:
        length = draw(st.integers(0, LONGEST) | st.sampled_from([2**28 + 1, 2**31, 10**11, 10**40]))
    head = draw(
        st.sampled_from(
            [
                b"Content-Length: %d\r\n\r\n",
                b"content-length:%d\r\nContent-Type: x\r\n\r\n",
                b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n",
                b"Content-Length: %d\n\n",
                b"Content-Length: -%d\r\n\r\n" if kind == 5 else b"Content-Length: %d\r\n\r\n",
            ]
        )
    )
    return head % length + body


def _safe(chunks: list[bytes]) -> bool:
    # What ends a session, as it should.
    return not any(b"HTTP/" in chunk or b'"exit"' in chunk or b'"shutdown"' in chunk for chunk in chunks)


async def _session(chunks: list[bytes], pieces: int, faults: Faults, *, process: bool) -> Counter[str]:
    asyncio.get_running_loop().set_exception_handler(faults.in_loop)
    flags = {"endpoint": "http://127.0.0.1:9/v1", "request_timeout": 1, "feedback": "off"}
    editor: Editor = await Outside.start(flags) if process else Inside(flags)
    await editor.initialize({})
    stream = b"".join(chunks)
    size = max(1, len(stream) // pieces)
    for start in range(0, len(stream), size):
        editor.feed(stream[start : start + size])
        await asyncio.sleep(0)
    # A body that was announced and never came gets this in its place.
    editor.feed(b"x" * (LONGEST + 200_000) + b"\n")
    known = {**KNOWN["textDocument/didOpen"], "textDocument": {**DOCUMENT, "uri": "file:///w/last.py"}}
    editor.notify("textDocument/didOpen", known)
    params = {"command": "nl2code.status", "arguments": ["file:///w/last.py"]}
    answer = await editor.request("last", "workspace/executeCommand", params)
    assert answer["result"]["documentVersion"] == 1
    assert not any(result.get("code") == INTERNAL_ERROR for result in editor.results.values()), editor.results
    await editor.leave()
    assert not faults.found, "\n".join(faults.found)
    return Counter(
        sessions=1,
        processes=int(process),
        bytes=len(stream),
        answers=editor.answered.total(),
        refused=editor.orphans,
    )


async def _in_order(sent: list[Json]) -> None:
    """Send sound frames; each request has one answer, also of those that share an id."""
    editor = Inside({"endpoint": "http://127.0.0.1:9/v1", "request_timeout": 1, "feedback": "off"})
    await editor.initialize({})
    for message in sent:
        editor.send(message)
    await editor.wait_for(list(editor.asked), 30)
    await asyncio.sleep(0.01)
    assert editor.answered == editor.asked
    await editor.leave()


@pytest.mark.timeout(SECONDS + 600)
def test_bytes() -> None:
    ends = time.monotonic() + SECONDS
    seen: Counter[str] = Counter()
    with asyncio.Runner() as runner, Faults() as faults:

        @settings(
            max_examples=50,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            st.lists(frames(), max_size=12).filter(_safe),
            st.integers(1, 40),
            st.sampled_from([False] * 9 + [True]),
        )
        @example([], 1, True)
        def look(chunks: list[bytes], pieces: int, process: bool) -> None:
            faults.found.clear()
            seen.update(runner.run(_session(chunks, pieces, faults, process=process)))

        while time.monotonic() < ends:
            look()
    print(f"{', '.join(f'{count} {what}' for what, count in seen.items())} in {SECONDS:.0f} s")
    assert seen["answers"]
    assert seen["refused"]


def test_each_request_has_one_answer() -> None:
    with asyncio.Runner() as runner:

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(messages(), max_size=8))
        def look(sent: list[Json]) -> None:
            runner.run(
                _in_order(
                    [one for one in sent if isinstance(one, dict) and type(one.get("id", 0)) in (int, str)]
                )
            )

        look()
