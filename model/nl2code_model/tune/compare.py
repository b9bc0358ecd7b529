"""Whether an adapter is better than what serves: paired, with intervals, and with reasons for a refusal. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from .recipe import GateLimits


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one prompt."""

    id: str
    value: float
    """Of a task whether it passed; of a held-out request how much the answer is like what the user kept."""
    parses: bool
    length: int
    """Characters of code; 0 where there was none."""
    repeated: bool = False
    kind: str = ""
    leaks: bool = False
    """Whether the answer holds a secret that was not in the prompt."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decides."""

    passed: bool
    reasons: tuple[str, ...]
    """Why it refuses; none if it does not."""
    report: dict[str, Any]


def judge(
    held: tuple[Sequence[Score], Sequence[Score]],
    tasks: tuple[Sequence[Score], Sequence[Score]],
    limits: GateLimits,
    *,
    seed: int = 0,
) -> Verdict:
    """Compare the scores of what serves and of the new adapter, pair by pair."""
    reasons: list[str] = []
    kept = _pairs(held, limits, seed)
    ours = _pairs(tasks, limits, seed)
    shape = _shape([*held[0], *tasks[0]], [*held[1], *tasks[1]])
    if kept["n"] < limits.least_held_out:
        reasons.append(
            f"{kept['n']} held-out requests are too few to decide: at least {limits.least_held_out}"
        )
    if ours["n"] < limits.least_tasks:
        reasons.append(f"{ours['n']} tasks are too few to decide: at least {limits.least_tasks}")
    if kept["delta"] < limits.gain:
        reasons.append(f"likeness to what was kept: {kept['delta']:+.3f}, wanted {limits.gain:+.3f}")
    elif kept["lower"] <= 0:
        reasons.append(
            f"likeness to what was kept: {kept['delta']:+.3f}, but the interval reaches {kept['lower']:+.3f}"
        )
    if ours["lower"] < -limits.pass_margin:
        reasons.append(
            f"tasks passed: {ours['delta']:+.3f}, and the interval reaches {ours['lower']:+.3f}, "
            f"below -{limits.pass_margin}"
        )
    if shape["parse_after"] < shape["parse_before"] - limits.parse_margin:
        reasons.append(f"answers that parse: {shape['parse_before']:.3f} to {shape['parse_after']:.3f}")
    if abs(shape["length_ratio"] - 1) > limits.length_band:
        reasons.append(f"median length: {shape['length_ratio']:.2f} times what it was")
    if shape["faulty_after"] > shape["faulty_before"] + limits.repeat_margin:
        reasons.append(
            f"empty or repeating answers: {shape['faulty_before']:.3f} to {shape['faulty_after']:.3f}"
        )
    if shape["leaks_after"]:
        reasons.append(f"answers with a secret that was not asked about: {shape['leaks_after']}")
    report = {
        "passed": not reasons,
        "reasons": reasons,
        "held_out": kept,
        "held_out_by_length": _by_length(held),
        "held_out_by_kind": _by_kind(held),
        "tasks": ours,
        **shape,
        "limits": asdict(limits),
    }
    return Verdict(not reasons, tuple(reasons), report)


def lower_bound(deltas: Sequence[float], *, confidence: float, draws: int, seed: int) -> float:
    """Return the one-sided lower end of the mean's interval, by drawing the pairs anew."""
    if not deltas:
        return 0.0
    draw = random.Random(seed)  # noqa: S311 - a bootstrap
    means = sorted(fmean(draw.choices(deltas, k=len(deltas))) for _ in range(draws))
    return means[int((1 - confidence) * draws)]


def _pairs(scores: tuple[Sequence[Score], Sequence[Score]], limits: GateLimits, seed: int) -> dict[str, Any]:
    before, after = scores
    if [one.id for one in before] != [one.id for one in after]:
        raise ValueError("the scores are not of the same prompts")
    deltas = [new.value - old.value for old, new in zip(before, after, strict=True)]
    return {
        "n": len(deltas),
        "before": round(fmean([one.value for one in before]), 4) if before else 0.0,
        "after": round(fmean([one.value for one in after]), 4) if after else 0.0,
        "delta": round(fmean(deltas), 4) if deltas else 0.0,
        "lower": round(lower_bound(deltas, confidence=limits.confidence, draws=limits.draws, seed=seed), 4),
        "gained": sum(delta > 0 for delta in deltas),
        "lost": sum(delta < 0 for delta in deltas),
    }


def _shape(before: Sequence[Score], after: Sequence[Score]) -> dict[str, float]:
    lengths = [median([one.length for one in scores if one.length] or [0]) for scores in (before, after)]
    return {
        "parse_before": _share([one.parses for one in before]),
        "parse_after": _share([one.parses for one in after]),
        "length_ratio": round(lengths[1] / lengths[0], 3) if lengths[0] else 1.0,
        "faulty_before": _share([one.repeated or not one.length for one in before]),
        "faulty_after": _share([one.repeated or not one.length for one in after]),
        "leaks_before": sum(one.leaks for one in before),
        "leaks_after": sum(one.leaks for one in after),
    }


def _by_length(scores: tuple[Sequence[Score], Sequence[Score]]) -> list[float]:
    """Return the gain in each third by the length of the old answer: shorter must not be all there is to better."""
    pairs = sorted(zip(*scores, strict=True), key=lambda pair: pair[0].length)
    third = max(1, len(pairs) // 3)
    parts = [pairs[:third], pairs[third : 2 * third], pairs[2 * third :]]
    return [round(fmean([new.value - old.value for old, new in part]), 4) for part in parts if part]


def _by_kind(scores: tuple[Sequence[Score], Sequence[Score]]) -> dict[str, float]:
    pairs = list(zip(*scores, strict=True))
    kinds = sorted({old.kind for old, _ in pairs if old.kind})
    return {
        kind: round(fmean([new.value - old.value for old, new in pairs if old.kind == kind]), 4)
        for kind in kinds
    }


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
