"""What the next tuning lacks until it can prove something: `nl2code tune --dry-run` is asked, in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from nl2code_server.platform import end_group

_PROGRAM = """
from nl2code_server.platform import lower_priority
from nl2code_server.cli.app import main
lower_priority()
main(["tune", "--dry-run", "--json"])
"""
COMMAND = (sys.executable, "-P", "-c", _PROGRAM)


@dataclass(frozen=True, slots=True)
class Prospects:
    """What the dry run said, or why there is nothing."""

    told: dict[str, Any] | None
    problem: str = ""


class Asking:
    """A dry run under way. A long log takes minutes: whoever waits says how long."""

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait(self, seconds: float) -> Prospects:
        """Return what it says; end it if that takes longer."""
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.end()
            self._process.communicate()
            return Prospects(None, f"counting took longer than {seconds:.0f} s")
        try:
            told = json.loads(out)
        except ValueError:
            told = None
        if isinstance(told, dict):
            return Prospects(told)
        words = err.decode("utf-8", "replace").strip().splitlines()
        return Prospects(
            None, words[-1][:300] if words else f"it ended with status {self._process.returncode}"
        )

    def end(self) -> None:
        """End it, if it has not ended; whoever waits for it hears of that."""
        if self._process.poll() is None:
            end_group(self._process.pid, force=True)
