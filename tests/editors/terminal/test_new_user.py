"""The terminal's editors, each as a new user meets it, in several windows, and in a folder that means ill."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.door import events
from editors.conftest import PLACES, Need
from editors.terminal.screen import Screen
from editors.terminal.user import COMMENT, no_servers, servers, set_up
from fakes.endpoint import FakeEndpoint
from fakes.host import calls, fake_interpreter
from nl2code_server.cli.editors import server_program
from nl2code_server.platform import paths

pytestmark = [pytest.mark.editor, pytest.mark.timeout(180)]

README = (Path(__file__).parents[3] / "editors" / "README.md").read_text(encoding="utf-8")
KEYS = {"Tab": "Tab", "TAB": "Tab"}
"""What README calls a key, and tmux."""


@dataclass(frozen=True)
class Editor:
    """What anybody knows who uses an editor."""

    title: str
    programs: tuple[str | Path, ...]
    leave: tuple[str, ...]

    @property
    def readme(self) -> str:
        """What README says about it."""
        return README.partition(f"\n## {self.title}\n")[2].partition("\n## ")[0]

    @property
    def insert(self) -> tuple[str, ...]:
        """What brings it to where text is typed."""
        return ("i",) if re.search(r"insert\s+mode", self.readme) else ()

    def type(self, screen: Screen, text: str) -> None:
        """Type text, in the mode for it. A busy editor may swallow the first key."""
        for _ in range(5 if self.insert else 0):
            screen.press("Escape", *self.insert)
            with suppress(AssertionError):
                screen.wait("-- INSERT --", seconds=4)
                break
        screen.type(text)

    @property
    def accept(self) -> str:
        """The key that README's table has first."""
        row = next(line for line in README.splitlines() if line.startswith(f"| [{self.title}]"))
        return KEYS[row.split("|")[3].split(",")[0].strip()]


EDITORS = {
    "neovim": Editor(
        "Neovim", (PLACES / "neovim" / "bin" / "nvim", "nvim"), ("Escape", ":", "q", "a", "!", "Enter")
    ),
    "emacs": Editor("Emacs", ("emacs-nox", "emacs"), ("M-~", "C-x", "C-c")),
    "vim": Editor("Vim", ("vim.nox", "vim"), ("Escape", ":", "q", "a", "!", "Enter")),
}


@pytest.fixture(name="editor", params=EDITORS)
def _editor(request: pytest.FixtureRequest, need: Need, profile: Path) -> tuple[str, Editor, str]:
    """Return an editor's name, what is known of it, and its path; nothing is set up."""
    name: str = request.param
    need(name, "tmux")
    return name, EDITORS[name], need(name, *EDITORS[name].programs)


