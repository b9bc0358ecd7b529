"""A host process under measurement, and the clock on its answers: what a client sees of it, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from nl2code_server.errors import HostError

START_SECONDS = 600.0  # a big model, converted first
ANSWER_SECONDS = 300.0
END_SECONDS = 10.0

Chat = list[dict[str, str]]


@dataclass(frozen=True)
class Timing:
    """When an answer's tokens came, in seconds on one clock."""

    sent: float
    first: float
    last: float
    tokens: int


class Host:
    """A host process from its start to its end; when it is ready, it prints `url`, `token` and `model` as JSON."""

    def __init__(
        self, name: str, command: tuple[str, ...], environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._command = command
        self._environment = environment or {}
        self.start = 0.0
        """Seconds until it was ready."""

    def __enter__(self) -> Host:
        started = time.perf_counter()
        environment = {name: value for name, value in os.environ.items() if name != "NL2CODE_HOST_TOKEN"}
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, **self._environment},
        )
        self._last_words: list[bytes] = []
        # Read to the end, so that a host that says much does not block.
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        deadline = threading.Timer(START_SECONDS, self._process.kill)
        deadline.start()
        try:
            assert self._process.stdout
            line = self._process.stdout.readline()
            self.start = time.perf_counter() - started
            if not line:
                self._reader.join(END_SECONDS)
                reason = b"".join(self._last_words).decode(errors="replace").strip() or "no reason given"
                raise HostError(f"{self._name} did not start: {reason.splitlines()[-1]}")
            told = json.loads(line)
        except BaseException:
            self.__exit__()
            raise
        finally:
            deadline.cancel()
        self.url, self.token, self.model = told["url"], told["token"], told["model"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe
            pipe.close()

    def _listen(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._last_words = [*self._last_words[-20:], line]


async def figures(host: Host) -> dict[str, float]:
    """Return a host's counters by name, outcomes in braces."""
    headers = {"Authorization": f"Bearer {host.token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=ANSWER_SECONDS, trust_env=False) as http:
        text = (await http.get(host.url.removesuffix("/v1") + "/metrics")).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("nl2code_")]
    return {name.removeprefix("nl2code_"): float(value) for name, _, value in lines}


async def ask(host: Host, chats: Sequence[Chat], *, tokens: int, n: int = 1) -> list[Timing]:
    """Ask for all of these at once."""
    headers = {"Authorization": f"Bearer {host.token}"}
    timeout = httpx2.Timeout(ANSWER_SECONDS)
    async with httpx2.AsyncClient(
        base_url=host.url, headers=headers, timeout=timeout, trust_env=False
    ) as http:
        bodies = [
            {
                "model": host.model,
                "messages": chat,
                "stream": True,
                "stream_options": {"include_usage": True},
                "max_tokens": tokens,
                "n": n,
                "temperature": 0 if n == 1 else 0.8,
            }
            for chat in chats
        ]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.gather(*(_answer(http, body) for body in bodies))
        except (TimeoutError, httpx2.TransportError) as error:
            raise HostError(
                f"no answer from {host.url} within {ANSWER_SECONDS:.0f} s: {type(error).__name__}"
            ) from error


async def _answer(http: httpx2.AsyncClient, body: dict[str, Any]) -> Timing:
    pieces: dict[int, int] = dict.fromkeys(range(body["n"]), 0)
    sent = first = last = time.perf_counter()
    used, complete = 0, False
    async with http.stream("POST", "chat/completions", json=body) as response:
        if response.status_code != httpx2.codes.OK:
            raise HostError(f"refused: {(await response.aread()).decode(errors='replace')[:300]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            now = time.perf_counter()
            if line == "data: [DONE]":
                complete = True
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise HostError(f"an answer broke off: {event['error'].get('message')}")
            used = max(used, (event.get("usage") or {}).get("completion_tokens", 0))
            for choice in event.get("choices", ()):
                if choice["delta"].get("content"):
                    first, last = (first if any(pieces.values()) else now), now
                    pieces[choice["index"]] += 1
                if choice["finish_reason"] == "length":
                    pieces[choice["index"]] = body["max_tokens"]
    if not complete:
        raise HostError("an answer broke off")
    # Some servers report one candidate's tokens for all of them; a piece is a token there.
    return Timing(sent, first, last, max(used, sum(pieces.values())))
