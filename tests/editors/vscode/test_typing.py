"""Fast typing in a long file: the server has the editor's text afterwards, and keys are not slower for it.

The delays are printed: `pytest -m editor tests/editors/vscode/test_typing.py -s`.
"""

from __future__ import annotations

import hashlib
import statistics
from pathlib import Path

import pytest

from fakes.endpoint import FakeEndpoint

from .browser import Browser
from .conftest import profile_in
from .workbench import Editor, Rig, Window, running, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]

LINES = "".join(f"value_{number} = {number} + len('é😀')\n" for number in range(5_000))
TYPED = ("\n# write a function that adds α and 😀 (both), e.g. f(1) == 2\nd = {1: [2, 3]}\n" * 10)[:500]
# From a key's event to the frame after the one that shows it.
WATCH = """() => {
    window.delays = [];
    document.addEventListener('keydown', () => {
        const pressed = performance.now();
        requestAnimationFrame(() => setTimeout(() => window.delays.push(performance.now() - pressed)));
    }, true);
}"""


def open_long_file(window: Window, file: Path) -> None:
    """Open a file of 5,000 lines with the cursor in its middle."""
    file.write_text(LINES)
    window.edit(file)
    window.ask(
        "const at = new vscode.Position(2500, 0); const editor = vscode.window.activeTextEditor;"
        "editor.selection = new vscode.Selection(at, at); editor.revealRange(editor.selection)"
    )


def delays(window: Window, file: Path) -> list[float]:
    """Return how long each of 150 keys takes in a long file, in milliseconds."""
    open_long_file(window, file)
    window.page("evaluate", f"({WATCH})()")
    window.type(TYPED[:150], delay=60)
    return [float(one) for one in window.page("evaluate", "window.delays")]


def test_the_server_has_the_text_after_fast_typing(editor: Editor, tmp_path: Path) -> None:
    folder = tmp_path / "fast"
    folder.mkdir()
    (folder / "first.py").write_text("")
    window = editor.open(folder, "first.py")
    file = folder / "long.py"
    open_long_file(window, file)
    window.type(TYPED, delay=10)
    # What was typed comes to the extension host, and from there to the server, a little later.
    until(lambda: len(window.text()) > len(LINES) + 480, "the typed text", seconds=60)
    told = (
        "return (await vscode.commands.executeCommand('nl2code.status',"
        f" vscode.Uri.file({str(file)!r}).toString())).sha256"
    )

    def same() -> bool:
        return bool(hashlib.sha256(window.text().encode()).hexdigest() == window.ask(told))

    until(same, "the same text in the server")
    window.close()


def test_how_long_keys_take_with_and_without_the_extension(
    rig: Rig,
    browser: Browser,
    packages: tuple[Path, Path],
    editor: Editor,
    model: FakeEndpoint,
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "with", tmp_path / "without"]
    for folder in folders:
        folder.mkdir()
        (folder / "first.py").write_text("")
    window = editor.open(folders[0], "first.py")
    measured = {"on": delays(window, folders[0] / "long.py")}
    window.close()
    profile = profile_in(tmp_path / "profile", endpoint=model.url)
    with running(rig, profile, browser, packages[1]) as bare:
        window = bare.open(folders[1])
        measured["off"] = delays(window, folders[1] / "long.py")
        window.close()
    # Printed, not judged: on a busy machine these say more of its load than of the extension.
    for name, times in measured.items():
        assert len(times) > 100
        p95 = statistics.quantiles(times, n=20)[-1]
        median = statistics.median(times)
        print(f"\nextension {name}: {len(times)} keys, median {median:.1f} ms, p95 {p95:.1f} ms")
