"""VS Code's real workbench in a headless browser, with the extension from its package."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.door import GCD, fenced
from editors.conftest import PLACES, missing
from fakes.endpoint import FakeEndpoint

from .browser import Browser, browsing
from .workbench import Editor, Profile, Rig, Window, pack_probe, running

EXTENSION = Path(__file__).parents[3] / "editors" / "vscode"
SERVER = Path(sys.executable).parent / "nl2code-server"


@pytest.fixture(scope="session")
def rig() -> Rig:
    """Return what the tests run with, or skip them."""
    place = PLACES / "vscode"
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    rig = Rig(
        place / "node24" / "node_modules" / "node" / "bin" / "node",
        place / "cs" / "node_modules" / "code-server" / "out" / "node" / "entry.js",
        place / "cs" / "node_modules" / "playwright-core",
        browser or "",
        EXTENSION / "dist" / "nl2code.vsix",
    )
    absent = [
        path.name for path in (rig.node, rig.code_server, rig.playwright, rig.extension) if not path.exists()
    ]
    absent += [] if browser else ["chromium"]
    if absent:
        missing("vscode", f"no {', '.join(absent)}; run tests/editors/vscode/install.sh")
    return rig


@pytest.fixture(scope="session")
def browser(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run a browser for all tests."""
    folder = tmp_path_factory.mktemp("browser")
    with browsing(rig.node, rig.playwright, rig.browser, folder) as browser:
        yield browser


@pytest.fixture(scope="session")
def packages(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the extensions to install: ours, and the one that tests look through."""
    return rig.extension, pack_probe(tmp_path_factory.mktemp("probe") / "probe.vsix")


@pytest.fixture(scope="session")
def model() -> Iterator[FakeEndpoint]:
    """Run a model endpoint that writes a gcd, whatever it is asked."""
    with FakeEndpoint(replies=[fenced(GCD)]) as fake:
        yield fake


def profile_in(folder: Path, **settings: object) -> Profile:
    """Make a profile, with the settings in the user's own file of nl2code."""
    profile = Profile(folder, folder / "nl2code")
    file = profile.home / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    profile.write({}, {"nl2code.serverPath": str(SERVER)})
    return profile


@pytest.fixture(scope="session")
def editor(
    rig: Rig,
    browser: Browser,
    packages: tuple[Path, Path],
    model: FakeEndpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Editor]:
    """Run the editor, with the scripted endpoint as model."""
    profile = profile_in(tmp_path_factory.mktemp("vscode"), endpoint=model.url)
    with running(rig, profile, browser, *packages) as editor:
        yield editor


@pytest.fixture(scope="module")
def window(
    editor: Editor, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Window]:
    """Open a window with an empty folder for the tests of a module."""
    folder = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    (folder / "first.py").write_text("")
    window = editor.open(folder, "first.py")
    yield window
    window.close()


@pytest.fixture
def new_file(window: Window, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that opens a new file with some text, the cursor at its end."""

    def made(text: str) -> Path:
        file = tmp_path / "example.py"
        file.write_text(text)
        window.edit(file)
        window.press("Control+End")
        return file

    return made


def pytest_exception_interact(node: pytest.Item, report: pytest.TestReport) -> None:
    """Keep a picture of the window that a test failed in, and say where."""
    window = getattr(node, "funcargs", {}).get("window")
    if isinstance(window, Window):
        picture = window.profile.folder / f"{node.name}.png"
        window.page("screenshot", {"path": str(picture)})
        report.sections.append(("the window", str(picture)))
