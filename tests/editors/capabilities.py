"""What an editor says of itself when it connects: heard, and compared with what is recorded.

`NL2CODE_RECORD=1` writes it down anew, into `tests/e2e/clients`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parents[1] / "e2e" / "clients"
RECORD = os.environ.get("NL2CODE_RECORD", "") == "1"


class Tap:
    """A server program that writes down what the editor sends, and hands it on to the real one."""

    def __init__(self, folder: Path, server: str) -> None:
        self._folder = folder
        self._wire = folder / "wire"
        self.program = folder / "nl2code-server"
        self.program.write_text(f"#!/bin/sh\ntee '{self._wire}' | '{server}' \"$@\"\n", encoding="utf-8")
        self.program.chmod(0o755)

    async def compare(self, file: str, *, seconds: float = 30) -> None:
        """Wait for the editor's first message, and compare its capabilities with the recorded ones."""
        introduced = await self._initialize(seconds)
        parts = ("clientInfo", "capabilities", "initializationOptions")
        said = {name: introduced[name] for name in parts if name in introduced}
        assert str(self._folder) not in json.dumps(said)
        path = CLIENTS / file
        if RECORD:
            path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        recorded = json.loads(path.read_text(encoding="utf-8"))
        assert said["capabilities"] == recorded["capabilities"]

    async def _initialize(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            data = self._wire.read_bytes().decode(errors="replace") if self._wire.exists() else ""
            if found := re.match(r"(?:[^\r]+\r\n)*?Content-Length: *(\d+)\r\n(?:[^\r]+\r\n)*\r\n", data):
                body = data[found.end() :].encode()[: int(found[1])]
                if len(body) == int(found[1]):
                    message = json.loads(body)
                    assert message["method"] == "initialize"
                    params: dict[str, Any] = message["params"]
                    return params
            assert time.monotonic() < deadline, f"no initialize request within {seconds:g} s"
            await asyncio.sleep(0.05)
