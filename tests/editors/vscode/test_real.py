"""The whole way on the real 0.5B, as a new user goes it.

With `NL2CODE_UPDATE_PICTURES=1` it makes the pictures of the extension's README.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.door import COMMENT
from nl2code_server.feedback.store import Store

from .browser import browsing
from .conftest import EXTENSION, profile_in
from .workbench import STATUS, Editor, Profile, Rig, Window, running, until

pytestmark = [pytest.mark.editor, pytest.mark.model, pytest.mark.timeout(600)]

PICTURES = EXTENSION / "images"
UPDATE = os.environ.get("NL2CODE_UPDATE_PICTURES") == "1"
BEFORE = '''"""Small tools for whole numbers."""

import math


def is_square(number: int) -> bool:
    """Tell whether a number is the square of a whole number."""
    return math.isqrt(number) ** 2 == number


'''
LOOKS = {
    "workbench.colorTheme": "Default Dark Modern",
    "editor.fontSize": 17,
    "editor.lineHeight": 1.5,
    "editor.renderLineHighlight": "none",
    "editor.stickyScroll.enabled": False,
    "editor.lightbulb.enabled": "off",
    "breadcrumbs.enabled": False,
    "workbench.activityBar.location": "hidden",
    "workbench.sideBar.location": "right",
    "workbench.editor.editorActionsLocation": "hidden",
    "window.commandCenter": False,
    "remote.autoForwardPorts": False,
}


@pytest.fixture(scope="module")
def editor(
    rig: Rig, packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Editor]:
    """Run the editor with the real model, in a browser that makes sharp pictures."""
    folder = tmp_path_factory.mktemp("real")
    profile = profile_in(folder / "profile", model="qwen2.5-coder-0.5b", python=sys.executable, idle_exit=300)
    profile.write(LOOKS, _machine(profile))
    with (
        browsing(rig.node, rig.playwright, rig.browser, folder, scale=2) as browser,
        running(rig, profile, browser, *packages) as editor,
    ):
        yield editor
    stop = [sys.executable, "-m", "nl2code_server.cli", "host", "stop"]
    subprocess.run(stop, env={"NL2CODE_HOME": str(profile.home)}, check=True, capture_output=True, timeout=30)


def test_comment_ghost_text_tab_file_and_log(editor: Editor, tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    folder.mkdir()
    file = folder / "whole.py"
    file.write_text(BEFORE)
    window = editor.open(folder, file.name)
    window.page("setViewportSize", {"width": 980, "height": 560})
    window.run("workbench.action.closeSidebar")
    window.press("Control+End")
    window.type(COMMENT)
    window.wait_for_ghost("def gcd", seconds=240)
    window.wait_for_status("ready")
    _picture(window, "suggestion")

    window.press("Tab", "Control+s")
    until(lambda: "def gcd" in file.read_text(), "the saved file")
    code = file.read_text().removeprefix(BEFORE + COMMENT)
    space: dict[str, object] = {}
    exec(file.read_text(), space)  # what the real model wrote, and what the sandbox has run before
    assert eval("gcd(12, 18) == 6", space), code
    with Store(editor.profile.home / "data" / "feedback.db") as store:
        rows = [one.event for one in store.events()]
    offered = [row.suggestion_id for row in rows if row.event == "offered"]
    accepted = [row.suggestion_id for row in rows if row.event == "accepted"]
    assert accepted == offered[-1:]
    assert window.toasts() == []

    window.page("click", STATUS)
    window.page("waitForSelector", ".quick-input-list .monaco-list-row", {"timeout": 20_000})
    _picture(window, "menu")
    window.press("Escape")
    window.page("setViewportSize", {"width": 1280, "height": 640})
    window.run("nl2code.explain")
    window.wait_for_rendered("taken for a request")
    _picture(window, "explain", settle=2_000)
    window.close()


def _machine(profile: Profile) -> dict[str, object]:
    import json

    settings: dict[str, object] = json.loads(
        (profile.folder / "data" / "Machine" / "settings.json").read_text()
    )
    return settings


def _picture(window: Window, name: str, *, settle: int = 500) -> None:
    if UPDATE:
        window.page("waitForTimeout", settle)
        window.page("screenshot", {"path": str(PICTURES / f"{name}.png")})
