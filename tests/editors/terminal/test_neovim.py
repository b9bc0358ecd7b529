"""Real Neovim in a terminal, set up as README says: ghost text seen, accepted, logged; dismissed; taken by words."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.door import GCD, events, fenced
from editors.conftest import PLACES, Need
from editors.terminal.screen import Screen
from editors.terminal.user import COMMENT, no_servers, of, offered, saved, servers, set_up
from fakes.endpoint import FakeEndpoint, Reply

pytestmark = [pytest.mark.editor, pytest.mark.timeout(60)]

ACCEPTED = f"{COMMENT}\n{GCD}"
ATTACHED = 'luaeval("#vim.lsp.get_clients({ name = [[nl2code]], bufnr = 0 })")'
SOCKET = "./nvim.sock"
Start = Callable[..., Screen]


@pytest.fixture(name="nvim")
def _nvim(need: Need, profile: Path) -> str:
    """Return Neovim's path, with nl2code set up in a fresh profile."""
    need("neovim", "tmux")
    path = need("neovim", PLACES / "neovim" / "bin" / "nvim", "nvim")
    set_up("neovim")
    return path


@pytest.fixture(name="start")
def _start(nvim: str, profile: Path) -> Iterator[Start]:
    """Start Neovim with a file, and wait until it is ready for typing."""
    with ExitStack() as screens:

        def start(text: str = "", *options: str, name: str = "demo.py", rows: int = 18) -> Screen:
            (profile / name).write_text(text, encoding="utf-8")
            screen = screens.enter_context(
                Screen([nvim, "--listen", SOCKET, *options, name], cwd=profile, rows=rows)
            )
            screen.wait(name)
            return screen

        yield start


def wait_until(nvim: str, profile: Path, expression: str, *, seconds: float = 30) -> None:
    """Wait until an expression is true in Neovim. What is asked past its screen leaves no message there."""
    deadline = time.monotonic() + seconds
    command = [nvim, "--server", SOCKET, "--remote-expr", expression]
    while True:
        said = subprocess.run(command, cwd=profile, capture_output=True, text=True, timeout=20, check=False)
        if said.stdout.strip() in ("1", "true", "v:true"):
            return
        assert time.monotonic() < deadline, f"{expression} is {said.stdout or said.stderr}"
        time.sleep(0.05)


async def test_seen_accepted_and_logged(
    start: Start, endpoint: FakeEndpoint, profile: Path, tmp_path: Path
) -> None:
    with start() as screen:
        screen.press("i")
        screen.type(COMMENT)
        screen.wait("return a")
        assert "def gcd(a, b):" in screen.text()
        screen.picture("neovim-ghost", "demo.py - Neovim")
        (suggestion,) = await offered()
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        await saved(profile / "demo.py", ACCEPTED)
        screen.picture("neovim-accepted", "demo.py - Neovim")
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
        screen.press("Escape", "a")  # the same text again: it was dismissed
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        # Tab is a tab again, which Neovim's settings for Python turn into spaces.
        await saved(profile / "demo.py", f"{COMMENT}{' ' * (-len(COMMENT) % 4)}\n")
        assert len(of(await events("dismissed"), "offered")) == 1


async def test_taken_by_words_then_whole(
    start: Start, nvim: str, endpoint: FakeEndpoint, profile: Path
) -> None:
    with start("\n\n") as screen:
        screen.press("i")
        screen.type("# say 😀; write a function computing the gcd of two numbers")
        screen.wait("return a")
        (suggestion,) = await offered()
        screen.press("C-Right")
        screen.press("C-Right")
        first, second = of(await events("partially_accepted", "partially_accepted"), "partially_accepted")
        screen.wait("return a")
        assert first.accepted_length and second.accepted_length
        assert first.accepted_length < second.accepted_length < len(GCD)
        screen.press("Tab")
        # The blank line is the code's place. Ghost text cannot take it: the server does, a moment after.
        wait_until(nvim, profile, 'line("$") == 5')
        screen.press("Escape")
        screen.type(":w\n")
        await saved(
            profile / "demo.py", f"# say 😀; write a function computing the gcd of two numbers\n{GCD}"
        )
        logged = await events("accepted")
        assert {event.suggestion_id for event in logged} == {suggestion}


