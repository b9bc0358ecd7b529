"""A fresh profile and the words of the README alone: server installed, model fetched, first suggestion taken."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fakes.hub import hub
from nl2code_server.feedback.store import Store

from .browser import Browser
from .conftest import profile_in
from .workbench import TOAST, Profile, Rig, running, until

pytestmark = [pytest.mark.editor, pytest.mark.model, pytest.mark.timeout(900)]

ENTRIES = ".quick-input-list .monaco-list-row"


def test_from_nothing_to_the_first_suggestion(
    rig: Rig, browser: Browser, packages: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = [
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not (Path(folder) / "nl2code-server").exists()
    ]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    # The real file, from a hub on this machine: what the real hub sends, at the speed of a disk.
    file = Path(os.environ["NL2CODE_MODELS"]) / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    monkeypatch.setenv("NL2CODE_MODELS", str(tmp_path / "models"))
    profile = profile_in(tmp_path / "profile", model="qwen2.5-coder-0.5b", idle_exit=300)
    profile.write({}, {})
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.py").write_text("")
    with hub(file.read_bytes()) as source:
        monkeypatch.setenv("HF_ENDPOINT", source.url)
        run_through(rig, profile, browser, packages, folder)
        assert len(source.asked) == 1
    (tmp_path / "models" / file.name).unlink()


def run_through(
    rig: Rig, profile: Profile, browser: Browser, packages: tuple[Path, Path], folder: Path
) -> None:
    """Take the steps of the walkthrough."""
    with running(rig, profile, browser, *packages) as editor:
        window = editor.open(folder)
        window.edit(folder / "a.py")
        window.wait_for_status("no server yet")

        window.run("workbench.action.openWalkthrough", "nl2code.nl2code#start")
        steps = until(lambda: "".join(window.texts(".gettingStartedContainer")), "the walkthrough")
        assert "Find or install the server" in steps
        window.run("workbench.action.closeActiveEditor")

        window.run_later("nl2code.installServer")
        window.page("waitForSelector", ENTRIES, {"timeout": 60_000})
        assert "A new environment of its own" in window.texts(ENTRIES)[0]
        window.press("Enter")
        window.wait_for_status("ready", seconds=400)
        [server] = list((profile.folder / "data").rglob("server/bin/nl2code-server"))

        window.run_later("nl2code.downloadModel")
        question = until(lambda: "".join(window.toasts()), "the question")
        assert "qwen2.5-coder-0.5b, once: 469 MiB" in question
        window.page("click", f"{TOAST} .monaco-button:has-text('Download 469 MiB')")
        until(lambda: "of 469 MiB" in "".join(window.toasts()), "the progress")
        until(lambda: "qwen2.5-coder-0.5b is here" in window.bar(), "the model", seconds=200)

        window.run("nl2code.tryExample")
        window.wait_for_ghost("def gcd", seconds=240)
        window.press("Tab")
        until(lambda: "def gcd" in window.text(), "the code")

        def accepted() -> bool:
            with Store(profile.home / "data" / "feedback.db") as store:
                return "accepted" in [one.event.event for one in store.events()]

        until(accepted, "the event")
        assert window.toasts() == []
        window.close()
    stop = [str(server.with_name("nl2code")), "host", "stop"]
    subprocess.run(stop, env={"NL2CODE_HOME": str(profile.home)}, check=True, capture_output=True, timeout=60)
