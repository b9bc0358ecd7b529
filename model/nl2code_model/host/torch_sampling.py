"""The next token of each sequence of a batch, and its log-probability: on the device, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

NUCLEUS = 256
"""Likeliest tokens looked at first on a CPU: nearly always they hold the probability that is asked for."""


class Sampler:
    """How one sequence is drawn. The numbers come from the CPU, so that a seed means the same on every device."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        import torch

        self.temperature = temperature
        self.top_p = top_p
        self._random = torch.Generator()
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(seed)

    def number(self) -> float:
        """Return the next number from [0, 1) that decides; nothing decides a greedy choice."""
        import torch

        return float(torch.rand((), generator=self._random)) if self.temperature > 0 else 0.0


class Drawing(NamedTuple):
    """How the tokens of a batch are drawn, a value for each row of logits."""

    temperatures: Tensor
    top_ps: Tensor
    numbers: Tensor


def choose(logits: Tensor, samplers: Sequence[Sampler]) -> tuple[list[int], list[float]]:
    """Choose a token for each row of logits (batch, vocabulary), and wait for what is chosen."""
    import torch

    drawing = None
    if any(sampler.temperature > 0 for sampler in samplers):
        values = [(sampler.temperature, sampler.top_p, sampler.number()) for sampler in samplers]
        drawing = Drawing(*torch.tensor(values, device=logits.device).unbind(1))
    tokens, logprobs = pick(logits, drawing)
    return tokens.tolist(), logprobs.tolist()


def pick(logits: Tensor, drawing: Drawing | None) -> tuple[Tensor, Tensor]:
    """Choose a token for each row of logits; the log-probabilities are those before temperature."""
    import torch

    logits = logits.float()
    tokens = logits.argmax(dim=-1)
    if drawing:
        tokens = torch.where(drawing.temperatures > 0, _draw(logits, drawing), tokens)
    chosen = logits.gather(-1, tokens[:, None]).squeeze(-1) - torch.logsumexp(logits, dim=-1)
    return tokens, chosen


def _draw(logits: Tensor, drawing: Drawing) -> Tensor:
    import torch

    temperatures = torch.where(drawing.temperatures > 0, drawing.temperatures, 1.0)
    probabilities = torch.softmax(logits / temperatures[:, None], dim=-1)
    top_ps = drawing.top_ps[:, None]
    values, tokens = None, None
    if logits.device.type == "cpu":  # elsewhere a look at the values would wait for the device
        values, tokens = probabilities.topk(min(NUCLEUS, logits.shape[-1]))
        if bool(((top_ps >= 1) | (values.sum(-1, keepdim=True) < top_ps)).any()):
            values = None
    if values is None or tokens is None:
        values, tokens = probabilities.sort(descending=True)
    upto = values.cumsum(-1)
    # A token belongs to the nucleus while the likelier ones do not fill it.
    inside = upto - values < top_ps
    at = drawing.numbers[:, None] * (values * inside).sum(-1, keepdim=True)
    place = torch.minimum((upto < at).sum(-1, keepdim=True), inside.sum(-1, keepdim=True) - 1)
    return tokens.gather(-1, place).squeeze(-1)
