"""The llama.cpp engine: prompts as tokens, slice by slice, to a child process that is started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

from nl2code_server.errors import HostError, Nl2CodeError

from ..models.catalog import Located
from ..models.verify import check
from . import chat
from .engine import (
    AdapterUnknown,
    Chunk,
    Counts,
    EngineFailed,
    FinishReason,
    Generation,
    PromptTooLong,
    Usage,
)
from .llamacpp_process import Child, Load
from .slots import Slots
from .stops import StopFilter

SLOTS = 2
DEFAULT_CONTEXT = 8192
STALL_TIMEOUT = 60.0
"""Seconds without a token, or for one slice of a prompt, after which the child counts as hung."""
START_TIMEOUT = 60.0
"""Seconds that a request waits for a child that is being started again."""
METRICS_TIMEOUT = 5.0
SLICE_SECONDS = 0.75
"""A client that goes away during its prompt is noticed between slices."""
FIRST_SLICE, SMALLEST_SLICE, LARGEST_SLICE = 128, 64, 2048  # tokens
BACKOFF = (0.0, 1.0, 5.0, 15.0, 30.0)
"""Seconds before the next start, by deaths in a row without an answer between."""
DEATHS_UNTIL_REFUSAL = 3
ADAPTER = "adapter.gguf"
"""What an adapter's folder must hold for this engine."""


