"""The training process: one stage after the other on the data of a run, each gone on with where it was killed.

    python -m nl2code_model.tune.train RUN [PID]
    accelerate launch --num_processes 4 -m nl2code_model.tune.train RUN

A process of its own, so that what libraries print reaches no editor and a run can be killed at any time. It ends when
the process with that id is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nl2code_server.errors import Nl2CodeError
from nl2code_server.platform import lock, lower_priority, process_alive, write_private

from ..models.source import Source, find
from . import export
from .recipe import Recipe, Stage, recipe_of

TASK = "run.json"
PROGRESS = "progress.jsonl"
RESULT = "result.json"
ADAPTER = "adapter"
LOCK_TIMEOUT = 30.0  # s
QUIET = {
    "HF_HUB_OFFLINE": "1",  # every trainer of trl reports to the hub otherwise
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What `run.json` asks for."""

    model: str
    device: str
    stages: tuple[Stage, ...]
    recipe: Recipe
    threads: int = 0

    def write(self, folder: Path) -> None:
        """Write it into the folder of a run."""
        data = {
            "model": self.model,
            "device": self.device,
            "stages": self.stages,
            "recipe": self.recipe.as_json(),
            "threads": self.threads,
        }
        write_private(folder / TASK, json.dumps(data, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Task:
        """Read it."""
        data = json.loads((folder / TASK).read_text())
        return cls(
            data["model"], data["device"], tuple(data["stages"]), recipe_of(data["recipe"]), data["threads"]
        )


def run(folder: Path) -> dict[str, Any]:
    """Train what the folder's task asks for; write the adapter and `result.json` into it."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    task = Task.read(folder)
    source = find(task.model)
    if source.config.get("is_encoder_decoder") and (others := set(task.stages) - {"sft"}):
        raise Nl2CodeError(f"{min(others)} is not for encoder-decoder models", "Set training.stages=sft")
    from .trainers import check_versions

    check_versions()
    began = time.monotonic()
    dropped: Counter[str] = Counter()
    metrics: dict[str, Any] = {}
    before: Path | None = None
    encoder_decoder = False
    for stage in task.stages:
        target = folder / stage
        done = _done(target)
        if done is None:
            done, encoder_decoder = _stage(folder, stage, task, source, before, dropped)
        metrics[stage], before = done, target / ADAPTER
    result = {
        "stages": metrics,
        "dropped": dict(dropped),
        "seconds": round(time.monotonic() - began, 1),
        "adapter": str(before.relative_to(folder)) if before else "",
        "encoder_decoder": encoder_decoder,
        "versions": _versions(),
    }
    if _is_main():
        write_private(folder / RESULT, json.dumps(result, indent=1))
    return result


def _stage(
    folder: Path, stage: Stage, task: Task, source: Source, before: Path | None, dropped: Counter[str]
) -> tuple[dict[str, Any], bool]:
    from transformers import set_seed

    from ..host.torch_load import load
    from .stages import trainer_for
    from .tokens import Encoder
    from .trainers import latest_checkpoint, save_adapter

    training = task.recipe.training
    set_seed(training.seed)
    # Weights are kept in float32 on a CPU: small steps vanish in bfloat16.
    dtype = "auto" if task.device == "cuda" else "float32"
    loaded = load(source, device=task.device, dtype=dtype, threads=task.threads)
    encoder = Encoder.of(loaded, source.system, training.max_length)
    rows = getattr(encoder, stage)(export.read(folder / f"{stage}.jsonl"), dropped)
    if not rows:
        raise Nl2CodeError(
            f"No row of {stage} fits into {training.max_length} tokens", "Raise training.max_length"
        )
    target = folder / stage
    target.mkdir(exist_ok=True)
    trainer = trainer_for(stage, loaded, rows, training, before, target, folder / PROGRESS)
    resumed = latest_checkpoint(target)
    outcome = trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    curve = _curve(trainer)
    done = {
        "rows": len(rows),
        "tokens": sum(len(ids) for row in rows for name, ids in row.items() if name.endswith("_ids")),
        "steps": trainer.state.global_step,
        "resumed_at": int(resumed.name.rpartition("-")[2]) if resumed else 0,
        "loss_first": curve[0][1],
        "loss_last": curve[-1][1],
        "curve": curve,
        "seconds": round(outcome.metrics["train_runtime"], 1),
        "processes": trainer.accelerator.num_processes,
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
    }
    if _is_main():
        beside = target / f".{ADAPTER}"
        beside.mkdir(exist_ok=True)
        save_adapter(trainer.accelerator.unwrap_model(trainer.model), beside)
        shutil.rmtree(target / ADAPTER, ignore_errors=True)
        beside.replace(target / ADAPTER)
        write_private(target / RESULT, json.dumps(done, indent=1))
    trainer.accelerator.wait_for_everyone()
    return done, loaded.encoder_decoder


def _done(target: Path) -> dict[str, Any] | None:
    """Return what a stage gave that was finished before the run was killed."""
    try:
        done: dict[str, Any] = json.loads((target / RESULT).read_text())
    except (OSError, ValueError):
        return None
    return done


def _curve(trainer: Any) -> list[tuple[int, float]]:
    """Return the loss of each step, those before a kill included."""
    return [(one["step"], round(one["loss"], 4)) for one in trainer.state.log_history if "loss" in one] or [
        (0, 0.0)
    ]


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _versions() -> dict[str, str]:
    from importlib import metadata

    return {name: metadata.version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")}


def _end_with(pid: int) -> None:
    """End this process when that one is gone, however it went: whoever starts it again must not train beside it."""

    def watch() -> None:
        while process_alive(pid):
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> None:
    """Run as a process: exit 1 with one line on stderr if it cannot be done."""
    lower_priority()
    folder = Path(sys.argv[1]).absolute()
    if len(sys.argv) > 2:
        _end_with(int(sys.argv[2]))
    try:
        with lock(folder / "train.lock", timeout=LOCK_TIMEOUT) if _is_main() else contextlib.nullcontext():
            run(folder)
    except Nl2CodeError as error:
        sys.exit(f"error: {error}")
    except TimeoutError:
        sys.exit(f"error: another process trains in {folder}")


if __name__ == "__main__":
    main()
