"""What a run will do with a data set: which stages, what is missing, and how long it takes on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nl2code_server.errors import Nl2CodeError
from nl2code_server.platform import physical_cores

from ..models.catalog import locate
from .dataset import REPOSITORY, Dataset
from .recipe import Recipe, Stage

CPU_FLOPS = 30e9
"""Of one core on LoRA training steps, as estimated from a 0.5B model; a run says what it measures."""
GPU_FLOPS = 60e12
GGUF_BYTES = 0.78
"""Bytes of a parameter in the catalog's files, embeddings included."""
FORWARD_BACKWARD = 6
"""Operations per parameter and token; a frozen base spares a third, checkpoints take it again."""
PASSES: Mapping[Stage, float] = {"sft": 1.0, "kto": 1.4, "dpo": 2.8}
"""Work on one row beside learning it: the reference's answer, and of pairs both halves."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of training, and why it is left out if it is."""

    stage: Stage
    rows: int
    runs: bool
    reason: str


def steps(data: Dataset, recipe: Recipe) -> list[Step]:
    """Decide on each stage that the recipe names."""
    least, counts = recipe.least, data.counts()
    good, bad = counts["kto"]["desirable"], counts["kto"]["undesirable"]
    sizes = {"sft": len(data.learn), "kto": good + bad, "dpo": len(data.pairs)}
    short = {
        "sft": "" if counts["sft"] >= least.sft else f"{counts['sft']} rows, at least {least.sft}",
        "kto": ""
        if min(good, bad) >= least.kto_each
        else f"{good} desirable and {bad} undesirable, at least {least.kto_each} of each",
        "dpo": "" if counts["dpo"] >= least.dpo else f"{counts['dpo']} pairs, at least {least.dpo}",
    }
    return [Step(stage, sizes[stage], not short[stage], short[stage]) for stage in recipe.training.stages]


def missing(data: Dataset, recipe: Recipe) -> list[str]:
    """Say what must come before anything is trained; nothing if it can be."""
    least = recipe.least
    found = []
    there = data.labels.judged + sum(row.source == REPOSITORY for row in (*data.learn, *data.held_out))
    if there < least.judged:
        found.append(
            f"{least.judged - there} more suggestions that were taken or turned down (there are {there})"
        )
    elif not any(step.runs for step in steps(data, recipe)):
        found += [f"{step.stage}: {step.reason} are needed" for step in steps(data, recipe)]
    kept = sum(row.desirable for row in data.held_out)
    if kept < least.held_out:
        found.append(f"{least.held_out - kept} more that were taken, to hold out for the comparison")
    return found


def report(data: Dataset, recipe: Recipe, *, parameters: int = 0, gpu: bool = False) -> dict[str, Any]:
    """Return what `nl2code tune --dry-run --json` prints."""
    lacking = missing(data, recipe)
    chosen = steps(data, recipe)
    return {
        **data.counts(),
        "ready": not lacking,
        "missing": lacking,
        "stages": [
            {"stage": step.stage, "rows": step.rows, "runs": step.runs, "reason": step.reason}
            for step in chosen
        ],
        "seconds_estimated": round(seconds(data, recipe, parameters, gpu=gpu)) if parameters else None,
        **data.details(),
        "data_hash": data.hash,
        "split_hash": data.parts.hash,
    }


def seconds(data: Dataset, recipe: Recipe, parameters: int, *, gpu: bool = False) -> float:
    """Estimate the seconds of training, from operations alone: it can be wrong by a factor of three."""
    per_second = GPU_FLOPS if gpu else CPU_FLOPS * physical_cores()
    total = 0.0
    for step in steps(data, recipe):
        if step.runs:
            tokens = step.rows * _mean_tokens(data, recipe) * recipe.training.epochs
            total += tokens * FORWARD_BACKWARD * parameters * PASSES[step.stage]
    return total / per_second


def _mean_tokens(data: Dataset, recipe: Recipe) -> float:
    rows = data.learn or data.judged
    if not rows:
        return 0.0
    sizes = [sum(len(text) for _, text in row.asked.messages) + len(row.code) for row in rows]
    return min(sum(sizes) / len(sizes) / 3.2, recipe.training.max_length)


def parameters(model: str) -> int:
    """Guess a model's size from its files; 0 where they are not on this machine."""
    try:
        located = locate(model)
    except Nl2CodeError:
        return 0
    if located.path.is_file():
        return int(located.path.stat().st_size / GGUF_BYTES)
    if located.path.is_dir():
        return sum(one.stat().st_size for one in located.path.glob("*.safetensors")) // 2
    return 0


def has_gpu(device: str) -> bool:
    """Say whether training would run on a GPU, without loading torch."""
    return device == "cuda" or (device == "auto" and Path("/dev/nvidiactl").exists())
