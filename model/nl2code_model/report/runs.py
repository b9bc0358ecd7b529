"""Tuning runs, as their manifests and the gate's reports tell them; one whose files are damaged is left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nl2code_server.platform import paths

from ..tune.registry import MANIFEST, REPORT, Registry, Version


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training."""

    name: str
    rows: int
    steps: int
    seconds: float
    curve: tuple[tuple[float, float], ...]
    """Step and loss."""


@dataclass(frozen=True, slots=True)
class Side:
    """One comparison of the gate: what served before, and what was tuned."""

    n: int
    before: float
    after: float
    delta: float
    lower: float


@dataclass(frozen=True, slots=True)
class Run:
    """A tuned version, and how it did."""

    name: str
    model: str
    made: float
    current: bool
    passed: bool
    reasons: tuple[str, ...]
    judged: int
    stages: tuple[Stage, ...]
    held_out: Side | None
    tasks: Side | None

    @property
    def verdict(self) -> str:
        """Say what the gate decided."""
        return "passed" if self.passed else "refused"


def runs() -> list[Run]:
    """Return the runs of all models on this machine, newest first."""
    models = {
        str(told.get("model", "")) for told in map(_json, (paths().data / "adapters").glob(f"*/*/{MANIFEST}"))
    }
    found = [
        run
        for model in models - {""}
        for version in Registry(model).versions()
        if (run := _run(model, version))
    ]
    return sorted(found, key=lambda one: (-one.made, one.name))


def _run(model: str, version: Version) -> Run | None:
    manifest, report = dict(version.manifest), _json(version.folder / REPORT)
    training = manifest.get("training")
    stages = training.get("stages") if isinstance(training, dict) else {}
    data = manifest.get("data")
    try:
        return Run(
            name=version.name,
            model=model,
            made=float(manifest.get("made", 0.0)),
            current=version.current,
            passed=manifest.get("gate_passed") is True,
            reasons=tuple(str(one) for one in report.get("reasons", [])),
            judged=int(data.get("judged", 0)) if isinstance(data, dict) else 0,
            stages=tuple(_stage(str(name), dict(told)) for name, told in dict(stages or {}).items()),
            held_out=_side(report.get("held_out")),
            tasks=_side(report.get("tasks")),
        )
    except (TypeError, ValueError):
        return None


def _stage(name: str, told: dict[str, Any]) -> Stage:
    steps = int(told.get("steps", 0))
    ends = [(1, told.get("loss_first", 0.0)), (steps, told.get("loss_last", 0.0))]
    curve = told.get("curve") or ends  # older manifests have the ends alone
    return Stage(
        name[:20],
        int(told.get("rows", 0)),
        steps,
        float(told.get("seconds", 0.0)),
        tuple((float(step), float(loss)) for step, loss in curve),
    )


def _side(told: Any) -> Side | None:
    if not isinstance(told, dict):
        return None
    names = ("before", "after", "delta", "lower")
    return Side(int(told.get("n", 0)), *(float(told.get(name, 0.0)) for name in names))


def _json(path: Any) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
