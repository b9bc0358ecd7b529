"""What VS Code says of itself is what the tests over the wire take it to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from editors.capabilities import Tap

from .browser import Browser
from .conftest import SERVER, profile_in
from .workbench import Rig, running

pytestmark = [pytest.mark.editor, pytest.mark.timeout(180)]


async def test_recorded_capabilities_are_the_real_ones(
    rig: Rig, browser: Browser, packages: tuple[Path, Path], tmp_path: Path
) -> None:
    tap = Tap(tmp_path, str(SERVER))
    profile = profile_in(tmp_path / "profile")
    profile.write({}, {"nl2code.serverPath": str(tap.program)})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "first.py").write_text("")
    with running(rig, profile, browser, *packages) as editor:
        window = editor.open(folder, "first.py")
        await tap.compare("vscode-1.139.json")
        window.close()
