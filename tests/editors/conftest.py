"""Real editors: what is needed of them, an endpoint with a script, and folders of a user who has just begun."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.door import GCD, fenced
from fakes.endpoint import FakeEndpoint

REQUIRED = ("neovim", "emacs", "vscode")
"""Editors that `NL2CODE_REQUIRE_EDITORS=1` does not let be missing. Vim is tested where it is."""
PLACES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nl2code-test"
"""Where `install.sh` puts editors that no system package brings."""
STRICT = os.environ.get("NL2CODE_REQUIRE_EDITORS", "") == "1"

Need = Callable[..., str]


@pytest.fixture(scope="session")
def need() -> Need:
    """Return a function that returns the path of a program, or skips the test (fails it, where CI says so)."""

    def path_of(editor: str, *programs: str | Path) -> str:
        for program in programs:
            found = shutil.which(program)
            if found and not (editor == "neovim" and program != "tmux" and too_old(found)):
                return found
        missing(
            editor,
            f"no {' or '.join(Path(one).name for one in programs)} that will do; see tests/editors/install.sh",
        )
        raise AssertionError

    return path_of


def too_old(program: str) -> bool:
    """Tell whether a program is a Neovim before 0.11, such as Debian's."""
    shown = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    version = re.match(r"NVIM v0\.(\d+)", shown)
    return version is not None and int(version[1]) < 11


def missing(editor: str, reason: str) -> None:
    """Say that a test cannot run here."""
    if STRICT and editor in REQUIRED:
        pytest.fail(f"{editor} is required: {reason}")
    pytest.skip(f"{editor}: {reason}")


@pytest.fixture(name="endpoint")
def _endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    """Run a model endpoint that knows one answer, and point the servers of this test at it."""
    with FakeEndpoint(replies=[fenced(GCD)]) as fake:
        monkeypatch.setenv("NL2CODE_ENDPOINT", fake.url)
        yield fake


@pytest.fixture(name="profile")
def _profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a user who has never started an editor."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in [name for name in os.environ if name.startswith(("XDG_", "NVIM", "VIM", "EMACS", "TMUX"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("NL2CODE_LOG_FILE", str(tmp_path / "server.log"))
    monkeypatch.setenv("NL2CODE_LOG_LEVEL", "info")
    return folder
