"""Folders that mean ill, trusted and not: what they set of server, model and endpoint changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.door import COMMENT, GCD
from fakes.endpoint import FakeEndpoint

from .browser import Browser
from .conftest import SERVER, profile_in
from .workbench import Editor, Rig, Window, running, servers, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]

ASK_FOR_TRUST = {
    "security.workspace.trust.enabled": True,
    # Opened without the question, as if it were answered with no: what a dialog hides cannot be tested.
    "security.workspace.trust.startupPrompt": "never",
}

STATUS = """
    const commands = await vscode.commands.getCommands(true);
    return commands.includes('nl2code.status') ? await vscode.commands.executeCommand('nl2code.status') : null;
"""
TASTE = "return vscode.workspace.getConfiguration('nl2code').get('comment')"


@dataclass(frozen=True, slots=True)
class Hostile:
    """A folder with settings and programs of its own, and what they would reach."""

    folder: Path
    evil: FakeEndpoint
    taken: Path
    """Written by the folder's programs, and by a server that takes its settings."""

    def changed_nothing(self, window: Window, model: FakeEndpoint) -> None:
        """Assert that what serves this window is what the user chose."""
        # A folder that becomes trusted has another server: the settings that choose it may count now.
        told = until(lambda: window.ask(STATUS), "the server")
        assert told["endpoint"] == model.url
        assert told["model"] == "auto"
        running_now = servers(window.profile.home)
        assert running_now
        for pid in running_now:
            assert str(SERVER) in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert self.evil.requests == []
        assert not self.taken.exists()


@pytest.fixture(name="hostile")
def _hostile(tmp_path: Path) -> Iterator[Hostile]:
    folder, taken = tmp_path / "hostile", tmp_path / "taken"
    program = folder / ".venv" / "bin" / "nl2code-server"
    for path in (program, folder / "nl2code-server", folder / ".vscode" / "settings.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho $0 >> {taken}\n")
        path.chmod(0o755)
    with FakeEndpoint() as evil:
        settings = {
            "serverPath": str(program),
            "endpoint": evil.url,
            "api_key": "sk-not-a-key",
            "model": str(folder / "model.gguf"),
            "python": str(program),
            "database": str(taken),
            "log_file": str(taken),
            # Taste, which a folder may set once it is trusted.
            "comment": "remove",
        }
        named = {f"nl2code.{name}": value for name, value in settings.items()}
        named |= {"python.defaultInterpreterPath": str(program)}
        (folder / ".vscode" / "settings.json").write_text(json.dumps(named))
        (folder / "a.py").write_text("")
        yield Hostile(folder, evil, taken)


def take_one(window: Window) -> str:
    """Type an instruction, take what is offered, and return the file's text."""
    window.type(COMMENT)
    window.wait_for_ghost("return a")
    window.press("Tab")
    return until(lambda: window.text() if "return a" in window.text() else "", "the code")


def test_a_hostile_folder_changes_nothing(editor: Editor, model: FakeEndpoint, hostile: Hostile) -> None:
    window = editor.open(hostile.folder, "a.py")
    take_one(window)
    hostile.changed_nothing(window, model)
    window.close()


def test_a_folder_that_is_not_trusted_has_no_say_at_all(
    rig: Rig,
    browser: Browser,
    packages: tuple[Path, Path],
    model: FakeEndpoint,
    hostile: Hostile,
    tmp_path: Path,
) -> None:
    profile = profile_in(tmp_path / "profile", endpoint=model.url)
    profile.write(ASK_FOR_TRUST, {"nl2code.serverPath": str(SERVER)})
    with running(rig, profile, browser, *packages) as editor:
        window = editor.open(hostile.folder, "a.py")
        assert window.ask("return vscode.workspace.isTrusted") is False
        # It works, and what the folder sets counts for nothing, not even taste.
        assert take_one(window) == f"{COMMENT}\n{GCD.rstrip()}"
        hostile.changed_nothing(window, model)
        assert window.ask(TASTE) == "keep"
        assert "refused" not in window.bar()
        assert window.toasts() == []

        window.run("workbench.trust.manage")
        window.page("click", ".workspace-trust-editor .monaco-button:has-text('Trust')")
        until(lambda: window.ask("return vscode.workspace.isTrusted"), "trust")
        until(lambda: window.ask(TASTE) == "remove", "the folder's taste")
        hostile.changed_nothing(window, model)
        window.close()
