"""What came of an experiment, in figures: each condition, and how it differs from the model itself. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from .compare import lower_bound
from .simulate import Looked, Style, conforms, functions

CONFIDENCE, DRAWS = 0.95, 4000


def table(
    looked: Mapping[str, Sequence[Looked]], held_out: Collection[str], style: Style, *, seed: int = 0
) -> dict[str, Any]:
    """Return the figures of each condition on held-out prompts and on our own tasks, compared with `base`.

    Acceptance is style among answers that parse and have a function in them; whether they work stands apart.
    """
    sides: dict[str, Callable[[Looked], bool]] = {
        "held_out": lambda one: one.id in held_out,
        "own": lambda one: one.id not in held_out,
    }
    base = looked.get("base", ())
    return {
        name: {
            side: _figures(
                [one for one in rows if fits(one)], [one for one in base if fits(one)], style, seed
            )
            for side, fits in sides.items()
            if any(fits(one) for one in rows)
        }
        for name, rows in looked.items()
    }


def _figures(rows: Sequence[Looked], base: Sequence[Looked], style: Style, seed: int) -> dict[str, Any]:
    counted = [one for one in rows if _counts(one)]
    before = {one.id: one for one in base}
    both = [(before[one.id], one) for one in counted if one.id in before and _counts(before[one.id])]
    passing = [one for one in counted if one.passed]
    tested = [(before[one.id], one) for one in rows if one.id in before]
    return {
        "asked": len(rows),
        "offered": sum(one.offered for one in rows),
        "parse": sum(one.parses for one in rows),
        "counted": len(counted),
        "accepted": _share([conforms(one.code, style) for one in counted]),
        "accepted_gain": _difference(
            [conforms(new.code, style) - conforms(old.code, style) for old, new in both], seed
        ),
        "accepted_of_passing": _share([conforms(one.code, style) for one in passing]),
        "annotated": _share([conforms(one.code, "annotated") for one in counted]),
        "documented": _share([conforms(one.code, "documented") for one in counted]),
        "passed": _share([one.passed for one in rows]),
        "passed_gain": _difference([new.passed - old.passed for old, new in tested], seed),
        "median_characters": median([len(one.code) for one in counted]) if counted else 0,
    }


def _counts(one: Looked) -> bool:
    return one.offered and one.parses and bool(functions(one.code))


def _share(values: Sequence[bool]) -> float:
    return round(fmean(values), 4) if values else 0.0


def _difference(deltas: Sequence[float], seed: int) -> dict[str, Any]:
    """Return the mean difference with the one-sided ends of its interval, by drawing pairs anew."""
    low = lower_bound(deltas, confidence=CONFIDENCE, draws=DRAWS, seed=seed)
    high = -lower_bound([-one for one in deltas], confidence=CONFIDENCE, draws=DRAWS, seed=seed)
    return {
        "n": len(deltas),
        "mean": round(fmean(deltas), 4) if deltas else 0.0,
        "lower": round(low, 4),
        "upper": round(high, 4),
        "changed": sum(one != 0 for one in deltas),
    }
