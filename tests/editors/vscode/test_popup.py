"""The list of completions and grey text: one gives way to the other, and neither is lost by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.door import COMMENT, GCD
from nl2code_server.feedback.store import Store

from .workbench import POPUP, Window, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(600)]

NewFile = Callable[[str], Path]

EVERYWHERE = {"other": "on", "comments": "on", "strings": "on"}
# Another extension's completions: for every word, and after a bracket.
REGISTER = """
    const items = ['define', 'gcd_of', 'greatest', 'return_value'].map(name => new vscode.CompletionItem(name));
    const provider = {provideCompletionItems: () => items};
    globalThis.others = vscode.languages.registerCompletionItemProvider('python', provider, '(');
"""
WATCH = """() => {
    window.lists = window.over = 0;
    window.watch?.disconnect();
    window.watch = new MutationObserver(() => {
        const list = document.querySelector('.suggest-widget.visible') !== null;
        window.lists += list;
        window.over += list && document.querySelector('.view-lines [class*="ghost-text"]') !== null;
    });
    window.watch.observe(document.body, {subtree: true, childList: true, attributeFilter: ['class']});
}"""


@pytest.fixture(autouse=True, params=[None, EVERYWHERE], ids=["as installed", "everywhere"])
def _completions(window: Window, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let another extension offer completions, in code or everywhere."""
    update = "await vscode.workspace.getConfiguration('editor').update('quickSuggestions', {}, true)"
    window.ask(REGISTER + update.replace("{}", json.dumps(request.param) if request.param else "undefined"))
    yield
    window.ask("globalThis.others.dispose();" + update.replace("{}", "undefined"))
    assert window.toasts() == []


def ghost_text(window: Window, new_file: NewFile) -> None:
    """Have grey text at the end of a comment, and watch from there on."""
    new_file("")
    window.type(COMMENT)
    window.wait_for_ghost("return a")
    window.page("evaluate", f"({WATCH})()")


def seen(window: Window, what: str) -> int:
    """Return how often there was a list, or one while grey text was there."""
    return int(window.page("evaluate", f"window.{what}"))


@pytest.mark.parametrize("_completions", [None], indirect=True, ids=["as installed"])
def test_no_list_opens_while_grey_text_is_typed_along(window: Window, new_file: NewFile) -> None:
    ghost_text(window, new_file)
    window.type("\ndef gcd", delay=250)
    window.wait_for_ghost("return a")
    window.page("waitForTimeout", 1_000)
    assert seen(window, "lists") == 0
    window.press("Tab")
    until(lambda: window.text() == f"{COMMENT}\n{GCD.rstrip()}", "the code")


def test_grey_text_is_back_after_a_list_that_another_extension_opens(
    window: Window, new_file: NewFile
) -> None:
    ghost_text(window, new_file)
    window.type("\ndef gcd(", delay=250)
    window.page("waitForSelector", POPUP, {"timeout": 60_000})
    window.press("Escape")
    window.wait_for_ghost("return a")
    assert window.count(POPUP) == 0
    window.press("Tab")
    until(lambda: window.text() == f"{COMMENT}\n{GCD.rstrip()}", "the code")


def test_the_list_asked_for_opens_and_gives_way_again(window: Window, new_file: NewFile) -> None:
    ghost_text(window, new_file)
    window.press("Control+Space")
    window.page("waitForSelector", POPUP, {"timeout": 60_000})
    window.press("Escape")
    window.wait_for_ghost("return a")
    assert window.count(POPUP) == 0
    window.press("Tab")
    until(lambda: window.text() == f"{COMMENT}\n{GCD.rstrip()}", "the code")

    def last() -> str:
        with Store(window.profile.home / "data" / "feedback.db") as store:
            return [one.event.event for one in store.events()][-1]

    until(lambda: last() == "accepted", "the event")


def test_what_is_typed_instead_has_grey_text_or_a_list(window: Window, new_file: NewFile) -> None:
    ghost_text(window, new_file)
    window.type(", greatly", delay=250)
    until(lambda: window.text() == f"{COMMENT}, greatly", "the typed text")
    window.page("waitForTimeout", 1_000)
    assert seen(window, "over") == 0


def test_lines_without_grey_text_have_their_list(window: Window, new_file: NewFile) -> None:
    new_file(f"{COMMENT}\n{GCD}\n\nvalue = 1\n")
    window.type("gre")
    window.page("waitForSelector", POPUP, {"timeout": 60_000})
    window.press("Enter")
    until(lambda: window.text().endswith("\ngreatest"), "the completion")
