"""The decoding loop of causal models: prompts slice by slice, then one token for every running answer at once.

A round takes requests in, evaluates a slice of one prompt and makes one step of all answers: nobody waits for
another's whole prompt or answer, and a client that leaves is noticed within a step. What a step works on has a fixed
address and few shapes, so that a captured CUDA graph can take the place of `_forward`.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from nl2code_server.errors import ModelFileError

from .engine import Counts, PromptTooLong
from .torch_cache import Places, Rows
from .torch_job import Candidate, Job, Pace
from .torch_sampling import choose
from .torch_text import Text
from .warmth import Warmth

if TYPE_CHECKING:
    from torch import Tensor

    from .torch_load import Loaded

ALONE, BESIDE = 0.75, 0.15
"""Seconds for a slice of a prompt: while nobody else waits for tokens, and while somebody does."""


@dataclass(eq=False, slots=True)
class _Running:
    """A request that has a row, and its candidates."""

    job: Job
    row: int
    """Where its prompt is evaluated; its first candidate's row then."""
    started: list[tuple[Candidate, int]] = field(default_factory=list)
    """Candidates at work, with their rows."""
    waiting: int = 0
    """How many of its candidates have not begun."""
    first: Tensor | None = None
    """Logits after the prompt, from which candidates begin; none while the prompt is evaluated."""


