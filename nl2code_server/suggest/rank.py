"""Which candidate comes first. A new kind of evidence is one more element of `evidence`, or one more feature."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from . import Status
from .learned import in_force
from .normal_form import normal_form

_CLASS: dict[Status, int] = {"verified": 0, "valid": 1, "failed": 2}


class Ranked(Protocol):
    """What ranking looks at."""

    @property
    def status(self) -> Status: ...
    @property
    def code(self) -> str: ...
    @property
    def mean_logprob(self) -> float | None: ...
    @property
    def greedy(self) -> bool: ...
    @property
    def agreement(self) -> int: ...
    @property
    def faults(self) -> int: ...
    @property
    def unused(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of a candidate besides its verdicts: what a scorer may weigh."""

    greedy: bool
    mean_logprob: float | None
    code: str


Scorer = Callable[[Features], float]
"""Says how good a candidate is among those with the same verdict and agreement; more is better."""

R = TypeVar("R", bound=Ranked)


def likelihood(features: Features) -> float:
    """Score by mean log-probability, the model's first choice above all."""
    if features.greedy:
        return 0.0
    return -10.0 if features.mean_logprob is None else features.mean_logprob


def features_of(candidate: Ranked) -> Features:
    """Return the features of a candidate."""
    return Features(candidate.greedy, candidate.mean_logprob, candidate.code)


def evidence(candidate: Ranked, score: Scorer = likelihood) -> tuple[float, ...]:
    """Return what speaks for a candidate, the weightiest first, smaller is better."""
    return (
        _CLASS[candidate.status],
        candidate.faults,
        candidate.unused,
        -candidate.agreement,
        -score(features_of(candidate)),
    )


def order(candidates: Iterable[R], score: Scorer | None = None) -> list[R]:
    """Return the candidates best first, each program once; by the learned ranking, if the user has one."""
    score = score or in_force() or likelihood
    seen: set[str] = set()
    kept: list[R] = []
    for candidate in sorted(candidates, key=lambda one: evidence(one, score)):
        program = normal_form(candidate.code)
        if program not in seen:
            seen.add(program)
            kept.append(candidate)
    return kept
