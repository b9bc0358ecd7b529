"""What the real editors say of themselves is what the tests over the wire take them to say.

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

import pytest

from editors.conftest import PLACES, Need
from editors.terminal.screen import Screen
from editors.terminal.user import content, set_up
from nl2code_server.cli.editors import recipe, server_program

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]

CLIENTS = Path(__file__).parents[2] / "e2e" / "clients"
RECORD = os.environ.get("NL2CODE_RECORD", "") == "1"


@pytest.mark.parametrize(
    ("editor", "programs", "options", "file"),
    [
        ("neovim", (PLACES / "neovim" / "bin" / "nvim", "nvim"), (), "neovim-0.11.json"),
        ("emacs", ("emacs-nox", "emacs"), ("-nw",), "emacs-eglot.json"),
        ("vim", ("vim.nox", "vim"), (), "vim-ale.json"),
    ],
)
async def test_recorded_capabilities_are_the_real_ones(
    editor: str,
    programs: tuple[str | Path, ...],
    options: tuple[str, ...],
    file: str,
    need: Need,
    profile: Path,
    tmp_path: Path,
) -> None:
    need(editor, "tmux")
    program = need(editor, *programs)
    set_up(editor)
    wire = tmp_path / "wire"
    tap = tmp_path / "nl2code-server"
    tap.write_text(f"#!/bin/sh\ntee '{wire}' | '{server_program()}' \"$@\"\n", encoding="utf-8")
    tap.chmod(0o755)
    config = recipe(editor, str(tap)).config
    assert config
    config.write_text(
        config.read_text(encoding="utf-8").replace(server_program(), str(tap)), encoding="utf-8"
    )
    with Screen([program, *options, "demo.py"], cwd=profile):
        introduced = await initialize_of(wire)
    said = {
        name: introduced[name]
        for name in ("clientInfo", "capabilities", "initializationOptions")
        if name in introduced
    }
    assert str(tmp_path) not in json.dumps(said)
    path = CLIENTS / file
    if RECORD:
        path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    recorded = json.loads(path.read_text(encoding="utf-8"))
    assert said["capabilities"] == recorded["capabilities"]


async def initialize_of(wire: Path, *, seconds: float = 30) -> dict[str, Any]:
    """Wait for the first message of an editor, and return its parameters."""
    deadline = time.monotonic() + seconds
    while True:
        data = content(wire)
        if found := re.match(r"(?:[^\r]+\r\n)*?Content-Length: *(\d+)\r\n(?:[^\r]+\r\n)*\r\n", data):
            body = data[found.end() :].encode()[: int(found[1])]
            if len(body) == int(found[1]):
                message = json.loads(body)
                assert message["method"] == "initialize"
                params: dict[str, Any] = message["params"]
                return params
        assert time.monotonic() < deadline, f"no initialize request within {seconds:g} s"
        await asyncio.sleep(0.05)
