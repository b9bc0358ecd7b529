"""What each of an engine's slots holds, so that a prompt goes where most of it has been evaluated already."""

from __future__ import annotations

from collections.abc import Sequence

ANSWERS = 0.1
"""Share of the room that answers take up."""


class Slots:
    """The prompt that each slot was last given. An estimate: the engine may have dropped some of it.

    Slots share room for `capacity` tokens; when it is used up, the engine clears those that are not in use.
    """

    def __init__(self, count: int, capacity: int, first: int = 0) -> None:
        """`first` is the number that the engine gives to the first of these slots."""
        self._capacity = capacity
        self._held: dict[int, Sequence[int]] = dict.fromkeys(range(first, first + count), ())
        self._order = list(self._held)  # longest unused first

    def choose(self, prompt: Sequence[int]) -> tuple[int, int]:
        """Return the slot that answers at the least cost, and how many tokens of the prompt it holds."""

        def cost(slot: int) -> float:
            held = common_prefix(self._held[slot], prompt)
            # Evaluating a token costs one; forgetting one costs half, as its file may not be asked about again.
            return (len(prompt) - held) + (len(self._held[slot]) - held) / 2

        slot = min(self._order, key=cost)
        self._order.remove(slot)
        self._order.append(slot)
        return slot, common_prefix(self._held[slot], prompt)

    def hold(self, slot: int, prompt: Sequence[int]) -> None:
        """Note what a slot holds from now on."""
        self._held[slot] = prompt
        for other in self._order:
            if other != slot and sum(map(len, self._held.values())) > self._capacity * (1 - ANSWERS):
                self._held[other] = ()

    def forget(self) -> None:
        """Note that nothing is held: the engine was started anew."""
        self._held = dict.fromkeys(self._held, ())


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two sequences share at their start."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
