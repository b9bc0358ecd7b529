"""Keys and values of several sequences, a row each, kept after their answers: prompts begin alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from .slots import common_prefix

if TYPE_CHECKING:
    from torch import Tensor


class Rows(Cache):
    """What transformers' models write keys and values into, at fixed addresses.

    A forward pass works either on one row from a position on (`one`), or on the next token of several rows (`many`).
    """

    def __init__(self, layers: int, count: int, length: int) -> None:
        self.count = count
        self.length = length
        self.spare = count
        """One more row, which belongs to nobody."""
        self.row = 0
        self.start = 0
        self.rows: Tensor | None = None
        self.positions: Tensor | None = None
        self.visible = 0
        super().__init__(layers=[_Layer(self) for _ in range(layers)])

    def one(self, row: int, start: int) -> None:
        """Let the next pass extend one row, of which `start` tokens are known."""
        self.row, self.start, self.rows = row, start, None

    def many(self, rows: Tensor, positions: Tensor, visible: int, dtype: torch.dtype) -> Tensor:
        """Let the next pass add a token to each of several rows; return its attention mask.

        It looks at the first `visible` tokens of each. Nothing here waits for the device.
        """
        self.rows, self.positions, self.visible = rows, positions, visible
        beyond = torch.arange(visible, device=rows.device) > positions[:, None]
        mask = torch.zeros(beyond.shape, device=rows.device, dtype=dtype)
        return mask.masked_fill_(beyond, torch.finfo(dtype).min)[:, None, None, :]

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of a row to another."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys[target, :, :tokens] = layer.keys[source, :, :tokens]
                layer.values[target, :, :tokens] = layer.values[source, :, :tokens]


class _Layer(CacheLayerMixin):
    is_sliding = False

    def __init__(self, table: Rows) -> None:
        super().__init__()
        self._table = table

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        # Zeros, because a masked position still takes part: with nothing times what it holds.
        shape = (self._table.count + 1, key_states.shape[1], self._table.length)
        self.keys = key_states.new_zeros(*shape, key_states.shape[-1])
        self.values = value_states.new_zeros(*shape, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        table = self._table
        if table.rows is None:
            row, end = table.row, table.start + key_states.shape[2]
            self.keys[row, :, table.start : end] = key_states[0]
            self.values[row, :, table.start : end] = value_states[0]
            return self.keys[row : row + 1, :, :end], self.values[row : row + 1, :, :end]
        self.keys[table.rows, :, table.positions] = key_states[:, :, 0]
        self.values[table.rows, :, table.positions] = value_states[:, :, 0]
        return self.keys[table.rows, :, : table.visible], self.values[table.rows, :, : table.visible]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._table.start if self._table.rows is None else self._table.visible

    def get_max_length(self) -> int:
        return self._table.length


class Places:
    """Which rows are in use, what each holds, and which to take for a prompt."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._held: list[list[int]] = [[] for _ in range(table.count)]
        self._free = list(range(table.count))  # longest unused first

    @property
    def free(self) -> int:
        """How many rows are not in use."""
        return len(self._free)

    def take(self, prompt: Sequence[int]) -> tuple[int, int]:
        """Take a free row for a prompt, and return it with how many of the prompt's tokens it holds."""
        shared = [common_prefix(held, prompt) for held in self._held]
        # A row that only grows loses nothing.
        growing = [row for row in self._free if shared[row] == len(self._held[row])]
        row = max(growing, key=shared.__getitem__) if growing else self._free[0]
        best = max(range(len(shared)), key=shared.__getitem__)
        kept = min(shared[best], len(prompt) - 1)  # the last token is evaluated for what follows it
        if shared[best] > shared[row]:  # another row holds more of it, perhaps one in use
            self._table.copy(best, row, kept)
        self._free.remove(row)
        self._held[row] = list(prompt[:kept])
        return row, kept

    def take_copy(self, source: int, tokens: int) -> int:
        """Take a free row and let it hold the first `tokens` that another holds."""
        row = self._free[0]
        self._table.copy(source, row, tokens)
        self._free.remove(row)
        self._held[row] = self._held[source][:tokens]
        return row

    def add(self, row: int, tokens: Sequence[int]) -> None:
        """Note that a row holds these tokens too."""
        self._held[row] += tokens

    def cut(self, row: int, tokens: int) -> None:
        """Let a row hold its first `tokens` only."""
        del self._held[row][tokens:]

    def length(self, row: int) -> int:
        """Return how many tokens a row holds."""
        return len(self._held[row])

    def release(self, row: int) -> None:
        """Give a row back; what it holds stays until the row is taken for another prompt."""
        self._free.append(row)

    def flush(self) -> None:
        """Forget what the rows hold, none of them in use: it was computed with other weights."""
        self._held = [[] for _ in self._held]