@pytest.fixture(name="model")
def _model(endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> FakeEndpoint:
    """Configure the endpoint as a user does: in a file, which whatever a server believed later would override."""
    monkeypatch.delenv("NL2CODE_ENDPOINT")
    monkeypatch.delenv("NL2CODE_LOG_FILE")
    configured(endpoint=endpoint.url)
    return endpoint


def configured(**settings: str) -> None:
    """Write the user's configuration."""
    file = paths().config_file
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    file.write_text("".join(lines), encoding="utf-8")


def typed(command: str) -> str:
    """Type a command into a shell."""
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(name="fresh")
def _fresh(profile: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home whose folders for configuration, data and so on have unusual places and hold nothing."""
    monkeypatch.delenv("NL2CODE_HOME")
    for name in ("CONFIG", "DATA", "CACHE", "STATE", "RUNTIME"):
        folder = profile / "folders" / name.lower()
        folder.mkdir(parents=True, mode=0o700)
        monkeypatch.setenv(f"XDG_{name}_{'DIR' if name == 'RUNTIME' else 'HOME'}", str(folder))
    return profile


def test_with_readmes_words_alone(
    fresh: Path,
    editor: tuple[str, Editor, str],
    model: FakeEndpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, known, program = editor
    found = (Path(sys.executable).parent, Path(program).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, found), os.environ["PATH"]]))
    said = re.search(r"type a comment such as\s+`(# [^`]+)`", README)
    commands = re.findall(r"^    (\S.*)$", known.readme, re.MULTILINE)
    assert said and commands
    for command in commands:
        typed(command)

    with Screen([program, "demo.py"], cwd=fresh) as screen:
        screen.wait("demo.py", seconds=60)
        known.type(screen, said[1])
        screen.wait("return a", seconds=60)
        assert len(model.chats) == 1
        screen.press(known.accept)
        until_listed("accepted")
        screen.wait("return a")
        screen.press(*known.leave)
        screen.wait_end(seconds=20)

    assert "`nl2code feedback list` shows what was logged" in README
    listed: list[dict[str, Any]] = json.loads(typed("nl2code feedback list --json"))
    assert {"offered", "shown", "accepted"} <= {event["event"] for event in listed}
    assert len({event["suggestion_id"] for event in listed}) == 1
    assert "`nl2code doctor` checks the set-up, editors included" in README
    line = next(one for one in typed("nl2code doctor").splitlines() if known.title in one)
    assert "set up in" in line


def until_listed(kind: str) -> None:
    """Look into the log until it has an event."""
    for _ in range(40):
        if kind in typed("nl2code feedback list --json"):
            return
    raise AssertionError(f"no {kind} in the log")


@pytest.fixture(name="windows")
def _windows() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def test_two_windows_share_a_host_and_leave_no_server(
    editor: tuple[str, Editor, str], profile: Path, windows: ExitStack, tmp_path: Path
) -> None:
    name, known, program = editor
    configured(python=fake_interpreter(tmp_path / "model"))
    set_up(name)
    screens = []
    for file in ("one.py", "two.py"):
        screens.append(windows.enter_context(Screen([program, file], cwd=profile)))
        screens[-1].wait(file, seconds=60)
        known.type(screens[-1], COMMENT)
        screens[-1].wait("return a", seconds=60)
    assert len(servers(tmp_path)) == 2
    assert len([call for call in calls(tmp_path / "model") if call.startswith("serve")]) == 1
    for screen in screens:
        screen.press(*known.leave)
    for screen in screens:
        screen.wait_end(seconds=20)
    await no_servers(tmp_path)
    typed(f"'{sys.executable}' -m nl2code_server.cli host stop")


async def test_a_hostile_folder_changes_nothing(
    editor: tuple[str, Editor, str], model: FakeEndpoint, tmp_path: Path
) -> None:
    name, known, program = editor
    set_up(name)
    folder, taken = tmp_path / "clone", tmp_path / "taken"
    with FakeEndpoint() as evil:
        lay_out(folder, taken, evil.url)
        with Screen([program, "task.py"], cwd=folder) as screen:
            screen.wait("task.py", seconds=60)
            known.type(screen, COMMENT)
            screen.wait("return a", seconds=60)
            screen.press(known.accept)
            await events("offered", "shown", "accepted")
            assert started_by(tmp_path) == [server_program()]
        assert model.chats and evil.requests == []
    assert not taken.exists()


def started_by(home: Path) -> list[str]:
    """Return the programs of the running servers."""
    lines = [Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in servers(home)]
    return [part for line in lines for part in line if part.endswith("nl2code-server")]


def lay_out(folder: Path, taken: Path, evil: str) -> None:
    """Write what a cloned repository may hold: programs and settings that write to `taken` or ask `evil`."""
    program = folder / ".venv" / "bin" / "nl2code-server"
    for path in (program, folder / "nl2code-server", folder / ".venv" / "bin" / "python"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho $0 >> {taken}\n")
        path.chmod(0o755)
    settings = {
        "endpoint": evil,
        "api_key": "",
        "model": str(folder / "model.gguf"),
        "python": str(folder / ".venv" / "bin" / "python"),
        "database": str(taken),
        "log_file": str(taken),
    }
    toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    plist = " ".join(f":{name} {json.dumps(value)}" for name, value in settings.items())
    vim = f"let g:nl2code_server = '{program}'\ncall writefile(['vim'], '{taken}')\n"
    files = {
        ".nl2code.toml": toml,
        "config.toml": toml,
        "pyproject.toml": f"[tool.nl2code]\n{toml}",
        ".env": "".join(f"NL2CODE_{name.upper()}={value}\n" for name, value in settings.items()),
        ".nvim.lua": f"vim.fn.writefile({{ 'neovim' }}, '{taken}')\n",
        ".nvimrc": vim,
        ".exrc": vim,
        ".vimrc": vim,
        ".vim/plugin/nl2code.vim": vim,
        ".dir-locals.el": (
            f'((python-mode . ((nl2code-server-command . ("{program}"))\n'
            f"                 (nl2code-settings . ({plist}))\n"
            f"                 (eglot-workspace-configuration . ((:nl2code . ({plist}))))))\n"
        ),
        "task.py": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
