"""One step: the next token of several rows, with all that it needs at fixed addresses on the device.

A step is either made kernel by kernel, or replayed as a graph that was captured of it: on a GPU the launches take
longer than the work. A shape (rows, tokens looked at, drawn or greedy) is captured once it has been met, when there
is nothing else to do: no answer waits for it. The chosen tokens go into the next step without passing through the
CPU, which may read them while that step runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from .torch_sampling import Drawing, Sampler, pick

if TYPE_CHECKING:
    from torch import Tensor

    from .torch_cache import Rows

log = logging.getLogger(__name__)

BLOCK = 64
"""Tokens by which the part of the rows grows that is looked at, where nothing is captured."""
SMALLEST = 256
"""Of these parts, where each is captured: they double, so that few occur."""
PATIENCE = 48
"""Steps of a shape after which a busy engine stops to capture it: that is soon repaid."""


class Forward(Protocol):
    """A model's pass over the next token of each row."""

    def __call__(self, tokens: Tensor, positions: Tensor, rows: Tensor, visible: int) -> Tensor:
        """Return logits (rows, vocabulary); keys and values go to the positions in the rows."""
        ...


class Shape(NamedTuple):
    """What makes one graph differ from another."""

    rows: int
    visible: int
    drawn: bool


Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Turns a step into what repeats it."""


class Lane(NamedTuple):
    """A row that takes part in a step: the position its token gets, and how the one after is drawn."""

    row: int
    position: int
    sampler: Sampler


class Steps:
    """Makes steps; keeps, by row, the token that comes next and its position."""

    def __init__(
        self, forward: Forward, table: Rows, device: torch.device, capture: Capture | None = None
    ) -> None:
        self.replayed = 0
        self.eager = 0
        self.settled = False
        """Whether a first answer has been given: nothing is captured before."""
        self._forward = forward
        self._length, self._spare = table.length, table.spare
        self._capture = capture
        self._graphs: dict[Shape, Replay] = {}
        self._wanted: dict[Shape, int] = {}
        rows = table.count + 1
        self._tokens = torch.zeros(rows, dtype=torch.long, device=device)
        self._positions = torch.zeros(rows, dtype=torch.long, device=device)
        self._temperatures = torch.zeros(rows, device=device)
        self._top_ps = torch.ones(rows, device=device)
        self._sizes = _sizes(table.count)
        widest = self._sizes[-1]
        self._lanes = torch.full((widest,), self._spare, dtype=torch.long, device=device)
        self._numbers = torch.zeros(widest, device=device)
        self._chosen = torch.zeros(2, widest, device=device)
        self._uploaded: list[int] = []
        cuda = device.type == "cuda"
        # Two of each, as the CPU fills or reads one while the device is at the other.
        self._transfers = [_Transfer(widest, pinned=cuda) for _ in range(2)]
        self._device = device

    def place(self, row: int, token: int, position: int, sampler: Sampler) -> None:
        """Say what a row goes on with, and how its tokens are drawn."""
        self._tokens[row] = token
        self._positions[row] = position
        self._temperatures[row] = sampler.temperature
        self._top_ps[row] = sampler.top_p

    def launch(self, lanes: Sequence[Lane]) -> Pending:
        """Begin a step of these rows; at most one other may be unread."""
        drawn = any(lane.sampler.temperature > 0 for lane in lanes)
        shape = self._shape(len(lanes), max(lane.position for lane in lanes) + 1, drawn)
        transfer = self._transfers[(self.replayed + self.eager) % 2]
        rows = [lane.row for lane in lanes] + [self._spare] * (shape.rows - len(lanes))
        if rows != self._uploaded:
            transfer.send(transfer.rows, rows, self._lanes)
            self._uploaded = rows
        if drawn:
            transfer.send(transfer.numbers, [lane.sampler.number() for lane in lanes], self._numbers)
        if replay := self._graphs.get(shape):
            replay()
            self.replayed += 1
        else:
            self._step(shape)
            self.eager += 1
        pending = transfer.receive(self._chosen, len(lanes))
        if not replay and self._capture:
            self._want(shape)
        return pending

    def prepare(self) -> bool:
        """Capture one shape that was met; return whether there was any."""
        if not self._capture or not self._wanted or not self.settled:
            return False
        shape = max(self._wanted, key=self._wanted.__getitem__)
        del self._wanted[shape]
        # It is captured, and tried out before, on rows that are nobody's.
        self._lanes.fill_(self._spare)
        self._positions[self._spare] = 0
        self._uploaded = []
        try:
            self._graphs[shape] = self._capture(lambda: self._step(shape))
        except Exception as error:
            log.warning("steps are made kernel by kernel, as they cannot be captured: %s", error)
            self.stay_eager()
        return True

    def stay_eager(self) -> None:
        """Capture nothing, now and later."""
        self._capture = None
        self.forget()

    def forget(self) -> None:
        """Forget all graphs: the model is not the one that they were captured of."""
        self._graphs.clear()
        self._wanted.clear()

    def _shape(self, rows: int, tokens: int, drawn: bool) -> Shape:
        if not self._capture:
            return Shape(rows, min(self._length, -(-tokens // BLOCK) * BLOCK), drawn)
        size = next(size for size in self._sizes if size >= rows)
        visible = SMALLEST
        while visible < tokens:
            visible *= 2
        return Shape(size, min(self._length, visible), drawn)

    def _want(self, shape: Shape) -> None:
        self._wanted[shape] = self._wanted.get(shape, 0) + 1
        longer = shape._replace(visible=min(self._length, shape.visible * 2))
        if longer not in self._graphs:  # an answer may grow into it
            self._wanted.setdefault(longer, 0)
        if self._wanted[shape] >= PATIENCE:
            self.prepare()

    def _step(self, shape: Shape) -> None:
        """Make a step on what lies at the fixed addresses. Nothing in it waits for the device."""
        rows = self._lanes[: shape.rows]
        positions = self._positions[rows]
        logits = self._forward(self._tokens[rows], positions, rows, shape.visible)
        drawing = None
        if shape.drawn:
            drawing = Drawing(self._temperatures[rows], self._top_ps[rows], self._numbers[: shape.rows])
        tokens, logprobs = pick(logits, drawing)
        self._tokens[rows] = tokens
        self._positions[rows] = (positions + 1).clamp_(max=self._length - 1)
        self._chosen[0, : shape.rows] = tokens  # exact: vocabularies are far smaller than 2 ** 24
        self._chosen[1, : shape.rows] = logprobs


class Pending(NamedTuple):
    """What a step under way will have chosen."""

    values: Tensor
    done: Any
    """A CUDA event; None where nothing is asynchronous."""

    def read(self) -> tuple[list[int], list[float]]:
        """Wait for the step; return the tokens and their log-probabilities."""
        if self.done:
            self.done.synchronize()
        tokens, logprobs = self.values.tolist()
        return [int(token) for token in tokens], logprobs


class _Transfer:
    """Memory of the CPU that a device copies from and to by itself."""

    def __init__(self, widest: int, *, pinned: bool) -> None:
        self.rows = torch.zeros(widest, dtype=torch.long, pin_memory=pinned)
        self.numbers = torch.zeros(widest, pin_memory=pinned)
        self._chosen = torch.zeros(2, widest, pin_memory=pinned)
        self._pinned = pinned

    def send(self, through: Tensor, values: Sequence[float], target: Tensor) -> None:
        """Have values copied to the start of a tensor on the device."""
        count = len(values)
        through[:count] = torch.tensor(values, dtype=through.dtype)
        target[:count].copy_(through[:count], non_blocking=self._pinned)

    def receive(self, source: Tensor, count: int) -> Pending:
        """Have the first values of each choice copied here."""
        self._chosen.copy_(source, non_blocking=self._pinned)
        done = None
        if self._pinned:
            done = torch.cuda.Event()
            done.record()
        return Pending(self._chosen[:, :count], done)


def cuda_capture() -> Capture:
    """Return what captures steps as CUDA graphs that share their working memory."""
    pool = torch.cuda.graph_pool_handle()

    def capture(step: Callable[[], None]) -> Replay:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # what a library does at its first call cannot be captured
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            step()
        return graph.replay

    return capture


def _sizes(rows: int) -> list[int]:
    """Return the numbers of rows that are captured: powers of two."""
    sizes = [1]
    while sizes[-1] < rows:
        sizes.append(sizes[-1] * 2)
    return sizes
