"""What the server is doing, told to the client when it changes. A user who gets nothing must be able to see why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

log = logging.getLogger(__name__)


class State(StrEnum):
    """The states of a session."""

    READY = "ready"
    WORKING = "working"
    STARTING = "starting model"
    DOWNLOADING = "downloading"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Report:
    """One state, with what a person should know about it."""

    state: State
    message: str = ""
    fix: str = ""

    @property
    def busy(self) -> bool:
        """Whether it will end by itself."""
        return self.state in (State.WORKING, State.STARTING, State.DOWNLOADING)

    @property
    def text(self) -> str:
        """One line for a person."""
        parts = [f"nl2code: {self.message or self.state.value}", self.fix]
        return " - ".join(part for part in parts if part)


class Board:
    """Keeps the state of a session. `tell` gets each new report, `warn` the text of each new problem once."""

    def __init__(self, tell: Callable[[Report], None], warn: Callable[[str], None]) -> None:
        self.report = Report(State.READY)
        """What the client was told last."""
        self._standing = self.report
        self._jobs: dict[object, Report] = {}
        self._warned: set[str] = set()
        self._tell = tell
        self._warn = warn

    def begin(self, job: object, state: State = State.WORKING, message: str = "") -> None:
        """Say what a job is doing; again for each new stage of it."""
        self._jobs.pop(job, None)
        self._jobs[job] = Report(state, message)
        self._show()

    def end(self, job: object, outcome: Report | None = None) -> None:
        """Forget a job. `outcome` holds until the next one; a job that was taken back has none."""
        self._jobs.pop(job, None)
        if outcome is not None:
            self._standing = outcome
            if outcome.state is State.PROBLEM:
                self._complain(outcome.text)
        self._show()

    def _show(self) -> None:
        report = next(reversed(self._jobs.values())) if self._jobs else self._standing
        if report != self.report:
            self.report = report
            self._tell(report)

    def _complain(self, text: str) -> None:
        log.warning("%s", text)
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)
