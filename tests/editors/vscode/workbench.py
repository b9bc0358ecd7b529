"""The workbench of VS Code as a user has it: a fresh profile, windows, keys, and what is to be seen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .browser import Browser

T = TypeVar("T")

PROBE = Path(__file__).parent / "probe"
GHOST_LINES = """[...document.querySelectorAll('.view-lines .view-line, .suggest-preview-text .view-line')]
    .map(line => [...line.querySelectorAll('[class*="ghost-text"]')].filter(one => one.children.length === 0))
    .filter(parts => parts.length > 0)
    .map(parts => parts.map(one => one.textContent).join('')).join('\\n')"""
"""The rest of the cursor's line, then the lines below it."""
POPUP = ".suggest-widget.visible"
TOAST = ".notification-toast"
STATUS = '[id="nl2code.nl2code.nl2code.status"]'
_PATIENCE = 110_000
"""Milliseconds: a deadline, not a measure. The workbench takes 4 s to open on a quiet machine, 60 s on a busy one."""
# What a user turns off, or has dealt with, before the first Python file.
_SETTINGS = {
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "workbench.welcomePage.walkthroughs.openOnInstall": False,
    "workbench.enableExperiments": False,
    "workbench.tips.enabled": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.layoutControl.enabled": False,
    "telemetry.telemetryLevel": "off",
    "extensions.autoCheckUpdates": False,
    "extensions.autoUpdate": False,
    "extensions.ignoreRecommendations": True,
    "update.mode": "none",
    "chat.disableAIFeatures": True,
    "git.enabled": False,
    "npm.fetchOnlinePackageInfo": False,
    "editor.minimap.enabled": False,
    "editor.accessibilitySupport": "off",
}


@dataclass(frozen=True, slots=True)
class Rig:
    """What `install.sh` has put in place."""

    node: Path
    code_server: Path
    playwright: Path
    browser: str
    extension: Path


@dataclass(frozen=True, slots=True)
class Profile:
    """The folders of one user of the editor."""

    folder: Path
    home: Path
    """Of nl2code: `NL2CODE_HOME`."""

    def write(self, settings: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        """Write the user's settings, and those that are bound to the machine."""
        for name, values in (("User", {**_SETTINGS, **settings}), ("Machine", machine)):
            file = self.folder / "data" / name / "settings.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))


class Editor:
    """A running code-server, with a browser to open its windows in."""

    def __init__(
        self, url: str, profile: Profile, browser: Browser, process: subprocess.Popen[bytes]
    ) -> None:
        self.url, self.profile, self.process = url, profile, process
        self._browser = browser

    def open(self, folder: Path, file: str = "") -> Window:
        """Open a folder in a window of its own, and a file in it, and wait until the language server is ready."""
        name = folder.name
        (self.profile.folder / "probes" / name).unlink(missing_ok=True)
        self._browser.call(None, "open", name)
        window = Window(self._browser, name, self.profile)
        window.page(
            "goto", f"{self.url}/?folder={folder}", {"waitUntil": "domcontentloaded", "timeout": _PATIENCE}
        )
        window.page("waitForSelector", ".monaco-workbench .part.statusbar", {"timeout": _PATIENCE})
        if file:
            window.edit(folder / file)
            window.wait_for_status("ready")
        return window


class Window:
    """One window of the editor."""

    def __init__(self, browser: Browser, name: str, profile: Profile) -> None:
        self._browser, self.name, self.profile = browser, name, profile

    def page(self, call: str, *args: Any) -> Any:
        """Call a method of the browser's page."""
        return self._browser.call(self.name, call, *args)

    def ask(self, script: str) -> Any:
        """Run JavaScript in the editor's extension host; `return` gives the answer."""
        probe = until(self._probe, "the extension host", seconds=60)
        request = urllib.request.Request(f"http://127.0.0.1:{probe['port']}", script.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=110) as reply:
            answer = json.load(reply)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def run(self, command: str, *args: Any) -> Any:
        """Run a command of the editor's."""
        given = ", ".join(json.dumps(argument) for argument in (command, *args))
        return self.ask(f"return await vscode.commands.executeCommand({given})")

    def run_later(self, command: str) -> None:
        """Start a command that waits for the user."""
        self.ask(f"void vscode.commands.executeCommand({json.dumps(command)})")

    def edit(self, file: Path) -> None:
        """Open a file, with the keyboard in it."""
        self.ask(
            f"await vscode.window.showTextDocument(vscode.Uri.file({json.dumps(str(file))}), {{preview: false}})"
        )
        self.page("waitForSelector", ".monaco-editor.focused .view-lines", {"timeout": _PATIENCE})

    def type(self, text: str, *, delay: int = 30) -> None:
        """Type, with so many milliseconds between keys."""
        self._browser.call(self.name, "keyboard.type", text, {"delay": delay}, seconds=400)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page("keyboard.press", key)

    def wait_for_ghost(self, part: str, *, seconds: float = 60) -> str:
        """Wait until ghost text with this in it is to be seen, and return all of it."""

        def seen() -> str:
            text = self.ghost()
            return text if part in text else ""

        return until(seen, f"ghost text {part!r}", seconds=seconds)

    def ghost(self) -> str:
        """Return the ghost text that is to be seen."""
        return str(self.page("evaluate", GHOST_LINES)).replace("\xa0", " ")

    def count(self, selector: str) -> int:
        """Count what is on the page."""
        return int(self.page("evaluate", f"document.querySelectorAll({json.dumps(selector)}).length"))

    def status(self) -> str:
        """Return the text of our status bar item, as a screen reader has it."""
        return "".join(self.texts(STATUS)).strip()

    def wait_for_status(self, part: str, *, seconds: float = 60) -> str:
        """Wait until the status bar says so."""

        def seen() -> str:
            text = self.status()
            return text if part in text else ""

        return until(seen, f"status {part!r}", seconds=seconds)

    def bar(self) -> str:
        """Return all that the status bar says."""
        return "\n".join(self.texts(".part.statusbar .statusbar-item"))

    def text(self) -> str:
        """Return the text of the active editor."""
        return str(self.ask("return vscode.window.activeTextEditor.document.getText()"))

    def toasts(self) -> list[str]:
        """Return the messages that lie over the workbench."""
        return self.texts(TOAST)

    def wait_for_rendered(self, part: str, *, seconds: float = 60) -> str:
        """Wait until the page beside the text, rendered Markdown, has this in its HTML, and return that."""

        def seen() -> str:
            page = str(self._browser.call(None, "rendered", self.name))
            return page if part in page else ""

        return until(seen, f"a page with {part!r}", seconds=seconds)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of what is on the page."""
        script = f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)"
        return [str(one).replace("\xa0", " ") for one in self.page("evaluate", script)]

    def close(self) -> None:
        """Close the window as a user does."""
        self.page("close", {"runBeforeUnload": True})

    def _probe(self) -> Any:
        file = self.profile.folder / "probes" / self.name
        text = file.read_text() if file.exists() else ""
        return json.loads(text) if text else None


def until(found: Callable[[], T | None], what: str, *, seconds: float = 30) -> T:
    """Wait until there is something, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.05)
    return value


