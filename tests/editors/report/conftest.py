"""A headless browser for the page of `nl2code report`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from editors.conftest import PLACES, missing
from editors.vscode.browser import Browser, browsing


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run the browser that the tests in VS Code use."""
    node = PLACES / "vscode" / "node24" / "node_modules" / "node" / "bin" / "node"
    playwright = PLACES / "vscode" / "cs" / "node_modules" / "playwright-core"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not (program and node.exists() and playwright.exists()):
        missing("vscode", "no browser; run tests/editors/vscode/install.sh")
    assert program
    with browsing(node, playwright, program, tmp_path_factory.mktemp("browser")) as browser:
        yield browser
