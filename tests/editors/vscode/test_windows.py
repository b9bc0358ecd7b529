"""Several windows, their end, and folders that mean ill."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.door import COMMENT
from fakes.endpoint import FakeEndpoint
from fakes.host import calls, fake_interpreter

from .browser import Browser
from .conftest import profile_in
from .workbench import Rig, running, servers, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]


def test_two_windows_share_a_host_and_closing_them_ends_their_servers(
    rig: Rig, browser: Browser, packages: tuple[Path, Path], tmp_path: Path
) -> None:
    profile = profile_in(tmp_path / "profile", python=fake_interpreter(tmp_path / "model"))
    with running(rig, profile, browser, *packages) as editor:
        windows = []
        for name in ("left", "right"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a.py").write_text("")
            windows.append(editor.open(tmp_path / name, "a.py"))
            windows[-1].type(COMMENT)
            windows[-1].wait_for_ghost("return a", seconds=40)
        assert len(servers(profile.home)) == 2
        assert [call for call in calls(tmp_path / "model") if call.startswith("serve")] != []
        assert len([call for call in calls(tmp_path / "model") if call.startswith("serve")]) == 1

        closed = time.monotonic()
        for window in windows:
            window.close()
        until(lambda: not servers(profile.home), "the end of the servers", seconds=5)
        print(f"\nservers ended {time.monotonic() - closed:.1f} s after their windows")
    stop = [sys.executable, "-m", "nl2code_server.cli", "host", "stop"]
    subprocess.run(stop, env={"NL2CODE_HOME": str(profile.home)}, check=True, capture_output=True, timeout=30)


def test_the_end_of_the_editor_ends_the_server(
    rig: Rig, browser: Browser, packages: tuple[Path, Path], model: FakeEndpoint, tmp_path: Path
) -> None:
    profile = profile_in(tmp_path / "profile", endpoint=model.url)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("")
    with running(rig, profile, browser, *packages) as editor:
        editor.open(tmp_path / "work", "a.py")
        assert len(servers(profile.home)) == 1
        editor.process.terminate()
        until(lambda: not servers(profile.home), "the end of the server", seconds=5)
