"""A comment is typed in VS Code: what is seen, what the keys do, and what the log says of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.door import COMMENT, GCD, fenced
from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server.feedback.events import EventKind, EventRow
from nl2code_server.feedback.store import Store

from .workbench import POPUP, STATUS, Editor, Window, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]

NewFile = Callable[[str], Path]
Logged = Callable[..., list[EventRow]]
RECURSIVE = "def gcd(a, b):\n    return a if not b else gcd(b, a % b)\n"


@pytest.fixture
def logged(editor: Editor) -> Logged:
    """Return a function that waits for the log to hold such events of this test, and returns all of them."""
    file = editor.profile.home / "data" / "feedback.db"

    def rows() -> list[EventRow]:
        if not file.exists():
            return []
        with Store(file) as store:
            return [one.event for one in store.events()]

    before = len(rows())

    def wait(*kinds: EventKind) -> list[EventRow]:
        def found() -> list[EventRow]:
            since = rows()[before:]
            return since if set(kinds) <= {row.event for row in since} else []

        return until(found, f"events {kinds}")

    return wait


@pytest.fixture(autouse=True)
def _quiet(window: Window) -> Iterator[None]:
    """Whatever a test does, nothing pops up over the workbench."""
    yield
    assert window.toasts() == []


def wait_for_text(window: Window, text: str) -> None:
    until(lambda: window.text() == text, f"the text {text!r}")


def wait_for_more(window: Window, before: int) -> int:
    """Wait until the text is longer than before, and return its length."""

    def now() -> int:
        length = len(window.text())
        return length if length > before else 0

    return until(now, "another word")


def ids(rows: list[EventRow], kind: EventKind) -> list[str]:
    return [row.suggestion_id for row in rows if row.event == kind]


def test_tab_puts_the_ghost_text_into_the_file(window: Window, new_file: NewFile, logged: Logged) -> None:
    file = new_file("")
    window.type(COMMENT)
    assert "def gcd(a, b):" in window.wait_for_ghost("return a")
    window.press("Tab", "Control+s")
    until(lambda: file.read_text() == f"{COMMENT}\n{GCD.rstrip()}", "the saved file")
    rows = logged("offered", "accepted")
    assert ids(rows, "accepted") == ids(rows, "offered")[-1:]
    assert window.count(POPUP) == 0


def test_escape_is_a_rejection(window: Window, new_file: NewFile, logged: Logged) -> None:
    new_file("")
    window.type(COMMENT)
    window.wait_for_ghost("return a")
    window.press("Escape")
    until(lambda: not window.ghost(), "the ghost text's end")
    rows = logged("rejected")
    [rejected] = [row for row in rows if row.event == "rejected"]
    assert rejected.suggestion_id == ids(rows, "offered")[-1]
    assert rejected.cause == "escape"
    assert window.text() == COMMENT


def test_words_are_taken_one_by_one(window: Window, new_file: NewFile, logged: Logged) -> None:
    new_file("")
    window.type(COMMENT)
    window.wait_for_ghost("return a")
    taken: list[int] = []
    for _ in range(3):
        before = len(window.text())
        window.press("Control+ArrowRight")
        taken.append(wait_for_more(window, before) - len(COMMENT))
        window.wait_for_ghost("return a")
    told = [row.accepted_length for row in logged("shown", "partially_accepted")]
    assert [length for length in told if length] == taken
    window.press("Tab")
    wait_for_text(window, f"{COMMENT}\n{GCD.rstrip()}")
    rows = logged("accepted")
    assert ids(rows, "accepted") == ids(rows, "partially_accepted")[:1]


def test_an_alternative_is_chosen_from_a_list(
    window: Window, new_file: NewFile, logged: Logged, model: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = itertools.cycle([RECURSIVE, GCD])
    monkeypatch.setattr(model, "replies", [lambda _: fenced(next(codes))])
    new_file("# find the gcd of a and b, e.g. gcd(12, 18) == 6")
    window.run_later("nl2code.showAlternatives")
    window.page("waitForSelector", ".quick-input-list .monaco-list-row", {"timeout": 60_000})
    rows = window.texts(".quick-input-list .monaco-list-row")
    assert len(rows) == 2
    chosen = next(index for index, row in enumerate(rows) if "a if not b" in row)
    window.press(*["ArrowDown"] * chosen, "Enter")
    until(lambda: "a if not b" in window.text(), "the chosen code")
    rows_logged = logged("accepted")
    assert ids(rows_logged, "accepted")[0] in ids(rows_logged, "offered")


def test_the_hover_tells_why_a_comment_is_taken(window: Window, new_file: NewFile) -> None:
    file = new_file("")
    window.type(COMMENT)
    window.wait_for_ghost("return a")
    hovers = window.ask(
        f"const place = [vscode.Uri.file({json.dumps(str(file))}), new vscode.Position(0, 5)];"
        "const found = await vscode.commands.executeCommand('vscode.executeHoverProvider', ...place);"
        "return found.flatMap(one => one.contents.map(part => part.value))"
    )
    assert any("takes this for a request" in one and "gcd(12, 18)" in one for one in hovers), hovers


def test_the_status_bar_and_the_explanation_tell_what_happened(
    window: Window, new_file: NewFile, model: FakeEndpoint
) -> None:
    new_file("")
    window.type(COMMENT)
    window.wait_for_ghost("return a")
    assert window.wait_for_status("ready") == "nl2code: ready"
    window.run("nl2code.explain")
    instruction = COMMENT.removeprefix("# ")
    page = window.wait_for_rendered(f"<code>{instruction}</code>")
    assert "return a" in window.ghost()
    assert "def gcd(a, b):" in page
    assert "~~~" not in page
    window.press("Control+End", "Enter", "Enter")
    until(lambda: not window.ghost(), "the end of the grey text")
    window.type(COMMENT.replace("write", "make"))
    window.wait_for_ghost("return a")
    window.run("nl2code.explain")
    window.wait_for_rendered(f"<code>{instruction.replace('write', 'make')}</code>")
    window.run("nl2code.showStatus")
    assert "[object" not in window.wait_for_rendered(model.url)
    window.run("workbench.action.closeEditorsInOtherGroups")
    window.run("workbench.action.closeActiveEditor")


def test_a_model_that_fails_is_told_in_the_status_bar_alone(
    window: Window, new_file: NewFile, model: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "replies", [Reply(status=401, body='{"error": {"message": "no such key"}}')])
    new_file("")
    window.type("# write a function computing the lcm of two numbers, e.g. lcm(4, 6) == 12")
    window.wait_for_status("answered 401")
    window.press("Control+End")
    assert window.ghost() == ""


def test_the_menu_of_the_status_bar(window: Window, new_file: NewFile) -> None:
    new_file("")
    window.page("click", STATUS)
    window.page("waitForSelector", ".quick-input-list .monaco-list-row", {"timeout": 60_000})
    entries = "\n".join(window.texts(".quick-input-list .monaco-list-row"))
    assert "Explain the last suggestion" in entries
    assert "Status" in entries
    window.press("Escape")
