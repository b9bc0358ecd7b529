"""Real Vim with ALE in a terminal, set up as README says: ghost text seen, accepted, logged; dismissed; by words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.door import GCD, events, fenced
from editors.conftest import Need, missing
from editors.terminal.screen import Screen
from editors.terminal.user import COMMENT, no_servers, of, offered, saved, servers, set_up
from fakes.endpoint import FakeEndpoint, Reply

pytestmark = [pytest.mark.editor, pytest.mark.timeout(60)]

Start = Callable[..., Screen]
ALE = Path("/usr/share/vim/vimfiles/pack/dist-bundle/opt/ale")


@pytest.fixture(name="vim")
def _vim(need: Need, profile: Path) -> str:
    """Return Vim's path, with nl2code set up in a fresh profile."""
    need("vim", "tmux")
    path = need("vim", "vim.nox", "vim")
    if not ALE.is_dir():
        missing("vim", "no ALE; see tests/editors/install.sh")
    set_up("vim")
    return path


@pytest.fixture(name="start")
def _start(vim: str, profile: Path) -> Iterator[Start]:
    """Start Vim with a file."""
    with ExitStack() as screens:

        def start(text: str = "", *, name: str = "demo.py", rows: int = 18) -> Screen:
            (profile / name).write_text(text, encoding="utf-8")
            screen = screens.enter_context(Screen([vim, name], cwd=profile, rows=rows))
            screen.wait(name)
            return screen

        yield start


async def test_seen_accepted_and_logged(
    start: Start, endpoint: FakeEndpoint, profile: Path, tmp_path: Path
) -> None:
    with start() as screen:
        screen.press("i")
        screen.type(COMMENT)
        screen.wait("return a")
        screen.picture("vim-ghost", "demo.py - Vim")
        (suggestion,) = await offered()
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        await saved(profile / "demo.py", f"{COMMENT}\n{GCD}")
        screen.picture("vim-accepted", "demo.py - Vim")
        logged = await events("offered", "shown", "accepted")
        assert {event.suggestion_id for event in logged} == {suggestion}
        assert len(servers(tmp_path)) == 1
        screen.type(":qa\n")
        screen.wait_end()
    await no_servers(tmp_path)


async def test_dismissed(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    with start() as screen:
        screen.press("i")
        screen.type(COMMENT)
        screen.wait("return a")
        (suggestion,) = await offered()
        screen.press("C-]")
        screen.wait(lambda text: "return a" not in text)
        (dismissed,) = of(await events("dismissed"), "dismissed")
        assert dismissed.suggestion_id == suggestion
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        # Tab is a tab again, which Vim's settings for Python turn into spaces.
        await saved(profile / "demo.py", f"{COMMENT}{' ' * (-len(COMMENT) % 4)}\n")


async def test_taken_by_words_then_whole(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    comment = "# say 😀; write a function computing the gcd of two numbers"
    with start("\n\n") as screen:
        screen.press("i")
        screen.type(comment)
        screen.wait("return a")
        (suggestion,) = await offered()
        screen.press("C-Right")
        screen.press("C-Right")
        first, second = of(await events("partially_accepted", "partially_accepted"), "partially_accepted")
        assert first.accepted_length and second.accepted_length
        assert first.accepted_length < second.accepted_length < len(GCD)
        screen.wait("return a")
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        await saved(profile / "demo.py", f"{comment}\n{GCD}\n")
        logged = await events("accepted")
        assert {event.suggestion_id for event in logged} == {suggestion}


async def test_typing_on_cancels(start: Start, endpoint: FakeEndpoint) -> None:
    endpoint.replies = [Reply(text=fenced(GCD), hang_after=3), fenced(GCD)]
    with start() as screen:
        screen.press("i")
        screen.type("# write a function computing the gcd of two numbers")
        (first,) = endpoint.wait_for_chats(1, timeout=15)
        screen.type(", e.g. gcd(12, 18) == 6")
        screen.wait("return a")
        assert first.disconnected.wait(5)


async def test_characters_of_any_width_before_it(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    before = 'smile = "😀é漢"\n'
    comment = "# 😀é漢 write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"
    with start(before) as screen:
        screen.press("G", "o")
        screen.type(comment)
        screen.wait("return a")
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        await saved(profile / "demo.py", f"{before}{comment}\n{GCD}")
