"""The next token of each sequence of a batch, and its log-probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NUCLEUS = 256
"""Likeliest tokens looked at first: nearly always they hold the probability that is asked for."""


class Sampler:
    """How one sequence is drawn. The numbers come from the CPU, so that a seed means the same on every device."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        import torch

        self.temperature = temperature
        self._top_p = top_p
        self._random = torch.Generator()
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(seed)

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw a token from logits of shape (vocabulary,)."""
        import torch

        probabilities = torch.softmax(logits / self.temperature, dim=-1)
        values, tokens = probabilities.topk(min(NUCLEUS, len(probabilities)))
        if self._top_p >= 1 or values.sum() < self._top_p:
            values, tokens = probabilities.sort(descending=True)
        upto = values.cumsum(-1)
        # A token belongs to the nucleus while the likelier ones do not fill it.
        upto = upto[: int((upto - values < self._top_p).sum())]
        at = torch.rand((), generator=self._random).to(upto.device) * upto[-1]
        return tokens[torch.searchsorted(upto, at).clamp(max=len(upto) - 1)]


def choose(logits: torch.Tensor, samplers: Sequence[Sampler]) -> tuple[list[int], list[float]]:
    """Choose a token for each row of logits (batch, vocabulary); the probabilities are those before temperature."""
    import torch

    logits = logits.float()
    tokens = logits.argmax(dim=-1)
    for row, sampler in enumerate(samplers):
        if sampler.temperature > 0:
            tokens[row] = sampler.draw(logits[row])
    chosen = logits.gather(-1, tokens[:, None]).squeeze(-1) - torch.logsumexp(logits, dim=-1)
    return tokens.tolist(), chosen.tolist()
