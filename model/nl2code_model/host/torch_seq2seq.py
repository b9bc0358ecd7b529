"""The decoding loop of encoder-decoder models: a chat as plain text in, each request's candidates as one batch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from nl2code_server.errors import ModelFileError

from .engine import Counts, PromptTooLong
from .torch_job import Candidate, Job
from .torch_loop import Loop
from .torch_sampling import choose
from .torch_text import Text

if TYPE_CHECKING:
    from torch import Tensor

    from .torch_load import Loaded

KEPT = 8
"""Encoded prompts kept: the same one is asked about again when an answer was not good enough."""


@dataclass(eq=False, slots=True)
class _Running:
    """A request whose prompt is encoded. `tokens` are what the decoder has to take in next, a row a candidate."""

    job: Job
    candidates: list[Candidate]
    encoded: Tensor
    cache: EncoderDecoderCache
    tokens: Tensor


class Seq2Seq(Loop[_Running]):
    """Answers requests with an encoder-decoder model, a step of each in turn."""

    def __init__(self, loaded: Loaded, text: Text, counts: Counts, *, at_once: int, context: int) -> None:
        super().__init__(text, context)
        self._loaded = loaded
        self._counts = counts
        self._at_once = at_once
        self._start = _start_tokens(loaded)
        self._encoded: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    def round(self) -> None:
        """Encode a prompt, if one waits, and make one step of every request."""
        self._drop_cancelled()
        if self._waiting and len(self._running) < self._at_once:
            self._running.append(self._begin(self._waiting.pop(0)))
        for running in list(self._running):
            self._step(running)

    def flush(self) -> None:
        """Forget all encoded prompts: they were computed with other weights."""
        self._encoded.clear()

    def warm_up(self) -> None:
        """Run the model once, so that the first request does not pay for what is made on first use."""
        encoded = self._encode((0, 0))
        self._forward(encoded, _empty_cache(), torch.tensor([self._start]))
        self.flush()

    def _begin(self, job: Job) -> _Running:
        prompt, asked = tuple(job.prompt), job.generation
        if prompt in self._encoded:
            job.cached = len(prompt)
            self._counts.cached_tokens += len(prompt)
        else:
            self._counts.prompt_tokens += len(prompt)
        encoded = self._encode(prompt)
        before = [*self._start, *self.text.text_tokens(asked.prefill)]
        room = self.context - len(before)
        if room < 1:
            raise PromptTooLong(len(before), self.context)
        candidates = [
            Candidate(job, index, self.text.answer(before), self._loaded.ends, room)
            for index in range(asked.n)
        ]
        tokens = torch.tensor([before] * asked.n)
        return _Running(job, candidates, encoded.expand(asked.n, -1, -1), _empty_cache(), tokens)

    def _encode(self, prompt: tuple[int, ...]) -> Tensor:
        if prompt not in self._encoded:
            tokens = torch.tensor([prompt], device=self._loaded.device)
            encoder = self._loaded.model.get_encoder()
            self._encoded[prompt] = encoder(
                input_ids=tokens, attention_mask=torch.ones_like(tokens)
            ).last_hidden_state
        self._encoded.move_to_end(prompt)
        if len(self._encoded) > KEPT:
            self._encoded.popitem(last=False)
        return self._encoded[prompt]

    def _step(self, running: _Running) -> None:
        logits = self._forward(running.encoded, running.cache, running.tokens)
        chosen = choose(logits, [candidate.sampler for candidate in running.candidates])
        going = [
            row
            for row, (candidate, token, logprob) in enumerate(zip(running.candidates, *chosen, strict=True))
            if candidate.accept(token, logprob, self._counts)
        ]
        if not going:
            self._end(running)
            running.job.finish()
            return
        if len(going) < len(running.candidates):
            rows = torch.tensor(going, device=self._loaded.device)
            running.cache.batch_select_indices(rows)
            running.encoded = running.encoded[rows]
            running.candidates = [running.candidates[row] for row in going]
        running.tokens = torch.tensor([[candidate.last] for candidate in running.candidates])

    def _forward(self, encoded: Tensor, cache: EncoderDecoderCache, tokens: Tensor) -> Tensor:
        """Run the decoder on tokens (batch, length); return the logits after the last ones, (batch, vocabulary)."""
        made = self._loaded.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=torch.ones(encoded.shape[:2], dtype=torch.long, device=encoded.device),
            decoder_input_ids=tokens.to(encoded.device),
            past_key_values=cache,
            use_cache=True,
        )
        return made.logits[:, -1]


def _empty_cache() -> EncoderDecoderCache:
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _start_tokens(loaded: Loaded) -> list[int]:
    """Return the tokens that every answer begins with."""
    generation, config = loaded.model.generation_config, loaded.model.config
    start = next(
        (
            token
            for token in (
                generation.decoder_start_token_id,
                getattr(config, "decoder_start_token_id", None),
                generation.bos_token_id,
            )
            if isinstance(token, int)
        ),
        None,
    )
    if start is None:
        raise ModelFileError(
            f"the config of {type(loaded.model).__name__} does not say which token starts an answer",
            "use a model that has decoder_start_token_id",
        )
    forced = generation.forced_bos_token_id
    return [start, forced] if isinstance(forced, int) else [start]
