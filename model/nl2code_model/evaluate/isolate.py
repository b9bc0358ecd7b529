"""Run tests on code that nobody has read, in a process with no network, little of everything, and an end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nl2code_server.errors import Nl2CodeError

SECONDS = 10.0
MEMORY = 1 << 30  # bytes of address space
SLACK = 10.0  # s beyond a job's own limit, after which the process itself is given up


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of tests: for each why it failed, empty where it passed."""

    reasons: tuple[str, ...]
    walls: str
    """`namespaces`, or `limits` where the system gives no more (see `inside`)."""

    @property
    def passed(self) -> bool:
        """Whether all tests passed; none is no pass."""
        return bool(self.reasons) and not any(self.reasons)


class Isolation:
    """A process that runs tests, each time in a fork behind walls. Use as a context manager, in one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(
        self,
        files: Mapping[str, str],
        tests: Sequence[str],
        *,
        seconds: float = SECONDS,
        memory: int = MEMORY,
    ) -> Verdict:
        """Write `files` into an empty folder and run each of `tests` (Python source) there."""
        if sys.platform == "win32":
            raise Nl2CodeError("Tests of generated code run on Linux and macOS alone")
        job = {"files": dict(files), "tests": list(tests), "seconds": seconds, "memory": memory}
        try:
            answer = self._ask(json.dumps(job).encode() + b"\n", seconds + SLACK)
        except (OSError, TimeoutError, ValueError) as error:
            self._end()
            return Verdict((f"could not be run: {error}",) * len(tests), "none")
        return Verdict(tuple(answer["reasons"]), answer["walls"])

    def _ask(self, line: bytes, seconds: float) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            inside = Path(__file__).with_name("inside.py")
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", str(inside)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name in ("PATH", "TMPDIR", "LANG")},
                start_new_session=True,
            )
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(line)
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        if not ready:
            raise TimeoutError(f"no answer within {seconds:g} s")
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
