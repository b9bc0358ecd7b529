"""A ranking that was learnt from what the user took: weights in a file of the user's, scored without any library."""

from __future__ import annotations

import json
import logging
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..lang.traits import NAMES, RANKING, VERSION, traits
from ..platform import paths

if TYPE_CHECKING:
    from .rank import Features, Scorer

log = logging.getLogger(__name__)


def in_force() -> Scorer | None:
    """Return the user's learned ranking, read again when it was written anew; None if there is none to be used."""
    path = paths().data / RANKING
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4)
def _read(path: Path, written: int) -> Scorer | None:  # noqa: ARG001 - of each writing once
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        values = [data[name] for name in ("centre", "scale", "weights")]
        fits = data["version"] == VERSION and tuple(data["features"]) == NAMES
        rows = [[float(one) for one in value] for value in values]
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the learned ranking is not used: %r", error)
        return None
    sound = all(len(row) == len(NAMES) and all(map(math.isfinite, row)) for row in rows) and all(rows[1])
    if not (fits and sound):
        log.warning("the learned ranking is not used: it is of another version")
        return None
    return scorer(*rows)


def scorer(centre: list[float], scale: list[float], weights: list[float]) -> Scorer:
    """Return the ranking of some weights."""

    def score(features: Features) -> float:
        found = traits(features.code, features.mean_logprob, greedy=features.greedy)
        return sum(w * (x - c) / s for w, x, c, s in zip(weights, found, centre, scale, strict=True))

    return score