class LlamaCpp:
    """An `Engine` by the xllamacpp wheel. One generation at a time: on a CPU a second one would only halve both."""

    name = "llamacpp"
    parallel = 1
    prefill = True

    def __init__(self, located: Located, *, threads: int, context: int = 0) -> None:
        header = check(located)
        self._located = located
        self.model = located.id
        self.context = min(context or DEFAULT_CONTEXT, header.context or DEFAULT_CONTEXT)
        self.counts = Counts()
        self.stall_timeout = STALL_TIMEOUT
        self._header = header
        self._system = located.entry.system if located.entry else ""
        control = header.control_tokens
        self._chatml = {chat.START, chat.END} <= control.keys() and chat.START in header.chat_template
        self._load = Load(self.model, located.path, self.context, SLOTS, threads)
        self.adapter = ""
        """The adapter in force."""
        self._turn = asyncio.Lock()
        """Held by the answer under way."""
        self._changing = asyncio.Lock()
        """Held by whoever puts another child in place."""
        self._slots = Slots(SLOTS, self.context)
        self._slice = FIRST_SLICE
        self._child: Child | None = None
        self._http: httpx2.AsyncClient | None = None
        self._up = asyncio.Event()
        self._deaths = 0
        self._failure = "it has not been started"
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def failure(self) -> str:
        return self._failure

    @property
    def child_pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Load the model, and from then on load it again whenever the child dies."""
        await self._launch()
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """End the child."""
        if self._supervisor:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if self._child:
            await self._child.end()
        if self._http:
            await self._http.aclose()

    async def prompt(self, generation: Generation) -> list[int]:
        """Return the tokens that a chat comes to."""
        return await self._encode(await self._ready(), generation)

    async def use_adapter(self, name: str, folder: Path | None) -> None:
        """Put a LoRA adapter in force, or none; raise `HostError` and keep the one before if it cannot be used.

        llama.cpp takes adapters when it starts: another child is loaded beside the one that answers, and takes its
        place after the answer under way.
        """
        path = folder / ADAPTER if folder else None
        if path and not path.is_file():
            raise HostError(f"the adapter {folder} has no {ADAPTER}", "use --engine torch, or tune again")
        load = replace(self._load, adapter=path)
        async with self._changing:
            child = await Child.start(load)
            async with self._turn:
                before = self._child
                self._load, self.adapter = load, name if folder else ""
                await self._take(child)
            if before:
                await before.end()

    async def metrics(self) -> str:
        """Return the child's own figures."""
        if not self._http or not self._up.is_set():
            return ""
        try:
            async with asyncio.timeout(METRICS_TIMEOUT):
                return (await self._http.get("/metrics")).text
        except (TimeoutError, httpx2.TransportError):
            return ""

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk | Usage, None]:
        """Answer a chat: its candidates one after the other, on one evaluation of the prompt."""
        if generation.adapter and generation.adapter != self.adapter:
            raise AdapterUnknown(
                f"the adapter {generation.adapter!r} is not in force", f"in force is {self.adapter or 'none'}"
            )
        async with self._turn:
            answer = self._answer(generation, await self._ready())
            async with contextlib.aclosing(answer) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _answer(
        self, generation: Generation, http: httpx2.AsyncClient
    ) -> AsyncGenerator[Chunk | Usage, None]:
        try:
            prompt = await self._encode(http, generation)
            room = self.context - len(prompt)
            if room < 1:
                raise PromptTooLong(len(prompt), self.context)
            slot, held = self._slots.choose(prompt)
            cached = await self._evaluate(http, prompt, slot, held)
            tokens = 0
            for index in range(generation.n):
                candidate = self._candidate(
                    http, generation, prompt, slot, index, min(generation.max_tokens, room)
                )
                async with contextlib.aclosing(candidate) as chunks:
                    async for chunk in chunks:
                        tokens += chunk.tokens
                        yield chunk
            self._deaths = 0
            yield Usage(len(prompt), tokens, cached)
        except TimeoutError as error:
            self._kill()
            raise EngineFailed(
                f"llama.cpp gave no sign for {self.stall_timeout:.0f} s", "try again"
            ) from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            self._kill()
            raise EngineFailed("llama.cpp ended during the request", "try again") from error

    # --- the prompt ---

    async def _encode(self, http: httpx2.AsyncClient, generation: Generation) -> list[int]:
        if self._chatml:
            control = self._header.control_tokens
            pieces = chat.render_chatml(
                generation.messages,
                generation.prefill,
                start=control[chat.START],
                end=control[chat.END],
                system=self._system,
            )
            return await self._tokens(http, pieces)
        return await self._encode_by_template(http, generation)

    async def _encode_by_template(self, http: httpx2.AsyncClient, generation: Generation) -> list[int]:
        """Let llama.cpp render the file's own template around marks, then put the texts in their places."""
        marked = chat.Marked(generation.messages, generation.prefill)
        messages = [{"role": message.role, "content": message.content} for message in marked.messages]
        answer = await self._post(http, "/apply-template", {"messages": messages})
        prompt = await self._beginning(http, answer["prompt"])
        for text, plain in marked.split(answer["prompt"]):
            prompt += await self._tokens(http, [text], special=not plain)
        return prompt

    async def _beginning(self, http: httpx2.AsyncClient, rendered: str) -> list[int]:
        """Return the token that prompts of this model begin with, unless the template put it there."""
        answer = await self._post(
            http, "/tokenize", {"content": "", "add_special": True, "with_pieces": True}
        )
        return [token["id"] for token in answer["tokens"] if not rendered.startswith(str(token["piece"]))]

    async def _tokens(
        self, http: httpx2.AsyncClient, pieces: Sequence[chat.Piece], *, special: bool = False
    ) -> list[int]:
        if not special:
            pieces = chat.break_up(pieces, self._header.user_defined_tokens)
        body = {"content": list(pieces), "add_special": False, "parse_special": special}
        return [int(token) for token in (await self._post(http, "/tokenize", body))["tokens"]]

    async def _evaluate(self, http: httpx2.AsyncClient, prompt: list[int], slot: int, held: int) -> int:
        """Evaluate a long prompt slice by slice, and return how much of it was there before.

        llama.cpp does not notice a closed connection before the first token, so the last slice, which the
        first candidate evaluates, must be short too.
        """
        cached = None
        done = min(held, len(prompt) - 1)
        self.counts.cached_tokens += done
        while len(prompt) - done > self._slice:
            self.counts.prompt_tokens += self._slice
            done += self._slice
            self._slots.hold(slot, prompt[:done])
            answer = await self._post(
                http,
                "/completion",
                {"prompt": prompt[:done], "n_predict": 0, "id_slot": slot, "cache_prompt": True},
            )
            timings = answer["timings"]
            cached = timings["cache_n"] if cached is None else cached
            if timings["prompt_n"] >= SMALLEST_SLICE:
                fitting = int(timings["prompt_per_second"] * SLICE_SECONDS)
                self._slice = min(max(fitting, SMALLEST_SLICE), LARGEST_SLICE)
        self.counts.prompt_tokens += len(prompt) - done
        self._slots.hold(slot, prompt)
        return done if cached is None else int(cached)

    # --- the answer ---

    async def _candidate(
        self,
        http: httpx2.AsyncClient,
        generation: Generation,
        prompt: list[int],
        slot: int,
        index: int,
        limit: int,
    ) -> AsyncGenerator[Chunk, None]:
        stop = StopFilter(generation.stop)
        body = _completion(generation, prompt, slot, index, limit)
        before = sent = 0
        logprob = 0.0 if generation.logprobs else None
        async with (
            http.stream("POST", "/completion", json=body) as response,
            contextlib.aclosing(_events(response, self.stall_timeout)) as events,
        ):
            async for event in events:
                now = int(event["tokens_predicted"])
                self.counts.generated_tokens += now - before
                before = now
                if logprob is not None:
                    logprob += sum(token["logprob"] for token in event.get("completion_probabilities", ()))
                text = stop.feed(event["content"])
                reason: FinishReason = ""
                if stop.found:
                    reason = "stop"
                elif event["stop"]:
                    text += stop.rest()
                    reason = "length" if event["stop_type"] == "limit" else "stop"
                # Tokens whose text is held back go with the piece that shows it.
                if text or reason:
                    yield Chunk(index, text, now - sent, logprob, reason)
                    sent, logprob = now, 0.0 if generation.logprobs else None
                if reason:
                    return
        raise EngineFailed("llama.cpp broke its answer off", "try again")

    async def _post(self, http: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(self.stall_timeout):
            response = await http.post(path, json=body)
        if response.status_code != httpx2.codes.OK:
            raise _refused(response.text)
        answer: dict[str, Any] = response.json()
        return answer

    # --- the child ---

    async def _ready(self) -> httpx2.AsyncClient:
        """Wait for the child, unless it keeps dying."""
        if not self._up.is_set() and self._deaths >= DEATHS_UNTIL_REFUSAL:
            raise EngineFailed(self._failure, "see the log of the model host")
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._up.wait()
        except TimeoutError as error:
            raise EngineFailed(self._failure, "try again later") from error
        assert self._http
        return self._http

    async def _launch(self) -> None:
        before = _identity(self._located.path)
        child = await Child.start(self._load)
        if _identity(self._located.path) != before:
            await child.end()
            raise EngineFailed(f"{self._located.path} was replaced while it was loaded", "start it again")
        await self._take(child)

    async def _take(self, child: Child) -> None:
        """Put a child that is ready in the place of the one before."""
        if self._http:
            await self._http.aclose()
        # llama.cpp closes a connection after a stream without saying so: none is used twice.
        self._http = httpx2.AsyncClient(
            base_url=child.url,
            headers={"Authorization": f"Bearer {child.key}"},
            timeout=httpx2.Timeout(None, connect=5.0),
            limits=httpx2.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        self._child = child
        self._slots.forget()
        self._failure = ""
        self._up.set()

    async def _supervise(self) -> None:
        """Start the child again whenever it ends, later and later if it does nothing else."""
        while child := self._child:
            ending = await child.ended()
            await child.end()
            if child is not self._child:  # another has taken its place
                continue
            self._up.clear()
            self._failure = f"llama.cpp {ending}"
            self._deaths += 1
            while not self._up.is_set():
                await asyncio.sleep(BACKOFF[min(self._deaths, len(BACKOFF)) - 1])
                try:
                    await asyncio.to_thread(check, self._located)
                    async with self._changing:
                        if not self._up.is_set():
                            await self._launch()
                            self.counts.restarts += 1
                except (Nl2CodeError, OSError) as error:
                    self._deaths += 1
                    self._failure = str(error)

    def _kill(self) -> None:
        """End a child that does not do its work; the supervisor starts another."""
        self._up.clear()
        if self._child:
            self._child.kill()


def _completion(
    generation: Generation, prompt: list[int], slot: int, index: int, limit: int
) -> dict[str, Any]:
    greedy = generation.temperature == 0
    return {
        "prompt": prompt,
        "id_slot": slot,
        "cache_prompt": True,
        "stream": True,
        "n_predict": limit,
        "n_probs": int(generation.logprobs),
        "temperature": generation.temperature,
        "top_k": 1 if greedy else 0,
        "top_p": generation.top_p,
        # Nothing but what was asked for: llama.cpp's defaults would add min_p, top_k and more.
        "samplers": ["top_k"] if greedy else ["temperature", "top_p"],
        "seed": -1 if generation.seed is None else (generation.seed + index) % 2**32,
        "response_fields": ["content", "tokens_predicted", "stop", "stop_type"],
    }


def _identity(path: Path) -> tuple[int, ...]:
    """Tell a file from another that takes its place."""
    info = path.stat()
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


async def _events(response: httpx2.Response, stall: float) -> AsyncGenerator[dict[str, Any], None]:
    """Read the server-sent events of an answer, none of which may take longer than `stall` seconds."""
    if response.status_code != httpx2.codes.OK:
        raise _refused((await response.aread()).decode(errors="replace"))
    lines = response.aiter_lines()
    while True:
        async with asyncio.timeout(stall):
            line = await _data_line(lines)
        if line is None:
            return
        event: dict[str, Any] = json.loads(line)
        if "error" in event:
            raise _refused(line)
        yield event


async def _data_line(lines: AsyncIterator[str]) -> str | None:
    """Return the next line that carries data; pings do not count as signs of life."""
    async for line in lines:
        if line.startswith("data: "):
            return line.removeprefix("data: ")
    return None


def _refused(body: str) -> EngineFailed:
    try:
        error = json.loads(body)["error"]
        return EngineFailed(f"llama.cpp refused: {error['message']}")
    except (ValueError, KeyError, TypeError):
        return EngineFailed(f"llama.cpp answered with something else than its protocol: {body[:200]!r}")