def servers(home: Path) -> list[int]:
    """Return the processes of language servers of this user."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"NL2CODE_HOME={home}\0".encode() in environment and b"nl2code-server\0" in command:
            found.append(int(process.name))
    return found


def pack_probe(target: Path) -> Path:
    """Make a package of the extension that lets tests look inside."""
    manifest = json.loads((PROBE / "package.json").read_text())
    attributes = {"Id": "name", "Version": "version", "Publisher": "publisher"}
    identity = " ".join(f'{name}="{manifest[key]}"' for name, key in attributes.items())
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(
            "extension.vsixmanifest",
            '<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">'
            f'<Metadata><Identity Language="en-US" {identity}/></Metadata>'
            '<Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation></PackageManifest>',
        )
        for name in ("package.json", "extension.js"):
            archive.write(PROBE / name, f"extension/{name}")
    return target


@contextmanager
def running(rig: Rig, profile: Profile, browser: Browser, *packages: Path) -> Iterator[Editor]:
    """Install packages into a profile and run the editor with it."""
    folder = profile.folder
    for name in ("home", "probes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("NL2CODE_", "VSCODE_"))
    }
    environment |= {name: value for name, value in os.environ.items() if name == "NL2CODE_MODELS"}
    environment |= {
        "HOME": str(folder / "home"),
        "PATH": f"{rig.node.parent}{os.pathsep}{os.environ['PATH']}",
        "NL2CODE_HOME": str(profile.home),
        "EDITOR_PROBES": str(folder / "probes"),
    }
    places = ["--user-data-dir", str(folder / "data"), "--extensions-dir", str(folder / "extensions")]
    program = [str(rig.node), str(rig.code_server), *places]
    for package in packages:
        subprocess.run(
            [*program, "--install-extension", str(package)],
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
    options = [
        "--auth",
        "none",
        "--bind-addr",
        "127.0.0.1:0",
        "--disable-telemetry",
        "--disable-update-check",
    ]
    log = folder / "code-server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*program, *options, "--disable-getting-started-override"],
            env=environment,
            stdout=out,
            stderr=out,
            cwd=folder,
        )
    try:
        url = until(
            lambda: re.search(r"HTTP server listening on (http://[\d.:]+)", log.read_text()),
            "code-server",
            seconds=30,
        )[1]
        yield Editor(url, profile, browser, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
