"""What both decoding loops do alike: requests come in, wait, are dropped when clients leave, and fail together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .engine import PromptTooLong

if TYPE_CHECKING:
    from .torch_job import Job
    from .torch_text import Text


class Running(Protocol):
    """A request at work."""

    job: Job


R = TypeVar("R", bound=Running)


class Loop(ABC, Generic[R]):
    """The requests of one model, worked on a little of each in every round. Belongs to one thread."""

    def __init__(self, text: Text, context: int) -> None:
        self.text = text
        self.context = context
        self._waiting: list[Job] = []
        self._running: list[R] = []

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

    @abstractmethod
    def round(self) -> None:
        """Do a little of everything that there is to do."""

    def prepare(self) -> bool:
        """Do a little that later requests will be glad of, while there are none; return whether there was any."""
        return False

    @abstractmethod
    def flush(self) -> None:
        """Forget all that was computed with the weights so far."""

    def fail(self, error: Exception) -> None:
        """Give everything up: what was computed cannot be relied on any more."""
        for job in [*self._waiting, *(running.job for running in self._running)]:
            job.send(error)
        self._waiting.clear()
        for running in list(self._running):
            self._end(running)
        self.flush()

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.cancelled]
        for running in [running for running in self._running if running.job.cancelled]:
            self._end(running)

    def _end(self, running: R) -> None:
        """Work on a request no longer."""
        self._running.remove(running)
