"""Whole sessions at random: edits, requests, cancels and faults of the endpoint, against a reference text.

    NL2CODE_FUZZ_SECONDS=1800 pytest tests/e2e/test_fuzz_session.py tests/e2e/test_fuzz_transport.py

runs for as long as it says, once for each of the two; the default is a look. No session may end before its client
leaves, each request has one answer, and the documents are always those of the reference. Most servers are in this
process, joined to the session by memory; some are processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import re
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from e2e import inside
from e2e.door import GCD, fenced
from e2e.fuzzed import (
    COMMANDS,
    EDITORS,
    FLAGS,
    JUNK,
    NUMBERS,
    PATIENCE,
    PIECE,
    PIECES,
    REPLY,
    TASTES,
    URIS,
    edits_of,
)
from e2e.fuzzed_documents import Documents
from e2e.inside import INTERNAL_ERROR, Faults, Inside, Json, Outside, sound
from e2e.rpc import offset_of, position_of
from fakes.endpoint import FakeEndpoint, Reply

# Read before the tests' own environment is cleared.
SECONDS = float(os.environ.get("NL2CODE_FUZZ_SECONDS", "12"))


class Sessions(Documents):
    """One session from its introduction to its end."""

    @initialize(
        encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]),
        kind=st.integers(0, len(EDITORS) - 1),
        process=st.sampled_from([False] * 7 + [True]),
    )
    def begin(self, encoding: str, kind: int, process: bool) -> None:
        self.endpoint.replies[:] = [fenced(GCD)]
        self.endpoint.requests.clear()
        self.number = 0
        self.sent: dict[Json, tuple[str, str]] = {}
        """Method and document of each request."""
        self.items: list[tuple[str, Json]] = []
        self.actions: list[tuple[str, Json]] = []
        capabilities = {**EDITORS[kind], "general": {"positionEncodings": [encoding]}}
        self.seen["processes"] += process

        async def start() -> str:
            asyncio.get_running_loop().set_exception_handler(self.faults.in_loop)
            flags = {"endpoint": self.endpoint.url, **FLAGS}
            self.editor = await Outside.start(flags) if process else Inside(flags)
            return await self.editor.initialize(capabilities)

        self.encoding = self.run(start())
        assert self.encoding == encoding

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
        waits=st.sampled_from([None, 0.08, 0.2, PATIENCE]),
    )
    def ask_for_code(
        self,
        uri: str,
        above: str,
        instruction: int,
        below: str,
        method: str,
        trigger: int,
        waits: float | None,
    ) -> None:
        asking = PIECES[instruction].rstrip("\n")
        text = f"{above}\n{asking}{below}"
        self.open_document(uri, text)
        at = position_of(self.open[uri].text, len(f"{sound(above)}\n{asking}"), self.encoding)
        context = {"triggerKind": trigger}
        params = {"textDocument": {"uri": uri}, "position": at, "context": context}
        self.request(f"textDocument/{method}", params)
        if waits == PATIENCE:
            self.wait_for_an_answer(-1)
        elif waits:
            self.wait(waits)

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

    # What depends on time is looked at within a rule, which does nothing then: Hypothesis repeats the beginnings of
    # sessions, and wants the same choice of rules each time.

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        waiting = self.editor.waiting
        if not waiting:
            return
        self.editor.notify("$/cancelRequest", {"id": waiting[pick % len(waiting)]})
        self.turn()

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.2]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
        self.look()

    @rule(pick=st.integers(0, 99))
    def wait_for_an_answer(self, pick: int) -> None:
        waiting = self.editor.waiting
        if not waiting:
            return
        number = waiting[pick % len(waiting)]

        async def answered() -> None:
            with contextlib.suppress(TimeoutError):  # it may hang on a question that nobody answers
                await self.editor.wait_for([number], PATIENCE)

        self.run(answered())
        self.look()

    @rule(
        pick=st.integers(0, 9),
        way=st.sampled_from(["take", "take", "accept", "reject", "part", "show", "resolve"]),
        first=st.sampled_from(["text", "command"]),
    )
    def deal_with_an_offer(self, pick: int, way: str, first: str) -> None:
        if not self.items:
            return
        uri, item = self.items[-1 - pick % len(self.items)]
        told = {"command": "nl2code.accept", "arguments": item["command"]["arguments"][:1]}
        taken = way in ("take", "accept")
        if taken and first == "command":
            self.request("workspace/executeCommand", told)
        if way == "take":
            self.seen["taken"] += self.take_in(uri, self._in_turn(uri, edits_of(item)))
        elif way == "part":
            self.editor.notify(
                "textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": pick}
            )
        elif way == "show":
            self.editor.notify("textDocument/didShowCompletion", {"item": item})
        elif way == "resolve":
            self.request("completionItem/resolve", item if "label" in item else {"label": "x", "data": item})
        if way == "reject":
            self.request("workspace/executeCommand", {**told, "command": "nl2code.reject"})
        elif taken and first == "text":
            self.request("workspace/executeCommand", told)
        self.turn()

    @rule(pick=st.integers(0, 9))
    def run_an_action(self, pick: int) -> None:
        if not self.actions:
            return
        uri, action = self.actions[-1 - pick % len(self.actions)]
        if "edit" in action:
            self.seen["applied"] += self._applied(action["edit"])
        elif "data" in action and "command" not in action:
            self.request("codeAction/resolve", action, uri)
            return
        command = action if isinstance(action["command"], str) else action["command"]
        self.request(
            "workspace/executeCommand", {"command": command["command"], "arguments": command["arguments"]}
        )
        self.turn()

    def _in_turn(self, uri: str, edits: list[Json]) -> list[tuple[Json, str]]:
        """Return edits, all in terms of the same text, as changes that are made one after the other."""
        text = {**self.open, **self.cells}.get(uri)
        if text is None:
            return []
        ordered = sorted(
            edits, key=lambda edit: offset_of(text.text, edit["range"]["start"], self.encoding), reverse=True
        )
        return [(edit["range"], edit["newText"]) for edit in ordered]

    # --- the world around -----------------------------------------------------------------------------------------

    @rule(replies=st.lists(REPLY, min_size=1, max_size=3))
    def endpoint_changes(self, replies: list[str | Reply]) -> None:
        self.endpoint.replies[:] = replies

    @rule(taste=st.sampled_from(TASTES) | JUNK)
    def configure(self, taste: Json) -> None:
        self.editor.notify("workspace/didChangeConfiguration", {"settings": {"nl2code": taste}})
        self.turn()

    @rule(way=st.sampled_from(["well", "well", "null", "error", "junk"]), junk=JUNK)
    def answer(self, way: str, junk: Json) -> None:
        if not self.editor.questions:
            return
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
        return {"applied": self._applied(question["params"]["edit"])}

    def _applied(self, edit: Json) -> bool:
        """Apply an edit as an editor does: all of it, versioned parts only to the version that they name."""
        known = {**self.open, **self.cells}
        parts = [(part["textDocument"], part["edits"]) for part in edit.get("documentChanges") or ()]
        parts += [
            ({"uri": uri, "version": None}, edits) for uri, edits in (edit.get("changes") or {}).items()
        ]
        for document, _ in parts:
            if document["uri"] not in known:
                return False
            if document["version"] is not None and document["version"] != self._version(document["uri"]):
                return False
        for document, edits in parts:
            self.take_in(document["uri"], self._in_turn(document["uri"], edits))
        return True

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

    def look(self) -> None:
        editor = self.editor
        assert not editor.task.done(), f"the session has ended {editor.faults()}"
        assert editor.answered <= editor.asked, "answered more often than asked"
        for number, result in editor.results.items():
            assert result.get("code") != INTERNAL_ERROR, f"request {number}: {result}"
            self.seen["cancelled"] += result.get("code") == -32800
            self._keep(*self.sent.get(number, ("", "")), result.get("result"))
        editor.results.clear()
        assert not self.faults.found, "\n".join(self.faults.found)
        assert not editor.faults(), editor.faults()

    def _keep(self, method: str, uri: str, found: Json) -> None:
        """Keep what was offered, to do something with it later."""
        if method in ("textDocument/inlineCompletion", "textDocument/completion") and found:
            offers = [(uri, item) for item in found["items"]]
            self.seen["offers"] += len(offers)
            self.items += offers
        elif method == "textDocument/codeAction":
            self.actions += [(uri, action) for action in found or ()]
        elif method == "codeAction/resolve" and found and "edit" in found:
            self.actions.append((uri, found))

    def request(self, method: str, params: Json, uri: str = "") -> None:
        self.number += 1
        if isinstance(params, dict) and isinstance(document := params.get("textDocument"), dict):
            uri = str(document.get("uri"))
        self.sent[self.number] = method, uri
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
        async with asyncio.timeout(inside.PATIENCE):
            while self.editor.waiting:
                for question in self.editor.questions:
                    self.editor.send({"id": question["id"], "result": None})
                self.editor.questions.clear()
                assert not self.editor.task.done(), f"the session has ended {self.editor.faults()}"
                await asyncio.sleep(0.01)

    async def _abandon(self) -> None:
        if not self.editor.task.done():
            self.editor.hang_up()
            await asyncio.wait([self.editor.task], timeout=20)


@pytest.mark.timeout(SECONDS + 600)
def test_sessions() -> None:
    ends = time.monotonic() + SECONDS
    with FakeEndpoint() as endpoint, asyncio.Runner() as runner, Faults() as faults:
        Sessions.runner, Sessions.endpoint, Sessions.faults = runner, endpoint, faults
        seen = Sessions.seen
        wanted = ("offers", "cancelled", "processes", "taken")
        while (now := time.monotonic()) < ends or (now < ends + 100 and not all(map(seen.get, wanted))):
            run_state_machine_as_test(
                Sessions,
                settings=settings(
                    max_examples=5,
                    stateful_step_count=40,
                    deadline=None,
                    database=None,
                    derandomize=False,  # where CI is set, the same five sessions would come again and again
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            # Complaints of tasks that nobody has looked at come with the garbage.
            gc.collect()
            assert not faults.found, "\n".join(faults.found)
    print(f"{', '.join(f'{count} {what}' for what, count in seen.items())} in {SECONDS:.0f} s")
    assert all(map(seen.get, wanted)), seen
