"""Which of several answers the user would take: a logistic regression on what code looks like, from the same labels.

It is used only where it tells taken from not taken better than log-probability and length do, on what was held out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nl2code_server.feedback.events import CandidateRow
from nl2code_server.feedback.store import Record
from nl2code_server.lang.traits import NAMES, RANKING, VERSION, traits
from nl2code_server.platform import paths, write_private

from .labels import label
from .recipe import Cuts

PENALTY = 1.0
"""Weight of the squared weights beside the summed loss; features are in units of their deviation."""
STEPS = 50
LEAST = 20
"""Answers of either verdict below which nothing is learnt, and half as many below which nothing is shown."""


@dataclass(frozen=True, slots=True)
class Example:
    """An answer that was judged."""

    request: str
    traits: tuple[float, ...]
    taken: bool

    def trait(self, name: str) -> float:
        """Return one of its numbers."""
        return self.traits[NAMES.index(name)]


@dataclass(frozen=True, slots=True)
class Ranking:
    """A regression: the chance that an answer is taken is the logistic function of bias and weighted traits."""

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def chance(self, example: Example) -> float:
        """Return how likely it is that an answer is taken."""
        return _logistic(self.bias + self.score(example))

    def score(self, example: Example) -> float:
        """Return what answers are ordered by; more is better."""
        rows = zip(self.weights, example.traits, self.centre, self.scale, strict=True)
        return sum(weight * (value - centre) / scale for weight, value, centre, scale in rows)

    def write(self) -> None:
        """Have the language server use it."""
        data = {
            "version": VERSION,
            "features": NAMES,
            "centre": self.centre,
            "scale": self.scale,
            "weights": self.weights,
            "bias": self.bias,
        }
        write_private(_path(), json.dumps(data, indent=1))


def use(ranking: Ranking | None) -> None:
    """Have the language server rank by this, or as it did before anything was learnt."""
    if ranking:
        ranking.write()
    else:
        _path().unlink(missing_ok=True)


def examples(records: Iterable[Record], cuts: Cuts) -> list[Example]:
    """Return the answers of a log that were judged, as they were offered: what had to be mended was not taken."""
    found = []
    for record in records:
        judged = label([record], cuts)
        verdicts = {row.id: row.source == "accepted" for row in judged.rows}
        rejected = {one.rejected for one in judged.pairs}
        for candidate in record.candidates:
            if candidate.text and (candidate.candidate_id in verdicts or candidate.text in rejected):
                taken = verdicts.get(candidate.candidate_id, False)
                found.append(Example(record.request.request_id, _traits(candidate), taken))
    return found


def fit(given: Sequence[Example]) -> Ranking:
    """Find the weights by Newton's method. The chances add up to the number taken: calibrated on the whole."""
    columns = list(zip(*(one.traits for one in given), strict=True))
    centre = tuple(fmean(column) for column in columns)
    scale = tuple(
        math.sqrt(fmean([(value - middle) ** 2 for value in column])) or 1.0
        for column, middle in zip(columns, centre, strict=True)
    )
    rows = [
        [
            1.0,
            *((value - middle) / unit for value, middle, unit in zip(one.traits, centre, scale, strict=True)),
        ]
        for one in given
    ]
    wanted = [float(one.taken) for one in given]
    size = len(NAMES) + 1
    found = [0.0] * size
    for _ in range(STEPS):
        chances = [_logistic(_dot(found, row)) for row in rows]
        slope = [
            sum((wish - chance) * row[i] for wish, chance, row in zip(wanted, chances, rows, strict=True))
            - (PENALTY * found[i] if i else 0.0)
            for i in range(size)
        ]
        bend = [
            [
                sum(
                    chance * (1 - chance) * row[i] * row[j] for chance, row in zip(chances, rows, strict=True)
                )
                + (PENALTY if i == j and i else 1e-9 if i == j else 0.0)
                for j in range(size)
            ]
            for i in range(size)
        ]
        step = _solved(bend, slope)
        found = [one + change for one, change in zip(found, step, strict=True)]
        if max(map(abs, step)) < 1e-8:
            break
    return Ranking(centre, scale, tuple(found[1:]), found[0])


def learn(given: Sequence[Example], held_out: Collection[str]) -> tuple[Ranking | None, dict[str, Any]]:
    """Return a ranking if it is better than what there is, and the figures that say so; `held_out` names requests."""
    train = [one for one in given if one.request not in held_out]
    held = [one for one in given if one.request in held_out]
    report: dict[str, Any] = {"train": len(train), "held_out": len(held), "used": False}
    if (short := _short(train, LEAST)) or (short := _short(held, LEAST // 2)):
        return None, {**report, "reason": short}
    ranking = fit(train)
    auc = {
        "learned": area([(ranking.score(one), one.taken) for one in held]),
        "logprob": area([(one.trait("logprob"), one.taken) for one in held]),
        # Whichever way round it tells more: a user may like short answers or long ones.
        "length": _either(area([(one.trait("characters"), one.taken) for one in held])),
    }
    share = fmean([one.taken for one in train])
    brier = fmean([(ranking.chance(one) - one.taken) ** 2 for one in held])
    brier_of_share = fmean([(share - one.taken) ** 2 for one in held])
    used = auc["learned"] > max(auc["logprob"], auc["length"], 0.5) and brier < brier_of_share
    report |= {
        "used": used,
        "reason": "" if used else "it is no better than log-probability or length on what was held out",
        "auc": {name: round(value, 4) for name, value in auc.items()},
        "brier": round(brier, 4),
        "brier_of_share": round(brier_of_share, 4),
        "weights": {name: round(value, 4) for name, value in zip(NAMES, ranking.weights, strict=True)},
    }
    return (ranking if used else None), report


def area(scored: Sequence[tuple[float, bool]]) -> float:
    """Return how often an answer that was taken scores above one that was not; ties count half."""
    good = [score for score, taken in scored if taken]
    bad = [score for score, taken in scored if not taken]
    if not good or not bad:
        return 0.5
    wins = sum((one > other) + 0.5 * (one == other) for one in good for other in bad)
    return wins / (len(good) * len(bad))


def _short(given: Sequence[Example], least: int) -> str:
    taken = sum(one.taken for one in given)
    few = min(taken, len(given) - taken)
    return (
        f"{taken} taken and {len(given) - taken} not are too few, at least {least} of each"
        if few < least
        else ""
    )


def _either(value: float) -> float:
    return max(value, 1 - value)


def _traits(candidate: CandidateRow) -> tuple[float, ...]:
    known = candidate.logprob_sum is not None and candidate.n_tokens > 0
    mean = candidate.logprob_sum / candidate.n_tokens if known and candidate.logprob_sum is not None else None
    return traits(candidate.text, mean, greedy=candidate.origin == "greedy")


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve a system of linear equations whose matrix is positive definite."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i, row in enumerate(rows):
        for other in rows[i + 1 :]:
            factor = other[i] / row[i]
            for j in range(i, len(row)):
                other[j] -= factor * row[j]
    found = [0.0] * len(rows)
    for i in reversed(range(len(rows))):
        rest = sum(rows[i][j] * found[j] for j in range(i + 1, len(rows)))
        found[i] = (rows[i][-1] - rest) / rows[i][i]
    return found


def _path() -> Path:
    return paths().data / RANKING
