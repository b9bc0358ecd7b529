"""A small editor: it talks JSON-RPC with the language server over stdio, shows one suggestion, and accepts it."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nl2code_server.errors import Nl2CodeError

INVOKED, AUTOMATIC = 1, 2
PATIENCE = 5.0
"""Seconds after which an empty answer means that the server has stopped waiting, not that there is nothing."""
CAPABILITIES: dict[str, Any] = {
    # Code points: the columns of Python's own strings.
    "general": {"positionEncodings": ["utf-32", "utf-16"]},
    "workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": True}},
    "textDocument": {"inlineCompletion": {}, "synchronization": {}},
}
_LINE_END = re.compile(r"\r\n|\n|\r")
_GONE: dict[str, Any] = {}


class ServerGone(Nl2CodeError):
    """The language server ended, or does not answer."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What came of asking: the first item, if there was one."""

    item: dict[str, Any] | None
    unasked: bool
    """Whether it came as ghost text, before it was asked for in so many words."""
    seconds: float
    message: str
    """What the server said last about its state."""

    @property
    def suggestion_id(self) -> str:
        """The suggestion's id in the feedback log."""
        return str(self.item["command"]["arguments"][0]) if self.item else ""


class Editor:
    """One language server with one document at a time. Use as a context manager, in one thread."""

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self._log_path = log
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nl2code_server", "--stdio"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._number = 0
        self._message = ""
        self._busy = False
        self.uri = ""
        self.text = ""
        self._version = 0
        threading.Thread(target=self._read_all, name="language server", daemon=True).start()
        answer = self._request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": {"name": "nl2code eval"},
                "rootUri": folder.as_uri(),
                "workspaceFolders": [{"uri": folder.as_uri(), "name": folder.name}],
                "capabilities": CAPABILITIES,
            },
            30,
        )
        self._encoding = answer["capabilities"].get("positionEncoding", "utf-16")
        self._notify("initialized", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye; whatever the answer, the process ends."""
        try:
            self._request("shutdown", None, 5)
            self._notify("exit", None)
            self._process.wait(5)
        except (ServerGone, subprocess.TimeoutExpired):
            self._process.kill()
        self._process.communicate()
        self._log.close()

    def open(self, path: Path, text: str) -> None:
        """Open a document in place of the one that is open."""
        if self.uri:
            self._notify("textDocument/didClose", {"textDocument": {"uri": self.uri}})
        self.uri, self.text, self._version = path.as_uri(), text, 1
        item = {"uri": self.uri, "languageId": "python", "version": 1, "text": text}
        self._notify("textDocument/didOpen", {"textDocument": item})

    def suggestion(self, line: int, seconds: float) -> Offered:
        """Ask for ghost text at the end of a line; where none comes, ask for it in so many words."""
        started = time.monotonic()
        items: list[dict[str, Any]] = []
        for trigger in (AUTOMATIC, INVOKED):
            # A request ends after 15 s at most, the work on it goes on; whoever asks again joins it.
            waited = PATIENCE
            while waited >= PATIENCE and (left := started + seconds - time.monotonic()) > 0:
                asked = time.monotonic()
                items = self._ask(line, trigger, left)
                waited = time.monotonic() - asked if self._busy and not items else 0.0
            if items:
                return Offered(items[0], trigger == AUTOMATIC, time.monotonic() - started, self._message)
        return Offered(None, False, time.monotonic() - started, self._message)

    def take(self, item: dict[str, Any]) -> str:
        """Accept an item as an editor does: put its text in, then run its command. Return the whole file."""
        self._edit([{"range": item["range"], "newText": item["insertText"]}])
        command = item["command"]
        params = {"command": command["command"], "arguments": command["arguments"]}
        self._request("workspace/executeCommand", params, 30)
        return self.text

    def _ask(self, line: int, trigger: int, seconds: float) -> list[dict[str, Any]]:
        text = _LINE_END.split(self.text)[line]
        params = {
            "textDocument": {"uri": self.uri},
            "position": {"line": line, "character": self._width(text)},
            "context": {"triggerKind": trigger},
        }
        answer = self._request("textDocument/inlineCompletion", params, seconds + 20)
        items: list[dict[str, Any]] = (answer or {}).get("items") or []
        return items

    def _edit(self, edits: list[dict[str, Any]]) -> None:
        """Make edits, which all refer to the present text, and tell the server."""
        spans = [
            (self._offset(e["range"]["start"]), self._offset(e["range"]["end"]), e["newText"]) for e in edits
        ]
        for start, end, text in sorted(spans, reverse=True):
            self.text = self.text[:start] + text + self.text[end:]
        self._version += 1
        document = {"uri": self.uri, "version": self._version}
        change = {"textDocument": document, "contentChanges": [{"text": self.text}]}
        self._notify("textDocument/didChange", change)

    def _offset(self, position: dict[str, int]) -> int:
        starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        if position["line"] >= len(starts):
            return len(self.text)
        start = starts[position["line"]]
        line = _LINE_END.split(self.text[start:], maxsplit=1)[0]
        if self._encoding == "utf-32":
            return start + min(position["character"], len(line))
        return start + len(
            line.encode("utf-16-le")[: 2 * position["character"]].decode("utf-16-le", "ignore")
        )

    def _width(self, text: str) -> int:
        return len(text) if self._encoding == "utf-32" else len(text.encode("utf-16-le")) // 2

    # --- the wire -----------------------------------------------------------------------------------------------

    def _request(self, method: str, params: Any, seconds: float) -> Any:
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params})
        end = time.monotonic() + seconds
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise ServerGone(f"The language server did not answer {method} in {seconds:.0f} s") from None
            if message is _GONE:
                raise self._gone()
            if "method" in message:
                self._handle(message)
            elif message.get("id") == number:
                if "error" in message:
                    raise ServerGone(f"{method}: {message['error']['message']}")
                return message["result"]

    def _handle(self, message: dict[str, Any]) -> None:
        params: dict[str, Any] = message.get("params") or {}
        if message["method"] == "didChangeStatus":
            self._busy, self._message = bool(params["busy"]), str(params.get("message") or "")
        if "id" not in message:
            return
        result: Any = None
        if message["method"] == "workspace/applyEdit":
            result = self._apply(params["edit"])
        elif message["method"] == "workspace/configuration":
            result = [None] * len(params["items"])
        self._send({"id": message["id"], "result": result})

    def _apply(self, edit: dict[str, Any]) -> dict[str, Any]:
        for part in edit.get("documentChanges") or []:
            document = part["textDocument"]
            if document["uri"] != self.uri or document["version"] not in (None, self._version):
                return {"applied": False, "failureReason": "the document has changed"}
            self._edit(part["edits"])
        return {"applied": True}

    def _notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        try:
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> ServerGone:
        said = self._log_path.read_text(errors="replace").strip().rpartition("\n")[2]
        return ServerGone(f"The language server has ended; the last that it said was: {said or 'nothing'}")

    def _read_all(self) -> None:
        stream = self._process.stdout
        assert stream
        length = 0
        while line := stream.readline():
            if line == b"\r\n":
                self._messages.put(json.loads(stream.read(length)))
            elif line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self._messages.put(_GONE)
