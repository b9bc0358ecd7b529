"""The llama.cpp engine: prompts as tokens, slice by slice, to a child process that is started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from nl2code_server.errors import HostError, ModelFileError, Nl2CodeError
from nl2code_server.platform import available_memory

from ..models.catalog import Located
from ..models.verify import check, identity
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
from .threads import Threads
from .warmth import Warmth

log = logging.getLogger(__name__)

SLOTS = 2
"""Prompts kept for the next request that begins alike."""
CANDIDATES = 4
"""Candidates made at once. They share the prompt, and each step reads the weights once for all of them."""
DEFAULT_CONTEXT = 8192
STALL_TIMEOUT = 60.0
"""Seconds without a token, or for one slice of a prompt, after which the child counts as hung."""
START_TIMEOUT = 60.0
"""Seconds that a request waits for a child that is being started again."""
METRICS_TIMEOUT = 5.0
SLICE_SECONDS = 0.75
"""A client that goes away during its prompt is noticed between slices."""
WARM_SLICE_SECONDS = 0.25
"""The same while nobody waits: whoever comes then should not wait for long."""
FIRST_SLICE, SMALLEST_SLICE, LARGEST_SLICE = 128, 64, 2048  # tokens
BACKOFF = (0.0, 1.0, 5.0, 15.0, 30.0)
"""Seconds before the next start, by deaths in a row without an answer between."""
DEATHS_UNTIL_REFUSAL = 3
MOST_LIKELY, NUCLEUS = 128, 0.98
"""Tokens that a sample is drawn from, if what it is drawn from is a nucleus of at most this part."""
ADAPTER = "adapter.gguf"
"""What an adapter's folder must hold for this engine."""


