"""Real Emacs with eglot in a terminal, set up as README says: ghost text seen, accepted, logged; dismissed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.door import GCD, events, fenced
from editors.conftest import Need, missing
from editors.terminal.screen import Screen
from editors.terminal.user import COMMENT, content, no_servers, of, offered, saved, servers, set_up
from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server import __version__
from nl2code_server.cli.editors import shipped

pytestmark = [pytest.mark.editor, pytest.mark.timeout(90)]

Start = Callable[..., Screen]
PACKAGE = "nl2code.el"


@pytest.fixture(name="emacs")
def _emacs(need: Need, profile: Path) -> str:
    """Return Emacs's path, with nl2code set up in a fresh profile."""
    need("emacs", "tmux")
    path = need("emacs", "emacs-nox", "emacs")
    if batch(path, "--eval", "(require 'eglot)").returncode:
        missing("emacs", "no eglot; see tests/editors/install.sh")
    set_up("emacs")
    # Else Emacs spends its first minute on compiling its own packages, with warnings on the screen.
    quiet = "(setq native-comp-deferred-compilation nil)\n"
    (profile / ".emacs.d" / "early-init.el").write_text(quiet, encoding="utf-8")
    return path


def batch(emacs: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Emacs without a screen."""
    # Not -Q: that leaves out the system's packages.
    command = [emacs, "--batch", "--no-init-file", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(name="start")
def _start(emacs: str, profile: Path) -> Iterator[Start]:
    """Start Emacs with a file, and wait until the server is connected."""
    with ExitStack() as screens:

        def start(text: str = "", *, name: str = "demo.py", rows: int = 18) -> Screen:
            (profile / name).write_text(text, encoding="utf-8")
            screen = screens.enter_context(Screen([emacs, "-nw", name], cwd=profile, rows=rows))
            screen.wait("nl2code", seconds=30)
            screen.wait(lambda shown: "eglot" in shown.lower(), seconds=30)
            return screen

        yield start


async def test_seen_accepted_and_logged(
    start: Start, endpoint: FakeEndpoint, profile: Path, tmp_path: Path
) -> None:
    with start() as screen:
        screen.type(COMMENT)
        screen.wait("return a")
        screen.picture("emacs-ghost", "demo.py - Emacs")
        (suggestion,) = await offered()
        screen.press("Tab")
        screen.press("C-x", "C-s")
        await saved(profile / "demo.py", f"{COMMENT}\n{GCD}")
        screen.picture("emacs-accepted", "demo.py - Emacs")
        logged = await events("offered", "shown", "accepted")
        assert {event.suggestion_id for event in logged} == {suggestion}
        assert len(servers(tmp_path)) == 1
        screen.press("C-x", "C-c")
        screen.wait_end()
    await no_servers(tmp_path)


async def test_dismissed(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    with start() as screen:
        screen.type(COMMENT)
        screen.wait("return a")
        (suggestion,) = await offered()
        screen.press("C-g")
        screen.wait(lambda text: "return a" not in text)
        (dismissed,) = of(await events("dismissed"), "dismissed")
        assert dismissed.suggestion_id == suggestion
        screen.press("C-x", "C-s")
        await saved(profile / "demo.py", f"{COMMENT}\n")  # Emacs ends Python files so


async def test_taken_by_words_then_whole(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    comment = "# say 😀; write a function computing the gcd of two numbers"
    with start("\n\n") as screen:
        screen.type(comment)
        screen.wait("return a")
        (suggestion,) = await offered()
        screen.press("M-f")
        screen.press("M-f")
        first, second = of(await events("partially_accepted", "partially_accepted"), "partially_accepted")
        assert first.accepted_length and second.accepted_length
        assert first.accepted_length < second.accepted_length < len(GCD)
        screen.wait("return a")
        screen.press("Tab")
        # The blank line is the code's place. Ghost text cannot take it: the server does, a moment after.
        screen.wait("Edit successful")
        screen.press("C-x", "C-s")
        await saved(profile / "demo.py", f"{comment}\n{GCD}")
        logged = await events("accepted")
        assert {event.suggestion_id for event in logged} == {suggestion}


async def test_typing_on_cancels(start: Start, endpoint: FakeEndpoint) -> None:
    endpoint.replies = [Reply(text=fenced(GCD), hang_after=3), fenced(GCD)]
    with start() as screen:
        screen.type("# write a function computing the gcd of two numbers")
        (first,) = endpoint.wait_for_chats(1, timeout=15)
        screen.type(", e.g. gcd(12, 18) == 6")
        screen.wait("return a")
        assert first.disconnected.wait(5)


async def test_next_suggestion(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    other = "def gcd(a, b):\n    return a if not b else gcd(b, a % b)\n"
    endpoint.replies = [fenced(GCD), fenced(other)]
    init = profile / ".emacs.d" / "init.el"
    init.write_text(f"{init.read_text(encoding='utf-8')}\n(setq nl2code-settings '(:candidates 2))\n")
    with start() as screen:
        screen.type(COMMENT)
        screen.wait("(1/2)")
        first, second = await offered(2)
        screen.press("M-n")
        screen.wait("(2/2)")
        screen.press("Tab")
        screen.press("C-x", "C-s")
        await saved(profile / "demo.py", f"{COMMENT}\n{other}")
        (accepted,) = of(await events("accepted"), "accepted")
        assert accepted.suggestion_id == second != first


async def test_characters_of_any_width_before_it(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    before = 'smile = "😀é漢"\n'
    comment = "# 😀é漢 write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"
    with start(before) as screen:
        screen.press("M->")
        screen.type(comment)
        screen.wait("return a")
        screen.press("Tab")
        screen.press("C-x", "C-s")
        await saved(profile / "demo.py", f"{before}{comment}\n{GCD}")


async def test_the_import_comes_along(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    code = "def root(x):\n    return math.sqrt(x)\n"
    endpoint.replies = [fenced(code)]
    with start('"""Roots."""\n\n\n') as screen:
        screen.press("M->")
        screen.type("# write a function root(x) that returns the square root of x")
        screen.wait("math.sqrt")
        screen.press("Tab")
        screen.wait("Edit successful")
        screen.press("C-x", "C-s")
        screen.wait("Wrote")
        assert content(profile / "demo.py").startswith('"""Roots."""\n\nimport math\n')


async def test_commands(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    with start(f"{COMMENT}\n", rows=30) as screen:
        screen.press("M-x")
        screen.type("nl2code-status\n")
        screen.wait("nl2code: ready")
        screen.press("M-x")
        screen.type("nl2code-generate\n")
        screen.wait("return a")
        screen.press("C-x", "C-s")
        await saved(profile / "demo.py", f"{COMMENT}\n{GCD}")
        screen.press("M-x")
        screen.type("nl2code-explain\n")
        screen.wait("**model**: fake-model")


def test_the_package_is_in_order(emacs: str, tmp_path: Path) -> None:
    source = shipped("emacs") / PACKAGE
    copy = tmp_path / PACKAGE
    copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    compiled = batch(
        emacs, "--eval", "(setq byte-compile-error-on-warn t)", "-f", "batch-byte-compile", str(copy)
    )
    assert compiled.returncode == 0, compiled.stderr
    style = batch(emacs, "--eval", f'(progn (require \'checkdoc) (checkdoc-file "{copy}"))')
    assert style.returncode == 0 and PACKAGE not in style.stderr, style.stderr
    header = (
        f'(with-temp-buffer (insert-file-contents "{copy}") (require \'package)'
        " (princ (package-version-join (package-desc-version (package-buffer-info)))))"
    )
    read = batch(emacs, "--eval", header)
    assert read.stdout == __version__, read.stderr
    assert re.search(
        rf'defconst nl2code-version "{re.escape(__version__)}"', copy.read_text(encoding="utf-8")
    )
