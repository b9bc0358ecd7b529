"""The life of one llama.cpp child process: started, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from .engine import EngineFailed

LOAD_TIMEOUT = 300.0
END_TIMEOUT = 5.0
TAIL_LINES = 40
_DOORS = re.compile(r"(?i)key|token|secret|passw|credential|_auth|cookie")
SPIN_COUNT = "1000"
"""How long a thread busily waits for the others at the end of each step. OpenMP's default, 300 times as long, is no
faster on a quiet machine, and beside one busy process it is 5 to 10 times slower: the threads wait on cores that
the one they wait for could use."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a child is to load, and how."""

    model: str
    path: Path
    context: int
    slots: int
    threads: int
    adapter: Path | None = None
    """A LoRA adapter as GGUF."""


def _environment() -> dict[str, str]:
    """Return the environment without what opens doors elsewhere: the parser of a file has no business with it."""
    return {name: value for name, value in os.environ.items() if not _DOORS.search(name)}


def _path_of(descriptor: int) -> str:
    """Return a path that names what is open, and nothing else; empty where the system has none."""
    path = f"/proc/self/fd/{descriptor}"
    return path if Path(path).exists() else ""


class Child:
    """A running llama.cpp server. Its last words are kept for the error message."""

    def __init__(self, process: asyncio.subprocess.Process, key: str) -> None:
        self._process = process
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = asyncio.create_task(self._read_tail())
        self.key = key
        self.url = ""

    @classmethod
    async def start(cls, load: Load, model: int) -> Child:
        """Start a child and wait until its model is loaded; raise `EngineFailed` with the reason if it is not.

        `model` is the descriptor of the model's file, checked before.
        """
        # -P: the folder that the host was started in must not offer modules to import.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "nl2code_model.host.llamacpp_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"GOMP_SPINCOUNT": SPIN_COUNT, **_environment()},
            pass_fds=(model,) if os.name == "posix" else (),
        )
        child = cls(process, secrets.token_urlsafe(24))
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                child.url = await child._load(load, model)
        except TimeoutError as error:
            await child.end()
            raise EngineFailed(f"{load.path.name} was not loaded within {LOAD_TIMEOUT:.0f} s") from error
        except BaseException:
            await child.end()
            raise
        return child

    async def _load(self, load: Load, model: int) -> str:
        asked = {
            "model": load.model,
            "path": _path_of(model) or str(load.path),
            "context": load.context,
            "slots": load.slots,
            "threads": load.threads,
            "adapter": str(load.adapter or ""),
            "key": self.key,
        }
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(ConnectionError):  # a child that died already says why below
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            await self._process.stdin.drain()
        async for line in self._process.stdout:
            if line.startswith(b"READY "):
                return str(json.loads(line.removeprefix(b"READY "))["url"])
        await self._process.wait()
        await self._reader
        raise EngineFailed(
            f"llama.cpp could not load {load.path}: {self._reason()}", "try another model file"
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> str:
        """Wait for its end and say how it ended."""
        code = await self._process.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    async def end(self) -> None:
        """Stop it, by force if it does not go."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_TIMEOUT)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._reader

    def kill(self) -> None:
        """Stop it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _reason(self) -> str:
        """Pick the line of its last words that tells most."""
        errors = [line for line in self._tail if " E " in line or "error" in line.lower()]
        line = (errors or list(self._tail) or ["it said nothing"])[0 if errors else -1]
        return re.sub(r"^[\d.]+ [A-Z] \S+: ", "", line)  # its clock, level and function

    async def _read_tail(self) -> None:
        assert self._process.stderr
        # Read in blocks: a line longer than asyncio's limit must not end the reading, nor block the child.
        rest = b""
        while block := await self._process.stderr.read(1 << 16):
            *lines, rest = (rest + block).split(b"\n")
            self._tail.extend(line.decode(errors="replace")[:500] for line in lines if line.strip())
            rest = rest[-4096:]
        if rest.strip():
            self._tail.append(rest.decode(errors="replace")[:500])
