"""Tuned versions of a model as `nl2code tune` leaves them, with curves and the gate's verdicts."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import Any

import pytest

from nl2code_model.tune.registry import FILES, REPORT, Registry

MODEL = "qwen2.5-coder-1.5b"
GAINS: tuple[tuple[float, float, tuple[str, ...]], ...] = (
    (0.064, 0.031, ()),
    (0.021, -0.012, ("likeness to what was kept: +0.021, but the interval reaches -0.012",)),
)


def tune_twice(folder: Path, model: str = MODEL) -> list[str]:
    """Register two versions, the first serving, the second refused by the gate; return their names."""
    names = []
    registry = Registry(model)
    for number, (gain, low, reasons) in enumerate(GAINS):
        adapter = folder / f"adapter-{number}"
        adapter.mkdir(parents=True)
        for file in FILES:
            (adapter / file).write_bytes(b"{}")
        report = {
            "passed": not reasons,
            "reasons": list(reasons),
            "held_out": side(64, 0.61, gain, low),
            "tasks": side(97, 0.545, 0.01 * number, 0.01 * number - 0.02),
        }
        with pytest.MonkeyPatch.context() as patch:
            made = time.time() - (45 - 40 * number) * 86400
            patch.setattr(time, "time", lambda made=made: made)
            version = registry.add(adapter, manifest(reasons, number), {REPORT: json.dumps(report)})
        names.append(version.name)
    registry.promote(names[0])
    return names


def side(n: int, before: float, gain: float, low: float) -> dict[str, Any]:
    """Make one comparison."""
    return {"n": n, "before": before, "after": round(before + gain, 3), "delta": gain, "lower": low}


def manifest(reasons: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Make what `tune` writes beside an adapter."""
    draw = random.Random(seed)
    stages = {
        name: {
            "rows": 190,
            "steps": 60,
            "seconds": 840.0,
            "loss_first": start,
            "loss_last": start / 2,
            "curve": [
                [step, round(start * (0.5 + 0.5 * math.exp(-step / 15)) + draw.gauss(0, 0.02), 4)]
                for step in range(1, 61)
            ],
        }
        for name, start in (("sft", 0.9), ("kto", 0.52))
    }
    return {"gate_passed": not reasons, "data": {"judged": 240}, "training": {"stages": stages}}