class LlamaCpp:
    """An `Engine` by the xllamacpp wheel. One generation at a time: on a CPU a second one would only halve both."""

    name = "llamacpp"
    parallel = 1
    prefill = True

    def __init__(self, located: Located, *, threads: int, context: int = 0, adaptive: bool = False) -> None:
        """`adaptive` lets fewer than `threads` compute while a busy neighbour makes that the faster way."""
        with _opened(located) as file:
            header = check(located, file)
            self._checked = identity(file)
        self._located = located
        self.model = located.id
        self.context = min(context or DEFAULT_CONTEXT, header.context or DEFAULT_CONTEXT)
        self.counts = Counts()
        self.stall_timeout = STALL_TIMEOUT
        self._header = header
        self._system = located.entry.system if located.entry else ""
        control = header.control_tokens
        self._chatml = {chat.START, chat.END} <= control.keys() and chat.START in header.chat_template
        self._load = Load(self.model, located.path, self.context, SLOTS + CANDIDATES - 1, threads)
        self._threads = Threads(threads) if adaptive else None
        self._rethreading: asyncio.Task[None] | None = None
        self.adapter = ""
        """The adapter in force."""
        self._turn = asyncio.Lock()
        """Held by the answer under way."""
        self._changing = asyncio.Lock()
        """Held by whoever puts another child in place."""
        # llama.cpp makes further candidates in its first free slots: prompts are kept in the last ones.
        self._slots = Slots(SLOTS, self.context, first=CANDIDATES - 1)
        self._warmth = Warmth(self.counts)
        self._prompt_speed = 0.0
        """Tokens a second; 0 until it was measured."""
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
        if self._rethreading:
            self._rethreading.cancel()
            await asyncio.wait([self._rethreading])
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
        async with self._changing:
            await self._change(replace(self._load, adapter=path))
            self.adapter = name if folder else ""

    async def _change(self, load: Load) -> None:
        """Load another child beside the one that answers, and put it in its place; for who holds `_changing`."""
        child = await self._loaded(load)
        async with self._turn:
            before, self._load = self._child, load
            await self._take(child)
        if before:
            await before.end()

    async def _rethread(self, threads: int) -> None:
        """Let another number of threads compute, if there is memory for a second model beside the first."""
        assert self._threads
        try:
            size = (await asyncio.to_thread(self._located.path.stat)).st_size
            if await asyncio.to_thread(available_memory) > 2 * size:
                async with self._changing:
                    await self._change(replace(self._load, threads=threads))
                log.info("%d threads compute now", threads)
        except (Nl2CodeError, OSError) as error:
            log.warning("still %d threads: %s", self._load.threads, error)
        self._threads.changed(self._load.threads)

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
            try:
                async with contextlib.aclosing(answer) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                self._consider_threads()

    async def warm(self, generation: Generation) -> None:
        """Evaluate a prompt, in short slices."""
        async with self._turn:
            http = await self._ready()
            with self._watched():
                prompt = await self._encode(http, generation)
                if len(prompt) >= self.context:
                    raise PromptTooLong(len(prompt), self.context)
                slot, held = self._slots.choose(prompt)
                done = held
                try:
                    while done < len(prompt):
                        done, _ = await self._step(http, prompt, slot, done, WARM_SLICE_SECONDS)
                finally:
                    self._warmth.warmed(prompt[:done], held)

    async def _answer(
        self, generation: Generation, http: httpx2.AsyncClient
    ) -> AsyncGenerator[Chunk | Usage, None]:
        with self._watched():
            prompt = await self._encode(http, generation)
            room = self.context - len(prompt)
            if room < 1:
                raise PromptTooLong(len(prompt), self.context)
            slot, held = self._slots.choose(prompt)
            self._warmth.asked(prompt, held)
            cached = await self._evaluate(http, prompt, slot, held)
            limit = min(generation.max_tokens, room)
            at_once = max(1, min(CANDIDATES, room // limit))
            tokens = 0
            for first in range(0, generation.n, at_once):
                indexes = range(first, min(first + at_once, generation.n))
                made = self._candidates(http, generation, prompt, slot, indexes, limit)
                async with contextlib.aclosing(made) as chunks:
                    async for chunk in chunks:
                        tokens += chunk.tokens
                        yield chunk
            self._deaths = 0
            yield Usage(len(prompt), tokens, cached)

    def _consider_threads(self) -> None:
        idle = self._rethreading is None or self._rethreading.done()
        if self._threads and idle and (better := self._threads.better()) is not None:
            self._rethreading = asyncio.create_task(self._rethread(better))

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """End a child that hangs or breaks off under a request; the supervisor starts another."""
        try:
            yield
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
        while len(prompt) - done > self._slice(SLICE_SECONDS):
            done, there = await self._step(http, prompt, slot, done, SLICE_SECONDS)
            cached = there if cached is None else cached
        self.counts.prompt_tokens += len(prompt) - done
        self._slots.hold(slot, prompt)
        return done if cached is None else cached

    async def _step(
        self, http: httpx2.AsyncClient, prompt: list[int], slot: int, done: int, seconds: float
    ) -> tuple[int, int]:
        """Evaluate the next slice; return how much is done then, and how much of it was there before."""
        size = min(self._slice(seconds), len(prompt) - done)
        self.counts.prompt_tokens += size
        done += size
        self._slots.hold(slot, prompt[:done])
        body = {"prompt": prompt[:done], "n_predict": 0, "id_slot": slot, "cache_prompt": True}
        timings = (await self._post(http, "/completion", body))["timings"]
        if timings["prompt_n"] >= SMALLEST_SLICE:
            self._prompt_speed = timings["prompt_per_second"]
        return done, int(timings["cache_n"])

    def _slice(self, seconds: float) -> int:
        """Return how many tokens of a prompt are evaluated in about that time."""
        fitting = int(self._prompt_speed * seconds) if self._prompt_speed else FIRST_SLICE
        return min(max(fitting, SMALLEST_SLICE), LARGEST_SLICE)

    # --- the answer ---

    async def _candidates(
        self,
        http: httpx2.AsyncClient,
        generation: Generation,
        prompt: list[int],
        slot: int,
        indexes: range,
        limit: int,
    ) -> AsyncGenerator[Chunk, None]:
        """Make the candidates with these numbers, all at once."""
        making = [_Making(index, generation) for index in indexes]
        first = last = 0.0
        body = _completion(generation, prompt, slot, indexes, limit)
        async with (
            http.stream("POST", "/completion", json=body) as response,
            contextlib.aclosing(_events(response, self.stall_timeout)) as events,
        ):
            try:
                async for event in events:
                    one = making[event.get("index", 0)]
                    last = time.monotonic()
                    first = first or last
                    self.counts.generated_tokens += event["tokens_predicted"] - one.tokens
                    if chunk := one.hear(event):
                        yield chunk
                    if all(one.ended for one in making):
                        return
            finally:  # most answers are left when the code that was asked for is complete
                if self._threads and len(making) == 1:
                    self._threads.measured(making[0].tokens - 1, last - first)
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
        await self._take(await self._loaded(self._load))

    async def _loaded(self, load: Load) -> Child:
        """Start a child with what is checked: it loads this descriptor, whatever the path names by then."""
        with await asyncio.to_thread(_opened, self._located) as file:
            if identity(file) != self._checked:
                await asyncio.to_thread(check, self._located, file)
                self._checked = identity(file)
            child = await Child.start(load, file.fileno())
            changed = identity(file) != self._checked
        if changed:
            await child.end()
            raise EngineFailed(f"{load.path} was changed while it was loaded", "start it again")
        return child

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


class _Making:
    """A candidate as it streams in."""

    def __init__(self, index: int, generation: Generation) -> None:
        self.tokens = 0
        self.ended = False
        self._index = index
        self._logprobs = generation.logprobs
        self._stop = StopFilter(generation.stop)
        self._sent = 0
        self._logprob = 0.0

    def hear(self, event: dict[str, Any]) -> Chunk | None:
        """Take the next event in, and return what it shows."""
        self.tokens = int(event["tokens_predicted"])
        if self.ended:  # by a stop text, while others go on
            return None
        self._logprob += sum(token["logprob"] for token in event.get("completion_probabilities", ()))
        text = self._stop.feed(event["content"])
        reason: FinishReason = ""
        if self._stop.found:
            reason = "stop"
        elif event["stop"]:
            text += self._stop.rest()
            reason = "length" if event["stop_type"] == "limit" else "stop"
        # Tokens whose text is held back go with the piece that shows it.
        if not (text or reason):
            return None
        self.ended = bool(reason)
        logprob = self._logprob if self._logprobs else None
        chunk = Chunk(self._index, text, self.tokens - self._sent, logprob, reason)
        self._sent, self._logprob = self.tokens, 0.0
        return chunk


def _completion(
    generation: Generation, prompt: list[int], slot: int, indexes: range, limit: int
) -> dict[str, Any]:
    greedy = generation.temperature == 0
    # What the most likely tokens leave out of a nucleus is next to nothing; looking at all would take as long as
    # a third of the model's own work. Without a nucleus every token has its chance.
    likely = 1 if greedy else MOST_LIKELY if generation.top_p <= NUCLEUS else 0
    return {
        "prompt": prompt,
        "id_slot": slot,
        "n_cmpl": len(indexes),
        "cache_prompt": True,
        "stream": True,
        "n_predict": limit,
        "n_probs": int(generation.logprobs),
        "temperature": generation.temperature,
        "top_k": likely,
        "top_p": generation.top_p,
        # Nothing but what was asked for: llama.cpp's defaults would add min_p and more.
        "samplers": ["top_k"] if greedy else ["top_k", "temperature", "top_p"],
        "seed": -1 if generation.seed is None else (generation.seed + indexes.start) % 2**32,
        "response_fields": ["index", "content", "tokens_predicted", "stop", "stop_type"],
    }


def _opened(located: Located) -> BinaryIO:
    """Open a model's file, or raise what `check` says of one that is not there."""
    try:
        return located.path.open("rb")
    except OSError as error:
        check(located)
        raise ModelFileError(
            f"{located.path} cannot be read: {error.strerror}", "check the file's owner"
        ) from error


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