class Causal:
    """Answers requests with a causal model. Belongs to one thread."""

    def __init__(self, loaded: Loaded, text: Text, counts: Counts, *, rows: int, context: int) -> None:
        accepted = inspect.signature(loaded.model.forward).parameters
        if "position_ids" not in accepted:
            raise ModelFileError(
                f"{type(loaded.model).__name__} cannot be told its tokens' positions",
                "use another architecture",
            )
        config = loaded.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        if kinds - {"full_attention", "sliding_attention"}:
            raise ModelFileError(
                f"{type(loaded.model).__name__} keeps a state that cannot be cut ({', '.join(sorted(kinds))})",
                "use a model with attention in all layers",
            )
        self.context = context
        self._loaded = loaded
        self.text = text
        self._counts = counts
        self._keep_one = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._table = Rows(config.num_hidden_layers, rows, context)
        self._places = Places(self._table)
        self._warmth = Warmth(counts)
        self._pace = Pace(smallest=32, largest=2048)
        self._waiting: list[Job] = []
        self._running: list[_Running] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._running)

    def admit(self, job: Job) -> None:
        """Take a request in; raise `HostError` if it cannot be answered."""
        job.prompt = self.text.prompt(job.generation)
        if len(job.prompt) >= self.context:
            raise PromptTooLong(len(job.prompt), self.context)
        self._waiting.append(job)

    def round(self) -> None:
        """Do a little of everything that there is to do."""
        self._drop_cancelled()
        while self._waiting and self._places.free:
            self._start(self._waiting.pop(0))
        if prefilling := next((running for running in self._running if running.first is None), None):
            self._evaluate(prefilling)
        self._spread()
        self._step()

    def fail(self, error: Exception) -> None:
        """Give everything up: what the rows hold cannot be relied on any more."""
        for job in [*self._waiting, *(running.job for running in self._running)]:
            job.send(error)
        for running in list(self._running):
            self._end(running)
        self._waiting.clear()
        self.flush()

    def flush(self) -> None:
        """Forget all keys and values: they were computed with other weights."""
        self._places.flush()

    def warm_up(self) -> None:
        """Run the model once, so that the first request does not pay for what is made on first use."""
        self._table.one(0, 0)
        self._forward(torch.zeros(1, 8, dtype=torch.long), torch.arange(8)[None])

    # --- requests ---

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.cancelled]
        for running in [running for running in self._running if running.job.cancelled]:
            self._end(running)

    def _start(self, job: Job) -> None:
        row, job.cached = self._places.take(job.prompt)
        self._counts.cached_tokens += job.cached
        if not job.warms:
            self._warmth.asked(job.prompt, job.cached)
        self._running.append(_Running(job, row, waiting=job.generation.n))

    def _end(self, running: _Running) -> None:
        self._running.remove(running)
        held = min(self._places.length(running.row), len(running.job.prompt))
        if running.job.warms and held > running.job.cached:
            self._warmth.warmed(running.job.prompt[:held], running.job.cached)
        for row in {running.row, *(row for _, row in running.started)}:
            self._release(running, row)

    def _release(self, running: _Running, row: int) -> None:
        """Give a row back. One row keeps the prompt: it may be asked about again, the answer to it is not."""
        self._places.cut(row, len(running.job.prompt) if row == running.row else 0)
        self._places.release(row)

    # --- prompts ---

    def _evaluate(self, running: _Running) -> None:
        """Evaluate the next slice of a prompt; after the last, its candidates can begin."""
        prompt, row = running.job.prompt, running.row
        done = self._places.length(row)
        others = any(other.started for other in self._running)
        end = min(len(prompt), done + self._pace.slice(BESIDE if others else ALONE))
        started = time.monotonic()
        self._counts.prompt_tokens += end - done
        self._table.one(row, done)
        logits = self._forward(torch.tensor([prompt[done:end]]), torch.arange(done, end)[None])
        self._synchronize()
        self._pace.measured(end - done, time.monotonic() - started)
        self._places.add(row, prompt[done:end])
        if end == len(prompt):
            running.first = logits[0]
            self._begin(running, row)

    def _spread(self) -> None:
        """Give rows that nobody waits for to candidates that have not begun."""
        for running in [running for running in self._running if running.first is not None]:
            while running.waiting and self._places.free and not self._waiting:
                self._begin(running, self._places.take_copy(running.row, len(running.job.prompt)))

    def _begin(self, running: _Running, row: int) -> None:
        """Let the next candidate begin in a row that holds the prompt; it may be over with its first token."""
        assert running.first is not None
        job = running.job
        # A request that waits for a row gets the next one, as long as one goes on working here.
        while running.waiting and not (self._waiting and row != running.row):
            candidate = Candidate(
                job,
                job.generation.n - running.waiting,
                self.text.answer(job.prompt),
                self._loaded.ends,
                self.context - len(job.prompt),
            )
            running.waiting -= 1
            [token], [logprob] = choose(running.first[None], [candidate.sampler])
            if candidate.accept(token, logprob, self._counts):
                running.started.append((candidate, row))
                return
        if row != running.row:
            self._release(running, row)
        if not running.started and not running.waiting:
            self._end(running)
            job.finish()

    # --- answers ---

    def _step(self) -> None:
        """Make one step of all answers."""
        active = [(running, *started) for running in self._running for started in running.started]
        if not active:
            return
        device = self._loaded.device
        tokens = torch.tensor([[candidate.last] for _, candidate, _ in active])
        rows = [row for *_, row in active]
        lengths = [self._places.length(row) for row in rows]
        mask = None
        if len(active) == 1:
            self._table.one(rows[0], lengths[0])
        else:
            mask = self._table.many(rows, lengths, device, self._loaded.dtype)
        logits = self._forward(tokens, torch.tensor(lengths)[:, None], mask)
        chosen = choose(logits, [candidate.sampler for _, candidate, _ in active])
        for (running, candidate, row), token, logprob in zip(active, *chosen, strict=True):
            self._places.add(row, [candidate.last])
            if candidate.accept(token, logprob, self._counts):
                continue
            running.started.remove((candidate, row))
            self._places.cut(row, len(running.job.prompt))
            self._begin(running, row)

    def _forward(self, tokens: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the model on tokens (batch, length); return the logits after the last ones, (batch, vocabulary)."""
        device = self._loaded.device
        made = self._loaded.model(
            input_ids=tokens.to(device),
            position_ids=positions.to(device),
            attention_mask=mask,
            past_key_values=self._table,
            use_cache=True,
            **self._keep_one,
        )
        return made.logits[:, -1]

    def _synchronize(self) -> None:
        if self._loaded.device.type == "cuda":
            torch.cuda.synchronize()
