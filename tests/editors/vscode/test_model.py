"""The model is not there at the first suggestion: a question with its size, a download that is seen, grey text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from e2e.door import COMMENT
from fakes.host import calls, fake_interpreter

from .browser import Browser
from .conftest import profile_in
from .workbench import TOAST, Rig, running, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]


def test_the_first_suggestion_brings_the_model(
    rig: Rig, browser: Browser, packages: tuple[Path, Path], tmp_path: Path
) -> None:
    python = fake_interpreter(tmp_path / "half", present=False, pull="slow: 4")
    profile = profile_in(tmp_path / "profile", model="smollm2-135m", python=python)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.py").write_text("")
    with running(rig, profile, browser, *packages) as editor:
        window = editor.open(folder, "a.py")
        window.type(COMMENT)
        question = until(lambda: "".join(window.toasts()), "the question", seconds=60)
        assert "smollm2-135m (94 MiB), once" in question
        assert "model pull" not in "\n".join(calls(tmp_path / "half"))

        window.page("click", f"{TOAST} .monaco-button:has-text('Download')")
        window.wait_for_status("downloading smollm2-135m: 47 of 94 MiB")
        assert window.toasts() == []
        # Nobody has to ask again.
        window.wait_for_ghost("return a")
        window.press("Tab")
        until(lambda: "return a" in window.text(), "the code")
        assert [call for call in calls(tmp_path / "half") if "pull" in call] == [
            "model pull smollm2-135m --json"
        ]
        window.close()
    stop = [sys.executable, "-m", "nl2code_server.cli", "host", "stop"]
    subprocess.run(stop, env={"NL2CODE_HOME": str(profile.home)}, check=True, capture_output=True, timeout=30)
