"""What the terminal's editors say of themselves is what the tests over the wire take them to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from editors.capabilities import Tap
from editors.conftest import PLACES, Need
from editors.terminal.screen import Screen
from editors.terminal.user import set_up
from nl2code_server.cli.editors import recipe, server_program

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]


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
    tap = Tap(tmp_path, server_program())
    config = recipe(editor, str(tap.program)).config
    assert config
    config.write_text(
        config.read_text(encoding="utf-8").replace(server_program(), str(tap.program)), encoding="utf-8"
    )
    with Screen([program, *options, "demo.py"], cwd=profile):
        await tap.compare(file)
