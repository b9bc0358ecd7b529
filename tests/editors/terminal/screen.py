"""A terminal that a test types into and reads: tmux, with pictures of what is on the screen."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

PICTURES = os.environ.get("NL2CODE_PICTURES", "")
"""A folder that gets pictures of the screens, as SVG; empty for none."""


class Screen:
    """One program in a terminal of its own, used as a context manager."""

    def __init__(self, command: Sequence[str], *, cwd: Path, columns: int = 88, rows: int = 18) -> None:
        # A socket's path must be short, which a test's folder is not.
        self._folder = tempfile.mkdtemp(prefix="nl2code-tmux-")
        self._columns, self._rows = columns, rows
        size = ["-x", str(columns), "-y", str(rows)]
        options = ["set", "-g", "status", "off", ";", "set", "-g", "escape-time", "0", ";"]
        options += ["set", "-g", "default-terminal", "tmux-256color", ";"]
        self._tmux(*options, "new-session", "-d", *size, "-c", str(cwd), *command)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.alive():
            error.add_note(f"on the screen:\n{self.text()}")
        self._tmux("kill-server", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def type(self, text: str) -> None:
        """Type text."""
        self._tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._tmux("send-keys", "--", *keys)

    def text(self) -> str:
        """Return what is on the screen."""
        return self._tmux("capture-pane", "-p")

    def alive(self) -> bool:
        """Tell whether the program still runs."""
        return self._tmux("list-panes", check=False) != ""

    def wait(self, holds: str | Callable[[str], bool], *, seconds: float = 15) -> str:
        """Wait until the screen shows a text, or something is so about it; return it."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.text()
            if holds in text if isinstance(holds, str) else holds(text):
                return text
            assert time.monotonic() < deadline, f"{holds!r} was not to be seen within {seconds:g} s"
            time.sleep(0.05)

    def wait_end(self, *, seconds: float = 5) -> None:
        """Wait until the program has ended."""
        deadline = time.monotonic() + seconds
        while self.alive():
            assert time.monotonic() < deadline, f"the program did not end within {seconds:g} s"
            time.sleep(0.05)

    def picture(self, name: str, title: str) -> None:
        """Save what is on the screen, if pictures are wanted."""
        if not PICTURES:
            return
        console = Console(record=True, width=self._columns, file=io.StringIO(), force_terminal=True)
        lines = self._tmux("capture-pane", "-e", "-p").rstrip("\n").split("\n")
        for line in [*lines, *[""] * (self._rows - len(lines))]:
            console.print(Text.from_ansi(line), overflow="crop", no_wrap=True)
        svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.DOTALL)
        svg = svg.replace(
            "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
        )
        svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)  # else some viewers drop indentation
        path = Path(PICTURES) / f"{name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg, encoding="utf-8")

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        environment = {**os.environ, "TMUX_TMPDIR": self._folder, "TERM": "xterm-256color"}
        done = subprocess.run(
            ["tmux", "-u", "-f", os.devnull, *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env=environment,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout
