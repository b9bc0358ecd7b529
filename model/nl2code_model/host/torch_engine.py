"""The torch engine: transformers' models on a GPU or CPU, all work on them in one thread beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nl2code_server.errors import ConfigError, HostError, Nl2CodeError
from nl2code_server.platform import lower_priority

from ..models.catalog import locate
from ..models.source import find
from ..models.verify import check
from .engine import AdapterUnknown, Chunk, Counts, EngineFailed, Generation, Usage
from .torch_load import DEVICES, DTYPES, require_libraries

if TYPE_CHECKING:
    from .torch_adapters import Adapters
    from .torch_causal import Causal
    from .torch_job import Job
    from .torch_load import Loaded
    from .torch_seq2seq import Seq2Seq

log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 8192
AT_ONCE = {"cuda": 16, "mps": 4, "cpu": 4}
"""Answers that share a step. Reading the weights is most of its work, and done once for all of them."""
KV_PART = 0.5
"""Part of the memory left by the weights that keys and values may take."""
STALL_TIMEOUT = 60.0
"""Seconds that a single step may take before the device counts as hung."""
POLL = 5.0
ACTION_TIMEOUT = 120.0
STOP_TIMEOUT = 10.0
FAILURES_UNTIL_REFUSAL = 3

_Action = Callable[[], None]


class TorchEngine:
    """An `Engine` by torch and transformers. Requests share steps: see `torch_causal`."""

    name = "torch"
    parallel = 16
    """Requests that it takes in; those beyond what shares a step wait inside."""

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
        context: int = 0,
        on_status: Callable[[str], None] = log.warning,
    ) -> None:
        require_libraries()
        if device not in DEVICES:
            raise ConfigError(f"there is no device {device!r}", f"use one of {', '.join(DEVICES)}")
        if dtype not in DTYPES:
            raise ConfigError(f"the torch engine has no dtype {dtype!r}", f"use one of {', '.join(DTYPES)}")
        located = locate(model)
        if not (located.hub or located.path.is_dir()):
            check(located)
        self.model = located.id
        self.context = context
        self.prefill = True
        """Whether it continues the start of an answer as clients write it, code fence and all."""
        self.adapter = ""
        """The adapter in force."""
        self.counts = Counts()
        self.stall_timeout = STALL_TIMEOUT
        self._asked = (model, device, dtype, threads)
        self._on_status = on_status
        self._failure = "it has not been started"
        self._failures = 0
        self._beat = time.monotonic()
        self._steps = 0
        self._step_seconds = 0.0
        self._inbox: queue.SimpleQueue[Job | _Action | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._decoder: Causal | Seq2Seq | None = None
        self._adapters: Adapters | None = None
        self._loaded: Loaded | None = None

    @property
    def failure(self) -> str:
        return self._failure

    async def start(self) -> None:
        """Load the model in the thread that will run it."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if not ready.done():
                ready.set_exception(error) if error else ready.set_result(None)

        def work() -> None:
            error: BaseException | None = None
            try:
                self._load()
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(settle, error)
            except RuntimeError:  # the loop was closed meanwhile
                return
            if error is None:
                self._work()

        self._thread = threading.Thread(target=work, name="torch", daemon=True)
        self._thread.start()
        await ready
        self._failure = ""

    async def stop(self) -> None:
        """End the thread, after the step that it is at."""
        self._failure = "it is stopping"
        self._inbox.put(None)
        if self._thread:
            await asyncio.to_thread(self._thread.join, STOP_TIMEOUT)

    async def generate(
        self, generation: Generation, *, warms: bool = False
    ) -> AsyncGenerator[Chunk | Usage, None]:
        """Answer a chat. Closing this stops the work before its next step. Nobody reads an answer that only warms."""
        from .torch_job import Job

        if self._failure:
            raise EngineFailed(self._failure, "see the log of the model host")
        if generation.adapter and generation.adapter != self.adapter:
            raise AdapterUnknown(
                f"the adapter {generation.adapter!r} is not in force", f"in force is {self.adapter or 'none'}"
            )
        job = Job(generation, warms=warms)
        asked = time.monotonic()
        self._inbox.put(job)
        try:
            while True:
                item = await self._next(job, asked)
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Usage):
                    return
        finally:
            job.cancelled = True

    async def warm(self, generation: Generation) -> None:
        """Evaluate a prompt by asking for its first token; what an encoder makes of it is of no use to others."""
        from .torch_causal import Causal

        if not isinstance(self._decoder, Causal):
            return
        warming = replace(generation, n=1, max_tokens=1)
        async with aclosing(self.generate(warming, warms=True)) as pieces:
            async for _ in pieces:
                pass

    async def prompt(self, generation: Generation) -> list[int]:
        """Return the tokens that a chat comes to; for an encoder-decoder, those that it reads."""
        assert self._decoder
        decoder = self._decoder
        return await self._in_worker(lambda: decoder.text.prompt(generation))

    async def use_adapter(self, name: str, folder: Path | None) -> None:
        """Put a LoRA adapter in force, or none; raise `HostError` and keep the one before if it cannot be used.

        Answers under way end first, under the weights that they began with; later ones wait for the change.
        """

        def change() -> None:
            assert self._adapters and self._decoder
            if folder:
                self._adapters.put_on(folder)
            else:
                self._adapters.take_off()
            self._decoder.flush()
            self.adapter = name if folder else ""

        await self._in_worker(change)

    async def metrics(self) -> str:
        """Return what the worker has done, as Prometheus text."""
        if not self._loaded:
            return ""
        labels = (
            f'device="{self._loaded.device.type}",dtype="{str(self._loaded.dtype).removeprefix("torch.")}"'
        )
        return (
            "# TYPE nl2code_torch_info gauge\n"
            f"nl2code_torch_info{{{labels}}} 1\n"
            "# TYPE nl2code_torch_steps_total counter\n"
            f"nl2code_torch_steps_total {self._steps}\n"
            "# TYPE nl2code_torch_step_seconds_total counter\n"
            f"nl2code_torch_step_seconds_total {self._step_seconds:.3f}\n"
        )

    # --- on the event loop ---

    async def _next(self, job: Job, asked: float) -> Chunk | Usage | Exception:
        """Wait for a result as long as the worker makes steps; an idle one has made none for long."""
        while True:
            try:
                async with asyncio.timeout(min(POLL, self.stall_timeout)):
                    return await job.sent.get()
            except TimeoutError as error:
                if time.monotonic() - max(self._beat, asked) > self.stall_timeout:
                    self._failure = f"torch gave no sign for {self.stall_timeout:.0f} s"
                    raise EngineFailed(self._failure, "restart the model host") from error

    async def _in_worker(self, action: Callable[[], Any]) -> Any:
        """Let the worker do something when no answer is under way, and return what comes of it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: Exception | None) -> None:
            if not done.done():
                done.set_exception(error) if error else done.set_result(result)

        def act() -> None:
            if done.cancelled():
                return
            result, error = None, None
            try:
                result = action()
            except Exception as caught:
                error = caught
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, result, error)

        self._inbox.put(act)
        try:
            async with asyncio.timeout(ACTION_TIMEOUT):
                return await done
        except TimeoutError as error:
            raise HostError(f"the model was busy for {ACTION_TIMEOUT:.0f} s", "try again") from error

    # --- in the worker ---

    def _load(self) -> None:
        import torch

        from .torch_adapters import Adapters
        from .torch_causal import Causal
        from .torch_load import load
        from .torch_seq2seq import Seq2Seq
        from .torch_text import Text

        lower_priority()
        name, device, dtype, threads = self._asked
        source = find(name, self._on_status)
        loaded = load(source, device=device, dtype=dtype, threads=threads)
        text = Text(loaded.tokenizer, system=source.system, encoder_decoder=loaded.encoder_decoder)
        self.context = min(self.context or DEFAULT_CONTEXT, loaded.context or DEFAULT_CONTEXT)
        self.prefill = not loaded.encoder_decoder
        at_once = AT_ONCE[loaded.device.type]
        if loaded.encoder_decoder:
            self._decoder = Seq2Seq(loaded, text, self.counts, at_once=at_once, context=self.context)
        else:
            at_once = _fitting_rows(loaded, at_once, self.context)
            self._decoder = Causal(loaded, text, self.counts, rows=at_once, context=self.context)
        with torch.inference_mode():
            self._decoder.warm_up()
        self._adapters = Adapters(loaded.model)
        self._loaded = loaded
        shown = str(loaded.dtype).removeprefix("torch.")
        log.info("%s in %s, context %d, %d at once", loaded.device, shown, self.context, at_once)

    def _work(self) -> None:
        """Make steps as long as there is something to do, and wait for requests otherwise."""
        import torch

        decoder = self._decoder
        assert decoder
        backlog: deque[Job | _Action] = deque()
        while self._take_in(decoder, backlog):
            if not decoder.busy:
                continue
            began = self._beat = time.monotonic()
            try:
                with torch.inference_mode():
                    decoder.round()
                self._failures = 0
            except Exception as error:
                self._give_up(decoder, error)
            self._steps += 1
            self._step_seconds += time.monotonic() - began

    def _take_in(self, decoder: Causal | Seq2Seq, backlog: deque[Job | _Action]) -> bool:
        """Take in what was asked meanwhile, in its order; wait for it if there is nothing to do. False is the end."""
        wait = not (decoder.busy or backlog)
        while wait and self._inbox.empty() and self._prepare(decoder):
            pass
        while True:
            try:
                item = self._inbox.get(block=wait)
            except queue.Empty:
                break
            if item is None:
                return False
            backlog.append(item)
            wait = False
        while backlog and not (callable(backlog[0]) and decoder.busy):
            item = backlog.popleft()
            self._beat = time.monotonic()
            if callable(item):
                item()
            elif not item.cancelled:
                self._admit(decoder, item)
        return True

    def _prepare(self, decoder: Causal | Seq2Seq) -> bool:
        """Use a moment in which nobody waits; return whether another could be used."""
        import torch

        self._beat = time.monotonic()
        with torch.inference_mode():
            return decoder.prepare()

    def _admit(self, decoder: Causal | Seq2Seq, job: Job) -> None:
        try:
            decoder.admit(job)
        except Nl2CodeError as error:
            job.send(error)
        except Exception as error:
            log.exception("a prompt could not be rendered")
            job.send(EngineFailed(f"the prompt could not be rendered: {error}", "see the host's log"))

    def _give_up(self, decoder: Causal | Seq2Seq, error: Exception) -> None:
        """Fail all requests under way; refuse further ones if steps keep failing."""
        import torch

        log.exception("a step failed", exc_info=error)
        self._failures += 1
        if isinstance(error, torch.OutOfMemoryError):
            failed = EngineFailed("the device ran out of memory", "use a smaller --context or model")
        else:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            failed = EngineFailed(f"torch failed: {first}", "try again")
        if self._failures >= FAILURES_UNTIL_REFUSAL:
            self._failure = failed.message
        decoder.fail(failed)
        if self._loaded and self._loaded.device.type == "cuda":
            try:
                torch.cuda.empty_cache()
            except RuntimeError as lost:
                # Nothing brings a device back into this process: the host is unwell, and is replaced.
                log.error("the device is lost: %s", lost)
                self._failure = failed.message


def _fitting_rows(loaded: Loaded, wanted: int, context: int) -> int:
    """Return how many rows of keys and values fit into memory, at most as many as are wanted."""
    from .torch_load import free_memory

    config = loaded.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = 2 * config.num_hidden_layers * heads * width * loaded.dtype.itemsize * context
    fitting = int(free_memory(loaded.device) * KV_PART / row)
    if fitting < 1:
        raise HostError(
            f"a context of {context} tokens takes {row / 1e9:.1f} GB, which are not free",
            "use a smaller --context",
        )
    return min(fitting, wanted)
