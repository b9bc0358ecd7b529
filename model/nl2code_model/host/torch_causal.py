"""The decoding loop of causal models: prompts slice by slice, then one token for every running answer at once.

A round takes requests in, evaluates a slice of one prompt and makes one step of all answers: nobody waits for
another's whole prompt or answer, and a client that leaves is noticed within a step. On a GPU a step is begun before
the one before is read, so that the device never waits; what an answer's end or a client's leaving makes of that is a
token that nobody takes.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from nl2code_server.errors import ModelFileError

from .torch_block import fused
from .torch_cache import Places, Rows
from .torch_job import Candidate, Job, Pace
from .torch_loop import Loop
from .torch_sampling import choose
from .torch_step import Capture, Lane, Pending, Steps, cuda_capture
from .warmth import Warmth

if TYPE_CHECKING:
    from torch import Tensor

    from .engine import Counts
    from .torch_load import Loaded
    from .torch_step import Forward
    from .torch_text import Text

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


class _Begun(NamedTuple):
    """A candidate at work."""

    running: _Running
    candidate: Candidate
    row: int


class Causal(Loop[_Running]):
    """Answers requests with a causal model."""

    def __init__(
        self,
        loaded: Loaded,
        text: Text,
        counts: Counts,
        *,
        rows: int,
        context: int,
        ahead: bool | None = None,
        capture: Capture | None = None,
    ) -> None:
        """`ahead`: whether a step begins before the one before is read. The device decides what is not given."""
        super().__init__(text, context)
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
        self._loaded = loaded
        self._counts = counts
        self._keep_one = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._table = Rows(config.num_hidden_layers, rows, context)
        self._places = Places(self._table)
        self._warmth = Warmth(counts)
        self._pace = Pace(smallest=32, largest=2048)
        self.fused: Forward | None = None
        """The model's step in few kernels, where there is one."""
        self._adapted = False
        cuda = loaded.device.type == "cuda"
        self._ahead = cuda if ahead is None else ahead
        self.steps = Steps(
            self._next_tokens, self._table, loaded.device, capture or (cuda_capture() if cuda else None)
        )
        self._under_way: tuple[Pending, list[_Begun]] | None = None
        """The step that has been begun and not read, and whom it is for."""

    def round(self) -> None:
        self._drop_cancelled()
        while self._waiting and self._places.free:
            self._start(self._waiting.pop(0))
        if prefilling := next((running for running in self._running if running.first is None), None):
            self._evaluate(prefilling)
        self._spread()
        self._step()

    def prepare(self) -> bool:
        return self.steps.prepare()

    def flush(self) -> None:
        self._under_way = None
        self._places.flush()
        self.steps.forget()
        self._adapted = any(".lora_" in name for name, _ in self._loaded.model.named_parameters())

    def warm_up(self) -> None:
        """Run the model once, so that the first request does not pay for what is made on first use."""
        self._table.one(0, 0)
        self._forward(torch.zeros(1, 8, dtype=torch.long), torch.arange(8)[None])
        self.fused = fused(self._loaded.model, self._table, self._by_library)

    # --- requests ---

    def _start(self, job: Job) -> None:
        row, job.cached = self._places.take(job.prompt)
        self._counts.cached_tokens += job.cached
        if not job.warms:
            self._warmth.asked(job.prompt, job.cached)
        self._running.append(_Running(job, row, waiting=job.generation.n))

    def _end(self, running: _Running) -> None:
        super()._end(running)
        held = min(self._places.length(running.row), len(running.job.prompt))
        if running.job.warms and held > running.job.cached:
            self._warmth.warmed(running.job.prompt[:held], running.job.cached)
        for candidate, _ in running.started:
            candidate.over = True
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
                self.steps.place(row, token, len(job.prompt), candidate.sampler)
                return
        if row != running.row:
            self._release(running, row)
        if not running.started and not running.waiting:
            self._end(running)
            job.finish()
            self.steps.settled = True

    # --- answers ---

    def _step(self) -> None:
        """Begin a step of all answers, and take what the last one chose."""
        before, self._under_way = self._under_way, self._launch()
        if not self._ahead:
            before, self._under_way = self._under_way, None
        if before:
            self._take(*before)
        if not self._running:
            self._under_way = None

    def _launch(self) -> tuple[Pending, list[_Begun]] | None:
        active = [_Begun(running, *started) for running in self._running for started in running.started]
        if not active:
            return None
        unread = {begun.candidate for begun in self._under_way[1]} if self._under_way else set()
        lanes = [
            Lane(row, self._places.length(row) + (candidate in unread), candidate.sampler)
            for _, candidate, row in active
        ]
        return self.steps.launch(lanes), active

    def _take(self, pending: Pending, begun: list[_Begun]) -> None:
        for (running, candidate, row), token, logprob in zip(begun, *pending.read(), strict=True):
            if candidate.over:
                continue
            self._places.add(row, [candidate.last])
            if candidate.accept(token, logprob, self._counts):
                continue
            running.started.remove((candidate, row))
            self._places.cut(row, len(running.job.prompt))
            self._begin(running, row)

    def _next_tokens(self, tokens: Tensor, positions: Tensor, rows: Tensor, visible: int) -> Tensor:
        forward = self._by_library if self._adapted or not self.fused else self.fused
        return forward(tokens, positions, rows, visible)

    def _by_library(self, tokens: Tensor, positions: Tensor, rows: Tensor, visible: int) -> Tensor:
        mask = self._table.many(rows, positions, visible, self._loaded.dtype)
        return self._forward(tokens[:, None], positions[:, None], mask)

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