async def test_typing_what_it_says_keeps_it(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    with start() as screen:
        screen.type(":set formatoptions=\n")
        screen.press("i")
        screen.type(COMMENT)
        screen.wait("return a")
        screen.press("Enter")
        asked = len(endpoint.chats)
        screen.type("def gc")
        screen.wait("return a")
        screen.type("X")
        screen.wait(lambda text: "return a" not in text)
        assert len(endpoint.chats) == asked


async def test_typing_on_cancels(start: Start, endpoint: FakeEndpoint) -> None:
    endpoint.replies = [Reply(text=fenced(GCD), hang_after=3), fenced(GCD)]
    with start() as screen:
        screen.press("i")
        screen.type("# write a function computing the gcd of two numbers")
        (first,) = endpoint.wait_for_chats(1, timeout=15)
        screen.type(", e.g. gcd(12, 18) == 6")
        screen.wait("return a")
        assert first.disconnected.wait(5)


async def test_next_suggestion(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    other = "def gcd(a, b):\n    return a if not b else gcd(b, a % b)\n"
    endpoint.replies = [fenced(GCD), fenced(other)]
    init = profile / ".config" / "nvim" / "init.lua"
    text = init.read_text(encoding="utf-8").replace(" })", ", settings = { candidates = 2 } })")
    init.write_text(text, encoding="utf-8")
    with start() as screen:
        screen.press("i")
        screen.type(COMMENT)
        screen.wait("(1/2)")
        screen.picture("neovim-alternatives", "demo.py - Neovim")
        first, second = await offered(2)
        screen.press("M-]")
        screen.wait("(2/2)")
        assert "gcd(b, a % b)" in screen.text()
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        await saved(profile / "demo.py", f"{COMMENT}\n{other}")
        (accepted,) = of(await events("accepted"), "accepted")
        assert accepted.suggestion_id == second != first


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_characters_of_any_width_before_it(
    start: Start, endpoint: FakeEndpoint, profile: Path, encoding: str
) -> None:
    init = profile / ".config" / "nvim" / "init.lua"
    only = f'{{ general = {{ positionEncodings = {{ "{encoding}" }} }} }}'
    only = f'vim.lsp.config("nl2code", {{ capabilities = {only} }})'
    init.write_text(f"{init.read_text(encoding='utf-8')}\n{only}\n", encoding="utf-8")
    before = 'smile = "😀é漢"\n'
    with start(before) as screen:
        screen.press("G", "o")
        screen.type("# 😀é漢 write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6")
        screen.wait("return a")
        screen.press("Tab")
        screen.press("Escape")
        screen.type(":w\n")
        comment = "# 😀é漢 write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"
        await saved(profile / "demo.py", f"{before}{comment}\n{GCD}")


async def test_the_import_comes_along(start: Start, endpoint: FakeEndpoint, profile: Path) -> None:
    code = "def root(x):\n    return math.sqrt(x)\n"
    endpoint.replies = [fenced(code)]
    with start('"""Roots."""\n\n\n') as screen:
        screen.press("G", "o")
        screen.type("# write a function root(x) that returns the square root of x")
        screen.wait("math.sqrt")
        screen.press("Tab")
        screen.wait("import math")
        screen.press("Escape")


async def test_commands(start: Start, nvim: str, endpoint: FakeEndpoint, profile: Path) -> None:
    with start(f"{COMMENT}\n") as screen:
        wait_until(nvim, profile, ATTACHED)
        screen.type(":Nl2code status\n")
        screen.wait("nl2code: ready")
        screen.type(":Nl2code generate\n")
        screen.wait("return a")
        screen.type(":w\n")
        await saved(profile / "demo.py", f"{COMMENT}\n{GCD}")
        screen.type(":Nl2code explain\n")
        screen.wait("gcd(12, 18)")
        screen.picture("neovim-explain", "demo.py - Neovim")


async def test_health(start: Start) -> None:
    with start(rows=40) as screen:
        screen.type(":checkhealth nl2code\n")
        screen.wait("server 0.1.0")
        assert "ERROR" not in screen.text() and "WARN" not in screen.text()
        screen.picture("neovim-health", "checkhealth - Neovim")


async def test_where_neovim_has_ghost_text_of_its_own_that_is_used(
    start: Start, nvim: str, endpoint: FakeEndpoint, profile: Path
) -> None:
    # What 0.12 brings, as far as it is called; 0.11 has none.
    stand_in = """
        vim.lsp.inline_completion = {
          enable = function(on, filter) vim.b[filter.bufnr].enabled = on end,
          get = function()
            vim.api.nvim_put({ "taken" }, "c", false, true)
            return true
          end,
        }
    """
    init = profile / ".config" / "nvim" / "init.lua"
    init.write_text(stand_in + init.read_text(encoding="utf-8"), encoding="utf-8")
    with start() as screen:
        wait_until(nvim, profile, 'get(b:, "enabled")')
        screen.press("i")
        screen.type(COMMENT)
        screen.press("Tab")
        screen.wait("taken")
        assert endpoint.chats == []
