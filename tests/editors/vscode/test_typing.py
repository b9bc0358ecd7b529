"""Fast typing in a long file: the server has the editor's text afterwards, and keys are not slower for it.

The delays are printed: `NL2CODE_TYPING_ROUNDS=8 pytest -m editor tests/editors/vscode/test_typing.py -s`.
"""

from __future__ import annotations

import hashlib
import os
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
ROUNDS = int(os.environ.get("NL2CODE_TYPING_ROUNDS", "2"))
# From a key's event to the frame after the one that shows it.
WATCH = """() => {
    window.delays = [];
    document.addEventListener('keydown', () => {
        const pressed = performance.now();
        requestAnimationFrame(() => setTimeout(() => window.delays.push(performance.now() - pressed)));
    }, true);
}"""
# What the editor itself does for anybody's ghost text, without ours.
NO_OFFERS = """
    const provider = {provideInlineCompletionItems: () => []};
    vscode.languages.registerInlineCompletionItemProvider('python', provider);
"""


def open_long_file(window: Window, file: Path) -> None:
    """Open a file of 5,000 lines with the cursor in its middle."""
    file.write_text(LINES)
    window.edit(file)
    window.ask(
        "const at = new vscode.Position(2500, 0); const editor = vscode.window.activeTextEditor;"
        "editor.selection = new vscode.Selection(at, at); editor.revealRange(editor.selection)"
    )


def delays(window: Window) -> list[float]:
    """Return how long each of the next hundred keys takes, in milliseconds."""
    window.page("bringToFront")
    window.page("evaluate", "window.delays = []")
    window.type(TYPED[:100], delay=60)
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
    profile = profile_in(tmp_path / "profile", endpoint=model.url)
    with running(rig, profile, browser, packages[1]) as bare:
        windows = {}
        for name, where in {"on": editor, "no offers": bare, "off": bare}.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / "first.py").write_text("")
            windows[name] = where.open(folder, "first.py" if where is editor else "")
            open_long_file(windows[name], folder / "long.py")
            windows[name].page("evaluate", f"({WATCH})()")
        windows["no offers"].ask(NO_OFFERS)
        for window in windows.values():
            delays(window)  # what is done once is no delay of keys
        rounds: list[dict[str, list[float]]] = []
        for number in range(ROUNDS):
            # There and back, so that a machine that slows down slows all of them.
            order = [*windows][:: -1 if number % 2 else 1]
            rounds.append({name: delays(windows[name]) for name in order})
        for window in windows.values():
            window.close()
    # Printed, not judged: on a busy machine these say more of its load than of the extension.
    for name in windows:
        keys = [delay for one in rounds for delay in one[name]]
        assert len(keys) > 90 * ROUNDS
        low, median, high = statistics.quantiles(keys, n=4)
        print(
            f"\n{name}: {len(keys)} keys, median {median:.1f} ms, half of them {low:.1f} to {high:.1f}",
            end="",
        )
        print(f", p95 {statistics.quantiles(keys, n=20)[-1]:.1f}")
    for name, other in (("on", "off"), ("on", "no offers"), ("no offers", "off")):
        more = [statistics.median(one[name]) - statistics.median(one[other]) for one in rounds]
        spread = f"{min(more):+.1f} to {max(more):+.1f} in {ROUNDS} rounds"
        print(f"{name} - {other}: {statistics.median(more):+.1f} ms between medians, {spread}")
