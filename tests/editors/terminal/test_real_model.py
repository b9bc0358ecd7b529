"""Real editors on the real 0.5B: suggestions seen, accepted, run and logged; two editors share one host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.door import events
from editors.conftest import PLACES, Need
from editors.terminal.screen import Screen
from editors.terminal.user import COMMENT, content, no_servers, of, offered, set_up
from nl2code_model.models.pull import pull
from nl2code_server.endpoint import runtime
from nl2code_server.endpoint.process import stop_host

pytestmark = [pytest.mark.editor, pytest.mark.model, pytest.mark.timeout(600)]

THREADS = os.environ.get("NL2CODE_THREADS", "0")
"""As it is for this run; a test begins with none of these variables."""
WAIT = 240.0
"""Seconds for a first suggestion: the host starts, and the machine may be busy."""


@dataclass(frozen=True)
class Editor:
    """How one editor is driven."""

    name: str
    programs: tuple[str | Path, ...]
    options: tuple[str, ...]
    ready: str
    """What its screen shows when it can be typed into."""
    insert: tuple[str, ...]
    save: tuple[str, ...]
    end: tuple[str, ...]


EDITORS = {
    "neovim": Editor(
        "neovim", (PLACES / "neovim" / "bin" / "nvim", "nvim"), (), ".py", ("i",),
        ("Escape", ":", "w", "Enter"), ("Escape", ":", "q", "a", "Enter"),
    ),
    "emacs": Editor(
        "emacs", ("emacs-nox", "emacs"), ("-nw",), "eglot", (), ("C-x", "C-s"), ("C-x", "C-c"),
    ),
    "vim": Editor(
        "vim", ("vim.nox", "vim"), (), ".py", ("i",), ("Escape", ":", "w", "Enter"),
        ("Escape", ":", "q", "a", "Enter"),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
async def _host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Choose the model; end the host that the editors have started."""
    pull("qwen2.5-coder-0.5b")
    monkeypatch.setenv("NL2CODE_MODEL", "qwen2.5-coder-0.5b")
    monkeypatch.setenv("NL2CODE_THREADS", THREADS)
    yield
    for record in runtime.records():
        await stop_host(record)


def started(editor: Editor, need: Need, profile: Path, file: str, screens: ExitStack) -> Screen:
    """Set an editor up, start it with a new file, and type the comment."""
    need(editor.name, "tmux")
    program = need(editor.name, *editor.programs)
    set_up(editor.name)
    if editor.name == "emacs":
        quiet = "(setq native-comp-deferred-compilation nil)\n"
        (profile / ".emacs.d" / "early-init.el").write_text(quiet, encoding="utf-8")
    screen = screens.enter_context(Screen([program, *editor.options, file], cwd=profile))
    screen.wait(editor.ready, seconds=60)
    if editor.insert:
        screen.press(*editor.insert)
    screen.type(COMMENT)
    return screen


def check(path: Path) -> None:
    """Run a file that the model has completed, in a process of its own."""
    code = f"{content(path)}\nassert gcd(12, 18) == 6\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, f"{code}\n{done.stderr}"


@pytest.mark.parametrize("name", EDITORS)
async def test_seen_accepted_and_logged(name: str, need: Need, profile: Path, tmp_path: Path) -> None:
    editor = EDITORS[name]
    with ExitStack() as screens:
        screen = started(editor, need, profile, "gcd.py", screens)
        screen.wait("def gcd", seconds=WAIT)
        screen.picture(name, f"gcd.py - {name.capitalize()}")
        (suggestion,) = await offered()
        screen.press("Tab")
        await events("offered", "shown", "accepted")
        screen.press(*editor.save)
        screen.press(*editor.end)
        screen.wait_end(seconds=10)
    check(profile / "gcd.py")
    logged = await events("accepted")
    assert {event.suggestion_id for event in of(logged, "accepted")} == {suggestion}
    await no_servers(tmp_path)


async def test_two_editors_share_one_host(need: Need, profile: Path) -> None:
    with ExitStack() as screens:
        one = started(EDITORS["neovim"], need, profile, "one.py", screens)
        two = started(EDITORS["emacs"], need, profile, "two.py", screens)
        one.wait("def gcd", seconds=WAIT)
        two.wait("def gcd", seconds=WAIT)
        assert len(runtime.records()) == 1
